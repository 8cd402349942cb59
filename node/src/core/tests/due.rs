//! Messages that disappear.

use protocol::ids::Timestamp;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::World;
use crate::{
    api::{
        conduct::{SetConduct, SetPolicy},
        types::{Class, Message, SendMessage, What},
    },
    backup,
    store::{Body, NewMessage, Unlock},
};

const MINUTE: u64 = 60_000;

impl World {
    fn disappear(&mut self, name: &'static str, seconds: u32) {
        let now = self.now;
        let change = SetConduct { disappear: Some(seconds), ..SetConduct::default() };
        let set = self.core(name).set_conduct("reading", &change, now).unwrap();
        assert_eq!(set.disappear, (seconds > 0).then_some(seconds));
        self.settle();
        self.pass(1_000);
    }

    fn words(&mut self, name: &str) -> Vec<u8> {
        self.core(name).store.read(|tx| tx.words()).unwrap().concat()
    }

    fn has_words(&mut self, name: &str, words: &str) -> bool {
        let all = self.words(name);
        all.windows(words.len()).any(|at| at == words.as_bytes())
    }

    fn newest(&mut self, name: &str) -> Message {
        self.history(name).pop().unwrap()
    }
}

#[test]
fn what_is_to_be_kept_for_a_time_is_gone_at_all_and_what_was_sent_before_stays() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.send("ada", "reading", "for ever");
    world.disappear("ada", 600);
    world.send("ada", "reading", "for a while");
    world.send("bob", "reading", "so is mine");
    world.pass(5 * MINUTE);
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), ["for ever", "for a while", "so is mine"], "{name}");
    }
    world.pass(6 * MINUTE);
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), ["for ever", "", ""], "{name}");
        let shown = world.newest(name);
        assert!(shown.more.expired && shown.more.deleted_by.is_none());
        assert!(!world.has_words(name, "for a while") && !world.has_words(name, "so is mine"));
        assert!(world.has_words(name, "for ever"), "or nothing is looked for");
    }
    world.disappear("ada", 0);
    world.send("bob", "reading", "for ever again");
    world.pass(60 * MINUTE);
    assert_eq!(world.newest("ada").text, "for ever again");
}

#[test]
fn an_edit_of_what_is_over_brings_no_word_back() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 120);
    let id = world.send("ada", "reading", "first words").id;
    world.pass(1_000);
    let now = world.now;
    world.core("ada").edit("reading", &id, "other words", now).unwrap();
    world.settle();
    world.pass(1_000);
    assert_eq!(world.newest("bob").text, "other words");
    world.pass(4 * MINUTE);
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), [""], "{name}");
        assert!(!world.has_words(name, "words"), "{name}");
    }
}

/// Ada and Bob, and a message that is kept for ten minutes; it came just now.
fn for_ten_minutes() -> World {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 600);
    world.send("ada", "reading", "for a while");
    world.pass(1_000);
    let shown = world.newest("bob");
    assert_eq!((shown.text.as_str(), shown.more.expires_s), ("for a while", Some(600)));
    world
}

const YEAR: i64 = 365 * 24 * 60 * 60_000;

#[test]
fn what_came_in_this_run_is_counted_by_a_clock_that_nobody_sets() {
    for set in [YEAR, 9 * 60_000 + 30_000, 1_500, -30_000, -YEAR] {
        let mut world = for_ten_minutes();
        world.alone("bob", 9 * MINUTE, set);
        assert_eq!(world.texts("bob"), ["for a while"], "{set}");
        world.alone("bob", 2 * MINUTE, set);
        assert_eq!(world.texts("bob"), [""], "{set}");
    }
}

#[test]
fn a_clock_that_is_set_again_and_again_ends_nothing_early_nor_keeps_it() {
    let mut world = for_ten_minutes();
    for minute in 0..9 {
        world.alone("bob", MINUTE, [YEAR, 0, -YEAR][minute % 3]);
        assert_eq!(world.texts("bob"), ["for a while"], "{minute}");
    }
    world.alone("bob", 2 * MINUTE, 0);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn what_came_before_the_clock_was_put_right_is_kept_for_its_time() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 600);
    // Bob's clock has begun anew, as without a battery.
    world.alone("bob", MINUTE, -YEAR);
    let (now, then) = (world.now, Timestamp(world.now.0.saturating_add_signed(-YEAR)));
    let seq = {
        let said = SendMessage { text: "mine".into(), ..SendMessage::default() };
        world.core("bob").send_with("reading", &said, then).unwrap().seq
    };
    assert!(world.core("bob").store.read(|tx| tx.next_due(true)).unwrap().unwrap() < now);
    world.alone("bob", 5 * MINUTE, 0);
    assert!(world.history("bob").iter().any(|it| it.seq == seq && it.text == "mine"));
    world.alone("bob", 7 * MINUTE, 0);
    assert!(world.history("bob").iter().any(|it| it.seq == seq && it.more.expired));
}

#[test]
fn a_store_that_refuses_while_the_clock_is_set_has_nothing_end_early() {
    let mut world = for_ten_minutes();
    world.core("bob").refuse_commits(true);
    let (now, ran) = (world.now, world.now.ms_since(super::world::START));
    let ahead = now.plus_ms(600 * MINUTE);
    world.core("bob").on_time(ahead, ran + 1_000);
    world.core("bob").refuse_commits(false);
    world.core("bob").on_deadline(ahead).unwrap();
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.core("bob").on_time(ahead, ran + 1_000);
    world.core("bob").on_deadline(ahead).unwrap();
    assert_eq!(world.texts("bob"), ["for a while"]);
    let later = 10 * MINUTE;
    world.core("bob").on_time(ahead.plus_ms(later), ran + 1_000 + later);
    world.core("bob").on_deadline(ahead.plus_ms(later)).unwrap();
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn a_node_that_was_off_empties_what_was_over_meanwhile_a_minute_after_its_start() {
    let mut world = for_ten_minutes();
    world.stop("bob");
    world.pass(60 * MINUTE);
    world.start("bob");
    world.alone("bob", 59_000, 0);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.alone("bob", 3_000, 0);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn a_clock_that_is_wrong_at_the_start_and_put_right_within_a_minute_ends_nothing() {
    let mut world = for_ten_minutes();
    world.stop("bob");
    world.start("bob");
    world.alone("bob", 55_000, YEAR);
    world.alone("bob", 3 * MINUTE, 0);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.alone("bob", 7 * MINUTE, 0);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn a_whole_run_with_a_clock_that_is_behind_ends_nothing_early() {
    let mut world = for_ten_minutes();
    world.stop("bob");
    world.start("bob");
    world.alone("bob", 3 * MINUTE, -YEAR);
    world.stop("bob");
    world.start("bob");
    world.alone("bob", 3 * MINUTE, 0);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.alone("bob", 5 * MINUTE, 0);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn what_a_clock_ahead_put_off_is_kept_for_no_longer_than_its_time_in_one_run() {
    let mut world = for_ten_minutes();
    let (now, seq) = (world.now, world.newest("bob").seq);
    let far = now.plus_ms(YEAR.unsigned_abs());
    let set = |tx: &crate::store::Tx<'_>| tx.expire_at(seq, far);
    world.core("bob").store.transaction(set).unwrap();
    world.stop("bob");
    world.start("bob");
    world.alone("bob", 9 * MINUTE, 0);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.alone("bob", 3 * MINUTE, 0);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn who_has_left_empties_what_is_over_too() {
    let mut world = for_ten_minutes();
    let now = world.now;
    world.core("bob").leave("reading", now).unwrap();
    world.pass(12 * MINUTE);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn shared_history_has_nothing_that_is_to_be_kept_for_a_time_and_brings_nothing_back() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let (now, share) = (world.now, SetPolicy { share_history: Some(true), ..SetPolicy::default() });
    world.core("ada").set_policy("reading", &share, now).unwrap();
    world.send("ada", "reading", "for ever");
    world.disappear("ada", 600);
    world.send("ada", "reading", "for a while");
    world.pass(1_000);
    let group = *world.core("bob").groups.keys().next().unwrap();
    let kept = world.core("bob").store.read(|tx| tx.signed_records(group, 10)).unwrap();
    assert_eq!(kept.len(), 2, "of both the signature is there, or nothing is shown");
    world.pass(12 * MINUTE);
    let code = world.invite("ada", "reading");
    world.node("dave", &[]);
    world.joined("dave", &code);
    world.pass(MINUTE);
    let now = world.now;
    world.core("ada").share_history("reading", 50, now).unwrap();
    world.pass(MINUTE);
    assert_eq!(world.texts("dave"), ["for ever"]);
    assert_eq!(world.texts("bob"), ["for ever", ""]);

    // A changed node shares what it kept all the same: it comes to the step that takes it in.
    let ada = world.member("ada");
    let seq = world.newest("bob").seq;
    let head = world.core("bob").store.read(|tx| tx.head(seq)).unwrap().unwrap();
    let signed =
        &kept.iter().find(|it| (it.chain, it.index) == (head.chain, head.index)).unwrap().signed;
    let new = NewMessage {
        group,
        id: [7; 16],
        from: ada,
        body: Body::text("for a while"),
        by_admin: false,
        at: world.now,
        class: Class::Ok,
        chain: head.chain,
        index: head.index,
        message: head.id,
        lamport: 1,
        clock: 1,
        signed,
        shared_by: Some(ada),
    };
    assert_eq!(world.core("bob").store.transaction(|tx| tx.put_message(&new)).unwrap(), None);
    assert!(!world.has_words("bob", "for a while"));
}

#[test]
fn what_is_over_has_left_the_index_whole() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 600);
    let id = world.send("ada", "reading", "xylophone").id;
    world.pass(1_000);
    let now = world.now;
    world.core("ada").edit("reading", &id, "quagmire", now).unwrap();
    world.settle();
    world.send("bob", "reading", "zeppelin");
    world.pass(1_000);
    let has = |world: &mut World, name: &str, word: &[u8]| {
        let terms = world.core(name).store.read(|tx| tx.terms()).unwrap();
        terms.iter().any(|block| block.windows(word.len()).any(|it| it == word))
    };
    for name in ["ada", "bob"] {
        assert!(has(&mut world, name, b"quagmire") && has(&mut world, name, b"zeppelin"));
    }
    world.pass(12 * MINUTE);
    for name in ["ada", "bob"] {
        for word in ["xylophone", "quagmire", "zeppelin"] {
            assert!(!has(&mut world, name, word.as_bytes()), "{name}: {word}");
        }
    }
}

#[test]
fn the_time_that_is_left_is_in_a_backup() {
    let mut world = for_ten_minutes();
    let (file, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (at, now) = (file.path().join("backup"), world.now);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let (key, dir) = (Unlock::KeyFile, world.dir("bob").to_owned());
    backup::create(&dir, &key, &at, "a passphrase", now, &mut rng, &mut drop).unwrap();
    backup::restore(&at, "a passphrase", home.path(), &key, &mut rng, &mut drop).unwrap();
    world.set_back("bob", home);
    world.alone("bob", 9 * MINUTE, 0);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.alone("bob", 2 * MINUTE, 0);
    assert_eq!(world.texts("bob"), [""]);
    assert!(world.newest("bob").more.expired);
}

#[test]
fn who_sets_for_how_long_is_told_to_all_and_that_it_is_over() {
    let mut world = for_ten_minutes();
    world.disappear("ada", 0);
    world.pass(12 * MINUTE);
    for name in ["ada", "bob"] {
        let events = world.events(name);
        let set: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.what {
                What::Conduct { by, disappear } => {
                    Some((by.as_ref().unwrap().name.as_str(), *disappear))
                }
                _ => None,
            })
            .collect();
        assert_eq!(set, [("ada", Some(600)), ("ada", None)], "{name}");
        let over = |event: &&crate::api::types::Event| match &event.what {
            What::Expired { message } => message.more.expired && message.text.is_empty(),
            _ => false,
        };
        assert_eq!(events.iter().filter(over).count(), 1, "{name}");
    }
    world.stop("bob");
    world.start("bob");
    world.pass(MINUTE);
    let told = world.events("bob");
    let told = told.iter().filter(|event| matches!(event.what, What::Conduct { .. })).count();
    assert_eq!(told, 2, "and not again after a start");
}

#[test]
fn a_group_that_moves_on_takes_its_conduct_along() {
    let mut world = for_ten_minutes();
    let now = world.now;
    let to = world.core("ada").migrate("reading", &[], now).unwrap().summary.id;
    world.settle();
    world.pass(MINUTE);
    let view = world.core("ada").conduct(&to).unwrap();
    assert_eq!((view.disappear, view.group.id), (Some(600), to));
}

#[test]
fn what_is_over_can_be_neither_changed_nor_answered() {
    let mut world = for_ten_minutes();
    let id = world.newest("ada").id;
    world.pass(12 * MINUTE);
    let now = world.now;
    let answer =
        SendMessage { text: "what?".into(), reply: Some(id.clone()), ..SendMessage::default() };
    let ada = world.core("ada");
    for refused in [
        ada.edit("reading", &id, "again", now).unwrap_err(),
        ada.react("reading", &id, ("ok", true), now).unwrap_err(),
        ada.delete_message("reading", &id, now).unwrap_err(),
        ada.send_with("reading", &answer, now).unwrap_err(),
    ] {
        assert_eq!(refused.code(), "expired");
    }
}

#[test]
fn who_is_no_admin_changes_no_conduct_and_no_time_is_out_of_bounds() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let now = world.now;
    let set = |seconds| SetConduct { disappear: Some(seconds), ..SetConduct::default() };
    assert!(world.core("bob").set_conduct("reading", &set(600), now).is_err());
    for seconds in [1, 59, 31_536_001] {
        assert!(world.core("ada").set_conduct("reading", &set(seconds), now).is_err());
    }
    let message = SendMessage { text: "stays".into(), ..SendMessage::default() };
    world.core("ada").send_with("reading", &message, now).unwrap();
    assert_eq!(world.core("bob").conduct("reading").unwrap().disappear, None);
}
