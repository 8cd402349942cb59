use std::{boxed::Box, format, vec, vec::Vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    codec,
    endpoint::Endpoint,
    group::Moved,
    identity::SignedCard,
    ids::{GroupId, InviteId, MemberId, Timestamp},
    invite::{InviteCode, InviteRecord, InviteSecret, group_prefix},
    limits,
    membership::{Body, Kind, Op, Policy, join_holds, sign_join},
    noise::{NoiseKey, Purpose, Suite, Terms, initiate},
};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SESSION: [u8; 16] = [7; 16];

/// A group of a founder and the admin whom she promoted, with an invite.
pub(super) struct World {
    pub(super) founder: Endpoint,
    pub(super) admin: Endpoint,
    pub(super) joiner: Endpoint,
    pub(super) key: NoiseKey,
    pub(super) ops: Vec<Op>,
    pub(super) code: InviteCode,
    pub(super) record: InviteRecord,
    pub(super) rng: ChaCha20Rng,
}

fn person(name: &str, rng: &mut ChaCha20Rng) -> Endpoint {
    Endpoint::generate(name, Vec::new(), rng).unwrap()
}

pub(super) fn world() -> World {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let [founder, admin, joiner] = ["Ada", "Bob", "Cleo"].map(|name| person(name, &mut rng));
    let genesis = genesis(&founder);
    let ops = vec![genesis.clone(), promote(&founder, &genesis, admin.member(), &genesis)];
    let secret = InviteSecret::generate(&mut rng);
    let record = secret.record();
    let code = InviteCode {
        group_prefix: group_prefix(genesis.group()),
        secret,
        relays: vec![],
        direct: vec![],
        tokens: vec![],
        expires: None,
    };
    let key = NoiseKey::generate(&admin, NOW, &mut rng);
    World { founder, admin, joiner, key, ops, code, record, rng }
}

fn genesis(founder: &Endpoint) -> Op {
    let body = Body {
        group: None,
        author: founder.member(),
        seq: 0,
        deps: vec![],
        cap: None,
        at: NOW,
        kind: Kind::Genesis {
            nonce: [1; 16],
            card: founder.card().as_bytes().into(),
            policy: Policy { name: "Rowers".into(), relays: vec![], ..Policy::default() },
            topic_commit: [2; 32],
        },
        incarnation: Some(founder.incarnation()),
    };
    Op::sign(body, founder.identity())
}

fn promote(by: &Endpoint, genesis: &Op, member: MemberId, cap: &Op) -> Op {
    let body = Body {
        group: Some(genesis.group()),
        author: by.member(),
        seq: 1,
        deps: vec![cap.id()],
        cap: Some(cap.id()),
        at: NOW,
        kind: Kind::Promote { member },
        incarnation: Some(by.incarnation()),
    };
    Op::sign(body, by.identity())
}

impl World {
    pub(super) fn group(&self) -> GroupId {
        self.ops[0].group()
    }

    fn start(&mut self) -> (Joiner, Vec<u8>) {
        Joiner::start(&self.code, &self.joiner, &SESSION, NOW, &mut self.rng).unwrap()
    }

    fn accept(&mut self, frame: &[u8]) -> Result<(Host, Vec<u8>), JoinError> {
        let ops: Vec<Vec<u8>> = self.ops.iter().map(|op| op.as_bytes().into()).collect();
        let offer = Offer {
            invite: &self.record,
            group: self.group(),
            ops: &ops,
            key: &self.key,
            me: &self.admin,
        };
        Host::accept(offer, &SESSION, frame, &mut self.rng)
    }

    /// A join up to the open channel, each frame changed on the way.
    fn open(
        &mut self,
        change: impl Fn(usize, &mut Vec<u8>),
    ) -> Result<(Joiner, Admission, JoinRequest), (usize, JoinError)> {
        let (joiner, mut one) = self.start();
        change(1, &mut one);
        let (host, mut two) = self.accept(&one).map_err(|e| (1, e))?;
        change(2, &mut two);
        let (joiner, mut three) = proceed(joiner, &two).map_err(|e| (2, e))?;
        change(3, &mut three);
        let (admission, request) = host.on_frame(&three, NOW).map_err(|e| (3, e))?;
        Ok((joiner, admission, request))
    }
}

fn proceed(joiner: Joiner, frame: &[u8]) -> Result<(Joiner, Vec<u8>), JoinError> {
    match joiner.on_frame(frame, NOW)? {
        JoinStep::Proceed { joiner, mut send, stage: Stage::ChannelOpen } => {
            assert_eq!(send.len(), 1);
            Ok((joiner, send.remove(0)))
        }
        other => panic!("{other:?}"),
    }
}

fn wait(joiner: Joiner, frame: &[u8]) -> Joiner {
    match joiner.on_frame(frame, NOW).unwrap() {
        JoinStep::Waiting { joiner, .. } => joiner,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_join_may_move_between_threads() {
    fn moves<T: Send>() {}
    moves::<Joiner>();
    moves::<Host>();
    moves::<Admission>();
}

#[test]
fn a_joiner_with_the_code_is_let_in() {
    let mut world = world();
    let (joiner, mut admission, request) = world.open(|_, _| {}).unwrap();
    assert_eq!((request.member, &request.card), (world.joiner.member(), world.joiner.card()));
    let joiner = wait(joiner, &admission.pending(NOW).unwrap());
    let joiner = wait(joiner, &admission.pending(NOW).unwrap());
    let frames = admission.welcome(b"welcome", NOW).unwrap();
    assert_eq!(frames.len(), 1);
    let JoinStep::Welcomed { welcome, host, group } = joiner.on_frame(&frames[0], NOW).unwrap()
    else {
        panic!("not welcomed");
    };
    assert_eq!((welcome.as_slice(), group), (&b"welcome"[..], world.group()));
    assert_eq!((host.member, &host.card), (world.admin.member(), world.admin.card()));
}

#[test]
fn nothing_that_brings_a_welcome_prints_it() {
    let (joiner, mut admission, _) = world().open(|_, _| {}).unwrap();
    let joiner = wait(joiner, &admission.pending(NOW).unwrap());
    let secret = [211; 40];
    let step = joiner.on_frame(&admission.welcome(&secret, NOW).unwrap()[0], NOW).unwrap();
    let prints = |text: &str| text.contains("211, 211") || text.contains("d3d3");
    assert!(prints(&format!("{secret:?}")) && !prints(&format!("{step:?}")));
    let JoinStep::Welcomed { welcome, host, group } = step else { panic!("not welcomed") };
    let moved = Moved { to: group, welcome: Some((welcome.clone(), host.member)) };
    assert!(!prints(&format!("{moved:?}")));
    let told = letter::Told::Welcomed { welcome, host: Box::new(host), group };
    assert!(!prints(&format!("{told:?}")));
}

#[test]
fn a_joiner_is_told_why_it_is_refused() {
    for reason in [RefusedReason::Used, RefusedReason::Denied, RefusedReason::Unavailable] {
        let (joiner, mut admission, _) = world().open(|_, _| {}).unwrap();
        let joiner = wait(joiner, &admission.pending(NOW).unwrap());
        let step = joiner.on_frame(&admission.refuse(reason, NOW).unwrap(), NOW).unwrap();
        assert!(matches!(step, JoinStep::Refused(told) if told == reason));
    }
}

#[test]
fn a_wrong_secret_gets_no_answer() {
    let mut world = world();
    world.code.secret = InviteSecret([0; 16]);
    let (_, one) = world.start();
    let noise = JoinError::Handshake(HandshakeError::Noise);
    assert_eq!(world.accept(&one).unwrap_err(), noise);
}

#[test]
fn a_frame_that_was_changed_ends_the_join_at_each_step() {
    for step in 1..=3 {
        for at in [0, 1, 5, 40, 60] {
            let end = world().open(|n, frame| {
                if n == step && at < frame.len() {
                    frame[at] ^= 1;
                } else if n == step {
                    frame.clear();
                }
            });
            assert_eq!(end.unwrap_err().0, step, "byte {at}");
        }
        let cut = world().open(|n, frame| {
            if n == step {
                frame.pop();
            }
        });
        assert_eq!(cut.unwrap_err().0, step);
    }
    let (joiner, admission, _) = world().open(|_, _| {}).unwrap();
    let mut frame = admission.welcome(b"welcome", NOW).unwrap().remove(0);
    frame[3] ^= 1;
    assert_eq!(joiner.on_frame(&frame, NOW).unwrap_err(), JoinError::Open(OpenError));
}

#[test]
fn the_joiner_says_nothing_to_a_host_that_is_no_admin() {
    let refused = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        change(&mut world);
        world.open(|_, _| {}).unwrap_err()
    };
    let path = (2, JoinError::NotAdmin(NotAdmin::Path));
    let other_group = (2, JoinError::NotAdmin(NotAdmin::OtherGroup));
    // Without the promotion the path ends at the founder, who isn't the host.
    assert_eq!(refused(&|world| world.ops.truncate(1)), path);
    assert_eq!(refused(&|world| drop(world.ops.remove(0))), other_group);
    // A promotion by somebody who couldn't.
    assert_eq!(
        refused(&|world| {
            let genesis = world.ops[0].clone();
            world.ops[1] = promote(&world.admin, &genesis, world.admin.member(), &genesis);
        }),
        path
    );
    // An admin of another group.
    assert_eq!(refused(&|world| world.code.group_prefix = [0; 20]), other_group);
    assert_eq!(
        refused(&|world| {
            let other = genesis(&world.admin);
            world.ops = vec![other];
        }),
        other_group
    );
}

#[test]
fn a_founder_serves_an_invite_with_the_genesis_alone() {
    let mut world = world();
    world.ops.truncate(1);
    world.key = NoiseKey::generate(&world.founder, NOW, &mut world.rng);
    core::mem::swap(&mut world.founder, &mut world.admin);
    assert!(world.open(|_, _| {}).is_ok());
}

#[test]
fn a_member_who_knows_the_published_record_cannot_redeem_the_invite() {
    let mut world = world();
    let thief = NoiseKey::generate(&world.joiner, NOW, &mut world.rng);
    let purpose = Purpose::Join { psk: &world.record.psk0 };
    let terms = Terms { purpose, session: Some(&SESSION), suite: Suite::Hybrid };
    let (waits, one) = initiate(terms, &thief, &world.joiner, &mut world.rng.clone()).unwrap();
    let (host, two) = world.accept(&one).unwrap();
    let verified = waits.read(&two, NOW).unwrap();
    let proof = sign_join(
        world.joiner.identity(),
        world.group(),
        world.record.id,
        world.joiner.member(),
        world.joiner.card().as_bytes(),
        &verified.handshake_hash(),
    );
    let (three, _) = verified.finish(&proof.0).unwrap();
    assert_eq!(host.on_frame(&three, NOW).unwrap_err(), JoinError::Proof);
}

#[test]
fn a_proof_is_of_one_card_one_handshake_one_invite_and_one_group() {
    let mut world = world();
    let (_, _, request) = world.open(|_, _| {}).unwrap();
    let JoinRequest { card, proof, handshake, .. } = request;
    let (ipk, group, invite) = (world.record.ipk, world.group(), world.record.id);
    let holds = |ipk, group, invite, card: &SignedCard, handshake| {
        let member = card.card().member;
        join_holds(&ipk, group, invite, member, card.as_bytes(), &handshake, &proof)
    };
    assert!(holds(ipk, group, invite, &card, handshake));
    let mut newer = card.card().clone();
    newer.seq += 1;
    let newer = SignedCard::sign(newer, world.joiner.identity());
    assert!(!holds(ipk, group, invite, &newer, handshake));
    assert!(!holds(ipk, group, invite, world.admin.card(), handshake));
    assert!(!holds(ipk, group, invite, &card, [0; 32]));
    assert!(!holds(ipk, group, InviteId([0; 16]), &card, handshake));
    assert!(!holds(ipk, GroupId([0; 32]), invite, &card, handshake));
    assert!(!holds([9; 32], group, invite, &card, handshake));
    let again = world.open(|_, _| {}).unwrap().2;
    assert_ne!(again.handshake, handshake);
}

#[test]
fn a_long_welcome_comes_in_pages_that_fit_the_mailbox() {
    let welcome: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut joiner, admission, _) = world().open(|_, _| {}).unwrap();
    let mut frames = admission.welcome(&welcome, NOW).unwrap();
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|frame| frame.len() <= mailbox::BODY_MAX));
    let last = frames.pop().unwrap();
    for (frame, to_come) in frames.into_iter().zip([3, 2, 1]) {
        match joiner.on_frame(&frame, NOW).unwrap() {
            JoinStep::Waiting { joiner: next, left } => {
                assert_eq!(left, Some(to_come));
                joiner = next;
            }
            other => panic!("{other:?}"),
        }
    }
    match joiner.on_frame(&last, NOW).unwrap() {
        JoinStep::Welcomed { welcome: joined, .. } => assert_eq!(*joined, welcome),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_welcome_and_a_full_page_arrive() {
    for bytes in [0, PAGE, PAGE + 1] {
        let (mut joiner, admission, _) = world().open(|_, _| {}).unwrap();
        let mut frames = admission.welcome(&vec![3; bytes], NOW).unwrap();
        let last = frames.pop().unwrap();
        for frame in frames {
            joiner = wait(joiner, &frame);
        }
        let step = joiner.on_frame(&last, NOW).unwrap();
        assert!(matches!(step, JoinStep::Welcomed { welcome, .. } if welcome.len() == bytes));
    }
}

#[test]
fn a_welcome_has_a_largest_size_on_both_sides() {
    let (mut joiner, mut admission, _) = world().open(|_, _| {}).unwrap();
    let max = limits::WELCOME_BYTES;
    let page = |left, bytes| Answer::Page { left, bytes: vec![0; bytes] };
    let (full, rest) = (max / PAGE, max % PAGE);
    let sizes = (0..full).map(|_| PAGE).chain([rest]);
    for (left, bytes) in (1..1000).rev().zip(sizes) {
        joiner = wait(joiner, &admission.seal(&page(left, bytes), NOW).unwrap());
    }
    let left = u16::try_from(998 - full).unwrap();
    let frame = admission.seal(&page(left, 1), NOW).unwrap();
    let bytes = max + 1;
    assert_eq!(joiner.on_frame(&frame, NOW).unwrap_err(), JoinError::TooLong { bytes, max });

    let (joiner, mut admission, _) = world().open(|_, _| {}).unwrap();
    let frame = admission.seal(&page(0, PAGE + 1), NOW).unwrap();
    assert!(matches!(joiner.on_frame(&frame, NOW), Err(JoinError::TooLong { .. })));

    let too_long = JoinError::TooLong { bytes: max + 1, max };
    assert_eq!(admission.welcome(&vec![0; max + 1], NOW), Err(too_long));
}

#[test]
fn pages_out_of_turn_end_the_join() {
    let answers = |answers: Vec<Answer>| {
        let (mut joiner, mut admission, _) = world().open(|_, _| {}).unwrap();
        for answer in answers {
            match joiner.on_frame(&admission.seal(&answer, NOW).unwrap(), NOW) {
                Ok(JoinStep::Waiting { joiner: next, .. }) => joiner = next,
                Ok(other) => panic!("{other:?}"),
                Err(error) => return Some(error),
            }
        }
        None
    };
    let page = |left| Answer::Page { left, bytes: vec![1] };
    let refused = Answer::Refused { reason: RefusedReason::Full };
    assert_eq!(answers(vec![page(3), page(2), page(1)]), None);
    assert_eq!(answers(vec![page(3), page(3)]), Some(JoinError::Malformed));
    assert_eq!(answers(vec![page(3), page(1)]), Some(JoinError::Malformed));
    assert_eq!(answers(vec![page(3), page(u16::MAX)]), Some(JoinError::Malformed));
    assert_eq!(answers(vec![page(3), Answer::Pending]), Some(JoinError::Malformed));
    assert_eq!(answers(vec![page(3), refused]), Some(JoinError::Malformed));
}

#[test]
fn a_path_of_ops_that_no_mailbox_entry_holds_is_an_error() {
    let mut world = world();
    let (_, one) = world.start();
    let genesis = world.ops[0].clone();
    world.ops = vec![genesis; 20];
    assert!(matches!(world.accept(&one), Err(JoinError::TooLong { .. })));
}

#[test]
fn the_same_seed_gives_the_same_join() {
    let run = || {
        let mut world = world();
        let (_, one) = world.start();
        let (_, two) = world.accept(&one).unwrap();
        (one, two)
    };
    assert_eq!(run(), run());
}

#[test]
fn answers_have_these_bytes() {
    let vectors: [(Answer, &[u8]); 3] = [
        (Answer::Pending, &[0x82, 0, 0x80]),
        (Answer::Page { left: 2, bytes: vec![7, 8] }, &[0x82, 1, 0x82, 2, 0x42, 7, 8]),
        (Answer::Refused { reason: RefusedReason::Unavailable }, &[0x82, 2, 0x81, 6]),
    ];
    for (answer, bytes) in vectors {
        assert_eq!(codec::encode(&answer), bytes);
    }
}
