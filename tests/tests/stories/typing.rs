//! Who is typing is shown to those who ask for it, while it is so.

use harness::World;

#[test]
fn who_is_typing_is_shown_until_the_group_has_it_off() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    let ben = world.node("ben").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ben.send("tea", "hello");
    ana.hears("tea", "hello");
    let before = ana.latest_event();
    let types =
        |on| ben.ask("to tell it", |client| async move { client.tell_typing("tea", on).await });

    // It listens once it shows what was said.
    let shown = ana.talk(&["tail", "tea", "-n", "1", "--typing"]);
    let lines = ana.talk(&["--json", "tail", "tea", "-n", "1", "--typing"]);
    for tail in [&shown, &lines] {
        assert!(tail.line().is_some_and(|line| line.contains("hello")));
    }
    assert!(types(true));
    let line = lines.line().expect("a line");
    assert!(line.contains("\"event\":\"typing\"") && line.contains("\"on\":true"), "{line}");
    assert!(line.contains(&format!("\"seq\":{before},")), "the place to go on from: {line}");
    let line = shown.line().expect("a line");
    assert!(line.trim_end().ends_with(" * ben is typing"), "{line}");
    assert_eq!(ana.latest_event(), before, "nothing of it is kept");
    drop((lines, shown));

    ana.cli(&["group", "conduct", "tea", "--typing", "off"]).ok();
    ben.until("the switch is there", |_| {
        ben.cli(&["group", "show", "tea"]).ok().contains("typing is not").then_some(())
    });
    assert!(!types(true));
}
