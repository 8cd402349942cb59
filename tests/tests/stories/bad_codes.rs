//! Codes that let nobody in: each says why, in its own words, with its own exit code.

use std::time::{Duration, SystemTime};

use harness::{Node, World};
use node::api::types::CreateInvite;

/// What `wattle join` says of `code`, having ended with `exit`.
fn refusal(node: &Node, code: &str, exit: i32) -> String {
    let said = node.cli_with(&["join"], &format!("{code}\n"));
    assert_eq!(said.out, "", "nothing on standard output: {said:?}");
    assert!(!said.err.contains(code), "the code is a secret: {said:?}");
    said.refused(exit)
}

/// `code` with one letter changed for another one of its alphabet.
fn mistype(code: &str) -> String {
    let mut letters: Vec<char> = code.chars().collect();
    let at = letters.len() / 2;
    letters[at] = if letters[at] == 'q' { 'p' } else { 'q' };
    letters.into_iter().collect()
}

#[test]
fn every_bad_code_is_refused_in_its_own_words() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).start();
    ana.create_group("tea");

    let good = ana.invite("tea");
    let mut said = vec![
        refusal(&cleo, &mistype(&good), 2),
        refusal(&cleo, &good[..good.len() - 9], 2),
        refusal(&cleo, "an invitation, please", 2),
    ];

    ben.join(&good);
    said.push(refusal(&cleo, &good, 5));

    let revoked = ana.invite_for("tea", CreateInvite::default());
    ana.ask("revoke", |client| async move { client.revoke("tea", &revoked.id).await });
    said.push(refusal(&cleo, revoked.code.as_deref().unwrap(), 5));

    let brief = CreateInvite { expires_in: Some(1), ..CreateInvite::default() };
    let brief = ana.invite_for("tea", brief).code.unwrap();
    let expired = SystemTime::now() + Duration::from_millis(1_100);
    while SystemTime::now() < expired {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    said.push(refusal(&cleo, &brief, 5));

    for (at, words) in said.iter().enumerate() {
        assert!(!said[..at].contains(words), "said twice: {words}");
    }
    for (words, about) in said.iter().zip(["typ", "cut", "wattle1", "used", "revoked", "expired"]) {
        assert!(words.to_lowercase().contains(about), "it should speak of {about:?}: {words}");
    }
    ana.until_people("tea", &["ana", "ben"]);
    assert_eq!(cleo.status().groups, [], "no bad code left a group behind");
}

#[test]
fn a_code_is_not_taken_as_an_argument() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    ana.create_group("tea");
    let code = ana.invite("tea");
    let said = ana.cli(&["join", &code]).refused(2);
    assert!(!said.contains(&code), "the code is a secret: {said}");
}

#[test]
fn a_good_code_works_after_all_bad_ones() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    let good = ana.invite("tea");
    for _ in 0..3 {
        refusal(&ben, &mistype(&good), 2);
    }
    ben.cli_with(&["join"], &good).ok();
    ana.until_people("tea", &["ana", "ben"]);
}
