//! Two admins act at once on both sides of a partition, and one who is out acts by an old state.

use harness::{Link, Node, World};
use node::api::types::{GroupState, What};

/// Ana, who founded "tea", ben, an admin, cleo and dan: all reach the relay over `link`, and all but
/// ana reach one another directly.
fn four(world: &World, link: &Link) -> [Node; 4] {
    let ana = world.node("ana").relay_over(link).no_direct().start();
    let [ben, cleo, dan] =
        ["ben", "cleo", "dan"].map(|name| world.node(name).relay_over(link).start());
    ana.create_group("tea");
    let nodes = [ana, ben, cleo, dan];
    let [ana, others @ ..] = &nodes;
    for other in others {
        other.join(&ana.invite("tea"));
    }
    for node in &nodes {
        node.until_people("tea", &["ana", "ben", "cleo", "dan"]);
    }
    ana.cli(&["group", "promote", "tea", "ben"]).ok();
    let admin = |node: &Node| {
        node.until_group("tea", "ben to be an admin", |view| {
            let ben = view.people.iter().find(|person| person.member.name == "ben");
            ben.is_some_and(|ben| ben.role == node::api::types::Role::Admin)
        });
    };
    nodes.iter().for_each(admin);
    for node in &nodes {
        let id = node.send("tea", &format!("{} is here", node.name()));
        node.until_received(&id);
    }
    nodes
}

#[test]
fn a_removal_by_an_admin_who_was_removed_meanwhile_does_not_count_and_people_are_told() {
    let world = World::new();
    let relay = world.relay();
    let link = world.link(&relay);
    let [ana, ben, cleo, dan] = four(&world, &link);

    link.cut();
    ben.remove("tea", "dan");
    cleo.until_people("tea", &["ana", "ben", "cleo"]);
    ana.remove("tea", "ben");
    link.mend();

    for node in [&ana, &cleo, &dan] {
        node.until_people("tea", &["ana", "cleo", "dan"]);
    }
    ben.until_out("tea", GroupState::Removed);
    cleo.until("an alarm that dan is back", |event| match &event.what {
        What::Alarm { text } if text.contains("dan is back") => Some(()),
        _ => None,
    });
    let shown = cleo.cli(&["group", "show", "tea"]).ok();
    assert!(shown.contains("back") && shown.contains("ben removed dan"), "{shown}");

    // Nothing of cleo's goes out until an admin has answered.
    let id = cleo.send("tea", "for all three");
    assert!(cleo.group("tea").summary.waiting_for.contains("back"));
    cleo.cli(&["group", "readmit", "tea", "dan"]).refused(5);
    ana.cli(&["group", "readmit", "tea", "dan"]).ok();
    cleo.until_received(&id);
    dan.hears("tea", "for all three");
    ana.hears("tea", "for all three");
    assert!(!ben.texts("tea").contains(&"for all three".to_owned()));
}

#[test]
fn what_a_removed_admin_does_by_a_state_of_before_its_removal_counts_for_nothing() {
    let world = World::new();
    let relay = world.relay();
    let link = world.link(&relay);
    let [ana, mut ben, cleo, dan] = four(&world, &link);
    ben.stop();
    let kept = world.dir().join("ben-kept");
    harness::copy_dir(&ben.data_dir(), &kept);
    ana.remove("tea", "ben");
    for node in [&cleo, &dan] {
        node.until_people("tea", &["ana", "cleo", "dan"]);
    }

    // With what he had kept, and out of reach, ben removes dan and promotes cleo; then he is back.
    link.cut();
    let ben = world.node("ben").living_in(kept).relay_over(&link).no_direct().start();
    ben.remove("tea", "dan");
    ben.cli(&["group", "promote", "tea", "cleo"]).ok();
    link.mend();
    ben.until_out("tea", GroupState::Removed);

    ana.until_group("tea", "what ben did to have come", |view| view.void.len() >= 2);
    for node in [&ana, &cleo, &dan] {
        node.until_people("tea", &["ana", "cleo", "dan"]);
        let id = node.send("tea", &format!("{} goes on", node.name()));
        node.until_received(&id);
    }
    let view = ana.group("tea");
    assert!(view.void.iter().all(|act| act.by.name == "ben"), "{view:#?}");
    let role = |name: &str| view.people.iter().find(|it| it.member.name == name).unwrap().role;
    assert_eq!(role("cleo"), node::api::types::Role::Member);
    assert!(!ben.texts("tea").iter().any(|text| text.ends_with("goes on")));
}
