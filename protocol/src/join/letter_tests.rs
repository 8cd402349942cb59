use std::{vec, vec::Vec};

use minicbor::bytes::ByteVec;

use super::{
    letter::{Letters, Reply, Told, Writer, write},
    tests::{NOW, World, world},
    *,
};
use crate::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32},
    ids::{GroupId, InviteId},
    invite::InviteRecord,
    membership::{NotAdmin, sign_request},
    sign::{Context, Signature},
};

/// A request taken apart.
type Wire = (ByteVec, Signature, Signature);

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl World {
    fn ask(&mut self) -> Request {
        Request::new(&self.code, &self.joiner, &mut self.rng)
    }

    fn offer_by<'a>(&'a self, ops: &'a [Vec<u8>], me: &'a Endpoint) -> Writer<'a> {
        Writer { invite: &self.record, group: self.group(), ops, me }
    }

    fn path(&self) -> Vec<Vec<u8>> {
        self.ops.iter().map(|op| op.as_bytes().into()).collect()
    }

    fn answer(&self, request: &Request, reply: Reply<'_>) -> Vec<Vec<u8>> {
        let asked = request.clone().check(&self.record, self.group()).unwrap();
        let ops = self.path();
        write(self.offer_by(&ops, &self.admin), &asked, reply, &mut self.rng.clone()).unwrap()
    }
}

fn read(letters: &mut Letters, me: &Endpoint, frames: &[Vec<u8>]) -> Option<Told> {
    let mut told = None;
    for (frame, number) in frames.iter().zip(0..) {
        assert!(told.is_none() && frame.len() <= mailbox::BODY_MAX);
        told = letters.on_frame(me, number, frame).unwrap();
    }
    told
}

#[test]
fn a_joiner_who_is_never_there_with_an_admin_is_let_in() {
    let mut world = world();
    let request = world.ask();
    let kept = Request::from_bytes(request.as_bytes()).unwrap();
    assert_eq!(kept, request);
    let asked = kept.clone().check(&world.record, world.group()).unwrap();
    assert_eq!((asked.member, &asked.card), (world.joiner.member(), world.joiner.card()));
    for len in [0, 7, PAGE - 8, PAGE, 100_000] {
        let welcome = vec![5; len];
        let frames = world.answer(&kept, Reply::Welcome(&welcome));
        let mut letters = Letters::new(&world.code, &kept);
        let Some(Told::Welcomed { welcome: read, host, group }) =
            read(&mut letters, &world.joiner, &frames)
        else {
            panic!("not welcomed");
        };
        assert_eq!((read.as_slice(), group), (welcome.as_slice(), world.group()));
        assert_eq!((host.member, &host.card), (world.admin.member(), world.admin.card()));
    }
}

#[test]
fn the_joiner_hears_that_it_waits_and_why_it_may_not() {
    let mut world = world();
    let request = world.ask();
    let mut letters = Letters::new(&world.code, &request);
    let frames = world.answer(&request, Reply::Pending);
    assert!(matches!(read(&mut letters, &world.joiner, &frames), Some(Told::Pending)));
    world.rng = rand_chacha::rand_core::SeedableRng::seed_from_u64(99);
    let frames = world.answer(&request, Reply::Refused(RefusedReason::Denied));
    let told = read(&mut letters, &world.joiner, &frames);
    assert!(matches!(told, Some(Told::Refused(RefusedReason::Denied))));
}

#[test]
fn a_letter_opens_though_the_joiners_keys_were_renewed_meanwhile() {
    let mut world = world();
    let request = world.ask();
    let frames = world.answer(&request, Reply::Welcome(b"welcome"));
    world.joiner.renew(NOW, &mut world.rng);
    assert!(world.joiner.renew(NOW.plus_ms(31 * DAY_MS), &mut world.rng));
    assert_ne!(world.joiner.card(), request.card());
    let mut letters = Letters::new(&world.code, &request);
    let told = read(&mut letters, &world.joiner, &frames);
    assert!(matches!(told, Some(Told::Welcomed { .. })));
}

#[test]
fn two_hosts_may_answer_at_once_and_one_twice() {
    let mut world = world();
    let request = world.ask();
    let asked = request.clone().check(&world.record, world.group()).unwrap();
    let long = vec![1; 2 * PAGE];
    let (genesis, path) = (vec![world.ops[0].as_bytes().to_vec()], world.path());
    let mut letter = |ops: &[Vec<u8>], me: &Endpoint| {
        let mut rng = world.rng.clone();
        world.rng = rand_chacha::rand_core::SeedableRng::from_rng(&mut rng);
        let offer = Writer { invite: &world.record, group: world.ops[0].group(), ops, me };
        write(offer, &asked, Reply::Welcome(&long), &mut rng).unwrap()
    };
    let mut by = [
        letter(&path, &world.admin),
        letter(&genesis, &world.founder),
        letter(&path, &world.admin),
    ];
    let last = by[1].pop().unwrap();
    let mut letters = Letters::new(&world.code, &request);
    for number in 0..3_u16 {
        for frames in &by {
            let frame = &frames[usize::from(number)];
            assert!(letters.on_frame(&world.joiner, number, frame).unwrap().is_none());
        }
    }
    match letters.on_frame(&world.joiner, 3, &last).unwrap() {
        Some(Told::Welcomed { host, welcome, .. }) => {
            assert_eq!((host.member, &*welcome), (world.founder.member(), &long));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_letter_is_taken_from_an_admin_of_the_group_alone() {
    let mut world = world();
    let request = world.ask();
    let asked = request.clone().check(&world.record, world.group()).unwrap();
    let path = world.path();
    let heard = |ops: &[Vec<u8>], by: &Endpoint| {
        let offer = world.offer_by(ops, by);
        let frames = write(offer, &asked, Reply::Pending, &mut world.rng.clone()).unwrap();
        Letters::new(&world.code, &request).on_frame(&world.joiner, 0, &frames[0])
    };
    assert!(heard(&path, &world.admin).is_ok());
    let no_path = JoinError::NotAdmin(NotAdmin::Path);
    assert_eq!(heard(&path, &world.joiner).unwrap_err(), no_path);
    assert_eq!(heard(&path[..1], &world.admin).unwrap_err(), no_path);
    // The card of an admin, under somebody else's signature.
    let frames = world.answer(&request, Reply::Pending);
    let mut head: Vec<u8> = frames[0].clone();
    let last = head.len() - 1;
    head[last] ^= 1;
    let mut letters = Letters::new(&world.code, &request);
    assert_eq!(letters.on_frame(&world.joiner, 0, &head).unwrap_err(), JoinError::Proof);
}

#[test]
fn a_letter_is_for_one_request_by_one_joiner() {
    let mut world = world();
    let (one, two) = (world.ask(), world.ask());
    assert_ne!(one.session(), two.session());
    let frames = world.answer(&one, Reply::Welcome(b"welcome"));
    let mut letters = Letters::new(&world.code, &two);
    assert_eq!(letters.on_frame(&world.joiner, 0, &frames[0]).unwrap_err(), JoinError::Proof);
    // Somebody else who holds the code.
    let mut letters = Letters::new(&world.code, &one);
    let error = letters.on_frame(&world.founder, 0, &frames[0]).unwrap_err();
    assert_eq!(error, JoinError::Malformed);
}

#[test]
fn what_was_changed_on_the_way_is_dropped_and_the_rest_still_opens() {
    let mut world = world();
    let request = world.ask();
    let welcome = vec![1; 2 * PAGE];
    let frames = world.answer(&request, Reply::Welcome(&welcome));
    let mut letters = Letters::new(&world.code, &request);
    for (n, frame) in frames.iter().enumerate() {
        let number = u16::try_from(n).unwrap();
        for at in [0, 33, 40, frame.len() - 1] {
            let mut changed = frame.clone();
            changed[at] ^= 1;
            // A changed E makes a head that is signed for another.
            assert!(letters.on_frame(&world.joiner, number, &changed).is_err(), "{n} {at}");
        }
        assert!(letters.on_frame(&world.joiner, number, &frame[..20]).is_err());
        let told = letters.on_frame(&world.joiner, number, frame).unwrap();
        assert_eq!(told.is_some(), n + 1 == frames.len());
    }
}

#[test]
fn a_request_proves_one_invite_of_one_group_and_one_card() {
    let mut world = world();
    let request = world.ask();
    let group = world.group();
    let refused =
        |request: Request, record: &InviteRecord, group| request.check(record, group).unwrap_err();
    let mut other = world.record.clone();
    other.ipk = [9; 32];
    assert_eq!(refused(request.clone(), &other, group), JoinError::Proof);
    let mut other = world.record.clone();
    other.id = InviteId([0; 16]);
    assert_eq!(refused(request.clone(), &other, group), JoinError::Proof);
    assert_eq!(refused(request.clone(), &world.record, GroupId([0; 32])), JoinError::Proof);
    for at in [10, 60, request.as_bytes().len() - 1] {
        let mut bytes = request.as_bytes().to_vec();
        bytes[at] ^= 1;
        let refused =
            Request::from_bytes(&bytes).map(|changed| changed.check(&world.record, group));
        assert!(!matches!(refused, Ok(Ok(_))), "byte {at}");
    }
    assert!(request.check(&world.record, group).is_ok());
}

/// What somebody makes who holds the code and has only the card of the person asked for.
fn in_the_name_of(world: &mut World, version: u8, signature: Option<&Endpoint>) -> Vec<u8> {
    let victim = world.joiner.card().clone();
    let (code, id) = (&world.code, world.code.secret.id());
    let core = (version, id, ByteVec::from(victim.as_bytes().to_vec()), ByteVec::from(vec![7; 16]));
    let core = codec::encode(&core);
    let hash = hash32(Label::JoinRequest, &[&core]);
    let member = victim.card().member;
    let (prefix, card) = (&code.group_prefix, victim.as_bytes());
    let proof = sign_request(&code.secret.signing(), prefix, id, member, card, &hash);
    let card = hash32(Label::Card, &[card]);
    let parts = [prefix, &id.0[..], &member.0, &card, &hash];
    let signature = signature.map(|by| by.identity().sign(Context::JoinIdentity, &parts));
    match signature {
        Some(signature) => codec::encode(&(ByteVec::from(core), proof, signature)),
        None => codec::encode(&(ByteVec::from(core), proof)),
    }
}

#[test]
fn who_holds_a_code_and_somebody_elses_card_cannot_ask_in_their_name() {
    let mut world = world();
    let group = world.group();
    let thief = Endpoint::generate("thief", Vec::new(), &mut world.rng).unwrap();
    let read = |bytes: &[u8]| Request::from_bytes(bytes);
    let victim = world.joiner.clone();
    // The one thing that is missing is the victim's own hand.
    let signed = in_the_name_of(&mut world, 2, Some(&victim));
    assert!(read(&signed).unwrap().check(&world.record, group).is_ok());
    let stolen = in_the_name_of(&mut world, 2, Some(&thief));
    let refused = read(&stolen).unwrap().check(&world.record, group);
    assert_eq!(refused, Err(JoinError::Proof));
    for (version, by) in [(2, None), (1, Some(&victim)), (3, Some(&victim)), (0, None)] {
        let bytes = in_the_name_of(&mut world, version, by);
        assert_eq!(read(&bytes).unwrap_err(), JoinError::Malformed, "version {version}");
    }
    // What they signed once is of one invite, of one group and of one request.
    let other = world.ask();
    let (mut fields, theirs): (Wire, Wire) =
        (codec::decode(&signed).unwrap(), codec::decode(other.as_bytes()).unwrap());
    fields.2 = theirs.2;
    let moved = read(&codec::encode(&fields)).unwrap().check(&world.record, group);
    assert_eq!(moved, Err(JoinError::Proof));
}

#[test]
fn a_request_of_before_signatures_is_read_by_its_maker_and_lets_nobody_in() {
    let mut world = world();
    let bytes = in_the_name_of(&mut world, 1, None);
    let old = Request::from_bytes(&bytes).unwrap();
    assert!(!old.is_signed() && world.ask().is_signed());
    assert_eq!(old.as_bytes(), bytes);
    assert_eq!(old.clone().check(&world.record, world.group()), Err(JoinError::Proof));
    // An answer that it got before is opened still.
    let card = world.joiner.card().clone();
    let proof = Signature([0; 64]);
    let asked = JoinRequest { member: world.joiner.member(), card, proof, handshake: *old.hash() };
    let ops = world.path();
    let offer = world.offer_by(&ops, &world.admin);
    let frames = write(offer, &asked, Reply::Welcome(b"in"), &mut world.rng.clone()).unwrap();
    let mut letters = Letters::new(&world.code, &old);
    let told = read(&mut letters, &world.joiner, &frames);
    assert!(matches!(told, Some(Told::Welcomed { .. })));
}

#[test]
fn a_card_without_an_ml_kem_key_gets_no_letter() {
    let mut world = world();
    let name = world.joiner.card().card().name.clone();
    let plain = Endpoint::generate(&name, Vec::new(), &mut world.rng).unwrap().classical();
    world.joiner = plain;
    let asked = world.ask().check(&world.record, world.group()).unwrap();
    let ops = world.path();
    let offer = world.offer_by(&ops, &world.admin);
    let refused = write(offer, &asked, Reply::Pending, &mut world.rng.clone());
    assert_eq!(refused, Err(JoinError::Malformed));
}
