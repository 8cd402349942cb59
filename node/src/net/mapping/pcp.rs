//! PCP (RFC 6887) and the older NAT-PMP (RFC 6886): two packets of one port of the router's, told apart by
//! their first byte.
//!
//! > The socket is connected to the router, so that the system drops what comes from any other address; an answer is
//! > taken if it names the very mapping that was asked for, and PCP's number of chance with it. What could be to any question
//! > counts only where nothing better comes.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4},
    time::Duration,
};

use tokio::time::timeout;

use super::{Ask, Failure, Lease, Reply, Transport, gateway::Gateway};

/// What a packet is, beside a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read<T> {
    /// The answer to it.
    Answer(Result<T, Failure>),
    /// One that says no, and not to what.
    Hint(Failure),
    /// None.
    Other,
}

/// Where routers are asked.
pub(super) const PORT: u16 = 5351;
/// The longest packet of PCP.
const PACKET: usize = 1100;
/// How long an answer is waited for before the question is sent again, and at last given up.
const WAITS_MS: [u64; 4] = [250, 500, 1000, 2000];
/// What is wished for outside where a mapping is taken back.
const NOTHING: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// Asks by PCP.
pub(super) async fn map(gateway: &Gateway, port: u16, ask: &Ask) -> Result<Reply, Failure> {
    exchange(gateway, port, &pcp(gateway.own, ask), |answer| read_pcp(answer, ask)).await
}

/// Asks for the router's address outside, by NAT-PMP.
pub(super) async fn address(gateway: &Gateway, port: u16) -> Result<Ipv4Addr, Failure> {
    exchange(gateway, port, &[0, 0], read_address).await
}

/// Asks by NAT-PMP, at the address that it has told.
pub(super) async fn map_old(gateway: &Gateway, port: u16, ask: &Ask) -> Result<Reply, Failure> {
    let (external, lifetime) =
        exchange(gateway, port, &nat_pmp(ask), |answer| read_nat_pmp(answer, ask)).await?;
    Ok(Reply::Granted(SocketAddrV4::new(*ask.external.ip(), external), Some(lifetime)))
}

/// Sends until something comes that `read` takes for the answer.
async fn exchange<T>(
    gateway: &Gateway,
    port: u16,
    question: &[u8],
    read: impl Fn(&[u8]) -> Read<T>,
) -> Result<T, Failure> {
    let socket = gateway.socket(port).await.map_err(|_| Failure::NoRouter)?;
    let mut buffer = [0; PACKET];
    for wait in WAITS_MS {
        socket.send(question).await.map_err(|error| unheard(&error))?;
        let mut hint = None;
        let answered = async {
            loop {
                let len = socket.recv(&mut buffer).await.map_err(|error| unheard(&error))?;
                match buffer.get(..len).map_or(Read::Other, &read) {
                    Read::Answer(answer) => return answer,
                    Read::Hint(failure) => hint = Some(failure),
                    Read::Other => {}
                }
            }
        };
        if let Ok(answer) = timeout(Duration::from_millis(wait), answered).await {
            return answer;
        }
        if let Some(failure) = hint {
            return Err(failure);
        }
    }
    Err(Failure::Silent)
}

/// Why nothing comes: where nobody listens, nobody has read the question.
fn unheard(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Unspoken,
        _ => Failure::Silent,
    }
}

fn pcp(own: Ipv4Addr, ask: &Ask) -> [u8; 60] {
    let mut packet = [0; 60];
    // Version 2, MAP.
    packet[..2].copy_from_slice(&[2, 1]);
    packet[4..8].copy_from_slice(&ask.lease.seconds().to_be_bytes());
    packet[8..24].copy_from_slice(&own.to_ipv6_mapped().octets());
    packet[24..36].copy_from_slice(&ask.nonce);
    packet[36] = ask.port.transport.number();
    packet[40..42].copy_from_slice(&ask.port.number.to_be_bytes());
    let wished = wished(ask);
    packet[42..44].copy_from_slice(&wished.port().to_be_bytes());
    packet[44..].copy_from_slice(&wished.ip().to_ipv6_mapped().octets());
    packet
}

fn read_pcp(answer: &[u8], ask: &Ask) -> Read<Reply> {
    let result = match answer {
        // A router that speaks NAT-PMP alone says so under its own version.
        [0, 128..=255, 0, 1, ..] => return Read::Hint(Failure::Unspoken),
        [2, 0x81, _, result, ..] => *result,
        _ => return Read::Other,
    };
    let failure = match result {
        0 => None,
        // Another version; an operation that it does not know.
        1 | 4 => Some(Failure::Unspoken),
        // It has no address itself.
        7 => Some(Failure::NotGlobal),
        _ => Some(Failure::Refused),
    };
    match (granted(answer, ask), failure) {
        (Some(_), Some(failure)) => Read::Answer(Err(failure)),
        (Some(granted), None) => Read::Answer(Ok(granted)),
        // Too short to name what it is to.
        (None, Some(failure)) if answer.len() < 60 => Read::Hint(failure),
        (None, _) => Read::Other,
    }
}

/// What an answer of PCP's grants, if it is to what was asked; it may be at an address that is none of IPv4's.
fn granted(answer: &[u8], ask: &Ask) -> Option<Reply> {
    let lifetime = u32::from_be_bytes(answer.get(4..)?.first_chunk().copied()?);
    let mapping: &[u8; 36] = answer.get(24..60)?.first_chunk()?;
    let number = |at: usize| Some(u16::from_be_bytes([*mapping.get(at)?, *mapping.get(at + 1)?]));
    let is_asked = mapping[..12] == ask.nonce
        && mapping[12] == ask.port.transport.number()
        && number(16)? == ask.port.number;
    if !is_asked {
        return None;
    }
    let ip: [u8; 16] = mapping[20..].first_chunk().copied()?;
    let ip = Ipv6Addr::from(ip).to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some(Reply::Granted(SocketAddrV4::new(ip, number(18)?), Some(lifetime)))
}

fn wished(ask: &Ask) -> SocketAddrV4 {
    if ask.lease == Lease::Over { NOTHING } else { ask.external }
}

fn nat_pmp(ask: &Ask) -> [u8; 12] {
    let mut packet = [0; 12];
    packet[1] = operation(ask);
    packet[4..6].copy_from_slice(&ask.port.number.to_be_bytes());
    packet[6..8].copy_from_slice(&wished(ask).port().to_be_bytes());
    packet[8..].copy_from_slice(&ask.lease.seconds().to_be_bytes());
    packet
}

fn operation(ask: &Ask) -> u8 {
    match ask.port.transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    }
}

fn read_address(answer: &[u8]) -> Read<Ipv4Addr> {
    let [0, 128, high, low, _, _, _, _, rest @ ..] = answer else { return Read::Other };
    match (refused(*high, *low), rest.first_chunk::<4>()) {
        (Some(failure), _) => Read::Hint(failure),
        (None, Some(ip)) => Read::Answer(Ok(Ipv4Addr::from(*ip))),
        (None, None) => Read::Other,
    }
}

fn read_nat_pmp(answer: &[u8], ask: &Ask) -> Read<(u16, u32)> {
    let [0, said, high, low, _, _, _, _, rest @ ..] = answer else { return Read::Other };
    if *said != 128 + operation(ask) {
        return Read::Other;
    }
    match (rest, refused(*high, *low)) {
        ([a, b, ..], _) if u16::from_be_bytes([*a, *b]) != ask.port.number => Read::Other,
        ([_, _, ..], Some(failure)) => Read::Answer(Err(failure)),
        (_, Some(failure)) => Read::Hint(failure),
        ([_, _, c, d, e, f, g, h, ..], None) => {
            let lifetime = u32::from_be_bytes([*e, *f, *g, *h]);
            Read::Answer(Ok((u16::from_be_bytes([*c, *d]), lifetime)))
        }
        _ => Read::Other,
    }
}

fn refused(high: u8, low: u8) -> Option<Failure> {
    match u16::from_be_bytes([high, low]) {
        0 => None,
        // Another version; an operation that it does not know.
        1 | 5 => Some(Failure::Unspoken),
        3 => Some(Failure::NotGlobal),
        _ => Some(Failure::Refused),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::{super::Port, *};

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 7);

    fn ask() -> Ask {
        Ask {
            port: Port { transport: Transport::Udp, number: 4408 },
            external: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 4408),
            lease: Lease::Hour,
            nonce: *b"twelve bytes",
            own: OWN,
            is_noted: false,
        }
    }

    /// What a router answers to a question of PCP that it grants.
    fn agreed(question: &[u8; 60], ip: Ipv4Addr, port: u16, lifetime: u32) -> Vec<u8> {
        let mut answer = question.to_vec();
        answer[1] |= 0x80;
        answer[4..8].copy_from_slice(&lifetime.to_be_bytes());
        answer[8..24].fill(0);
        answer[42..44].copy_from_slice(&port.to_be_bytes());
        answer[44..].copy_from_slice(&ip.to_ipv6_mapped().octets());
        answer
    }

    #[test]
    fn an_answer_of_pcp_is_taken_if_it_is_to_what_was_asked() {
        let (ask, ip) = (ask(), Ipv4Addr::new(11, 78, 0, 2));
        let answer = agreed(&pcp(OWN, &ask), ip, 50_000, 120);
        let granted = Reply::Granted(SocketAddrV4::new(ip, 50_000), Some(120));
        assert_eq!(read_pcp(&answer, &ask), Read::Answer(Ok(granted)));
        for (at, why) in
            [(0, "version"), (1, "operation"), (24, "nonce"), (36, "protocol"), (41, "port")]
        {
            let mut other = answer.clone();
            other[at] ^= 0x41;
            assert_eq!(read_pcp(&other, &ask), Read::Other, "{why}");
            // Who says no to something else says nothing to this.
            other[3] = 2;
            assert_eq!(read_pcp(&other, &ask), Read::Other, "{why}");
        }
        for cut in 0..answer.len() {
            assert_eq!(read_pcp(&answer[..cut], &ask), Read::Other, "{cut} bytes");
        }
        let refused = |code: u8, len: usize| {
            let mut answer = answer.clone();
            answer[3] = code;
            read_pcp(&answer[..len], &ask)
        };
        assert_eq!(refused(2, 60), Read::Answer(Err(Failure::Refused)));
        assert_eq!(refused(1, 60), Read::Answer(Err(Failure::Unspoken)));
        assert_eq!(refused(2, 24), Read::Hint(Failure::Refused), "of nobody knows what");
        assert_eq!(read_pcp(&[0, 129, 0, 1], &ask), Read::Hint(Failure::Unspoken), "NAT-PMP alone");
        let mut of_ipv6 = answer.clone();
        of_ipv6[44] = 0x20;
        let granted = Reply::Granted(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 50_000), Some(120));
        assert_eq!(read_pcp(&of_ipv6, &ask), Read::Answer(Ok(granted)), "it stands all the same");
        for forged in [&[0][..], &[0, 0], &[0, 129, 0, 0], &[0, 128, 0, 2]] {
            assert_eq!(read_pcp(forged, &ask), Read::Other);
        }
    }

    #[test]
    fn an_answer_of_nat_pmp_is_taken_if_it_is_to_what_was_asked() {
        let ask = ask();
        assert_eq!(nat_pmp(&ask), [0, 1, 0, 0, 0x11, 0x38, 0x11, 0x38, 0, 0, 0x0e, 0x10]);
        let answer = [0, 129, 0, 0, 1, 2, 3, 4, 0x11, 0x38, 0xc3, 0x50, 0, 0, 0, 120];
        assert_eq!(read_nat_pmp(&answer, &ask), Read::Answer(Ok((50_000, 120))));
        for at in [0, 1, 8, 9] {
            let mut other = answer;
            other[at] ^= 0x40;
            assert_eq!(read_nat_pmp(&other, &ask), Read::Other, "{at}");
            other[3] = 2;
            assert_eq!(read_nat_pmp(&other, &ask), Read::Other, "{at}");
        }
        let short = [0, 129, 0, 2, 0, 0, 0, 0];
        assert_eq!(read_nat_pmp(&short, &ask), Read::Hint(Failure::Refused));
        let address = [0, 128, 0, 0, 1, 2, 3, 4, 11, 78, 0, 2];
        assert_eq!(read_address(&address), Read::Answer(Ok(Ipv4Addr::new(11, 78, 0, 2))));
        assert_eq!(read_address(&[0, 128, 0, 3, 0, 0, 0, 0]), Read::Hint(Failure::NotGlobal));
        let back = nat_pmp(&Ask { lease: Lease::Over, ..ask });
        assert_eq!(back[6..], [0; 6], "nothing outside, for no time");
    }

    #[test]
    fn whatever_comes_is_no_panic() {
        let (ask, mut rng) = (ask(), ChaCha20Rng::seed_from_u64(1));
        for len in 0..80 {
            for first in [[0, 128], [0, 129], [2, 0x81]] {
                let mut bytes = vec![0; len];
                rng.fill_bytes(&mut bytes);
                bytes.iter_mut().zip(first).for_each(|(byte, is)| *byte = is);
                let _ = (read_pcp(&bytes, &ask), read_nat_pmp(&bytes, &ask), read_address(&bytes));
            }
        }
    }
}
