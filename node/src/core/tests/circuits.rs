//! Circuits for files: who is asked, by which relays, and who comes.

use protocol::{group::Circuit, ids::FileId};

use super::{World, files::offer};
use crate::{core::Summons, net::address};

/// Ada and Bob in a group, by way of this relay alone; she offers a file, and he wants it.
fn apart() -> (World, String, FileId) {
    let mut world = World::new();
    let relay = world.relay(1);
    ["ada", "bob"].into_iter().for_each(|name| world.node(name, &[&relay]));
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(5_000);
    let file = offer(&mut world, "plan.pdf", 1).offer.id();
    let now = world.now;
    world.core("bob").want_file("reading", "plan.pdf", None, now).unwrap();
    (world, relay, file)
}

/// Bob asks Ada to come to a relay for a file; what she then has to do.
fn asks(world: &mut World, relay: Vec<u8>, file: FileId) -> Vec<Summons> {
    let (ada, now) = (world.member("ada"), world.now);
    let group = world.core("bob").wanted_files().unwrap()[0].group;
    let circuit = Circuit { relay, place: [7; 32], file };
    let key = world.core("bob").ask_circuit(group, ada, &circuit, now).unwrap().unwrap();
    world.settle();
    world.pass(1_000);
    let summons = world.core("ada").summons().unwrap();
    assert!(summons.iter().all(|it| it.key == key && it.place == [7; 32]));
    assert!(world.core("ada").summons().unwrap().is_empty(), "each is told once");
    summons
}

#[test]
fn who_has_the_file_is_told_where_to_come_by_the_groups_own_address_of_the_relay() {
    let (mut world, _, file) = apart();
    let (ada, bob) = (world.member("ada"), world.member("bob"));
    let wanted = world.core("bob").wanted_files().unwrap().remove(0);
    assert_eq!((wanted.givers.near, wanted.givers.afar), (vec![], vec![ada]));
    let relays = world.core("bob").connected_relays(wanted.group).unwrap();
    let relay = relays[0].peer_id.to_bytes();
    let told = asks(&mut world, relay.clone(), file);
    let [summons] = &told[..] else { panic!("one") };
    assert_eq!((summons.member, &summons.relay), (bob, &relays[0]));

    assert!(asks(&mut world, relay, FileId([9; 16])).is_empty(), "no file of hers");
    let elsewhere = world.relay(9);
    let elsewhere = address::relays([elsewhere.as_str()])[0].peer_id.to_bytes();
    assert!(asks(&mut world, elsewhere, file).is_empty(), "no relay of the group");
}

#[test]
fn while_the_store_can_not_be_read_nobody_who_waits_is_forgotten() {
    let (mut world, _, file) = apart();
    let (ada, now) = (world.member("ada"), world.now);
    let group = world.core("bob").wanted_files().unwrap()[0].group;
    let relay = world.core("bob").connected_relays(group).unwrap()[0].peer_id.to_bytes();
    let circuit = Circuit { relay, place: [7; 32], file };
    world.core("bob").ask_circuit(group, ada, &circuit, now).unwrap().unwrap();
    world.settle();
    world.pass(1_000);
    world.core("ada").store.refuse_reads(true);
    assert!(world.core("ada").summons().is_err());
    world.core("ada").store.refuse_reads(false);
    assert_eq!(world.core("ada").summons().unwrap().len(), 1);
}

#[test]
fn it_is_said_why_no_relay_can_make_a_circuit() {
    let (mut world, relay, _) = apart();
    let now = world.now;
    let id = world.core("bob").wanted_files().unwrap()[0].group;
    world.relay_stands(&relay, false);
    world.stop("bob");
    world.start("bob");
    world.settle();
    let why = world.core("bob").connected_relays(id).unwrap_err();
    assert!(why.contains("no relay of the group is connected"), "{why}");
    let other = protocol::ids::GroupId([9; 32]);
    assert!(world.core("bob").connected_relays(other).is_err());
    let asked = Circuit { relay: vec![9; 38], place: [7; 32], file: FileId([1; 16]) };
    let ada = world.member("ada");
    assert!(world.core("bob").ask_circuit(other, ada, &asked, now).unwrap().is_err());
}

#[test]
fn who_can_not_be_told_is_asked_by_no_relay() {
    let (mut world, _, _) = apart();
    let ada = world.member("ada");
    let id = world.core("bob").wanted_files().unwrap()[0].group;
    let relays = world.core("bob").connected_relays(id).unwrap();
    assert_eq!(world.core("bob").circuit_relays(id, &ada), Ok(relays));
    let why = world.core("bob").circuit_relays(id, &protocol::ids::MemberId([9; 32])).unwrap_err();
    assert!(why.contains("inbox"), "{why}");
}

#[test]
fn of_what_one_asks_for_a_file_the_last_is_kept() {
    let (mut world, _, file) = apart();
    let ada = world.member("ada");
    let id = world.core("bob").wanted_files().unwrap()[0].group;
    let relay = world.core("bob").connected_relays(id).unwrap()[0].peer_id.to_bytes();
    for number in 1..=40 {
        world.pass(1_000);
        let (now, relay) = (world.now, relay.clone());
        let circuit = Circuit { relay, place: [number; 32], file };
        world.core("bob").ask_circuit(id, ada, &circuit, now).unwrap().unwrap();
        world.settle();
    }
    let summons = world.core("ada").summons().unwrap();
    let [summons] = &summons[..] else { panic!("{} are kept", summons.len()) };
    assert_eq!(summons.place, [40; 32], "where bob waits, who went from all places before");
}
