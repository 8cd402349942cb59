//! Who was out of a group, listened, and is back.

use protocol::{
    endpoint::Endpoint,
    group::{Admission, InviteTerms},
    ids::GroupId,
    invite::InviteSecret,
    membership::{AdmitMode, sign_join},
    noise::Peer,
};

use super::world::World;
use crate::{
    api::types::{CreateInvite, GroupState, JoinState, What},
    net::address,
    store::StoreError,
};

fn state(world: &mut World, name: &str) -> GroupState {
    let now = world.now;
    world.core(name).groups(now).unwrap().remove(0).state
}

/// A group of somebody's can't be taken up, as where its records can't be read for now.
pub(super) fn is_unloaded(world: &mut World, name: &str, group: &str) {
    let now = world.now;
    let core = world.core(name);
    let group = core.find_group(group).unwrap();
    core.groups.remove(&group);
    core.unloaded.insert(group);
    core.after.logs = true;
    core.finish(now);
    world.settle();
}

/// Groups of somebody's can be taken up again.
pub(super) fn is_loaded(world: &mut World, name: &str) {
    let now = world.now;
    world.core(name).reload(now);
    world.core(name).finish(now);
    world.settle();
}

#[test]
fn what_waits_for_a_relay_waits_on_while_its_group_can_not_be_taken_up() {
    let (mut world, relay) = super::stories::group_of(&["ada", "bob"]);
    world.create("ada", "writing");
    world.pass(10_000);
    world.relay_stands(&relay, false);
    world.send("ada", "reading", "waits");
    is_unloaded(&mut world, "ada", "reading");
    // It is handed over anew.
    let (key, now) = (address::relays([&relay[..]])[0].peer_id, world.now);
    world.core("ada").restart_relay(&key, now);
    world.relay_stands(&relay, true);
    world.pass(60 * 60_000);
    assert!(world.texts("bob").is_empty());
    is_loaded(&mut world, "ada");
    world.pass(60 * 60_000);
    assert_eq!(world.texts("bob"), ["waits"]);
}

#[test]
fn a_welcome_to_a_group_that_can_not_be_taken_up_begins_nothing_anew() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.send("bob", "reading", "before");
    world.remove("ada", "reading", "bob");
    world.pass(10_000);
    let code = world.invite("ada", "reading");
    // As where its records could not be read.
    let core = world.core("bob");
    let group = core.find_group("reading").unwrap();
    core.groups.remove(&group);
    core.unloaded.insert(group);
    let records = core.store.read(|tx| tx.records(group)).unwrap();
    let join = world.join("bob", &code);
    world.pass(60_000);
    let core = world.core("bob");
    assert_ne!(core.join_state(&join.id).unwrap().state, JoinState::Joined);
    assert!(core.store.read(|tx| tx.records(group)).unwrap() == records, "nothing of it changed");
    let now = world.now;
    world.core("bob").reload(now);
    world.pass(10 * 60_000);
    assert_eq!(world.core("bob").join_state(&join.id).unwrap().state, JoinState::Joined);
    world.send("bob", "reading", "and after");
    world.pass(10_000);
    assert_eq!(world.texts("ada"), ["before", "and after"]);
}

#[test]
fn a_welcome_by_letter_waits_for_a_group_that_can_not_be_taken_up() {
    for way in ["it can be", "its node is started anew", "the store refuses at first"] {
        let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
        world.remove("ada", "reading", "bob");
        world.pass(10_000);
        let code = world.invite("ada", "reading");
        world.stop("ada");
        let join = world.join("bob", &code);
        world.pass(11_000);
        world.stop("bob");
        world.start("ada");
        world.settle();
        world.stop("ada");
        world.start("bob");
        // As where its records can't be read for now.
        let core = world.core("bob");
        let group = core.find_group("reading").unwrap();
        core.groups.remove(&group);
        core.unloaded.insert(group);
        world.settle();
        assert_ne!(world.core("bob").join_state(&join.id).unwrap().state, JoinState::Joined);
        // Its host is away, and says it no more.
        if way == "its node is started anew" {
            world.stop("bob");
            world.start("bob");
            world.settle();
        } else {
            let refuses = way == "the store refuses at first";
            world.core("bob").refuse_commits(refuses);
            is_loaded(&mut world, "bob");
            world.core("bob").refuse_commits(false);
            world.pass(5_000);
        }
        let join = world.core("bob").join_state(&join.id).unwrap();
        assert_eq!(join.state, JoinState::Joined, "{way}");
        assert_eq!(state(&mut world, "bob"), GroupState::Active);
    }
}

#[test]
fn who_is_back_by_an_op_reads_what_came_while_it_was_out() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    for name in ["bob", "cyd", "dan"] {
        world.node(name, &[]);
    }
    world.settle();
    world.create("ada", "reading");
    for name in ["bob", "cyd", "dan"] {
        let code = world.invite("ada", "reading");
        world.joined(name, &code);
    }
    let now = world.now;
    for name in ["bob", "cyd"] {
        world.core("ada").promote("reading", name, now).unwrap();
        world.settle();
    }
    world.pass(10_000);
    // Bob does not hear that Cyd removes Dan, who does.
    world.stop("bob");
    world.relay_stands(&two, false);
    world.remove("cyd", "reading", "dan");
    world.pass(10_000);
    assert_eq!(state(&mut world, "dan"), GroupState::Removed);
    world.stop("ada");
    world.stop("cyd");
    world.relay_stands(&one, false);
    world.relay_stands(&two, true);
    world.start("bob");
    world.pass(60_000);
    world.send("bob", "reading", "are you there?");
    world.pass(10_000);
    assert_eq!(state(&mut world, "dan"), GroupState::Removed);
    assert!(world.texts("dan").is_empty());
    // By a grant that the removal does not revoke Dan is a member all the same.
    let now = world.now;
    world.core("bob").promote("reading", "dan", now).unwrap();
    world.pass(10_000);
    assert_ne!(state(&mut world, "dan"), GroupState::Removed);
    assert_eq!(world.texts("dan"), ["are you there?"]);
}

#[test]
fn who_hears_that_it_is_let_in_before_its_welcome_keeps_what_it_has_said_and_read() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.direct_node("ada", &[&relay]);
    world.settle();
    world.create("ada", "reading");
    // Dave hears by the relay alone.
    for (name, direct) in [("bob", true), ("carol", true), ("dave", false)] {
        match direct {
            true => world.direct_node(name, &[]),
            false => world.node(name, &[]),
        }
        let code = world.invite("ada", "reading");
        world.joined(name, &code);
    }
    world.pass(10_000);
    world.cut.insert(("ada", "bob"));
    world.remove("ada", "reading", "bob");
    world.pass(10_000);
    assert_eq!(state(&mut world, "bob"), GroupState::Removed);
    let ask = CreateInvite { ask: Some(true), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &ask);
    let join = world.join("bob", &code);
    assert_eq!(join.state, JoinState::WaitingForApproval);
    // The admission comes by way of Carol, the Welcome not before the relay is back.
    world.relay_stands(&relay, false);
    world.settle();
    let now = world.now;
    world.core("ada").approve("reading", "bob", now).unwrap();
    world.pass(10_000);
    assert_eq!(state(&mut world, "bob"), GroupState::Active);
    assert_ne!(world.core("bob").join_state(&join.id).unwrap().state, JoinState::Joined);
    world.send("carol", "reading", "welcome back");
    world.send("bob", "reading", "thank you");
    world.pass(10_000);
    assert_eq!(world.texts("bob"), ["welcome back", "thank you"]);
    world.relay_stands(&relay, true);
    world.pass(60_000);
    let joined = world.core("bob").join_state(&join.id).unwrap();
    assert_eq!((joined.state, joined.group.is_some()), (JoinState::Joined, true));
    world.send("carol", "reading", "so that is settled");
    world.pass(10_000);
    for name in ["ada", "bob", "dave"] {
        let texts = world.texts(name);
        assert_eq!(texts, ["welcome back", "thank you", "so that is settled"], "{name}");
    }
    let alarms = |what: &What| matches!(what, What::Alarm { .. });
    let told: Vec<_> = world.events("bob").into_iter().filter(|it| alarms(&it.what)).collect();
    assert!(told.is_empty(), "{told:?}");
}

/// A Welcome to a group of somebody's, in which all its members are.
fn welcome(world: &mut World, host: &str, group: &str) -> (GroupId, Vec<u8>) {
    let now = world.now;
    let core = world.core(host);
    let id = core.find_group(group).unwrap();
    let mut welcome = Vec::new();
    core.step(id, now, |group, step| {
        let secret = InviteSecret::generate(step.rng);
        let expires = now.plus_ms(60_000);
        let terms = InviteTerms { max_uses: 1, expires, mode: AdmitMode::Auto, strict: true };
        group.invite(step.cx(), &secret.record(), terms).unwrap();
        let me = Endpoint::generate("somebody", vec![], step.rng).unwrap();
        let (card, joiner, handshake) = (me.card(), me.member(), [7; 32]);
        let (key, invite) = (secret.signing(), secret.id());
        let proof = sign_join(&key, id, invite, joiner, card.as_bytes(), &handshake);
        let request = Admission { invite, card, proof, handshake };
        welcome = group.admit(step.cx(), &request).unwrap().to_vec();
        Ok::<_, StoreError>(())
    })
    .unwrap();
    core.finish(now);
    world.settle();
    (id, welcome)
}

#[test]
fn a_welcome_is_taken_for_the_group_that_was_proved_and_for_no_other() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.settle();
    for group in ["reading", "tea"] {
        world.create("ada", group);
    }
    world.node("bob", &[]);
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    let ask = CreateInvite { ask: Some(true), ..CreateInvite::default() };
    let code = world.invite_with("ada", "tea", &ask);
    let join = world.join("bob", &code);
    assert_eq!(join.state, JoinState::WaitingForApproval);

    let (reading, welcome) = welcome(&mut world, "ada", "reading");
    let ada = world.core("ada");
    let host = Peer { member: ada.me.member(), card: ada.me.card().clone(), certified: None };
    let (tea, now) = (ada.find_group("tea").unwrap(), world.now);
    for (proved, is_taken) in [(tea, false), (reading, true)] {
        let bob = world.core("bob");
        let id = *bob.joining.0.keys().next().unwrap();
        bob.joined(id, proved, &welcome, &host, now).unwrap();
        let joined = bob.join_state(&join.id).unwrap();
        assert_eq!(joined.state == JoinState::Joined, is_taken, "{joined:?}");
        let seen = bob.groups.keys().copied().collect::<Vec<_>>();
        assert_eq!(seen, [reading]);
    }
}
