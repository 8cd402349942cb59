//! Two compare numbers, and somebody else comes under the name of one of them.

use std::fs;

use harness::{Node, World};
use node::api::types::{MemberIdentity, What};

/// What `wattle verify @member` says, as a program reads it.
fn identity(node: &Node, whom: &str) -> MemberIdentity {
    serde_json::from_str(&node.cli(&["--json", "verify", whom]).ok()).unwrap()
}

/// What is said in a line that begins so.
fn line<'a>(said: &'a str, title: &str) -> &'a str {
    said.lines().find_map(|line| line.strip_prefix(title)).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn who_comes_under_a_verified_name_is_told_and_sent_nothing_until_it_is_seen() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, ben) = world.pair(&relay);
    ana.until_people("tea", &["ana", "ben"]);
    let (ours, theirs) = (identity(&ana, "@ben"), identity(&ben, "@ana"));
    assert_eq!((&ours.number, &ours.code), (&theirs.number, &theirs.code));
    let said = ana.cli(&["verify", "@ben"]).ok();
    assert!(said.contains(&theirs.number[..23]) && said.contains(&theirs.code), "{said}");
    assert!(!said.contains('\u{1b}'), "no code where nobody sees it: {said}");
    assert_eq!(line(&said, "verified     "), "no");
    assert!(line(&said, "group        ").starts_with("tea: fingerprint "), "{said}");

    // One digit off, of somebody else's, and none at all.
    let mut off = theirs.number.clone();
    let last = if off.pop() == Some('1') { '2' } else { '1' };
    off.push(last);
    let no = ana.cli(&["verify", "@ben", "--compare", &off]);
    assert!(no.out.starts_with("NOT EQUAL"), "{no:?}");
    assert_eq!(no.code, Some(7));
    ana.cli(&["verify", "@ben", "--compare", "hello"]).refused(2);
    ana.cli(&["verify", "tea", "--mark"]).refused(2);
    ana.cli(&["verify", "@nobody"]).refused(6);
    ana.cli(&["verify", "@ana"]).refused(2);
    assert!(!identity(&ana, "@ben").verified);
    let equal = ana.cli_with(&["verify", "@ben", "--compare", "-"], &theirs.code).ok();
    assert!(equal.starts_with("equal: ben"), "{equal}");
    let shown = ana.cli(&["group", "show", "tea"]).ok();
    assert!(shown.lines().any(|row| row.contains("ben") && row.ends_with("verified")), "{shown}");
    let audit = ana.cli(&["audit", "tea"]).ok();
    assert!(
        audit.lines().any(|line| line.contains("verified") && line.ends_with(": yes")),
        "{audit}"
    );

    let mallory = world.node("ben").living_in(world.dir().join("mallory")).relay(&relay).start();
    mallory.join(&ana.invite("tea"));
    let other = ana.until("somebody under ben's name", |event| match &event.what {
        What::KeyChanged { other, .. } => Some(other.clone()),
        _ => None,
    });
    assert_eq!(other.verified[0].id, ours.member.id);
    let id = format!("@{}", &other.member.id[..12]);
    let no = ana.cli(&["send", "tea", "for ben alone"]).refused(7);
    assert!(no.contains(&other.member.id[..8]) && no.contains("wattle verify @"), "{no}");
    let file = world.dir().join("for-ben.txt");
    fs::write(&file, "for ben alone").unwrap();
    ana.cli(&["file", "send", "tea", file.to_str().unwrap()]).refused(7);
    ben.send("tea", "from ben");
    mallory.send("tea", "from the other one");
    ana.hears("tea", "from ben");
    ana.hears("tea", "from the other one");

    ana.kill9();
    ana.start_again();
    ana.cli(&["send", "tea", "for ben alone"]).refused(7);
    for command in [&["status"][..], &["group", "show", "tea"]] {
        let said = ana.cli(command).ok();
        assert!(said.contains("LOOK AT THIS: ben (") && said.contains("wattle verify @"), "{said}");
    }
    let history = ana.cli(&["history", "tea"]).ok();
    // Two of one name stand with their ids.
    let real = format!(" ben ({}): from ben", &ben.member()[..16]);
    let marked = ") (NOT the identity that you verified under this name): from the other one";
    assert!(history.contains(marked) && history.contains(&real), "{history}");
    let history = ana.cli(&["--json", "history", "tea"]).ok();
    let of = |text: &str| history.lines().find(|line| line.contains(text)).unwrap().to_owned();
    assert!(of("from ben").contains("\"verified\":true"), "{history}");
    assert!(of("from the other one").contains("\"other_key\":true"), "{history}");
    let tail = ana.cli(&["tail", "tea", "--from-start", "--no-follow"]).ok();
    assert_eq!(tail.matches("LOOK AT THIS: ben (").count(), 1, "{tail}");

    ana.cli(&["verify", "@ben", "--accept"]).refused(6);
    let seen = ana.cli(&["verify", &id, "--accept"]).ok();
    assert!(seen.starts_with("seen: ben ("), "{seen}");
    let again = ana.cli(&["verify", &id, "--accept"]).ok();
    assert!(again.contains("there is nothing to accept"), "{again}");
    ana.cli(&["send", "tea", "to both of you", "--wait", "all"]).ok();
    mallory.hears("tea", "to both of you");
    assert!(!mallory.texts("tea").contains(&"for ben alone".to_owned()));
}
