//! What messages say beside text, as two and more nodes see it.

use protocol::{
    chain::HeadRef,
    said::{Said, Text},
};

use super::World;
use crate::{
    api::types::{ChangeKind, Message, MessageKind, SendMessage, What},
    store::Body,
};

impl World {
    /// Says something of a kind, whatever it is; its number at whoever says it.
    fn say_kind(&mut self, name: &'static str, group: &str, kind: u8, payload: &[u8]) -> u64 {
        let now = self.now;
        let core = self.core(name);
        let id = core.find_group(group).unwrap();
        let seq = core.queue(id, &Body::of(kind, payload), now, |_, _| Ok(())).unwrap();
        self.settle();
        seq
    }

    fn say(&mut self, name: &'static str, group: &str, said: &Said) -> u64 {
        self.say_kind(name, group, said.kind(), &said.payload())
    }

    /// How others name a message.
    fn head(&mut self, name: &str, seq: u64) -> HeadRef {
        self.core(name).store.read(|tx| tx.head(seq)).unwrap().unwrap()
    }

    fn last(&mut self, name: &str) -> Message {
        self.history(name).pop().unwrap()
    }

    fn changes(&mut self, name: &str) -> Vec<(String, ChangeKind)> {
        let events = self.events(name).into_iter();
        let changed = events.filter_map(|event| match event.what {
            What::Changed { message, change, .. } => Some((message.text, change)),
            _ => None,
        });
        changed.collect()
    }
}

fn edit(target: HeadRef, text: &str) -> Said {
    Said::Edit { target, text: text.into() }
}

#[test]
fn what_is_of_a_kind_that_is_not_known_is_kept_and_shown_as_such() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.say_kind("ada", "reading", 99, b"of a later version");
    world.say_kind("ada", "reading", 7, b"no text with more");
    world.say_kind("ada", "reading", 5, b"no offer");
    world.send("ada", "reading", "hello");
    world.pass(60_000);
    for name in ["ada", "bob"] {
        world.stop(name);
        world.start(name);
        let kinds: Vec<_> =
            world.history(name).iter().map(|it| (it.more.kind, it.text.clone())).collect();
        let unknown = (MessageKind::Unknown, String::new());
        let all = [unknown.clone(), unknown.clone(), unknown, (MessageKind::Text, "hello".into())];
        assert_eq!(kinds, all, "{name}");
    }
    let first = world.history("bob")[0].seq;
    let kept = world.core("bob").store.read(|tx| tx.said(first)).unwrap();
    assert_eq!(kept, (99, b"of a later version".to_vec()));
    // It counts as any other message does.
    let sent = world.history("ada")[0].delivery.clone().unwrap();
    assert!(sent.received.iter().any(|it| it.name == "bob"), "{sent:?}");
}

#[test]
fn what_its_writer_changes_is_shown_so_by_all_and_told_once() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "carol"]);
    let seq = world.send("ada", "reading", "helo").seq;
    world.pass(1_000);
    let target = world.head("ada", seq);
    world.stop("carol");
    world.say("ada", "reading", &edit(target, "hello"));
    world.say("bob", "reading", &edit(target, "not yours"));
    let sign = |on| Said::Reaction { target, text: "+1".into(), on };
    world.say("bob", "reading", &sign(true));
    world.pass(60_000);
    world.start("carol");
    world.pass(60_000);
    for name in ["ada", "bob", "carol"] {
        let shown = world.last(name);
        assert_eq!((shown.text.as_str(), shown.more.edits), ("hello", 1), "{name}");
        assert_eq!(shown.more.reactions.len(), 1);
        assert_eq!(shown.more.reactions[0].by[0].name, "bob");
        assert_eq!(world.texts(name), ["hello"], "changes are no messages of their own");
        let told = world.changes(name);
        assert_eq!(told.len(), 2, "{name}: {told:?}");
        assert!(told.contains(&("hello".into(), ChangeKind::Edit)));
    }
    world.say("bob", "reading", &sign(false));
    world.pass(60_000);
    assert!(world.last("ada").more.reactions.is_empty());
    world.say("ada", "reading", &Said::Delete { target });
    world.pass(60_000);
    for name in ["ada", "bob", "carol"] {
        let shown = world.last(name);
        assert_eq!((shown.text.as_str(), shown.more.edits), ("", 0), "{name}");
        assert_eq!(shown.more.deleted_by.unwrap().name, "ada");
    }
}

#[test]
fn an_answer_quotes_what_it_answers_as_that_is_now() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let seq = world.send("ada", "reading", "tea or cofee?").seq;
    world.pass(1_000);
    let target = world.head("ada", seq);
    let bob = world.member("bob");
    let reply =
        Text { text: "tea".into(), reply: Some(target), mentions: vec![bob], ..Text::default() };
    world.say("bob", "reading", &Said::Text(reply.clone()));
    world.say("ada", "reading", &edit(target, "tea or coffee?"));
    world.pass(60_000);
    for name in ["ada", "bob"] {
        let shown = world.last(name);
        assert_eq!((shown.text.as_str(), shown.more.mentions.len()), ("tea", 1));
        let answered = shown.more.reply.unwrap();
        assert_eq!(answered.text, "tea or coffee?", "{name}");
        assert_eq!(answered.from.unwrap().name, "ada");
    }
    let nowhere = HeadRef { index: 200, ..target };
    world.say("bob", "reading", &Said::Text(Text { reply: Some(nowhere), ..reply }));
    world.pass(60_000);
    assert_eq!(world.last("ada").more.reply.unwrap().from, None);
}

#[test]
fn an_admin_pins_what_others_said_also_one_that_was_made_so_since_and_deletes_none_of_it() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "carol"]);
    let first = world.send("carol", "reading", "first").seq;
    world.send("bob", "reading", "begins a chain");
    world.pass(1_000);
    let first = world.head("carol", first);
    let pin = |on| Said::Pin { target: first, on };
    world.say("bob", "reading", &pin(true));
    world.pass(60_000);
    assert_eq!(world.history("ada")[0].more.pinned_by, None, "bob is no admin");
    let (bob, now) = (world.member("bob").to_string(), world.now);
    world.core("ada").promote("reading", &bob, now).unwrap();
    world.settle();
    world.pass(60_000);
    assert_eq!(
        world.history("ada")[0].more.pinned_by,
        None,
        "what was said before does not begin to count"
    );
    world.say("bob", "reading", &pin(true));
    world.say("bob", "reading", &Said::Delete { target: first });
    world.pass(60_000);
    for name in ["ada", "bob", "carol"] {
        let first = world.history(name).remove(0);
        assert_eq!(first.more.pinned_by.unwrap().name, "bob", "{name}");
        assert_eq!(first.text, "first", "no group lets its admins delete");
    }
    let now = world.now;
    let id = world.history("ada")[0].id.clone();
    world.core("ada").pin("reading", &id, false, now).unwrap();
    world.settle();
    world.pass(60_000);
    assert_eq!(world.history("carol")[0].more.pinned_by, None);
    for name in ["ada", "carol"] {
        let told =
            world.changes(name).into_iter().filter(|(_, it)| matches!(it, ChangeKind::Pin { .. }));
        let told: Vec<_> = told.map(|(_, change)| change).collect();
        assert_eq!(told, [ChangeKind::Pin { on: true }, ChangeKind::Pin { on: false }], "{name}");
    }
}

#[test]
fn what_is_deleted_is_emptied_where_it_is_and_where_it_comes_later() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "carol"]);
    world.stop("carol");
    let message = world.send("ada", "reading", "a secret word");
    world.pass(1_000);
    let now = world.now;
    world.core("ada").edit("reading", &message.id, "a secret phrase", now).unwrap();
    world.settle();
    let shown = world.core("ada").delete_message("reading", &message.id, now).unwrap();
    assert_eq!(shown.more.deleted_by.unwrap().name, "ada");
    world.pass(60_000);
    world.start("carol");
    world.pass(60_000);
    for name in ["ada", "bob", "carol"] {
        let [shown] = &world.history(name)[..] else { panic!("{name}") };
        assert_eq!((shown.text.as_str(), shown.more.edits), ("", 0), "{name}");
        assert_eq!(shown.more.deleted_by.as_ref().unwrap().name, "ada");
        let told = world.events(name);
        let words = format!("{told:?}");
        assert!(!words.contains("secret"), "{name}: events have no words of their own");
        let kept = world.core(name).store.read(|tx| tx.words()).unwrap();
        assert!(kept.iter().all(|it| !it.windows(6).any(|part| part == b"secret")), "{name}");
        assert!(
            world.core(name).store.read(|tx| tx.signed_records(tx.groups()?[0], 9)).unwrap().len()
                < 3
        );
    }
    let again = world.core("ada").edit("reading", &message.id, "x", now).unwrap_err();
    assert_eq!((again.code(), again.exit()), ("deleted", 5));
}

#[test]
fn what_waits_is_deleted_before_anybody_has_it_and_nothing_else_can_be_done_with_it() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.joined("bob", &code);
    world.pass(60_000);
    world.relay_stands(&relay, false);
    world.stop("ada");
    world.start("ada");
    let id = world.send("ada", "reading", "too early").id;
    let now = world.now;
    let ada = world.core("ada");
    assert_eq!(ada.edit("reading", &id, "later", now).unwrap_err().code(), "not-sealed");
    let shown = ada.delete_message("reading", "last", now).unwrap();
    assert!(shown.more.deleted_by.is_some() && shown.text.is_empty());
    world.relay_stands(&relay, true);
    world.pass(10 * 60_000);
    assert_eq!(world.texts("bob"), [""; 0]);
}

#[test]
fn what_can_not_be_done_is_refused_in_words() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let id = world.send("ada", "reading", "hello").id;
    world.pass(60_000);
    let (now, bobs) = (world.now, world.history("bob")[0].id.clone());
    let bob = world.core("bob");
    let refused = [
        bob.edit("reading", &bobs, "mine", now),
        bob.delete_message("reading", "last", now),
        bob.react("reading", &bobs, ("two words", true), now),
        bob.pin("reading", &bobs, true, now),
        bob.edit("reading", &id, "another's number", now),
        bob.edit("reading", "first", "no number", now),
    ];
    let codes = refused.map(|refused| refused.unwrap_err().code());
    let expected = [
        "not-your-message",
        "not-your-message",
        "no-reaction",
        "not-an-admin",
        "no-such-message",
        "no-such-message",
    ];
    assert_eq!(codes, expected);
    let reply =
        SendMessage { text: "hi".into(), reply: Some(bobs.clone()), mentions: vec!["@ada".into()] };
    let said = bob.send_with("reading", &reply, now).unwrap();
    assert_eq!((said.more.reply.unwrap().text.as_str(), said.more.mentions.len()), ("hello", 1));
    bob.react("reading", &bobs[..8], ("👍", true), now).unwrap();
    world.settle();
    world.pass(60_000);
    let shown = world.history("ada");
    assert_eq!(shown[0].more.reactions[0].text, "👍");
    assert_eq!(shown[1].more.reply.as_ref().unwrap().id.as_deref(), Some(id.as_str()));
}

#[test]
fn who_changes_one_message_without_end_leaves_others_theirs_and_few_of_its_own() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "carol"]);
    let seq = world.send("ada", "reading", "hello").seq;
    world.pass(1_000);
    let target = world.head("ada", seq);
    world.say("carol", "reading", &Said::Reaction { target, text: "ok".into(), on: true });
    for n in 0..150 {
        let sign = Said::Reaction { target, text: format!("{n}"), on: true };
        world.say_kind("bob", "reading", sign.kind(), &sign.payload());
    }
    world.say("ada", "reading", &edit(target, "hello, all"));
    world.pass(5 * 60_000);
    for name in ["ada", "bob", "carol"] {
        let shown = world.last(name);
        assert_eq!(shown.text, "hello, all", "{name}");
        assert_eq!(shown.more.reactions.len(), 9, "{name}: bob's last eight, and carol's");
        assert!(shown.more.reactions.iter().any(|it| it.text == "149"));
        assert_eq!(world.core(name).store.read(|tx| tx.changes()).unwrap(), 64 + 2, "{name}");
    }
}

#[test]
fn what_is_edited_and_deleted_while_nothing_can_be_sealed_is_sent_whole_and_then_emptied() {
    let (mut world, relay) = super::stories::group_of(&["ada", "bob"]);
    let id = world.send("ada", "reading", "hello").id;
    world.pass(60_000);
    world.relay_stands(&relay, false);
    world.stop("ada");
    world.start("ada");
    let now = world.now;
    let ada = world.core("ada");
    ada.edit("reading", &id, "a secret", now).unwrap();
    ada.delete_message("reading", &id, now).unwrap();
    world.relay_stands(&relay, true);
    world.pass(10 * 60_000);
    for name in ["ada", "bob"] {
        let [shown] = &world.history(name)[..] else { panic!("{name}") };
        assert!(shown.more.deleted_by.is_some() && shown.text.is_empty(), "{name}");
        let kept = world.core(name).store.read(|tx| tx.words()).unwrap();
        assert!(kept.iter().all(|it| !it.windows(6).any(|part| part == b"secret")), "{name}");
    }
}

#[test]
fn how_a_blocked_member_reacts_is_shown_to_others_alone() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let said = world.send("ada", "reading", "hello").id;
    world.pass(1_000);
    let now = world.now;
    world.core("ada").block("@bob", now).unwrap();
    let before = world.events("ada").len();
    let heard = world.last("bob").id;
    world.core("bob").react("reading", &heard, ("👍", true), now).unwrap();
    world.pass(1_000);
    assert_eq!(world.last("bob").more.reactions.len(), 1);
    assert!(world.last("ada").more.reactions.is_empty());
    let told = world.events("ada").split_off(before);
    assert!(!told.iter().any(|event| matches!(event.what, What::Changed { .. })), "{told:?}");
    world.core("ada").react("reading", &said, ("❤", true), now).unwrap();
    assert_eq!(world.last("ada").more.reactions.len(), 1, "one's own");
    world.core("ada").unblock("@bob").unwrap();
    assert_eq!(world.last("ada").more.reactions.len(), 2);
}
