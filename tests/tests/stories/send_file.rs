//! A text and a file in one go.

use std::fs;

use harness::World;

#[test]
fn a_text_and_a_file_go_together_or_not_at_all() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    let path = world.dir().join("plan.pdf");
    fs::write(&path, "the plan").unwrap();
    let path = path.to_str().unwrap();
    ana.cli(&["send", "tea", "--file", path, "--wait", "all", "--timeout", "3m", "for Monday"])
        .ok();
    assert_eq!(ben.texts("tea"), ["for Monday", "plan.pdf"]);
    ben.cli(&["file", "get", "tea", "plan.pdf"]).ok();

    // What can't be offered is told before anything is said.
    let gone = world.dir().join("gone.pdf");
    let said = ana.cli(&["send", "tea", "--file", gone.to_str().unwrap(), "here it is"]).refused(2);
    assert!(said.contains("nothing was sent"), "{said}");
    ana.cli(&["send", "tea", "--file", world.dir().to_str().unwrap(), "here"]).refused(2);
    ana.cli(&["send", "tea", "--file", path, "--reply", "last"]).refused(2);
    assert_eq!(ana.texts("tea").len(), 2);

    // Without a text: standard input is left alone.
    let line = format!("echo not this | wattle --json send tea --file '{path}'");
    let said = ana.shell(&line).ok();
    assert_eq!(said.lines().count(), 1);
    assert_eq!(ana.texts("tea"), ["for Monday", "plan.pdf", "plan.pdf"]);
    let line = format!("echo and this | wattle send tea - --file '{path}'");
    ana.shell(&line).ok();
    assert_eq!(ana.texts("tea")[3..], ["and this", "plan.pdf"]);
}

#[test]
fn a_code_is_drawn_for_a_terminal_or_where_that_is_asked() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    ana.create_group("tea");
    let said = ana.cli(&["invite", "tea", "--qr"]);
    assert!(said.err.contains("no QR code is shown") && !said.err.contains('\u{1b}'), "{said:?}");
    let said = ana.cli(&["invite", "tea", "--qr=always"]);
    assert!(said.err.contains('█'), "{said:?}");
    let out = said.ok();
    assert!(out.starts_with("wattle1") && out.lines().count() == 1, "{out}");
}
