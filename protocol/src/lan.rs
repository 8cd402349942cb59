//! Finding nodes on a local network: a question that shows neither who asks nor for whom, and answers that
//! the asker alone can read and nobody but the node that is meant can give.
//!
//! ```text
//! question  = q32, X25519's public key of e, which is made for this question alone
//! answer    = n16 ‖ ChaCha20-Poly1305(key ‖ nonce, P)          P = tcp u16be ‖ udp u16be; 0: no such port
//! key‖nonce = KDF64(X25519(e, A), "wt1 lan", q32 ‖ node32 ‖ n16 ‖ ip)[..44]
//! ```
//!
//! node32 is the node key's public half, Ed25519, and A the same point for X25519 (RFC 7748, 4.1); the
//! node's secret is its Ed25519 scalar. Signatures and this agreement are secure together (Thormarker,
//! eprint 2021/509). `ip` is where the answer comes from, 4 or 16 bytes: an answer that is carried to
//! another network names the wrong one there.
//!
//! > Whoever asks gets an answer of the same length, whoever it is and whomever it looks for.

use core::net::IpAddr;

use alloc::vec::Vec;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use ed25519_dalek::{SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::hash::{Label, kdf64};

/// One question, with what reads the answers to it.
pub struct Question {
    secret: StaticSecret,
    public: [u8; 32],
}

/// One node that is looked for by one question.
pub struct Sought {
    shared: Zeroizing<[u8; 32]>,
    question: [u8; 32],
    node: [u8; 32],
}

/// A node that answers.
pub struct Answerer {
    secret: StaticSecret,
    node: [u8; 32],
}

/// Where a node listens, on the address from which it answers; 0 where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// For TCP.
    pub tcp: u16,
    /// For QUIC.
    pub udp: u16,
}

const NONCE: usize = 16;
const TAG: usize = 16;
const PORTS: usize = 4;

/// The length of an answer, in bytes.
pub const ANSWER: usize = NONCE + PORTS + TAG;

impl Question {
    /// A new one.
    pub fn new(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        let secret = StaticSecret::from(*seed);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// What is said.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.public
    }

    /// Looks for the node with this key by it, too; `None` for what is no key.
    #[must_use]
    pub fn seek(&self, node: &[u8; 32]) -> Option<Sought> {
        let key = VerifyingKey::from_bytes(node).ok()?.to_montgomery().to_bytes();
        let shared = agree(&self.secret, &key)?;
        Some(Sought { shared, question: self.public, node: *node })
    }
}

impl Sought {
    /// Where the node listens, if it is this node that answers from `ip`.
    #[must_use]
    pub fn read(&self, answer: &[u8; ANSWER], ip: IpAddr) -> Option<Ports> {
        let (nonce, sealed) = answer.split_first_chunk::<NONCE>()?;
        let (cipher, zero) = cipher(&self.shared, &self.question, &self.node, nonce, ip);
        let mut plain = Vec::from(sealed);
        cipher.decrypt_in_place(&zero.into(), &[], &mut plain).ok()?;
        let [tcp0, tcp1, udp0, udp1] = *plain.first_chunk::<PORTS>()?;
        let (tcp, udp) = (u16::from_be_bytes([tcp0, tcp1]), u16::from_be_bytes([udp0, udp1]));
        Some(Ports { tcp, udp })
    }
}

impl Answerer {
    /// The node with this seed of its key.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let secret = StaticSecret::from(*Zeroizing::new(key.to_scalar_bytes()));
        Self { secret, node: key.verifying_key().to_bytes() }
    }

    /// The answer to a question, to be sent from `ip`; `None` to what is none.
    pub fn answer(
        &self,
        question: &[u8; 32],
        ip: IpAddr,
        ports: Ports,
        rng: &mut impl CryptoRng,
    ) -> Option<[u8; ANSWER]> {
        let shared = agree(&self.secret, question)?;
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let (cipher, zero) = cipher(&shared, question, &self.node, &nonce, ip);
        let mut sealed = [ports.tcp.to_be_bytes(), ports.udp.to_be_bytes()].concat();
        cipher.encrypt_in_place(&zero.into(), &[], &mut sealed).ok()?;
        [&nonce, sealed.as_slice()].concat().try_into().ok()
    }
}

fn agree(secret: &StaticSecret, public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = secret.diffie_hellman(&PublicKey::from(*public));
    shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
}

fn cipher(
    shared: &[u8; 32],
    question: &[u8; 32],
    node: &[u8; 32],
    nonce: &[u8; NONCE],
    ip: IpAddr,
) -> (ChaCha20Poly1305, [u8; 12]) {
    let (four, six);
    let ip: &[u8] = match ip {
        IpAddr::V4(ip) => {
            four = ip.octets();
            &four
        }
        IpAddr::V6(ip) => {
            six = ip.octets();
            &six
        }
    };
    let derived = Zeroizing::new(kdf64(shared, Label::Lan, &[question, node, nonce, ip]));
    let (mut key, mut zero) = (Zeroizing::new([0; 32]), [0; 12]);
    key.copy_from_slice(&derived[..32]);
    zero.copy_from_slice(&derived[32..44]);
    (ChaCha20Poly1305::new(&(*key).into()), zero)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;
    use crate::sign::SigningSecret;

    const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 1, 7));
    const PORTS: Ports = Ports { tcp: 4408, udp: 4409 };

    fn key(seed: u8) -> ([u8; 32], [u8; 32]) {
        ([seed; 32], SigningSecret::from_seed(&[seed; 32]).public())
    }

    #[test]
    fn who_asks_for_a_node_reads_where_it_listens() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (seed, node) = key(1);
        for here in [HERE, "2001:db8::7".parse().unwrap()] {
            let question = Question::new(&mut rng);
            let answer = Answerer::new(&seed).answer(&question.bytes(), here, PORTS, &mut rng);
            let sought = question.seek(&node).unwrap();
            assert_eq!(sought.read(&answer.unwrap(), here), Some(PORTS));
        }
    }

    #[test]
    fn nobody_else_can_read_or_give_an_answer() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let ((ana, anas), (mallory, _)) = (key(1), key(2));
        let (question, other) = (Question::new(&mut rng), Question::new(&mut rng));
        let answer = Answerer::new(&ana).answer(&question.bytes(), HERE, PORTS, &mut rng).unwrap();
        let sought = question.seek(&anas).unwrap();
        // Who knows whose node it may be, and heard both, has another secret.
        assert_eq!(other.seek(&anas).unwrap().read(&answer, HERE), None);
        // Who knows the node's public key has not its secret one.
        let forged = Answerer { node: anas, ..Answerer::new(&mallory) };
        let forged = forged.answer(&question.bytes(), HERE, PORTS, &mut rng).unwrap();
        assert_eq!(sought.read(&forged, HERE), None);
        // An answer to another question, from another address, or changed.
        let old = Answerer::new(&ana).answer(&other.bytes(), HERE, PORTS, &mut rng).unwrap();
        assert_eq!(sought.read(&old, HERE), None);
        assert_eq!(sought.read(&answer, "192.168.1.8".parse().unwrap()), None);
        for at in 0..ANSWER {
            let mut changed = answer;
            changed[at] ^= 1;
            assert_eq!(sought.read(&changed, HERE), None, "byte {at}");
        }
        assert_eq!(sought.read(&answer, HERE), Some(PORTS));
    }

    #[test]
    fn a_question_whose_answer_everybody_could_read_gets_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let node = Answerer::new(&[1; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        for low in [[0; 32], one] {
            assert_eq!(node.answer(&low, HERE, PORTS, &mut rng), None);
        }
    }

    #[test]
    fn answers_to_the_same_question_differ() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let node = Answerer::new(&[1; 32]);
        let question = Question::new(&mut rng).bytes();
        let mut answer = || node.answer(&question, HERE, PORTS, &mut rng).unwrap();
        let (one, two) = (answer(), answer());
        assert_ne!(one[..NONCE], two[..NONCE]);
        assert_ne!(one[NONCE..], two[NONCE..]);
    }
}
