//! What somebody keeps of groups and members for themselves, and nobody else learns of.

use harness::{Node, World};
use node::api::types::{GroupSummary, Message};

fn summary(node: &Node, group: &str) -> GroupSummary {
    node.group(group).summary
}

#[test]
fn two_whose_names_look_alike_are_shown_with_their_ids() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let twin = world.node("twin").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ben.send("tea", "it is me");
    ana.hears("tea", "it is me");
    let digits = &ben.member()[..16];
    assert!(!ana.cli(&["history", "tea"]).ok().contains(digits));
    twin.join(&ana.invite("tea"));
    twin.cli(&["name", "Ben"]).ok();
    ana.until_group("tea", "the other ben", |group| {
        group.people.iter().filter(|person| person.alike).count() == 2
    });
    let shown = ana.cli(&["group", "show", "tea"]).ok();
    assert_eq!(shown.matches("go by the id").count(), 2, "{shown}");
    let shown = ana.cli(&["history", "tea"]).ok();
    assert!(shown.contains(&format!("ben ({digits}): it is me")), "{shown}");
}

#[test]
fn what_is_unread_put_away_and_blocked_is_ones_own_business() {
    let world = World::new();
    let relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    cleo.join(&ana.invite("tea"));

    // Unread until somebody says that it is read.
    ben.send("tea", "one");
    let two = ben.send("tea", "two");
    ana.hears("tea", "two");
    ana.send("tea", "mine");
    assert_eq!(summary(&ana, "tea").unread, 2);
    assert!(ana.cli(&["group", "list"]).ok().contains("2 unread"));
    let all: Vec<Message> = ana.history("tea");
    let first = all.iter().find(|it| it.text == "one").unwrap().seq.to_string();
    ana.cli(&["group", "read", "tea", "--up-to", &first]).ok();
    assert_eq!(summary(&ana, "tea").unread, 1);
    ana.cli(&["group", "read", "tea"]).ok();
    assert_eq!(summary(&ana, "tea").unread, 0);

    // A group that was put away comes back with what is unread; a muted one does not.
    ana.cli(&["group", "archive", "tea"]).ok();
    let listed = ana.cli(&["group", "list"]);
    assert!(listed.err.contains("1 group put away"), "{listed:?}");
    assert!(!listed.ok().contains("tea"));
    assert!(ana.cli(&["group", "list", "--all"]).ok().contains("put away"));
    ben.send("tea", "still there?");
    ana.hears("tea", "still there?");
    assert!(!summary(&ana, "tea").archived);
    ana.cli(&["group", "mute", "tea", "--for", "8h"]).ok();
    ana.cli(&["group", "archive", "tea"]).ok();
    ben.send("tea", "hello?");
    ana.hears("tea", "hello?");
    let tea = summary(&ana, "tea");
    assert!(tea.archived && tea.muted && tea.muted_until.is_some() && tea.unread == 2);
    ana.cli(&["group", "mute", "tea", "--for", "0s"]).refused(2);
    ana.cli(&["group", "unmute", "tea"]).ok();
    assert!(!summary(&ana, "tea").archived);

    // Who is blocked is heard, and not shown; and told that it is.
    let blocked = ana.cli(&["block", "@ben"]);
    assert!(blocked.err.contains("ben"), "{blocked:?}");
    blocked.ok();
    assert_eq!(summary(&ana, "tea").unread, 0);
    let id = ben.send("tea", "can you hear me?");
    ana.hears("tea", "can you hear me?");
    // It is confirmed to him as before.
    ben.cli_until(&["delivery", "tea", &id[..8]], |said| {
        said.out.lines().any(|line| line.contains("ana") && line.contains("received"))
    })
    .ok();
    let shown = ana.cli(&["history", "tea"]);
    assert!(shown.err.contains("of blocked members"), "{shown:?}");
    let shown = shown.ok();
    assert!(
        !shown.contains("hear me") && !shown.contains("two") && shown.contains("mine"),
        "{shown}"
    );
    assert!(ana.cli(&["search", "hear"]).ok().is_empty());
    assert!(!ana.cli(&["export", "tea", "--format", "markdown"]).ok().contains("hear me"));
    let marked = ana.history("tea").into_iter().find(|it| it.id != two && it.more.blocked);
    assert!(marked.is_some(), "programs see it, and that its writer is blocked");
    assert_eq!(ana.cli(&["blocked"]).ok().lines().count(), 1);

    ana.stop();
    ana.start_again();
    assert!(!ana.cli(&["history", "tea"]).ok().contains("hear me"));
    ana.cli(&["unblock", "@ben"]).ok();
    assert!(ana.cli(&["history", "tea"]).ok().contains("hear me"));
    ana.cli(&["unblock", "@ben"]).refused(6);
    ana.cli(&["block", "@ana"]).refused(2);
}

#[test]
fn what_was_read_is_told_where_admins_and_both_people_want_it() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let state = |of: &Node| of.cli(&["delivery", "tea"]).ok();
    let read = |of: &Node| {
        of.until("is read there", |_| state(of).contains("  read").then_some(()));
    };

    // Nobody is told while the group has it off; and whoever asks for it is told so.
    ana.send("tea", "one");
    ben.hears("tea", "one");
    let told = ben.cli(&["group", "read", "tea", "--tell"]);
    assert!(told.err.contains("receipts off"), "{told:?}");
    let shown = ana.cli(&["group", "conduct", "tea", "--receipts", "on"]).ok();
    assert!(shown.contains("wattle group read"), "{shown}");
    ben.until("the switch is there", |_| {
        ben.cli(&["group", "conduct", "tea"]).ok().contains("yes").then_some(())
    });

    // Who doesn't tell isn't told.
    ana.send("tea", "two");
    ben.hears("tea", "two");
    ben.cli(&["group", "read", "tea"]).ok();
    ben.send("tea", "after two");
    ana.hears("tea", "after two");
    assert!(!state(&ana).contains("  read"), "{}", state(&ana));

    // Both do.
    ana.cli(&["group", "read", "tea", "--tell"]).ok();
    read(&ben);
    ana.send("tea", "three");
    ben.hears("tea", "three");
    assert!(!state(&ana).contains("  read"), "not before it was read: {}", state(&ana));
    ben.kill9();
    ben.start_again();
    ben.cli(&["group", "read", "tea"]).ok();
    read(&ana);

    // And no more.
    ben.cli(&["group", "read", "tea", "--no-tell"]).ok();
    ana.send("tea", "four");
    ben.hears("tea", "four");
    ben.cli(&["group", "read", "tea"]).ok();
    ben.send("tea", "after four");
    ana.hears("tea", "after four");
    assert!(!state(&ana).contains("  read"), "{}", state(&ana));
}
