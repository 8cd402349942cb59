//! Files: offered, wanted, and given to members and to nobody else.

use std::path::{Path, PathBuf};

use protocol::{
    file::{FileName, Layout, Reading},
    ids::{FileId, MemberId},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::world::World;
use crate::{
    api::{
        conduct::SetPolicy,
        types::{FileRef, FileStanding},
    },
    core::{Made, VerbError},
    store::hex,
};

/// A file that was read, where it was.
fn made(name: &str, seed: u64) -> Made {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut reading = Reading::new(FileName::new(name).unwrap(), Layout::new(5).unwrap(), &mut rng);
    reading.take(b"bytes").unwrap();
    let source = reading.finish().unwrap();
    let path = PathBuf::from(format!("/home/ada/{name}"));
    Made { offer: source.offer().clone(), leaves: source.leaves(), path }
}

/// Ada offers a file to the group.
pub(super) fn offer(world: &mut World, name: &str, seed: u64) -> Made {
    let (made, now) = (made(name, seed), world.now);
    let message = world.core("ada").offer_file("reading", &made, now).unwrap();
    assert!(message.mine && message.file.is_some());
    world.settle();
    made
}

fn group() -> World {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    world.settle();
    world
}

#[test]
fn whoever_reads_an_offer_can_want_the_file_and_a_restart_forgets_nothing() {
    let mut world = group();
    let made = offer(&mut world, "plan.pdf", 1);
    let message = world.history("bob").pop().unwrap();
    let file = FileRef { name: "plan.pdf".into(), size: 5 };
    assert_eq!((message.text.as_str(), message.file), ("plan.pdf", Some(file.clone())));
    let listed = world.core("bob").files("reading").unwrap();
    assert_eq!((listed.len(), listed[0].state), (1, FileStanding::Offered));
    assert_eq!((&listed[0].file, listed[0].mine, &listed[0].id), (&file, false, &message.id));
    assert!(world.core("bob").wanted_files().unwrap().is_empty());

    let now = world.now;
    let view = world.core("bob").want_file("reading", &message.id[..6], None, now).unwrap();
    assert_eq!((view.state, view.path), (FileStanding::Fetching, None));
    world.stop("bob");
    world.start("bob");
    let wanted = world.core("bob").wanted_files().unwrap();
    assert_eq!((wanted.len(), wanted[0].seq), (1, message.seq));
    assert!(wanted[0].offer == made.offer && hex(&wanted[0].id) == message.id);

    let path = Path::new("files/id/plan.pdf");
    world.core("bob").on_file_here(message.seq, path, &made.leaves, now).unwrap();
    assert!(world.core("bob").wanted_files().unwrap().is_empty());
    let here = world.core("bob").files("reading").unwrap().remove(0);
    assert_eq!((here.state, here.bytes), (FileStanding::Here, 5));
    assert_eq!(here.path.as_deref(), path.to_str());

    // It is fetched anew only where it is gone from there.
    let mut want = |gone| world.core("bob").want_file("reading", "plan.pdf", gone, now).unwrap();
    assert_eq!(want(None).state, FileStanding::Here);
    assert_eq!(want(Some("files/id/other.pdf")).state, FileStanding::Here);
    let again = want(path.to_str());
    assert_eq!((again.state, again.path), (FileStanding::Fetching, None));
    assert_eq!(world.core("bob").wanted_files().unwrap().len(), 1);
}

#[test]
fn a_file_is_given_to_who_is_a_member_and_to_nobody_else() {
    let mut world = group();
    let made = offer(&mut world, "plan.pdf", 1);
    let (bob, id) = (world.member("bob"), made.offer.id());
    let given = world.core("ada").given_file(&bob, id).unwrap().unwrap();
    assert_eq!((given.path, given.leaves), (made.path, made.leaves));
    assert!(world.core("ada").may_have_file(&bob, id).unwrap());
    assert!(!world.core("ada").may_have_file(&MemberId([9; 32]), id).unwrap());
    let nobody = MemberId([9; 32]);
    assert!(world.core("ada").given_file(&nobody, id).unwrap().is_none());
    assert!(world.core("ada").given_file(&bob, FileId([9; 16])).unwrap().is_none());
    // What is only offered to it, or wanted, Bob can't give.
    let ada = world.member("ada");
    assert!(world.core("bob").given_file(&ada, id).unwrap().is_none());

    world.remove("ada", "reading", "bob");
    world.settle();
    assert!(world.core("ada").given_file(&bob, id).unwrap().is_none());
    assert!(!world.core("ada").may_have_file(&bob, id).unwrap());
}

#[test]
fn a_file_that_is_dropped_is_neither_fetched_nor_given() {
    let mut world = group();
    let made = offer(&mut world, "plan.pdf", 1);
    let (bob, now) = (world.member("bob"), world.now);
    world.core("bob").want_file("reading", "plan.pdf", None, now).unwrap();
    let dropped = world.core("bob").drop_file("reading", "plan.pdf", now).unwrap();
    assert_eq!(dropped.state, FileStanding::Offered);
    assert!(world.core("bob").wanted_files().unwrap().is_empty());
    world.core("ada").drop_file("reading", "plan.pdf", now).unwrap();
    assert!(world.core("ada").given_file(&bob, made.offer.id()).unwrap().is_none());
}

#[test]
fn of_a_file_whose_offer_is_deleted_nothing_is_kept_but_where_a_whole_one_is() {
    let mut world = group();
    let plan = offer(&mut world, "plan.pdf", 1);
    let notes = offer(&mut world, "notes.txt", 2);
    let now = world.now;
    let [of_plan, of_notes] = ["plan.pdf", "notes.txt"]
        .map(|name| world.core("bob").want_file("reading", name, None, now).unwrap().seq);
    let path = PathBuf::from("files/id/plan.pdf");
    assert!(world.core("bob").on_file_here(of_plan, &path, &plan.leaves, now).unwrap());
    for message in world.history("ada") {
        world.core("ada").delete_message("reading", &message.id, now).unwrap();
        world.settle();
    }
    world.pass(1_000);
    let mut rows = |name: &str| world.core(name).reader().unwrap().rows().unwrap()["files"];
    assert_eq!((rows("ada"), rows("bob")), (0, 1));
    assert!(world.core("bob").wanted_files().unwrap().is_empty());
    // What was about to be whole is noted no more: whoever brought it removes it.
    let late = PathBuf::from("files/id/notes.txt");
    assert!(!world.core("bob").on_file_here(of_notes, &late, &notes.leaves, now).unwrap());
    let fetched = world.core("bob").store.read(|tx| tx.fetched_files(tx.groups()?[0]));
    assert_eq!(fetched.unwrap(), [path], "it goes with its group");
}

#[test]
fn a_name_that_two_files_have_is_not_guessed_at() {
    let mut world = group();
    offer(&mut world, "plan.pdf", 1);
    offer(&mut world, "plan.pdf", 2);
    let now = world.now;
    let mut ask = |what: &str| world.core("bob").want_file("reading", what, None, now);
    assert!(matches!(ask("plan.pdf"), Err(VerbError::AmbiguousFile { .. })));
    assert!(matches!(ask("plans.pdf"), Err(VerbError::NoSuchFile { .. })));
}

#[test]
fn who_was_removed_is_told_that_nothing_comes_any_more() {
    let mut world = group();
    offer(&mut world, "plan.pdf", 1);
    offer(&mut world, "notes.txt", 2);
    let now = world.now;
    world.core("bob").want_file("reading", "plan.pdf", None, now).unwrap();
    let view = |world: &mut World| world.core("bob").file("reading", "plan.pdf").unwrap();
    let before = view(&mut world);
    assert_eq!((before.state, before.failed), (FileStanding::Fetching, false));
    world.remove("ada", "reading", "bob");
    world.settle();
    let after = view(&mut world);
    assert!(after.failed && after.problem.contains("no member"), "{after:?}");
    let refused = world.core("bob").want_file("reading", "notes.txt", None, now);
    assert!(matches!(refused, Err(VerbError::NotAMember)));
}

#[test]
fn a_name_that_is_another_files_id_keeps_nobody_from_it() {
    let mut world = group();
    offer(&mut world, "plan.pdf", 1);
    let plan = world.core("bob").file("reading", "plan.pdf").unwrap();
    offer(&mut world, &plan.id, 2);
    assert_eq!(world.core("bob").file("reading", &plan.id).unwrap(), plan);
}

#[test]
fn an_offer_is_not_in_what_is_shared_with_who_comes_later() {
    let mut world = group();
    let share = SetPolicy { share_history: Some(true), ..SetPolicy::default() };
    let now = world.now;
    world.core("ada").set_policy("reading", &share, now).unwrap();
    world.core("ada").send("reading", "hello", now).unwrap();
    offer(&mut world, "plan.pdf", 1);
    assert_eq!(world.core("ada").share_history("reading", 50, now).unwrap().shared, 1);
}
