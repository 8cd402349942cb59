//! Identities that were compared, and who comes under their names.

use protocol::ids::MemberId;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{World, stories::group_of};
use crate::{
    api::types::{CreateInvite, MemberIdentity, OtherKey, VerifyMember, What},
    backup,
    core::VerbError,
    store::Unlock,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn verify(
    world: &mut World,
    name: &str,
    whom: &str,
    asked: &VerifyMember,
) -> Result<MemberIdentity, VerbError> {
    let now = world.now;
    let answer = world.core(name).verify_member(whom, asked, now);
    world.settle();
    answer
}

fn mark(world: &mut World, name: &str, whom: MemberId) -> MemberIdentity {
    verify(world, name, &whom.to_string(), &VerifyMember::Mark).unwrap()
}

/// A node puts another name on its card, and says so.
fn rename(world: &mut World, node: &str, name: &str) {
    let now = world.now;
    let core = world.core(node);
    core.rename(name, now).unwrap();
    world.settle();
}

/// What a node was told of those who have verified members' names: who, and whose.
fn told(world: &mut World, name: &str) -> Vec<(String, String)> {
    let of = |other: OtherKey| (other.member.id, other.verified[0].id.clone());
    let told = world.events(name).into_iter().filter_map(|event| match event.what {
        What::KeyChanged { other, text } => {
            assert!(event.group.is_some() && text.contains("wattle verify @"), "{text}");
            Some(of(other))
        }
        _ => None,
    });
    told.collect()
}

/// Who is unseen in the group.
fn unseen(world: &mut World, name: &str) -> Vec<String> {
    let summary = world.core(name).group("reading", Default::default()).unwrap().summary;
    summary.other_keys.into_iter().map(|other| other.member.id).collect()
}

fn refused(world: &mut World, name: &str) -> VerbError {
    let now = world.now;
    world.core(name).send("reading", "for you alone, bob", now).unwrap_err()
}

/// Ada has verified Bob, and Eve's card says that she is Bob.
fn an_impostor() -> (World, MemberId, MemberId) {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let bob = world.member("bob");
    assert!(mark(&mut world, "ada", bob).verified);
    world.node("eve", &[]);
    rename(&mut world, "eve", "bob");
    let code = world.invite("ada", "reading");
    world.joined("eve", &code);
    let eve = world.member("eve");
    (world, bob, eve)
}

#[test]
fn a_new_identity_under_a_verified_name_is_told_and_sent_nothing_until_it_is_seen() {
    let (mut world, bob, eve) = an_impostor();
    let expected = [(eve.to_string(), bob.to_string())];
    assert_eq!(told(&mut world, "ada"), expected);
    assert_eq!(unseen(&mut world, "ada"), [eve.to_string()]);
    let no = refused(&mut world, "ada");
    assert_eq!((no.exit(), no.code()), (7, "key-changed"), "{no}");
    assert!(no.to_string().contains(&eve.to_string()[..8]), "{no}");
    let now = world.now;
    let shared = world.core("ada").share_history("reading", 10, now).unwrap_err();
    assert_eq!(shared.exit(), 7);
    // Whoever verified nobody is not held up, and reading goes on.
    world.send("bob", "reading", "hello");
    world.send("eve", "reading", "it's me, bob");
    let history = world.history("ada");
    let marks: Vec<_> =
        history.iter().map(|message| (message.more.verified, message.more.other_key)).collect();
    assert_eq!(marks, [(true, false), (false, true)]);

    // All of it is kept, and told once.
    world.stop("ada");
    world.start("ada");
    world.settle();
    assert_eq!(told(&mut world, "ada"), expected);
    assert_eq!(refused(&mut world, "ada").exit(), 7);
    let ambiguous = world.core("ada").identity("@bob").unwrap_err();
    assert_eq!(ambiguous.code(), "ambiguous-member");
    let shown = world.core("ada").identity(&format!("@{}", &eve.to_string()[..12])).unwrap();
    assert_eq!((shown.verified, shown.other_than.len()), (false, 1));
    assert_eq!(shown.other_than[0].id, bob.to_string());

    let seen = verify(&mut world, "ada", &eve.to_string(), &VerifyMember::Accept).unwrap();
    assert!(!seen.verified && seen.other_than.is_empty());
    world.send("ada", "reading", "which of you?");
    assert!(!world.history("ada")[1].more.other_key);
    world.stop("ada");
    world.start("ada");
    world.settle();
    // Who was seen under that name may come back under it.
    world.remove("ada", "reading", &eve.to_string());
    let code = world.invite("ada", "reading");
    world.joined("eve", &code);
    world.send("ada", "reading", "and again");
    assert_eq!(told(&mut world, "ada"), expected);
}

#[test]
fn a_name_that_somebody_else_has_does_not_go_to_a_marked_one_who_told_it_elsewhere() {
    let (mut world, _) = group_of(&["ada", "bob", "cleo"]);
    let (bob, cleo) = (world.member("bob"), world.member("cleo"));
    // As after a card of another group.
    world.core("ada").store.transaction(|tx| tx.put_name(bob, "cleo")).unwrap();
    assert_eq!(mark(&mut world, "ada", bob).member.name, "bob");
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "to the real cleo");
    mark(&mut world, "ada", cleo);
    assert_eq!((unseen(&mut world, "ada"), told(&mut world, "ada")), (vec![], vec![]));
}

#[test]
fn what_waits_to_be_sealed_is_not_sealed_to_an_impostor() {
    let (mut world, _) = group_of(&["ada", "bob", "cleo"]);
    let (now, bob) = (world.now, world.member("bob"));
    world.core("ada").promote("reading", "cleo", now).unwrap();
    mark(&mut world, "ada", bob);
    world.stop("ada");
    world.node("eve", &[]);
    rename(&mut world, "eve", "bob");
    let code = world.invite("cleo", "reading");
    world.joined("eve", &code);
    // Ada's node has not read the log yet.
    world.start("ada");
    let now = world.now;
    let sent = world.core("ada").send("reading", "for you alone, bob", now).unwrap();
    world.pass(60_000);
    assert_eq!(world.texts("bob").len() + world.texts("eve").len(), 0);
    let summary = world.core("ada").group("reading", now).unwrap().summary;
    assert_eq!(summary.queued, 1);
    assert!(summary.waiting_for.contains("whom you verified"), "{}", summary.waiting_for);
    let waits = world.core("ada").delivery("reading", &sent.id, now).unwrap();
    assert!(waits.reason.contains("whom you verified"), "{}", waits.reason);
    let eve = world.member("eve");
    world.remove("ada", "reading", &eve.to_string());
    assert_eq!(world.texts("bob"), ["for you alone, bob"]);
    assert_eq!(world.texts("eve"), [""; 0]);
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
}

#[test]
fn new_keys_of_a_verified_identity_and_its_return_alarm_nobody() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let bob = world.member("bob");
    mark(&mut world, "ada", bob);
    let before = world.core("bob").endpoint().card().card().clone();
    world.pass(31 * DAY_MS);
    world.stop("bob");
    world.start("bob");
    world.pass(DAY_MS);
    let after = world.core("bob").endpoint().card().card().clone();
    assert!(after.prekey != before.prekey && after.kk != before.kk);
    assert_ne!(after.nodes[0], before.nodes[0], "the node key, too");
    world.remove("ada", "reading", "bob");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.send("ada", "reading", "welcome back");
    assert_eq!(told(&mut world, "ada"), []);
    let group = world.core("ada").group("reading", Default::default()).unwrap();
    assert!(group.people.iter().find(|it| it.member.id == bob.to_string()).unwrap().verified);
}

#[test]
fn who_takes_a_verified_name_later_is_told_and_who_gives_it_up_is_not_held_against() {
    let (mut world, _) = group_of(&["ada", "bob", "eve"]);
    let (bob, eve) = (world.member("bob"), world.member("eve"));
    mark(&mut world, "ada", bob);
    world.remove("ada", "reading", "bob");
    // It is kept that he had the name, wherever he is now; a look-alike is as good.
    rename(&mut world, "eve", "B\u{43e}b");
    assert_eq!(told(&mut world, "ada"), [(eve.to_string(), bob.to_string())]);
    assert_eq!(refused(&mut world, "ada").exit(), 7);
    let named = world.core("ada").identity("bob").unwrap();
    assert_eq!(named.member.id, bob.to_string(), "the name is whose it was when it was verified");
    rename(&mut world, "eve", "eve");
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "eve again");
    rename(&mut world, "eve", "bob");
    assert_eq!(told(&mut world, "ada").len(), 2);
    // Without the mark there is nothing to be mistaken for.
    let gone = verify(&mut world, "ada", "bob", &VerifyMember::Unmark).unwrap_err();
    assert_eq!(gone.code(), "ambiguous-member");
    verify(&mut world, "ada", &bob.to_string(), &VerifyMember::Unmark).unwrap();
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "whoever you are");
}

#[test]
fn the_names_that_a_verified_identity_takes_make_nobody_else_an_impostor() {
    let (mut world, _) = group_of(&["ada", "bob", "cleo", "dan"]);
    let (bob, dan) = (world.member("bob"), world.member("dan"));
    mark(&mut world, "ada", bob);
    rename(&mut world, "bob", "cleo");
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "two cleos");
    let group = world.core("ada").group("reading", Default::default()).unwrap();
    let person = group.people.iter().find(|it| it.member.id == bob.to_string()).unwrap();
    assert_eq!((person.verified, &person.verified_as), (true, &vec!["bob".to_owned()]));
    // One that nobody has is his from then on.
    rename(&mut world, "bob", "robert");
    rename(&mut world, "dan", "Robert");
    assert_eq!(unseen(&mut world, "ada"), [dan.to_string()]);
    // Marked as well, each is who it is.
    mark(&mut world, "ada", dan);
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "two roberts");
}

#[test]
fn a_machine_that_a_verified_one_names_and_that_names_it_is_no_impostor() {
    let (mut world, bob, eve) = an_impostor();
    let now = world.now;
    world.core("eve").add_machine(&bob.to_string(), now).unwrap();
    world.settle();
    assert_eq!(unseen(&mut world, "ada"), [eve.to_string()], "its own word counts for nothing");
    world.core("bob").add_machine(&eve.to_string(), now).unwrap();
    world.settle();
    assert_eq!(unseen(&mut world, "ada"), [""; 0]);
    world.send("ada", "reading", "on both");
    assert!(!world.core("ada").identity(&eve.to_string()).unwrap().verified);
    world.core("bob").remove_machine(&eve.to_string(), now).unwrap();
    world.settle();
    assert_eq!(unseen(&mut world, "ada"), [eve.to_string()]);
    assert_eq!(refused(&mut world, "ada").exit(), 7);
}

#[test]
fn what_the_other_one_has_marks_where_it_is_equal_and_nowhere_else() {
    let (mut world, _) = group_of(&["ada", "bob", "eve"]);
    let bob = world.member("bob");
    let theirs = world.core("bob").identity("@ada").unwrap();
    let ours = world.core("ada").identity("bob").unwrap();
    assert_eq!((&ours.number, &ours.code), (&theirs.number, &theirs.code));
    assert_eq!(ours.groups[0].fingerprint, theirs.groups[0].fingerprint);
    let compare = |text: &str| VerifyMember::Compare { text: text.into() };
    let no = verify(&mut world, "ada", "eve", &compare(&theirs.number)).unwrap();
    assert_eq!((no.equal, no.verified), (Some(false), false));
    let short = verify(&mut world, "ada", "bob", &compare(&theirs.fingerprint)).unwrap_err();
    assert_eq!((short.code(), short.exit()), ("no-number", 2));
    for (text, whom) in [(&theirs.number, "@bob"), (&theirs.code, "bob")] {
        let yes = verify(&mut world, "ada", whom, &compare(text)).unwrap();
        assert_eq!((yes.equal, yes.verified), (Some(true), true));
        assert!(!verify(&mut world, "ada", whom, &VerifyMember::Unmark).unwrap().verified);
    }
    assert_eq!(world.core("ada").identity("ada").unwrap_err().code(), "verify-self");
    mark(&mut world, "ada", bob);
    for nobody in ["@nobody", "@", "", "ffffffffffff"] {
        assert_eq!(world.core("ada").identity(nobody).unwrap_err().exit(), 6, "{nobody}");
    }
    verify(&mut world, "ada", "bob", &VerifyMember::Unmark).unwrap();
    let log = world.core("ada").audit("reading", Some(0), 500).unwrap().entries;
    let noted: Vec<_> = log.iter().filter(|entry| entry.event == "verified").collect();
    assert_eq!(noted.len(), 6, "{log:?}");
    let events = world.events("ada").into_iter();
    let marks = events.filter(|event| matches!(event.what, What::MemberVerified { .. })).count();
    assert_eq!((marks, world.core("bob").identity("ada").unwrap().verified), (6, false));
}

#[test]
fn who_asks_to_be_let_in_under_a_verified_name_is_shown_so() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let bob = world.member("bob");
    mark(&mut world, "ada", bob);
    let ask = CreateInvite { ask: Some(true), uses: Some(2), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &ask);
    for (name, card) in [("eve", "bob"), ("dan", "dan")] {
        world.node(name, &[]);
        rename(&mut world, name, card);
        world.join(name, &code);
    }
    let asked = world.core("ada").requests("reading").unwrap();
    let whose = |name: &str| {
        let request = asked.iter().find(|request| request.member.name == name).unwrap();
        request.other_than.iter().map(|it| it.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!((whose("bob"), whose("dan")), (vec![bob.to_string()], vec![]));
    world.send("ada", "reading", "nobody is let in yet");
}

#[test]
fn marks_and_what_was_seen_are_in_a_backup() {
    let (mut world, bob, eve) = an_impostor();
    let restored = |world: &mut World| {
        let (file, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (at, now) = (file.path().join("backup"), world.now);
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        backup::create(
            world.dir("ada"),
            &Unlock::KeyFile,
            &at,
            "a passphrase",
            now,
            &mut rng,
            &mut drop,
        )
        .unwrap();
        backup::restore(&at, "a passphrase", home.path(), &Unlock::KeyFile, &mut rng, &mut drop)
            .unwrap();
        world.set_back("ada", home);
        world.pass(60_000);
    };
    restored(&mut world);
    assert!(world.core("ada").identity(&bob.to_string()).unwrap().verified);
    assert_eq!(refused(&mut world, "ada").exit(), 7);
    verify(&mut world, "ada", &eve.to_string(), &VerifyMember::Accept).unwrap();
    restored(&mut world);
    world.send("ada", "reading", "which of you?");
}

#[test]
fn a_mark_that_is_not_stored_counts_for_nothing() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let now = world.now;
    world.core("ada").refuse_commits(true);
    let asked = VerifyMember::Mark;
    assert_eq!(world.core("ada").verify_member("bob", &asked, now).unwrap_err().code(), "store");
    world.core("ada").refuse_commits(false);
    world.pass(5_000);
    assert!(!world.core("ada").identity("bob").unwrap().verified);
}
