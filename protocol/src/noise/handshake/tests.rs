use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::kem;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const CHANNEL: Terms<'_> = Terms { purpose: Purpose::Channel, session: None, suite: Suite::Hybrid };
const JOIN: Terms<'_> = Terms {
    purpose: Purpose::Join { psk: &[9; 32] },
    session: Some(&[3; 16]),
    suite: Suite::Hybrid,
};
const ALL: [Terms<'_>; 4] = [
    CHANNEL,
    JOIN,
    Terms { suite: Suite::Classical, ..CHANNEL },
    Terms { suite: Suite::Classical, ..JOIN },
];

/// Somebody, with a card as the suite wants it.
struct Side {
    me: Endpoint,
    key: NoiseKey,
    rng: ChaCha20Rng,
}

fn side(name: &str, seed: u64) -> Side {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let me = Endpoint::generate(name, Vec::new(), &mut rng).unwrap();
    let key = NoiseKey::generate(&me, NOW, &mut rng);
    Side { me, key, rng }
}

fn side_for(suite: Suite, name: &str, seed: u64) -> Side {
    let side = side(name, seed);
    match suite {
        Suite::Classical => Side { me: side.me.classical(), ..side },
        Suite::Hybrid => side,
    }
}

impl Side {
    fn initiate(&mut self, terms: Terms<'_>) -> (ExpectResponse, Vec<u8>) {
        initiate(terms, &self.key, &self.me, &mut self.rng).unwrap()
    }

    fn respond(
        &mut self,
        terms: Terms<'_>,
        frame: &[u8],
    ) -> Result<(ExpectFinish, Vec<u8>), HandshakeError> {
        respond(terms, &self.key, &self.me, frame, b"two", &mut self.rng)
    }
}

type Done = (Session, Session, [Vec<u8>; 3]);

/// A whole handshake, its three messages changed on the way.
fn run(
    terms: [Terms<'_>; 2],
    change: impl Fn(usize, &mut Vec<u8>),
) -> Result<Done, (usize, HandshakeError)> {
    let suite = terms[0].suite;
    let (mut ada, mut bob) = (side_for(suite, "Ada", 1), side_for(suite, "Bob", 2));
    let (ada_waits, mut one) = ada.initiate(terms[0]);
    change(1, &mut one);
    let (bob_waits, mut two) = bob.respond(terms[1], &one).map_err(|e| (1, e))?;
    change(2, &mut two);
    let verified = ada_waits.read(&two, NOW).map_err(|e| (2, e))?;
    assert_eq!((verified.peer().member, verified.extra()), (bob.me.member(), &b"two"[..]));
    assert_eq!(verified.handshake_hash(), bob_waits.handshake_hash());
    let (mut three, ada_session) = verified.finish(b"three").unwrap();
    change(3, &mut three);
    let (bob_session, peer, extra) = bob_waits.read(&three, NOW).map_err(|e| (3, e))?;
    assert_eq!((peer.member, &peer.card), (ada.me.member(), ada.me.card()));
    assert_eq!(extra, b"three");
    Ok((ada_session, bob_session, [one, two, three]))
}

#[test]
fn both_sides_end_with_one_channel_and_each_other() {
    for terms in ALL {
        let (mut ada, mut bob, frames) = run([terms; 2], |_, _| {}).unwrap();
        assert_eq!(ada.handshake_hash(), bob.handshake_hash());
        assert_eq!(frames[0][..2], [terms.suite as u8, terms.purpose.byte()]);
        assert_eq!([ada.suite(), bob.suite()], [terms.suite; 2]);
        let frame = ada.seal(b"hello", NOW).unwrap();
        assert_eq!(bob.open(&frame).unwrap(), b"hello");
        let frame = bob.seal(b"hello yourself", NOW).unwrap();
        assert_eq!(ada.open(&frame).unwrap(), b"hello yourself");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for terms in ALL {
        let frames = || run([terms; 2], |_, _| {}).unwrap().2;
        assert_eq!(frames(), frames());
    }
    let (mut ada, mut again) = (side("Ada", 1), side("Ada", 1));
    assert_ne!(ada.initiate(CHANNEL).1, ada.initiate(CHANNEL).1);
    assert_ne!(ada.initiate(CHANNEL).1, again.initiate(CHANNEL).1);
}

#[test]
fn a_message_that_was_changed_cut_or_lengthened_is_refused_at_each_step() {
    for terms in ALL {
        for step in 1..=3 {
            let refused = |change: &dyn Fn(&mut Vec<u8>)| {
                let end = run([terms; 2], |n, frame| {
                    if n == step {
                        change(frame);
                    }
                });
                end.err().map(|(at, _)| at)
            };
            // A changed ephemeral key in the clear msg1 of a classical channel shows at msg2.
            let clear = step == 1
                && matches!(terms.purpose, Purpose::Channel)
                && terms.suite == Suite::Classical;
            let at = Some(if clear { 2 } else { step });
            assert_eq!(refused(&|frame| *frame.last_mut().unwrap() ^= 1), at);
            assert_eq!(refused(&|frame| frame[7] ^= 1), at);
            assert_eq!(refused(&|frame| frame.truncate(frame.len() - 1)), Some(step));
            assert_eq!(refused(&|frame| frame.push(0)), Some(step));
            assert_eq!(refused(&|frame| frame.clear()), Some(step));
            assert_eq!(refused(&|frame| *frame = vec![1; 300]), Some(step));
            assert_eq!(refused(&|frame| *frame = vec![1; 70_000]), Some(step));
        }
    }
}

#[test]
fn a_wrong_pre_shared_key_gets_no_answer() {
    let wrong = Terms { purpose: Purpose::Join { psk: &[8; 32] }, ..JOIN };
    assert_eq!(run([wrong, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Noise));
}

#[test]
fn the_session_id_and_the_purpose_are_part_of_the_terms() {
    let other = Terms { session: Some(&[4; 16]), ..JOIN };
    assert_eq!(run([other, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Noise));
    let relayed = Terms { session: Some(&[4; 16]), ..CHANNEL };
    assert_eq!(run([relayed, CHANNEL], |_, _| {}).unwrap_err(), (1, HandshakeError::Noise));
    let classical = [relayed, CHANNEL].map(|terms| Terms { suite: Suite::Classical, ..terms });
    assert_eq!(run(classical, |_, _| {}).unwrap_err(), (2, HandshakeError::Noise));
    assert_eq!(run([CHANNEL, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Purpose(0)));
}

#[test]
fn a_suite_that_is_unknown_or_too_weak_is_named_in_the_refusal() {
    for terms in [CHANNEL, JOIN] {
        for suite in [0, 1, 3, 255] {
            let end = run([terms; 2], |n, frame| {
                if n == 1 {
                    frame[0] = suite;
                }
            });
            assert_eq!(end.unwrap_err(), (1, HandshakeError::Suite(suite)));
        }
    }
    let weak = Terms { suite: Suite::Classical, ..CHANNEL };
    assert_eq!(run([weak, CHANNEL], |_, _| {}).unwrap_err(), (1, HandshakeError::Suite(1)));
}

#[test]
fn a_responder_that_takes_both_suites_ends_with_the_one_that_was_asked_for() {
    let both = Terms { suite: Suite::Classical, ..CHANNEL };
    for suite in [Suite::Classical, Suite::Hybrid] {
        let (ada, bob, _) = run([Terms { suite, ..CHANNEL }, both], |_, _| {}).unwrap();
        assert_eq!([ada.suite(), bob.suite()], [suite; 2]);
    }
}

/// An attacker between two sides that could both do either turns one suite into the other, in the
/// byte alone or with everything that it can make fit.
#[test]
fn a_suite_byte_that_was_flipped_on_the_way_ends_the_handshake() {
    let flip = |terms: [Terms<'_>; 2], fit: bool| {
        run(terms, |n, frame| {
            if n == 1 {
                frame[0] = 3 - frame[0];
                if fit && frame[0] == 1 {
                    // msg1 of XX: the ephemeral key alone.
                    frame.truncate(2 + 32);
                } else if fit {
                    // msg1 of XXpsk3 by somebody who knows the ephemeral key's secret.
                    *frame = side("Mallory", 9).initiate(CHANNEL).1;
                }
            }
        })
        .unwrap_err()
    };
    let both = Terms { suite: Suite::Classical, ..CHANNEL };
    let noise = HandshakeError::Noise;
    // Downwards: msg2 is of another protocol, and of another prologue, than what Ada began.
    assert_eq!(flip([CHANNEL, both], false), (1, noise));
    assert_eq!(flip([CHANNEL, both], true), (2, noise));
    // Upwards.
    assert_eq!(flip([both, both], false), (1, noise));
    assert_eq!(flip([both, both], true), (2, noise));
    // With the invite's psk the very first message tells.
    let both = Terms { suite: Suite::Classical, ..JOIN };
    assert_eq!(flip([JOIN, both], false), (1, noise));
    assert_eq!(flip([JOIN, both], true), (1, noise));
    assert_eq!(flip([both, both], false), (1, noise));
}

#[test]
fn nobody_with_an_ml_kem_key_is_met_without() {
    let terms = Terms { suite: Suite::Classical, ..CHANNEL };
    let (mut ada, mut bob) = (side("Ada", 1), side_for(Suite::Classical, "Bob", 2));
    let (ada_waits, one) = ada.initiate(terms);
    let (bob_waits, two) = bob.respond(terms, &one).unwrap();
    let (three, _) = ada_waits.read(&two, NOW).unwrap().finish(&[]).unwrap();
    assert_eq!(bob_waits.read(&three, NOW).unwrap_err(), HandshakeError::Downgrade);
    // And the other way round.
    let (bob_waits, one) = bob.initiate(terms);
    let (_, two) = ada.respond(terms, &one).unwrap();
    assert_eq!(bob_waits.read(&two, NOW).unwrap_err(), HandshakeError::Downgrade);
}

/// Bob's answer, made by a responder that encapsulated to another key: all signatures hold, and
/// only the shared secrets differ.
#[test]
fn a_wrong_kem_secret_fails_authenticated_at_msg3() {
    for terms in [CHANNEL, JOIN] {
        let (mut ada, mut bob) = (side("Ada", 1), side("Bob", 2));
        let (ada_waits, one) = ada.initiate(terms);
        let mut noise =
            build(Suite::Hybrid, terms, &bob.key, &mut bob.rng, Role::Responder).unwrap();
        read(&mut noise, &one[2..]).unwrap();
        let other = KemSecret::generate(&mut bob.rng).public();
        let (ciphertext, shared) = other.encapsulate(&mut bob.rng);
        let payload = Payload {
            ident: bob.key.ident(&bob.me),
            extra: Vec::new(),
            ciphertext: Some(ciphertext.to_vec()),
        };
        let two = write(&mut noise, &codec::encode(&payload)).unwrap();
        mix(&mut noise, Some(shared)).unwrap();
        let bob_waits = ExpectFinish { noise, suite: Suite::Hybrid };
        let (three, mut session) = ada_waits.read(&two, NOW).unwrap().finish(b"mine").unwrap();
        assert_eq!(bob_waits.read(&three, NOW).unwrap_err(), HandshakeError::Noise);
        // And nobody hears more of Ada than msg3.
        assert!(session.seal(b"hello", NOW).is_ok());
    }
}

#[test]
fn a_ciphertext_belongs_in_msg2_of_the_hybrid_suite_and_nowhere_else() {
    let two = |suite: Suite, ciphertext: Option<Vec<u8>>| {
        let terms = Terms { suite, ..CHANNEL };
        let (mut ada, mut bob) = (side_for(suite, "Ada", 1), side_for(suite, "Bob", 2));
        let (ada_waits, one) = ada.initiate(terms);
        let mut noise = build(suite, terms, &bob.key, &mut bob.rng, Role::Responder).unwrap();
        read(&mut noise, &one[2..]).unwrap();
        let payload = Payload { ident: bob.key.ident(&bob.me), extra: Vec::new(), ciphertext };
        let two = write(&mut noise, &codec::encode(&payload)).unwrap();
        ada_waits.read(&two, NOW).map(|_| ()).unwrap_err()
    };
    let malformed = HandshakeError::Ident(IdentError::Malformed);
    assert_eq!(two(Suite::Hybrid, None), HandshakeError::Noise);
    assert_eq!(two(Suite::Hybrid, Some(vec![0; CIPHERTEXT - 1])), malformed);
    assert_eq!(two(Suite::Classical, Some(vec![0; CIPHERTEXT])), HandshakeError::Noise);
}

#[test]
fn an_encapsulation_key_that_is_none_is_refused() {
    let refused = |payload: &[u8]| {
        let (mut ada, mut bob) = (side("Ada", 1), side("Bob", 2));
        let mut noise =
            build(Suite::Hybrid, CHANNEL, &ada.key, &mut ada.rng, Role::Initiator).unwrap();
        let one = [&[2, 0], write(&mut noise, payload).unwrap().as_slice()].concat();
        bob.respond(CHANNEL, &one).map(|_| ()).unwrap_err()
    };
    for payload in [&[][..], &[0; kem::PUBLIC - 1], &[0xff; kem::PUBLIC]] {
        assert_eq!(refused(payload), HandshakeError::Kem);
    }
}

#[test]
fn the_messages_have_these_sizes() {
    let sizes = |terms: Terms<'_>| {
        let (ada, bob, frames) = run([terms; 2], |_, _| {}).unwrap();
        assert_ne!(ada.handshake_hash(), [0; 32]);
        drop(bob);
        frames.map(|frame| frame.len())
    };
    // Of the classical suite, with cards that name no ML-KEM key.
    let classical = Terms { suite: Suite::Classical, ..CHANNEL };
    assert_eq!(sizes(classical), [34, 364, 334]);
    assert_eq!(sizes(CHANNEL), [2 + 32 + kem::PUBLIC + 16, 2644, 1523]);
    assert_eq!(sizes(JOIN), sizes(CHANNEL));
}

#[test]
fn a_public_key_of_small_order_is_refused() {
    let end = run([CHANNEL; 2], |n, frame| {
        if n == 1 {
            frame[2..].fill(0);
        }
    });
    assert_eq!(end.unwrap_err(), (1, HandshakeError::Noise));
    let end = run([CHANNEL; 2], |n, frame| {
        if n == 2 {
            frame[..32].fill(0);
        }
    });
    assert_eq!(end.unwrap_err(), (2, HandshakeError::Noise));
}

#[test]
fn another_keys_certificate_is_refused_on_both_sides() {
    let (mut ada, mut bob) = (side("Ada", 1), side("Bob", 2));
    let eve = side("Eve", 3);
    let stolen = |from: &Side| from.key.ident(&from.me);
    let expected = HandshakeError::Ident(IdentError::Certificate);

    // Eve answers with a certificate that she saw of Bob's.
    let (ada_waits, one) = ada.initiate(CHANNEL);
    let mut noise =
        build(Suite::Hybrid, CHANNEL, &eve.key, &mut bob.rng.clone(), Role::Responder).unwrap();
    let public = KemPublic::from_bytes(&read(&mut noise, &one[2..]).unwrap()).unwrap();
    let ciphertext = Some(public.encapsulate(&mut bob.rng).0.to_vec());
    let payload = Payload { ident: stolen(&bob), extra: Vec::new(), ciphertext };
    let two = write(&mut noise, &codec::encode(&payload)).unwrap();
    assert_eq!(ada_waits.read(&two, NOW).unwrap_err(), expected);

    // Eve calls with a certificate that she saw of Ada's.
    let (mut eve_waits, one) = initiate(CHANNEL, &eve.key, &eve.me, &mut ada.rng.clone()).unwrap();
    eve_waits.ident = stolen(&ada);
    let (bob_waits, two) = bob.respond(CHANNEL, &one).unwrap();
    let (three, _) = eve_waits.read(&two, NOW).unwrap().finish(&[]).unwrap();
    assert_eq!(bob_waits.read(&three, NOW).unwrap_err(), expected);
}

#[test]
fn an_extra_payload_that_does_not_fit_is_an_error() {
    let (mut ada, bob) = (side("Ada", 1), side("Bob", 2));
    let (_, one) = ada.initiate(CHANNEL);
    let end = respond(CHANNEL, &bob.key, &bob.me, &one, &[0; 66_000], &mut ada.rng);
    assert!(matches!(end.unwrap_err(), HandshakeError::TooLong { .. }));
}
