//! When to ask on one network, and what the answers say: the clockwork of it, without any network.
//!
//! > Nobody is asked for while everybody is reached. A question is followed by another after a second, then
//! > two, four, up to a minute; something new begins this again, never two in one second.

use std::{net::IpAddr, time::Duration};

use libp2p::PeerId;
use protocol::lan::{ANSWER, Ports, Question, Sought};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::Instant;

/// A node that may be looked for.
pub(super) type Node = (PeerId, [u8; 32]);

pub(super) struct Asking {
    /// When to ask next.
    next: Instant,
    last: Option<Instant>,
    /// Questions since something was new.
    asked: u32,
    /// Where in the list of those who are looked for the next question begins.
    turn: usize,
    open: Option<Open>,
}

/// The last question.
struct Open {
    question: [u8; 32],
    sought: Vec<(PeerId, Sought)>,
    /// Answers that may still come.
    left: u32,
}

/// Nodes looked for by one question; with more they take turns.
const SOUGHT: usize = 256;
/// Answers read to one question.
const ANSWERS: u32 = 64;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Asking {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, last: None, asked: 0, turn: 0, open: None }
    }

    /// Something is new: ask soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + FIRST_PAUSE);
        self.next = self.next.min(earliest.max(now));
        self.asked = 0;
    }

    /// When the next question is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The next question, if it is due and somebody is looked for.
    pub(super) fn ask(
        &mut self,
        nodes: &[Node],
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> Option<[u8; 32]> {
        if self.next > now || nodes.is_empty() {
            return None;
        }
        let question = Question::new(rng);
        let start = self.turn % nodes.len();
        let chosen = nodes.iter().cycle().skip(start).take(nodes.len().min(SOUGHT));
        let sought = chosen.filter_map(|(peer, key)| Some((*peer, question.seek(key)?))).collect();
        self.turn = start + SOUGHT.min(nodes.len());
        let pause = FIRST_PAUSE.saturating_mul(1 << self.asked.min(16)).min(LONGEST_PAUSE);
        let jitter = Duration::from_millis(rng.next_u64() % 250);
        (self.last, self.next) = (Some(now), now + pause + jitter);
        self.asked = self.asked.saturating_add(1);
        self.open = Some(Open { question: question.bytes(), sought, left: ANSWERS });
        Some(question.bytes())
    }

    /// Whether it asked this.
    pub(super) fn is_own(&self, question: &[u8; 32]) -> bool {
        self.open.as_ref().is_some_and(|open| open.question == *question)
    }

    /// Reads an answer that came from `ip`: who is there, if it is somebody who is looked for.
    pub(super) fn read(
        &mut self,
        question: &[u8; 32],
        answer: &[u8; ANSWER],
        ip: IpAddr,
    ) -> Option<(PeerId, Ports)> {
        let open = self.open.as_mut().filter(|open| open.question == *question)?;
        open.left = open.left.checked_sub(1)?;
        let found =
            open.sought.iter().find_map(|(peer, sought)| Some((*peer, sought.read(answer, ip)?)));
        if let Some((peer, _)) = found {
            open.sought.retain(|(sought, _)| *sought != peer);
        }
        found
    }
}

/// The Ed25519 key that a PeerId holds, where it holds one.
pub(super) fn node_of(peer: PeerId) -> Option<Node> {
    /// A multihash of the identity's kind, and libp2p's encoding of an Ed25519 key.
    const HEAD: [u8; 6] = [0, 0x24, 8, 1, 0x12, 0x20];
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&HEAD)?.try_into().ok()?;
    Some((peer, key))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use libp2p::identity::Keypair;
    use protocol::lan::Answerer;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn node(seed: u8) -> Node {
        let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        node_of(key.public().to_peer_id()).unwrap()
    }

    fn answer(seed: u8, question: &[u8; 32], rng: &mut ChaCha20Rng) -> [u8; ANSWER] {
        let ports = Ports { tcp: seed.into(), udp: 0 };
        Answerer::new(&[seed; 32]).answer(question, IP, ports, rng).unwrap()
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_again_with_what_is_new() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut now = Instant::now();
        let mut asking = Asking::new(now);
        assert_eq!(asking.ask(&[], now, &mut rng), None, "nobody is looked for");
        for asked in 0..12 {
            assert!(asking.ask(&[node(1)], now, &mut rng).is_some());
            assert!(asking.ask(&[node(1)], now, &mut rng).is_none());
            let pause = Duration::from_secs((1 << asked).min(60));
            let waits = asking.next() - now;
            assert!(waits >= pause && waits < pause + Duration::from_millis(250), "{waits:?}");
            now = asking.next();
        }
        assert!(asking.ask(&[node(1)], now, &mut rng).is_some());
        for _ in 0..9 {
            asking.hurry(now);
            assert_eq!(asking.next(), now + FIRST_PAUSE, "never two in one second");
        }
    }

    #[test]
    fn who_answers_is_known_and_only_once_for_a_question() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let now = Instant::now();
        let mut asking = Asking::new(now);
        let question = asking.ask(&[node(1), node(2)], now, &mut rng).unwrap();
        assert!(asking.is_own(&question) && !asking.is_own(&[0; 32]));
        let (one, stranger) = (answer(1, &question, &mut rng), answer(3, &question, &mut rng));
        assert_eq!(asking.read(&question, &stranger, IP), None);
        let (peer, ports) = asking.read(&question, &one, IP).unwrap();
        assert_eq!((peer, ports.tcp), (node(1).0, 1));
        assert_eq!(asking.read(&question, &one, IP), None);
        assert_eq!(asking.read(&[9; 32], &answer(2, &[9; 32], &mut rng), IP), None);
    }

    #[test]
    fn a_flood_of_answers_is_read_to_its_bound() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let now = Instant::now();
        let mut asking = Asking::new(now);
        let question = asking.ask(&[node(1)], now, &mut rng).unwrap();
        let one = answer(1, &question, &mut rng);
        for _ in 0..ANSWERS {
            assert_eq!(asking.read(&question, &[0; ANSWER], IP), None);
        }
        assert_eq!(asking.read(&question, &one, IP), None);
    }

    #[test]
    fn with_many_to_look_for_each_has_its_turn() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut now = Instant::now();
        let nodes: Vec<Node> = (0..=255).chain(0..=44).map(node).collect();
        let mut asking = Asking::new(now);
        for turn in 0..2 {
            let question = asking.ask(&nodes, now, &mut rng).unwrap();
            let open = asking.open.as_ref().unwrap();
            assert_eq!(open.sought.len(), SOUGHT, "turn {turn}");
            let first = nodes[turn * SOUGHT].0;
            assert_eq!(open.sought[0].0, first);
            assert!(asking.is_own(&question));
            now = asking.next();
        }
    }
}
