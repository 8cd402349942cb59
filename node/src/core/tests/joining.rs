//! Who may come in, who says so, and when nobody is online at the same time.

use bytes::Bytes;
use minicbor::bytes::ByteVec;
use protocol::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32},
    identity::SignedCard,
    ids::LogId,
    invite::InviteCode,
    join::mailbox::{self, Direction},
    membership::sign_request,
    relay_log::{Cursor, LogKeys},
    sign::Context,
};

use super::{World, stories::group_of};
use crate::{
    api::types::{CreateInvite, GroupState, JoinState, JoinView, What},
    core::Core,
    net::{address, relay::RelayReport},
};

const ASK: CreateInvite =
    CreateInvite { uses: None, expires_in: None, ask: Some(true), any_admin: None };
const ANY: CreateInvite =
    CreateInvite { uses: None, expires_in: None, ask: None, any_admin: Some(true) };

fn ask(world: &mut World, name: &'static str, code: &str) -> String {
    let now = world.now;
    let id = world.core(name).join(code, now).unwrap().id;
    world.settle();
    id
}

fn state(world: &mut World, name: &str, id: &str) -> JoinView {
    world.core(name).join_state(id).unwrap()
}

fn waiting(world: &mut World, name: &str) -> Vec<String> {
    let requests = world.core(name).requests("reading").unwrap();
    requests.into_iter().map(|request| request.member.name).collect()
}

/// Ada founds a group, Bob is an admin whom she promoted, and the others stand outside.
fn two_admins(strangers: &[&'static str]) -> World {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let now = world.now;
    world.core("ada").promote("reading", "bob", now).unwrap();
    strangers.iter().for_each(|name| world.node(name, &[]));
    world.settle();
    world
}

#[test]
fn a_person_is_asked_and_both_sides_may_be_away_meanwhile() {
    let (mut world, _) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite_with("ada", "reading", &ASK);
    let id = ask(&mut world, "bob", &code);
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::WaitingForApproval);
    let request = world.core("ada").requests("reading").unwrap().remove(0);
    let bob = world.member("bob");
    assert_eq!((request.member.name.as_str(), &request.member.id), ("bob", &bob.to_string()));
    assert_eq!(request.fingerprint, protocol::fingerprint::of_member(&bob));
    assert!(request.machine.is_some());
    let told = |world: &mut World| {
        let asks = |what: &What| matches!(what, What::JoinRequested { .. });
        world.events("ada").into_iter().filter(|event| asks(&event.what)).count()
    };
    assert_eq!(told(&mut world), 1);

    // Both start anew: the one still waits, the other still knows who does, and is told once.
    world.stop("bob");
    world.stop("ada");
    world.start("ada");
    world.start("bob");
    world.pass(600_000);
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::WaitingForApproval);
    assert_eq!((waiting(&mut world, "ada"), told(&mut world)), (vec!["bob".into()], 1));

    // The word is given while the joiner is away, and heard while the admin is.
    world.stop("bob");
    let now = world.now;
    assert_eq!(world.core("ada").approve("reading", "bob", now).unwrap().member.name, "bob");
    world.settle();
    assert_eq!(waiting(&mut world, "ada"), [""; 0]);
    world.stop("ada");
    world.start("bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
    world.start("ada");
    world.send("bob", "reading", "hello");
    assert_eq!(world.texts("ada"), ["hello"]);
}

#[test]
fn a_joiner_who_is_there_is_let_in_or_told_no_at_once() {
    let (mut world, _) = group_of(&["ada"]);
    world.node("bob", &[]);
    world.node("eve", &[]);
    let terms = CreateInvite { uses: Some(2), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    assert!(world.core("ada").invites("reading", Default::default()).unwrap()[0].ask);
    let (bob, eve) = (ask(&mut world, "bob", &code), ask(&mut world, "eve", &code));
    assert_eq!(waiting(&mut world, "ada"), ["bob", "eve"]);
    let now = world.now;
    world.core("ada").approve("reading", "@bob", now).unwrap();
    world.core("ada").deny("reading", "eve", now).unwrap();
    world.settle();
    assert_eq!(state(&mut world, "bob", &bob).state, JoinState::Joined);
    let denied = state(&mut world, "eve", &eve);
    assert_eq!((denied.state, denied.exit), (JoinState::Failed, Some(5)));
    assert_eq!(denied.detail, "the request was denied");
    // And is told so again, without anybody being asked again; also after a restart.
    world.stop("ada");
    world.start("ada");
    world.settle();
    let eve = ask(&mut world, "eve", &code);
    assert_eq!(state(&mut world, "eve", &eve).state, JoinState::Failed);
    assert_eq!(waiting(&mut world, "ada"), [""; 0]);
    assert!(world.core("ada").approve("reading", "eve", now).is_err());
}

#[test]
fn no_more_wait_than_are_kept() {
    let (mut world, _) = group_of(&["ada"]);
    let terms = CreateInvite { uses: Some(100), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    const NAMES: [&str; 34] = [
        "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4",
        "b5", "b6", "b7", "b8", "b9", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9",
        "d0", "d1", "d2", "d3",
    ];
    for name in NAMES {
        world.node(name, &[]);
        ask(&mut world, name, &code);
        world.stop(name);
    }
    assert_eq!(waiting(&mut world, "ada").len(), 32);
}

#[test]
fn joiner_and_admin_who_are_never_there_together_meet_by_letter() {
    let (mut world, _) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.stop("ada");
    let id = ask(&mut world, "bob", &code);
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::RelayReached);
    world.pass(11_000);
    let asked = state(&mut world, "bob", &id);
    assert!(asked.detail.contains("lies at the relay"), "{}", asked.detail);
    world.stop("bob");
    world.start("ada");
    world.settle();
    world.stop("ada");
    world.start("bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
    world.send("bob", "reading", "hello");
    world.start("ada");
    world.settle();
    assert_eq!(world.texts("ada"), ["hello"]);
}

#[test]
fn a_letter_is_found_at_a_relay_that_is_reached_only_after_it_was_written() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.stop("ada");
    world.node("bob", &[]);
    world.relay_is_out_of_reach(&two, "bob");
    let id = ask(&mut world, "bob", &code);
    world.pass(11_000);
    let asked = state(&mut world, "bob", &id);
    assert!(asked.detail.contains("lies at the relay"), "{}", asked.detail);
    // The answer goes to both, and bob loses the one at which it was asked before it is there.
    world.relay_is_out_of_reach(&one, "bob");
    world.settle();
    world.start("ada");
    world.settle();
    world.stop("ada");
    assert_ne!(state(&mut world, "bob", &id).state, JoinState::Joined);
    world.relay_is_within_reach(&two, "bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
}

/// The mailbox of a code, and the frames that relays hold of it, in order: each with its direction and number.
fn frames_of(world: &World, code: &str) -> (LogId, Vec<(Direction, u16)>) {
    let secret = InviteCode::parse(code).unwrap().secret;
    let log = LogKeys::from_seeds(secret.box_write(), secret.box_read(), None).id();
    let opened = |entry: &Bytes| mailbox::open(&secret.seal_key(), entry).unwrap();
    let frames =
        world.entries_of(&log).iter().map(opened).map(|it| (it.direction, it.seq)).collect();
    (log, frames)
}

#[test]
fn a_letter_of_which_a_part_has_come_is_read_whole_after_a_restart() {
    let (mut world, relay) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.stop("ada");
    let id = ask(&mut world, "bob", &code);
    world.pass(11_000);
    world.stop("bob");
    world.start("ada");
    world.settle();
    world.stop("ada");
    let (log, frames) = frames_of(&world, &code);
    let part = frames.iter().position(|it| *it == (Direction::Letter, 1)).unwrap();
    world.stall(Some(part));
    world.start("bob");
    world.settle();
    // As where the relay has no more of it yet.
    let (key, now) = (address::relays([&relay[..]])[0].peer_id, world.now);
    let cursor = Cursor { generation: 1, seq: part as u64 };
    world.core("bob").on_relay(&key, RelayReport::CaughtUp { log, cursor }, now).unwrap();
    assert_ne!(state(&mut world, "bob", &id).state, JoinState::Joined);
    world.stop("bob");
    world.stall(None);
    world.start("bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
}

#[test]
fn a_mailbox_is_stored_as_read_though_a_letter_never_comes_whole() {
    let (mut world, relay) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.stop("ada");
    ask(&mut world, "bob", &code);
    world.pass(11_000);
    world.stop("bob");
    world.start("ada");
    world.settle();
    world.stop("ada");
    let (log, frames) = frames_of(&world, &code);
    let part = frames.iter().position(|it| *it == (Direction::Letter, 1)).unwrap();
    world.stall(Some(part));
    world.start("bob");
    world.settle();
    let (key, now) = (address::relays([&relay[..]])[0].peer_id, world.now);
    let core = world.core("bob");
    let stored = |core: &mut Core| core.store.read(|tx| tx.cursor(&key.to_bytes(), log)).unwrap();
    let before = stored(core);
    let tell = |core: &mut Core, seq: u64| {
        let (entries, cursor) =
            (vec![Bytes::from(vec![7; 512]); 100], Cursor { generation: 1, seq });
        core.on_relay(&key, RelayReport::Entries { log, entries, cursor }, now).unwrap();
    };
    for seq in 1..=9 {
        tell(core, 1_000 + seq * 100);
        assert_eq!(stored(core), before);
    }
    for seq in 10..=11 {
        tell(core, 1_000 + seq * 100);
    }
    assert!(
        stored(core).is_some_and(|it| it.seq > 1_000),
        "so many entries are read twice and no more"
    );
}

#[test]
fn what_a_relay_has_lost_is_asked_there_once_more_and_not_as_often_as_it_says_so() {
    const MINUTE_MS: u64 = 60_000;
    let (mut world, relay) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.stop("ada");
    let id = ask(&mut world, "bob", &code);
    world.pass(11_000);
    let requests = |world: &World| {
        let frames = frames_of(world, &code).1.into_iter();
        frames.filter(|it| *it == (Direction::Request, 0)).count()
    };
    assert_eq!(requests(&world), 1);
    world.relay_loses(&relay, true);
    world.settle();
    assert_eq!(requests(&world), 0);
    for _ in 0..25 {
        world.pass(MINUTE_MS);
        world.relay_loses(&relay, false);
    }
    assert_eq!(requests(&world), 2, "once in ten minutes");
    world.stop("bob");
    world.start("ada");
    world.settle();
    world.stop("ada");
    world.start("bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
}

/// Puts another request in the place of what somebody will ask, or has asked.
fn asks(world: &mut World, name: &str, id: &str, request: &[u8]) {
    let core = world.core(name);
    let attempt = core.joining.0.values_mut().find(|attempt| attempt.row.id.to_string() == id);
    let attempt = attempt.unwrap();
    attempt.row.request = Some(request.into());
    let row = attempt.row.clone();
    core.store.transaction(|tx| tx.put_join(&row)).unwrap();
}

/// A request for `card` by whoever holds the code: of version 1, or signed by the wrong hand.
fn unsigned(code: &str, card: &SignedCard, by: Option<&Endpoint>) -> Vec<u8> {
    let code = InviteCode::parse(code).unwrap();
    let (id, member) = (code.secret.id(), card.card().member);
    let bytes = |bytes: &[u8]| ByteVec::from(bytes.to_vec());
    let version = if by.is_some() { 2_u8 } else { 1 };
    let core = codec::encode(&(version, id, bytes(card.as_bytes()), bytes(&[7; 16])));
    let hash = hash32(Label::JoinRequest, &[&core]);
    let (key, prefix) = (code.secret.signing(), &code.group_prefix);
    let proof = sign_request(&key, prefix, id, member, card.as_bytes(), &hash);
    let signed = [prefix, &id.0[..], &member.0, &hash32(Label::Card, &[card.as_bytes()]), &hash];
    match by {
        None => codec::encode(&(bytes(&core), proof)),
        Some(by) => {
            let signature = by.identity().sign(Context::JoinIdentity, &signed);
            codec::encode(&(bytes(&core), proof, signature))
        }
    }
}

#[test]
fn nobody_asks_by_letter_in_the_name_of_somebody_else() {
    let (mut world, _) = group_of(&["ada"]);
    ["bob", "eve"].into_iter().for_each(|name| world.node(name, &[]));
    let code = world.invite_with("ada", "reading", &ASK);
    world.stop("ada");
    let card = world.core("bob").me.card().clone();
    for hand in ["eve", "bob"] {
        let id = ask(&mut world, "eve", &code);
        let request = unsigned(&code, &card, Some(&world.core(hand).me));
        asks(&mut world, "eve", &id, &request);
        world.stop("eve");
        world.start("eve");
        world.pass(11_000);
        world.stop("eve");
        world.start("ada");
        world.settle();
        let asked: &[&str] = if hand == "bob" { &["bob"] } else { &[] };
        assert_eq!(waiting(&mut world, "ada"), asked, "signed by {hand}");
        world.stop("ada");
        world.start("eve");
    }
}

#[test]
fn who_asked_before_requests_were_signed_asks_once_more() {
    let (mut world, _) = group_of(&["ada"]);
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.stop("ada");
    let id = ask(&mut world, "bob", &code);
    let request = unsigned(&code, &world.core("bob").me.card().clone(), None);
    asks(&mut world, "bob", &id, &request);
    world.stop("bob");
    world.start("bob");
    world.pass(11_000);
    world.stop("bob");
    world.start("ada");
    world.settle();
    world.stop("ada");
    world.start("bob");
    world.settle();
    assert_eq!(state(&mut world, "bob", &id).state, JoinState::Joined);
}

#[test]
fn an_admin_who_did_not_make_the_invite_serves_it_if_it_says_so() {
    let mut world = two_admins(&["cyd", "dan"]);
    let (open, strict) =
        (world.invite_with("ada", "reading", &ANY), world.invite("ada", "reading"));
    world.settle();
    world.stop("ada");
    let listed = world.core("bob").invites("reading", Default::default()).unwrap();
    assert_eq!(listed.len(), 1, "the strict one isn't his to serve");
    assert!(listed[0].any_admin && listed[0].code.is_none());
    let cyd = ask(&mut world, "cyd", &open);
    assert_eq!(state(&mut world, "cyd", &cyd).state, JoinState::Joined);
    let dan = ask(&mut world, "dan", &strict);
    world.pass(120_000);
    assert!(state(&mut world, "dan", &dan).state < JoinState::InviterFound);
    // Bob keeps serving after a restart, until Ada takes the rights.
    world.stop("bob");
    world.start("bob");
    world.start("ada");
    world.settle();
    assert_eq!(state(&mut world, "dan", &dan).state, JoinState::Joined);
    let used = world.core("ada").invites("reading", Default::default()).unwrap();
    assert!(used.iter().all(|invite| invite.used == 1));
}

#[test]
fn several_admins_and_joiners_share_one_mailbox() {
    let mut world = two_admins(&["cyd", "dan", "eve"]);
    let terms = CreateInvite { uses: Some(3), ask: Some(false), ..ANY };
    let code = world.invite_with("ada", "reading", &terms);
    world.settle();
    let now = world.now;
    let names = ["cyd", "dan", "eve"];
    let ids = names.map(|name| world.core(name).join(&code, now).unwrap().id);
    world.settle();
    for (name, id) in names.into_iter().zip(&ids) {
        assert_eq!(state(&mut world, name, id).state, JoinState::Joined, "{name}");
    }
    world.pass(60_000);
    let invite = world.core("ada").invites("reading", Default::default()).unwrap().remove(0);
    assert_eq!(invite.used, 3, "one use for each, though two answered");
    world.send("dan", "reading", "hello");
    for name in ["ada", "bob", "cyd", "eve"] {
        assert_eq!(world.texts(name), ["hello"], "{name}");
    }
}

#[test]
fn who_comes_late_by_a_code_reads_no_more_of_its_mailbox_than_who_came_first() {
    const NAMES: [&str; 12] =
        ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10", "n11", "n12"];
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let terms = CreateInvite { uses: Some(20), ask: Some(false), ..ANY };
    let code = world.invite_with("ada", "reading", &terms);
    world.settle();
    let secret = InviteCode::parse(&code).unwrap().secret;
    let mailbox = LogKeys::from_seeds(secret.box_write(), secret.box_read(), None).id();
    let mut told = Vec::new();
    for name in NAMES {
        world.node(name, &[]);
        world.settle();
        world.joined(name, &code);
        told.push(world.told(name, &mailbox));
    }
    assert!(world.lengths()[&mailbox] >= 4 * NAMES.len(), "all of them came by it");
    // What the host answers, what it itself says after that, and the Welcome, by the pages that it has by then.
    assert!(told.iter().all(|told| (2..=5).contains(told)), "{told:?}");
}

#[test]
fn no_more_invites_of_others_are_served_than_there_is_room_for() {
    let mut world = two_admins(&[]);
    for _ in 0..70 {
        world.invite_with("ada", "reading", &ANY);
    }
    world.settle();
    let served = |world: &mut World, name: &str| {
        world.core(name).invites("reading", Default::default()).unwrap().len()
    };
    assert_eq!(served(&mut world, "bob"), 64);
    assert_eq!(served(&mut world, "ada"), 70 + 1);
}

#[test]
fn a_letter_to_several_admins_is_answered_by_one_of_them() {
    let mut world = two_admins(&["cyd"]);
    let terms = CreateInvite { uses: Some(2), ask: Some(false), ..ANY };
    let code = world.invite_with("ada", "reading", &terms);
    world.settle();
    world.stop("ada");
    world.stop("bob");
    let id = ask(&mut world, "cyd", &code);
    world.pass(11_000);
    world.stop("cyd");
    // Bob leaves Ada, who made it, her time; she isn't there.
    world.start("bob");
    world.pass(10_000);
    assert_eq!(world.core("bob").group("reading", Default::default()).unwrap().people.len(), 2);
    world.pass(40_000);
    assert_eq!(world.core("bob").group("reading", Default::default()).unwrap().people.len(), 3);
    world.start("ada");
    world.pass(60_000);
    let invite = world.core("ada").invites("reading", Default::default()).unwrap().remove(0);
    assert_eq!(invite.used, 1, "one use for one joiner");
    world.start("cyd");
    world.settle();
    assert_eq!(state(&mut world, "cyd", &id).state, JoinState::Joined);
}

#[test]
fn who_loses_a_race_for_a_single_use_is_told_and_not_half_in() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    for name in ["bob", "cyd", "dan"] {
        world.node(name, &[]);
    }
    world.settle();
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    let now = world.now;
    world.core("ada").promote("reading", "bob", now).unwrap();
    let code = world.invite_with("ada", "reading", &ANY);
    world.settle();
    // Each admin is alone with one joiner, at a relay of their own; neither hears of the other's act.
    world.stop("bob");
    world.relay_stands(&two, false);
    let cyd = ask(&mut world, "cyd", &code);
    assert_eq!(state(&mut world, "cyd", &cyd).state, JoinState::Joined);
    world.stop("cyd");
    world.stop("ada");
    world.relay_stands(&one, false);
    world.relay_stands(&two, true);
    world.start("bob");
    let dan = ask(&mut world, "dan", &code);
    assert_eq!(state(&mut world, "dan", &dan).state, JoinState::Joined);
    world.relay_stands(&one, true);
    world.start("ada");
    world.start("cyd");
    world.pass(60_000);
    let lost = state(&mut world, "dan", &dan);
    assert_eq!((lost.state, lost.exit), (JoinState::Failed, Some(5)));
    assert_eq!(lost.detail, "the invite was used by somebody else at the same moment");
    let now = world.now;
    let groups = world.core("dan").groups(now).unwrap();
    assert_eq!(groups[0].state, GroupState::Removed);
    for name in ["dan", "bob", "ada"] {
        let told = world.events(name).into_iter().any(
            |event| matches!(event.what, What::NotAdmitted { me, .. } if me == (name == "dan")),
        );
        assert!(told || name == "ada", "{name}");
    }
    for name in ["ada", "bob", "cyd"] {
        let people = world.core(name).group("reading", now).unwrap().people;
        let names: Vec<_> = people.iter().map(|person| person.member.name.as_str()).collect();
        assert_eq!(names.len(), 3, "{name}: {names:?}");
        assert!(names.contains(&"cyd"));
    }
}
