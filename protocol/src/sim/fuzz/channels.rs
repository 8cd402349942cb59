//! Handshakes and joins in which every message may come changed, cut, or not at all.

use alloc::vec::Vec;

use super::{Choices, Stage, members};
use crate::{
    endpoint::Endpoint,
    ids::Timestamp,
    invite::{InviteCode, InviteSecret, group_prefix},
    join::{
        Host, JoinStep, Joiner, Offer, RefusedReason, Request,
        letter::{Letters, Reply, Told, Writer, write},
        mailbox,
    },
    noise::{NoiseKey, Purpose, Suite, Terms, initiate, respond},
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// What becomes of a message on the way: it is whole, has bytes changed, is cut, grown or replaced.
fn carried(choices: &mut Choices<'_>, mut message: Vec<u8>) -> Vec<u8> {
    match choices.below(6) {
        0 => {
            let at = choices.number() as usize % message.len().max(1);
            for byte in choices.some() {
                if let Some(place) = message.get_mut(at) {
                    *place ^= byte;
                }
            }
        }
        1 => message.truncate(choices.number() as usize % (message.len() + 1)),
        2 => message.extend_from_slice(choices.some()),
        3 => message = choices.some().into(),
        _ => {}
    }
    message
}

fn person(seed: u8) -> (Endpoint, NoiseKey) {
    use rand_chacha::rand_core::SeedableRng;
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([seed; 32]);
    let me = Endpoint::generate("somebody", Vec::new(), &mut rng).unwrap();
    let key = NoiseKey::generate(&me, NOW, &mut rng);
    (me, key)
}

/// A whole handshake between two honest sides: it ends with both only if nobody touched it.
pub fn handshake(_: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut rng = members::rng();
    let (psk, session) = ([9; 32], [choices.byte(); 16]);
    let terms = |choices: &mut Choices<'_>| {
        let kind = choices.byte();
        let purpose = if kind & 1 == 0 { Purpose::Channel } else { Purpose::Join { psk: &psk } };
        let suite = if kind & 2 == 0 { Suite::Classical } else { Suite::Hybrid };
        let session = (kind & 4 == 0).then_some(&session);
        Terms { purpose, session, suite }
    };
    let ((ada, ada_key), (bob, bob_key)) = (person(1), person(2));
    let (ada_waits, one) = initiate(terms(&mut choices), &ada_key, &ada, &mut rng).unwrap();
    let mut whole = true;
    let mut carry = |choices: &mut Choices<'_>, message: Vec<u8>| {
        let came = carried(choices, message.clone());
        whole &= came == message;
        came
    };
    let one = carry(&mut choices, one);
    let their_terms = terms(&mut choices);
    let extra = choices.some();
    let answer = respond(their_terms, &bob_key, &bob, &one, extra, &mut rng);
    let Ok((bob_waits, two)) = answer else { return };
    let two = carry(&mut choices, two);
    let Ok(verified) = ada_waits.read(&two, NOW) else { return };
    assert!(verified.peer().member == bob.member() && verified.extra() == extra);
    let hash = verified.handshake_hash();
    let Ok((three, mut ada_session)) = verified.finish(choices.some()) else { return };
    let three = carry(&mut choices, three);
    let Ok((mut bob_session, peer, _)) = bob_waits.read(&three, NOW) else { return };
    assert!(whole, "a changed message went through");
    assert!(peer.member == ada.member() && ada_session.handshake_hash() != hash);
    while !choices.is_over() {
        let said = choices.some();
        let Ok(frame) = ada_session.seal(said, NOW) else { return };
        let came = carried(&mut choices, frame.clone());
        match bob_session.open(&came) {
            Ok(opened) => assert!(came == frame && opened == said, "a changed frame opened"),
            // A channel goes on with the frame that was expected.
            Err(_) => assert!(bob_session.open(&frame).is_ok_and(|opened| opened == said)),
        }
    }
}

/// A whole join, with ops that may be any bytes.
pub fn join(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut rng = members::rng();
    let scene = stage.scene(0);
    let group = scene.load(scene.records().clone()).unwrap();
    let me = scene.me();
    let key = NoiseKey::generate(me, NOW, &mut rng);
    let secret = InviteSecret([4; 16]);
    let code = InviteCode {
        group_prefix: group_prefix(group.id()),
        secret: secret.clone(),
        relays: Vec::new(),
        direct: Vec::new(),
        tokens: Vec::new(),
        expires: None,
    };
    let mut ops = group.admin_path();
    for _ in 0..choices.below(3) {
        match choices.below(3) {
            0 => ops.push(choices.some().into()),
            1 => ops.truncate(choices.below(2)),
            _ => ops = ops.into_iter().map(|op| carried(&mut choices, op)).collect(),
        }
    }
    let (newcomer, _) = person(3);
    let session = [6; 16];
    let (joiner, one) = Joiner::start(&code, &newcomer, &session, NOW, &mut rng).unwrap();
    let one = carried(&mut choices, one);
    let record = secret.record();
    let offer = Offer { invite: &record, group: group.id(), ops: &ops, key: &key, me };
    let Ok((host, two)) = Host::accept(offer, &session, &one, &mut rng) else { return };
    let two = carried(&mut choices, two);
    let Ok(JoinStep::Proceed { mut joiner, send, .. }) = joiner.on_frame(&two, NOW) else {
        return;
    };
    let three = carried(&mut choices, send.concat());
    let Ok((mut admission, request)) = host.on_frame(&three, NOW) else { return };
    assert_eq!(request.member, newcomer.member());
    let mut answers = Vec::new();
    for _ in 0..choices.below(3) {
        answers.extend(admission.pending(NOW));
    }
    let welcome: Vec<u8> = choices.some().repeat(1 + choices.below(200));
    let refused = choices.below(4) == 0;
    match refused {
        true => answers.extend(admission.refuse(RefusedReason::Used, NOW)),
        false => answers.extend(admission.welcome(&welcome, NOW).unwrap()),
    }
    for answer in answers {
        let answer = carried(&mut choices, answer);
        joiner = match joiner.on_frame(&answer, NOW) {
            Ok(JoinStep::Proceed { .. }) => panic!("it proceeds twice"),
            Ok(JoinStep::Waiting { joiner, .. }) => joiner,
            Ok(JoinStep::Welcomed { welcome: came, host, group: into }) => {
                assert!(*came == welcome && host.member == me.member() && into == group.id());
                return;
            }
            Ok(JoinStep::Refused(_)) => return assert!(refused),
            Err(_) => return,
        };
    }
}

/// Entries of an invite's mailbox: only what was sealed opens.
pub fn mailbox(_: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let (key, mut rng) = ([5; 32], members::rng());
    let frame = mailbox::MailFrame {
        session: [choices.byte(); 16],
        direction: match choices.below(2) {
            0 => mailbox::Direction::FromJoiner,
            _ => mailbox::Direction::FromHost,
        },
        seq: choices.number() as u16,
        body: choices.some().into(),
    };
    if let Ok(entry) = mailbox::seal(&key, &frame, &mut rng) {
        assert_eq!(mailbox::open(&key, &entry).as_ref(), Some(&frame));
        let came = carried(&mut choices, entry.clone());
        assert_eq!(mailbox::open(&key, &came).is_some(), came == entry);
    }
    assert!(mailbox::open(&key, choices.rest()).is_none());
}

/// Requests by letter and their answers: any frames in any order, and nothing but the host's own
/// letter is believed.
pub fn letters(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut rng = members::rng();
    let scene = stage.scene(0);
    let group = scene.load(scene.records().clone()).unwrap();
    let me = scene.me();
    let secret = InviteSecret([4; 16]);
    let code = InviteCode {
        group_prefix: group_prefix(group.id()),
        secret: secret.clone(),
        relays: Vec::new(),
        direct: Vec::new(),
        tokens: Vec::new(),
        expires: None,
    };
    let (newcomer, _) = person(3);
    let request = Request::new(&code, &newcomer, &mut rng);
    let asked = carried(&mut choices, request.as_bytes().into());
    let record = secret.record();
    let read = Request::from_bytes(&asked).and_then(|read| read.check(&record, group.id()));
    let Ok(asked) = read else { return };
    assert_eq!(asked.member, newcomer.member());
    let ops = group.admin_path();
    let writer = Writer { invite: &record, group: group.id(), ops: &ops, me };
    let welcome: Vec<u8> = choices.some().repeat(1 + choices.below(200));
    let frames = write(writer, &asked, Reply::Welcome(&welcome), &mut rng).unwrap();
    let mut letters = Letters::new(&code, &request);
    for _ in 0..8 {
        let number = choices.below(frames.len());
        let frame = carried(&mut choices, frames[number].clone());
        let number = if choices.below(8) == 0 { choices.byte().into() } else { number as u16 };
        if let Ok(Some(Told::Welcomed { welcome: came, host, group: into })) =
            letters.on_frame(&newcomer, number, &frame)
        {
            assert!(*came == welcome && host.member == me.member() && into == group.id());
        }
    }
}
