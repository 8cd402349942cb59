//! Questions and answers as packets of multicast DNS (RFC 6762).
//!
//! ```text
//! question  asks for TXT of    <32 hex digits>.<32 hex digits>._wattle._udp.local
//! answer    says TXT of it     37 ‖ version u8 = 1 ‖ answer36              time to live 10 s, shared
//! ```
//!
//! The digits are the question's 32 bytes: a name that nobody had before and nobody has again. Both
//! packets are always the same but for what is random in them, so they are compared, not parsed.

use protocol::lan::ANSWER;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Somebody looks for somebody.
    Question([u8; 32]),
    /// Somebody answers a question.
    Answer([u8; 32], [u8; ANSWER]),
}

/// No packet of ours is this long.
pub(super) const PACKET_MAX: usize = 256;

const SERVICE: &[u8; 20] = b"\x07_wattle\x04_udp\x05local\0";
const LABEL: usize = 32;
const NAME: usize = 2 * (1 + LABEL) + SERVICE.len();
const VERSION: u8 = 1;

/// Flags and counts behind the header's id: one question; an authoritative answer and nothing else.
const ASKS: &[u8; 10] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const SAYS: &[u8; 10] = &[0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
/// Type TXT, class IN.
const TXT: &[u8; 4] = &[0, 16, 0, 1];
/// The same, the seconds that the record is good for, the lengths of the record and of its only string.
const RECORD: &[u8; 12] =
    &[0, 16, 0, 1, 0, 0, 0, 10, 0, ANSWER as u8 + 2, ANSWER as u8 + 1, VERSION];

/// The packet that asks.
pub(super) fn question(question: &[u8; 32]) -> Vec<u8> {
    [[0, 0].as_slice(), ASKS, &name(question), TXT].concat()
}

/// The packet that answers.
pub(super) fn answer(question: &[u8; 32], answer: &[u8; ANSWER]) -> Vec<u8> {
    [[0, 0].as_slice(), SAYS, &name(question), RECORD, answer].concat()
}

/// Reads a packet; `None` for everybody else's.
pub(super) fn read(packet: &[u8]) -> Option<Packet> {
    let (_id, rest) = packet.split_first_chunk::<2>()?;
    let (kind, rest) = rest.split_first_chunk::<10>()?;
    let (name, rest) = rest.split_first_chunk::<NAME>()?;
    let question = asked(name)?;
    if kind == ASKS && rest == TXT {
        return Some(Packet::Question(question));
    }
    let answer = rest.strip_prefix(RECORD)?.try_into().ok()?;
    (kind == SAYS).then_some(Packet::Answer(question, answer))
}

fn name(question: &[u8; 32]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS[usize::from(value)];
    let mut name = Vec::with_capacity(NAME);
    for half in question.chunks(LABEL / 2) {
        name.push(LABEL as u8);
        name.extend(half.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    }
    name.extend_from_slice(SERVICE);
    name
}

fn asked(name: &[u8; NAME]) -> Option<[u8; 32]> {
    let (labels, service) = name.split_at(2 * (1 + LABEL));
    if !service.eq_ignore_ascii_case(SERVICE) {
        return None;
    }
    let mut question = Vec::with_capacity(LABEL);
    for label in labels.chunks(1 + LABEL) {
        let (len, digits) = label.split_first()?;
        if usize::from(*len) != LABEL {
            return None;
        }
        for pair in digits.chunks(2) {
            let byte = pair.iter().try_fold(0, |high, digit| {
                let low = char::from(*digit).to_digit(16)?;
                Some(high << 4 | low)
            })?;
            question.push(u8::try_from(byte).ok()?);
        }
    }
    question.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for() -> [u8; 32] {
        std::array::from_fn(|at| at as u8 * 7)
    }

    #[test]
    fn packets_are_read_as_they_are_written() {
        let (asked, said) = (asked_for(), [0xa5; ANSWER]);
        let (one, two) = (question(&asked), answer(&asked, &said));
        assert!(one.len() < PACKET_MAX && two.len() < PACKET_MAX);
        assert_eq!(read(&one), Some(Packet::Question(asked)));
        assert_eq!(read(&two), Some(Packet::Answer(asked, said)));
    }

    #[test]
    fn a_name_is_the_same_in_capitals_and_an_id_says_nothing() {
        let mut packet = question(&asked_for());
        packet.make_ascii_uppercase();
        packet[0] = 9;
        assert_eq!(read(&packet), Some(Packet::Question(asked_for())));
    }

    #[test]
    fn whatever_else_comes_is_nothing() {
        for whole in [question(&asked_for()), answer(&asked_for(), &[7; ANSWER])] {
            for cut in 0..whole.len() {
                assert_eq!(read(&whole[..cut]), None, "cut at {cut}");
            }
            assert_eq!(read(&[whole.as_slice(), &[0]].concat()), None);
            for at in 2..whole.len() {
                let mut changed = whole.clone();
                changed[at] = changed[at].wrapping_add(0x55);
                assert_ne!(read(&changed), read(&whole), "byte {at}");
            }
        }
        assert_eq!(read(&[0xff; PACKET_MAX]), None);
    }
}
