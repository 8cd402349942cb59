//! What could be wrong is looked at, and said with what to do.

use harness::{Said, World};

#[test]
fn where_all_is_well_the_doctor_says_so_and_a_report_names_nobody() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea-and-biscuits");
    ben.join(&ana.invite("tea-and-biscuits"));
    ana.send("tea-and-biscuits", "kettle on");
    ben.hears("tea-and-biscuits", "kettle on");

    // Ben is given some seconds to answer, and the relay, too.
    let is_well =
        |said: &Said| said.code == Some(0) && said.out.contains("1 of the 1 asked answer");
    let said = ana.cli_until(&["doctor"], is_well).ok();
    for line in
        ["its owner's alone", "every page is as it was written", "open files", "can be used"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    for way in ["  tcp ", "  log ", "  circuit ", "  clock "] {
        assert!(said.contains(way), "{way}: {said}");
    }
    assert!(said.contains("1 of the 1 asked answer"), "{said}");
    assert!(!said.contains("FAILS"), "{said}");

    let report = ana.cli_until(&["doctor", "--report"], |said| said.code == Some(0)).ok();
    assert!(report.contains("every page is as it was written"), "{report}");
    let status = ana.status();
    let mut secrets = vec!["ana".to_owned(), "ben".into(), "tea-and".into(), "/ip4/".into()];
    secrets.extend(["127.0.0.1".into(), "12D3".into(), "/tmp".into()]);
    secrets.extend(status.paths.iter().map(|path| path.member.id[..8].to_owned()));
    secrets.extend(status.groups.iter().map(|group| group.id[..8].to_owned()));
    secrets.push(ana.data_dir().display().to_string());
    for secret in secrets {
        assert!(!report.contains(&secret), "{secret} stands in the report: {report}");
    }
    let lines = ["--json", "doctor", "--report"];
    let lines = ana.cli_until(&lines, |said| said.code == Some(0)).ok();
    assert!(lines.lines().all(|line| line.starts_with("{\"v\":1,\"check\":")), "{lines}");
}

#[test]
fn without_a_node_the_doctor_looks_at_what_is_there() {
    let world = World::new();
    let mut relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    ana.stop();
    let finds = |said: &Said| said.out.contains("relay 1 can be used");
    let said = ana.cli_until(&["doctor"], finds);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("it is not running") && said.out.contains("wattle up"), "{said:?}");
    assert!(said.out.contains("every page is as it was written"), "{said:?}");
    assert!(
        said.out.contains("relay 1 can be used"),
        "by the addresses of the last start: {said:?}"
    );

    let address = relay.address().to_owned();
    let whole = ana.cli_until(&["doctor", &address], |said| said.code == Some(0)).ok();
    for way in ["  tcp ", "  quic ", "  websocket ", "  log "] {
        assert!(whole.contains(way), "{way}: {whole}");
    }
    relay.kill9();
    let said = ana.cli(&["doctor", &address]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.out.contains("FAILS") && said.out.contains("Is the relay running"), "{said:?}");
    ana.cli(&["doctor", "no such/place"]).refused(2);
}
