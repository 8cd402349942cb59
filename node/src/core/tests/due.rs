//! Messages that disappear.

use protocol::ids::Timestamp;

use super::World;
use crate::api::{
    conduct::SetConduct,
    types::{Message, SendMessage},
};

const MINUTE: u64 = 60_000;

impl World {
    fn disappear(&mut self, name: &'static str, seconds: u32) {
        let now = self.now;
        let change = SetConduct { disappear: Some(seconds) };
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

    /// One node alone is at another time; what it does there is not delivered.
    fn wakes(&mut self, name: &str, now: Timestamp) {
        self.core(name).on_deadline(now).unwrap();
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
        assert!(world.newest(name).more.deleted_by.is_some());
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

#[test]
fn nothing_is_over_early_where_the_clock_leaps_nor_late_where_it_is_set_back() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 600);
    world.send("ada", "reading", "for a while");
    world.pass(1_000);
    let now = world.now;
    world.wakes("bob", now.plus_ms(600 * MINUTE));
    assert_eq!(world.texts("bob"), ["for a while"]);
    // Set right again before the minute is over.
    world.core("bob").on_clock_set_back(now);
    world.pass(5 * MINUTE);
    assert_eq!(world.texts("bob"), ["for a while"]);
    world.pass(6 * MINUTE);
    assert_eq!(world.texts("bob"), [""]);
    // Counted by a clock a year ahead.
    world.send("ada", "reading", "once more");
    world.pass(1_000);
    let (now, seq) = (world.now, world.newest("bob").seq);
    let set = |tx: &crate::store::Tx<'_>| tx.expire_at(seq, now.plus_ms(365 * 24 * 60 * MINUTE));
    world.core("bob").store.transaction(set).unwrap();
    world.core("bob").on_clock_set_back(now);
    world.pass(12 * MINUTE);
    assert_eq!(world.texts("bob"), ["", ""]);
}

#[test]
fn a_node_that_was_off_empties_what_was_over_meanwhile_a_minute_after_its_start() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.disappear("ada", 600);
    world.send("ada", "reading", "for a while");
    world.pass(1_000);
    world.stop("bob");
    world.pass(60 * MINUTE);
    world.start("bob");
    world.pass(3 * MINUTE);
    assert_eq!(world.texts("bob"), [""]);
}

#[test]
fn who_is_no_admin_changes_no_conduct_and_no_time_is_out_of_bounds() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let now = world.now;
    let set = |seconds| SetConduct { disappear: Some(seconds) };
    assert!(world.core("bob").set_conduct("reading", &set(600), now).is_err());
    for seconds in [1, 59, 31_536_001] {
        assert!(world.core("ada").set_conduct("reading", &set(seconds), now).is_err());
    }
    let message = SendMessage { text: "stays".into(), ..SendMessage::default() };
    world.core("ada").send_with("reading", &message, now).unwrap();
    assert_eq!(world.core("bob").conduct("reading").unwrap().disappear, None);
}
