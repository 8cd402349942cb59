//! Invites: a code that people pass on, and what is derived from the secret in it
//! (docs/spec/invite.md).
//!
//! > The group publishes one-way images of an invite's secret. With them its admins can serve the
//! > invite; none of them can redeem it.
//!
//! ```text
//! code    = bech32m("wattle", payload), at most 1,023 characters
//! payload = ver u8 = 1 ‖ flags u8 = 0 ‖ length of the payload u16 ‖ gid[20] ‖ secret[16] ‖ TLV…
//! TLV     = type u8 ‖ length u8 ‖ value           at most 16; unknown types are passed over
//!           1 relay multiaddr, with /p2p    2 inviter's multiaddr, with /p2p
//!           3 expires, u64 ms               4 token[16] of the relay before it
//!           5, 6: as 1, 2, but ends with the same 41 bytes, a /p2p, as the one before of its sort
//! ```
//!
//! Version, flags and length stay where they are in every version: the length tells a code that was
//! cut off from one that was mistyped. A flag that isn't known is a newer version's.

use alloc::{string::String, vec::Vec};
use core::fmt;

use bech32::{Bech32m, Fe32, Fe32IterExt, Hrp, primitives::decode::CheckedHrpstring};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    hash::{Label, kdf16, kdf32},
    ids::{GroupId, InviteId, Timestamp},
    relay_log::{RelayPass, RelayToken},
    sign::SigningSecret,
};

/// What an InviteCreate op publishes: enough to serve the invite, too little to redeem it.
pub use crate::membership::InviteFields as InviteRecord;

/// What an invite code says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InviteCode {
    /// The first 20 bytes of the group's id: whoever serves the invite must prove to belong to it.
    pub group_prefix: [u8; 20],
    /// The secret.
    pub secret: InviteSecret,
    /// Binary multiaddrs of relays that have the invite's mailbox, each with `/p2p`.
    pub relays: Vec<Vec<u8>>,
    /// Binary multiaddrs of the inviter's node, each with `/p2p`.
    pub direct: Vec<Vec<u8>>,
    /// Tokens for those of the relays that want one, in the order in which the relays first come.
    /// One for a relay that [`Self::relays`] doesn't name is not written.
    pub tokens: Vec<RelayPass>,
    /// When the invite ends: a hint, so that the joiner hears it early. The admitter judges.
    pub expires: Option<Timestamp>,
}

/// The 128-bit secret of an invite. Wiped on drop, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret(pub [u8; 16]);

/// Why a text is no invite code. To be shown to whoever pasted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It begins with something else.
    #[error("this is no invite code: those begin with \"wattle1\"")]
    NotACode,
    /// The end is missing, or something on the way.
    #[error("the invite code is cut off: it has {have} of {expected} characters")]
    Truncated {
        /// Characters that there are.
        have: usize,
        /// Characters that there should be, at least.
        expected: usize,
    },
    /// Some characters are wrong.
    #[error("the invite code is mistyped: its checksum doesn't hold")]
    Mistyped,
    /// Made by a newer version.
    #[error("the invite code needs a newer version of Wattle (format {version})")]
    Newer {
        /// The format's number.
        version: u8,
    },
    /// Undamaged, but made by a program with a fault.
    #[error("the invite code is undamaged, but holds no invite")]
    Malformed,
}

/// Too many addresses, or too long ones, for a code of 1,023 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the addresses don't fit into an invite code")]
pub struct CodeTooLong;

const HRP: Hrp = Hrp::parse_unchecked("wattle");
const PREFIX: &str = "wattle1";
const CHECKSUM: usize = 6;
const VERSION: u8 = 1;

/// The longest code, in characters.
const CODE_MAX: usize = 1023;

/// Version, flags, length, group and secret: the shortest payload, in bytes.
const HEADER: usize = 40;

/// The longest payload, in bytes.
const PAYLOAD_MAX: usize = (CODE_MAX - PREFIX.len() - CHECKSUM) * 5 / 8;

const TLVS: usize = 16;

const RELAY: u8 = 1;
const DIRECT: u8 = 2;
const EXPIRES: u8 = 3;
const TOKEN: u8 = 4;
const RELAY_TOO: u8 = 5;
const DIRECT_TOO: u8 = 6;

/// The `/p2p` of an Ed25519 key at the end of a binary multiaddr, in bytes.
const PEER: usize = 41;

/// What stands in it before the PeerId.
const PEER_HEAD: usize = 3;

impl InviteCode {
    /// The code, in lower case.
    pub fn to_text(&self) -> Result<Zeroizing<String>, CodeTooLong> {
        let payload = self.payload()?;
        bech32::encode::<Bech32m>(HRP, &payload).map(Zeroizing::new).map_err(|_| CodeTooLong)
    }

    /// Reads a code as people paste it: upper and lower case, wrapped lines, spaces around.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let code: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_ascii_lowercase())
                .take(CODE_MAX + 1)
                .collect(),
        );
        let data = code.strip_prefix(PREFIX).ok_or(CodeError::NotACode)?;
        let Ok(checked) = CheckedHrpstring::new::<Bech32m>(&code) else {
            return Err(damage(data));
        };
        Self::read(&Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>()))
    }

    fn payload(&self) -> Result<Zeroizing<Vec<u8>>, CodeTooLong> {
        let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD_MAX));
        payload.extend_from_slice(&[VERSION, 0, 0, 0]);
        payload.extend_from_slice(&self.group_prefix);
        payload.extend_from_slice(&self.secret.0);
        let expires = self.expires.map(|at| at.0.to_be_bytes());
        let tlvs = shortened(&self.relays, RELAY, RELAY_TOO)
            .enumerate()
            .flat_map(|(at, relay)| {
                let token = self.token_after(at).map(|token| (TOKEN, token.as_bytes().as_slice()));
                core::iter::once(relay).chain(token)
            })
            .chain(shortened(&self.direct, DIRECT, DIRECT_TOO))
            .chain(expires.iter().map(|at| (EXPIRES, at.as_slice())));
        for (count, (kind, value)) in tlvs.enumerate() {
            let len = u8::try_from(value.len()).map_err(|_| CodeTooLong)?;
            if count == TLVS || payload.len() + 2 + value.len() > PAYLOAD_MAX {
                return Err(CodeTooLong);
            }
            payload.extend_from_slice(&[kind, len]);
            payload.extend_from_slice(value);
        }
        let len = u16::try_from(payload.len()).map_err(|_| CodeTooLong)?;
        payload[2..4].copy_from_slice(&len.to_be_bytes());
        Ok(payload)
    }

    /// The token that stands after the relay's address with this number: the first of its relay.
    fn token_after(&self, at: usize) -> Option<&RelayToken> {
        let peer = peer(self.relays.get(at)?)?;
        let named = self.relays.iter().take(at).any(|before| self::peer(before) == Some(peer));
        let mut tokens = self.tokens.iter().filter(|_| !named);
        tokens.find(|pass| pass.relay == peer).map(|pass| &pass.token)
    }

    fn read(payload: &[u8]) -> Result<Self, CodeError> {
        let (&[version, flags, ..], len) = header(payload).ok_or(CodeError::Malformed)?;
        if version > VERSION || flags != 0 {
            return Err(CodeError::Newer { version });
        }
        if version != VERSION || len != payload.len() {
            return Err(CodeError::Malformed);
        }
        Self::read_fields(&payload[4..]).ok_or(CodeError::Malformed)
    }

    fn read_fields(fields: &[u8]) -> Option<Self> {
        let (group_prefix, rest) = fields.split_first_chunk()?;
        let (secret, mut rest) = rest.split_first_chunk()?;
        let mut code = Self {
            group_prefix: *group_prefix,
            secret: InviteSecret(*secret),
            relays: Vec::new(),
            direct: Vec::new(),
            tokens: Vec::new(),
            expires: None,
        };
        for _ in 0..TLVS {
            let Some((&[kind, len], after)) = rest.split_first_chunk() else { break };
            let (value, after) = after.split_at_checked(len.into())?;
            match kind {
                RELAY => code.relays.push(value.into()),
                DIRECT => code.direct.push(value.into()),
                RELAY_TOO => code.relays.push(lengthened(value, code.relays.last())?),
                DIRECT_TOO => code.direct.push(lengthened(value, code.direct.last())?),
                TOKEN => code.tokens.push(code.pass(value)?),
                EXPIRES if code.expires.is_some() => return None,
                EXPIRES => {
                    code.expires = Some(Timestamp(u64::from_be_bytes(value.try_into().ok()?)))
                }
                _ => {}
            }
            rest = after;
        }
        rest.is_empty().then_some(code)
    }

    /// A token that stands after a relay, which has none yet.
    fn pass(&self, token: &[u8]) -> Option<RelayPass> {
        let relay = peer(self.relays.last()?)?;
        let token = RelayToken::from_bytes(token.try_into().ok()?);
        let known = self.tokens.iter().any(|pass| pass.relay == relay);
        (!known).then(|| RelayPass { relay: relay.into(), token })
    }
}

/// The PeerId at the end of an address.
fn peer(address: &[u8]) -> Option<&[u8]> {
    address.last_chunk::<PEER>()?.get(PEER_HEAD..)
}

/// The addresses as they are written: one of the same peer as the one before leaves the peer out.
fn shortened(addresses: &[Vec<u8>], whole: u8, same_peer: u8) -> impl Iterator<Item = (u8, &[u8])> {
    let before = core::iter::once(None).chain(addresses.iter().map(Some));
    addresses.iter().zip(before).map(move |(address, before)| {
        let split = address.len().checked_sub(PEER).map(|at| address.split_at(at));
        match (split, before) {
            (Some((rest, peer)), Some(before)) if before.ends_with(peer) => (same_peer, rest),
            _ => (whole, address.as_slice()),
        }
    })
}

/// An address that was written without its peer.
fn lengthened(rest: &[u8], before: Option<&Vec<u8>>) -> Option<Vec<u8>> {
    let peer = before?.last_chunk::<PEER>()?;
    Some([rest, peer].concat())
}

/// The first four bytes, and the payload's length that they state.
fn header(payload: &[u8]) -> Option<(&[u8; 4], usize)> {
    let head = payload.first_chunk::<4>()?;
    Some((head, usize::from(u16::from_be_bytes([head[2], head[3]]))))
}

/// What happened to a code whose checksum doesn't hold; `data` is what stands behind the prefix.
fn damage(data: &str) -> CodeError {
    let characters = |payload: usize| PREFIX.len() + (payload * 8).div_ceil(5) + CHECKSUM;
    let have = PREFIX.len() + data.chars().count();
    if data.chars().any(|c| Fe32::from_char(c).is_err()) {
        return CodeError::Mistyped;
    }
    let head: Vec<u8> =
        data.chars().filter_map(|c| Fe32::from_char(c).ok()).fes_to_bytes().take(4).collect();
    let expected = match header(&head) {
        None => characters(HEADER),
        Some((_, len)) if (HEADER..=PAYLOAD_MAX).contains(&len) => characters(len),
        Some(_) => return CodeError::Mistyped,
    };
    if have < expected { CodeError::Truncated { have, expected } } else { CodeError::Mistyped }
}

impl InviteSecret {
    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self([0; 16]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// Names the invite.
    #[must_use]
    pub fn id(&self) -> InviteId {
        InviteId(kdf16(&self.0, Label::Invite, &[]))
    }

    /// The pre-shared key of a handshake that redeems the invite.
    #[must_use]
    pub fn psk(&self) -> [u8; 32] {
        kdf32(&self.0, Label::InvitePsk, &[])
    }

    /// The key that signs join proofs: its public half is published, it isn't.
    #[must_use]
    pub fn signing(&self) -> SigningSecret {
        SigningSecret::from_seed(&Zeroizing::new(kdf32(&self.0, Label::InviteSign, &[])))
    }

    /// The key under which frames lie in the mailbox (`join::mailbox`).
    #[must_use]
    pub fn seal_key(&self) -> [u8; 32] {
        kdf32(&self.0, Label::InviteSeal, &[])
    }

    /// The Ed25519 seed of the mailbox's write capability.
    #[must_use]
    pub fn box_write(&self) -> [u8; 32] {
        kdf32(&self.0, Label::InviteWrite, &[])
    }

    /// The Ed25519 seed of the mailbox's read capability.
    #[must_use]
    pub fn box_read(&self) -> [u8; 32] {
        kdf32(&self.0, Label::InviteRead, &[])
    }

    /// What is published of it in the group.
    #[must_use]
    pub fn record(&self) -> InviteRecord {
        InviteRecord {
            id: self.id(),
            ipk: self.signing().public(),
            psk0: self.psk(),
            box_write: self.box_write(),
            box_read: self.box_read(),
            seal_key: self.seal_key(),
        }
    }
}

impl PartialEq for InviteSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for InviteSecret {}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(…)")
    }
}

/// The first 20 bytes of a group's id, as a code carries them.
#[must_use]
pub fn group_prefix(group: GroupId) -> [u8; 20] {
    let mut prefix = [0; 20];
    prefix.copy_from_slice(&group.0[..20]);
    prefix
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString, vec};

    use super::*;

    /// [`code`] without addresses and end, as another implementation of bech32m reads it too.
    const VECTOR: &str =
        "wattle1qyqqq2z6tfd95kj6tfd95kj6tfd95kj6tfd95knnd9u8get9dcsxy7t5v4ejqmmtkt3f54";

    fn code() -> InviteCode {
        InviteCode {
            group_prefix: group_prefix(GroupId([0x5a; 32])),
            secret: InviteSecret(*b"sixteen bytes ok"),
            relays: vec![vec![1; 60], vec![2; 45]],
            direct: vec![vec![3; 50]],
            tokens: vec![],
            expires: Some(Timestamp(1_800_000_000_000)),
        }
    }

    #[test]
    fn several_addresses_of_one_peer_name_it_once() {
        let address = |n: u8, peer: u8| [vec![n; 10], vec![peer; PEER]].concat();
        let many = InviteCode {
            relays: vec![address(1, 9), address(2, 9), address(3, 8)],
            direct: vec![address(4, 8), address(5, 8)],
            ..code()
        };
        let text = many.to_text().unwrap();
        assert_eq!(InviteCode::parse(&text), Ok(many));
        assert!(text.len() <= 8 * (HEADER + 10 + 5 * 12 + 3 * PEER) / 5 + 14, "{}", text.len());
    }

    #[test]
    fn a_relay_s_token_stands_after_it_and_a_code_without_one_is_as_before() {
        let address = |n: u8, peer: u8| [vec![n; 10], vec![peer; PEER]].concat();
        let pass = |peer: u8| RelayPass {
            relay: vec![peer; PEER - PEER_HEAD],
            token: RelayToken::from_bytes([peer; 16]),
        };
        let bare = InviteCode {
            relays: vec![address(1, 9), address(2, 9), address(3, 8), address(4, 7)],
            ..code()
        };
        let with = InviteCode { tokens: vec![pass(9), pass(7)], ..bare.clone() };
        let text = with.to_text().unwrap();
        assert_eq!(InviteCode::parse(&text), Ok(with.clone()));
        // Two bytes of head and 16 of token, each.
        assert!(text.len() - bare.to_text().unwrap().len() <= 2 * 18 * 8 / 5 + 1);
        let strange = InviteCode { tokens: vec![pass(6)], ..bare.clone() };
        assert_eq!(strange.to_text().unwrap(), bare.to_text().unwrap());
        assert!(!format!("{with:?}").contains("[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9])"));
    }

    #[test]
    fn a_token_without_a_relay_of_another_length_or_twice_is_no_invite() {
        let relay = [&[RELAY, PEER as u8], [5; PEER].as_slice()].concat();
        let token = [&[TOKEN, 16], [1; 16].as_slice()].concat();
        let short = [&[TOKEN, 15], [1; 15].as_slice()].concat();
        let read = |parts: &[&[u8]]| InviteCode::parse(&text(&payload(&parts.concat())));
        assert!(read(&[&relay, &token]).is_ok());
        for parts in [
            &[token.as_slice()][..],
            &[&relay, &short],
            &[&relay, &token, &token],
            &[&[RELAY, 1, 5], &token],
        ] {
            assert_eq!(read(parts), Err(CodeError::Malformed));
        }
    }

    #[test]
    fn an_address_without_a_peer_before_it_is_no_invite() {
        let text = text(&payload(&[RELAY_TOO, 1, 0]));
        assert_eq!(InviteCode::parse(&text), Err(CodeError::Malformed));
    }

    /// A well-made bech32m text of any payload.
    fn text(payload: &[u8]) -> String {
        bech32::encode::<Bech32m>(HRP, payload).unwrap()
    }

    fn payload(tail: &[u8]) -> Vec<u8> {
        let len = u16::try_from(HEADER + tail.len()).unwrap().to_be_bytes();
        [&[1, 0], len.as_slice(), &[7; 36], tail].concat()
    }

    #[test]
    fn a_code_is_read_as_it_was_written() {
        let text = code().to_text().unwrap();
        assert!(text.starts_with(PREFIX) && text.len() < 400, "{}", text.len());
        assert_eq!(InviteCode::parse(&text), Ok(code()));
        let bare = InviteCode { relays: vec![], direct: vec![], expires: None, ..code() };
        let text = bare.to_text().unwrap();
        assert_eq!(*text, VECTOR);
        assert_eq!(InviteCode::parse(&text), Ok(bare));
    }

    #[test]
    fn secrets_are_equal_where_their_bytes_are() {
        assert_eq!(InviteSecret([1; 16]), InviteSecret([1; 16]));
        assert!(InviteSecret([1; 16]) != InviteSecret([2; 16]));
    }

    #[test]
    fn a_length_that_no_code_has_is_a_typing_error() {
        for len in [0, HEADER - 1, PAYLOAD_MAX + 1, usize::from(u16::MAX)] {
            let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
            let mut code = text(&[[1, 0, high, low].as_slice(), &[7; 36]].concat());
            // The checksum is wrong.
            let last = code.pop().unwrap();
            code.push(if last == 'q' { 'p' } else { 'q' });
            assert_eq!(InviteCode::parse(&code), Err(CodeError::Mistyped), "{len}");
        }
    }

    #[test]
    fn upper_case_and_wrapped_lines_do_not_matter() {
        let text = code().to_text().unwrap();
        assert_eq!(InviteCode::parse(&text.to_uppercase()), Ok(code()));
        let (head, tail) = text.split_at(70);
        assert_eq!(InviteCode::parse(&format!("\n  {head}\r\n\t{tail} \n")), Ok(code()));
        let capital = format!("W{}", &text[1..]);
        assert_eq!(InviteCode::parse(&capital), Ok(code()));
    }

    #[test]
    fn a_code_that_was_cut_off_says_so_wherever_it_was_cut() {
        let text = code().to_text().unwrap();
        for have in PREFIX.len()..text.len() {
            let error = InviteCode::parse(&text[..have]).unwrap_err();
            let expected = if have < PREFIX.len() + 7 { 77 } else { text.len() };
            assert_eq!(error, CodeError::Truncated { have, expected });
        }
        let missing = format!("{}{}", &text[..50], &text[51..]);
        assert!(matches!(InviteCode::parse(&missing), Err(CodeError::Truncated { .. })));
        assert_eq!(
            InviteCode::parse(&text[..60]).unwrap_err().to_string(),
            format!("the invite code is cut off: it has 60 of {} characters", text.len())
        );
    }

    #[test]
    fn a_wrong_character_is_a_typing_error() {
        let text = code().to_text().unwrap();
        for at in PREFIX.len()..text.len() {
            for wrong in ['q', 'p', 'b', '1', 'ä'] {
                if text[at..].starts_with(wrong) {
                    continue;
                }
                let typed = format!("{}{wrong}{}", &text[..at], &text[at + 1..]);
                let error = InviteCode::parse(&typed).unwrap_err();
                // In the length itself a typing error may look like a cut.
                let length = (PREFIX.len() + 3..PREFIX.len() + 7).contains(&at);
                assert!(
                    error == CodeError::Mistyped
                        || length && matches!(error, CodeError::Truncated { .. }),
                    "{at} {error}"
                );
            }
        }
        assert_eq!(InviteCode::parse(&format!("{}q", *text)), Err(CodeError::Mistyped));
        let endless = format!("{}{}", *text, "q".repeat(5000));
        assert_eq!(InviteCode::parse(&endless), Err(CodeError::Mistyped));
    }

    #[test]
    fn another_text_is_no_code() {
        for text in ["", "wattl", "hello", "bc1p4w46h2at4w46h2at4w46h2at4w46h2at958ngu"] {
            assert_eq!(InviteCode::parse(text), Err(CodeError::NotACode), "{text}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_damaged_code() {
        let mut newer = payload(&[]);
        newer[0] = 2;
        assert_eq!(InviteCode::parse(&text(&newer)), Err(CodeError::Newer { version: 2 }));
        let mut flagged = payload(&[]);
        flagged[1] = 1;
        assert_eq!(InviteCode::parse(&text(&flagged)), Err(CodeError::Newer { version: 1 }));
        let mut older = payload(&[]);
        older[0] = 0;
        assert_eq!(InviteCode::parse(&text(&older)), Err(CodeError::Malformed));
    }

    #[test]
    fn unknown_fields_are_passed_over_and_broken_ones_are_not() {
        let read = InviteCode::parse(&text(&payload(&[99, 2, 0, 0, 98, 0, 1, 1, 5]))).unwrap();
        assert_eq!((read.relays, read.direct), (vec![vec![5]], vec![]));
        let expires = [3, 8, 0, 0, 0, 0, 0, 0, 0, 9];
        let read = InviteCode::parse(&text(&payload(&expires))).unwrap();
        assert_eq!(read.expires, Some(Timestamp(9)));
        let broken: [&[u8]; 6] = [
            &[1],
            &[1, 5, 0],
            &[3, 1, 0],
            &[expires, expires].concat(),
            &[99, 0].repeat(17),
            &[99, 0, 1].repeat(3),
        ];
        for tail in broken {
            assert_eq!(InviteCode::parse(&text(&payload(tail))), Err(CodeError::Malformed));
        }
        let mut short = payload(&[]);
        short[3] -= 1;
        assert_eq!(InviteCode::parse(&text(&short)), Err(CodeError::Malformed));
        assert_eq!(InviteCode::parse(&text(&[1, 0])), Err(CodeError::Malformed));
    }

    #[test]
    fn a_code_holds_only_so_many_addresses() {
        let with = |relays| InviteCode { relays, ..code() }.to_text();
        assert_eq!(with(vec![vec![0; 256]]), Err(CodeTooLong));
        assert_eq!(with((1..4).map(|n| vec![n; 200]).collect()), Err(CodeTooLong));
        assert_eq!(with(vec![vec![]; 15]), Err(CodeTooLong));
        assert!(with(vec![vec![]; 14]).is_ok());
        let mut full = code();
        (full.direct, full.expires) = (vec![], None);
        full.relays = vec![vec![1; 255], vec![2; 255], vec![3; PAYLOAD_MAX - HEADER - 2 * 257 - 2]];
        let text = full.to_text().unwrap();
        assert!(text.len() <= CODE_MAX && text.len() > CODE_MAX - 2);
        assert_eq!(InviteCode::parse(&text), Ok(full));
    }

    #[test]
    fn the_images_of_a_secret_differ_and_it_is_never_printed() {
        let code = code();
        let record = code.secret.record();
        let images = [record.ipk, record.psk0, record.box_write, record.box_read, record.seal_key];
        for (i, image) in images.iter().enumerate() {
            assert!(!images[..i].contains(image));
        }
        assert_ne!(record, InviteSecret([0; 16]).record());
        let printed = format!("{code:?}");
        assert!(printed.contains("InviteSecret(…)") && !printed.contains("115, 105, 120"));
    }
}
