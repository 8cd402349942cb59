//! A program under another user posts with a token, and can do nothing else.

use std::{fs, os::unix::fs::PermissionsExt};

use harness::World;

#[test]
fn a_program_with_a_token_posts_at_its_pace_and_reads_nothing() {
    let world = World::new();
    let relay = world.relay();
    let place = world.dir().join("programs");
    let socket = place.join("wattle");
    fs::create_dir(&place).unwrap();
    let setup = world.node("ana").relay(&relay);
    let mut ana = setup.arg("--programs").arg(socket.to_str().unwrap()).start();
    let mut ben = world.node("ben").relay(&relay).start();
    ana.create_group("ops");
    ana.create_group("tea");
    ben.join(&ana.invite("ops"));
    ana.send("tea", "for nobody else");

    let token = world.dir().join("token");
    let line =
        format!("wattle token new report --may send --group ops --rate 20 > {}", token.display());
    let said = ana.shell(&line);
    assert!(said.err.contains("may send in ops"), "{}", said.err);
    said.ok();
    let secret = fs::read_to_string(&token).unwrap();
    assert!(secret.starts_with("wattle_") && secret.trim().len() == 71, "{}", secret.len());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    // It has neither the data directory nor the owner's socket.
    let by = format!("WATTLE_SOCKET={} WATTLE_TOKEN_FILE={}", socket.display(), token.display());
    let program = |line: &str| world.shell("program", &format!("export {by}; {line}"));
    program("wattle send ops --wait all --timeout 60s 'the backup is done'").ok();
    ben.hears("ops", "the backup is done");
    for forbidden in ["history ops", "tail ops -n 1", "status", "token list", "group leave ops"] {
        let refused = program(&format!("wattle {forbidden}")).refused(5);
        assert!(refused.contains("not for that") && refused.contains("owner"), "{refused}");
    }
    for hidden in ["tea", "nothing"] {
        let refused = program(&format!("wattle send {hidden} hello")).refused(6);
        assert!(refused.contains(&format!("no group \"{hidden}\"")), "{refused}");
    }
    // A pipe that says too much waits, once its minute's messages are said.
    let much = program("seq 1 22 | wattle send ops");
    assert!(much.err.contains("22 messages sent"), "{}", much.err);
    assert_eq!(much.err.matches("; waiting").count(), 1, "{}", much.err);
    ben.hears("ops", "22");

    // After a start it is let in by the same token; after its end by none.
    ana.stop();
    assert!(!socket.exists());
    ana.start_again();
    let alone = world.shell("program", "WATTLE_TOKEN=wattle_0 wattle send ops hello").refused(2);
    assert!(alone.contains("WATTLE_SOCKET"), "{alone}");
    program("wattle send ops --timeout 60s 'here again'").ok();
    ben.hears("ops", "here again");
    ana.cli(&["token", "revoke", "report"]).ok();
    let refused = program("wattle send ops 'and again'").refused(5);
    assert!(refused.contains("has ended"), "{refused}");
    assert!(!refused.contains(secret.trim()));
    ben.stop();
}
