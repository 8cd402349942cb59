//! The benchmark of paths tells of each of its scenes.

use std::process::Command;

use serde_json::Value;

/// Each table, with words of each of its rows.
const ROWS: [(&str, &[&str]); 5] = [
    (
        "latency",
        &["direct, loopback", "relayed, loopback", "direct, 20 ms", "relayed, 20 ms", "punched"],
    ),
    ("start", &["loopback", "20 ms", "two home NATs"]),
    (
        "healing",
        &[
            "relayed, loopback: next message",
            "relayed, 20 ms: next message",
            "direct, loopback: next message",
            "direct, 20 ms: next message",
            "cut, 20 ms: next message",
            "cut, 20 ms: status says relay",
            "after mending",
        ],
    ),
    ("catch-up", &["the relay, loopback", "the relay, 20 ms", "member, loopback", "member, 20 ms"]),
    ("bytes", &["sender to relay", "relay to receiver", "direct"]),
];

#[test]
fn each_path_has_its_figures_or_says_why_not() {
    let mut paths = Command::new(env!("CARGO_BIN_EXE_paths"));
    paths.args(["--messages", "3", "--away", "3", "--rounds", "1", "--loopback", "--json"]);
    paths.args(["--patience-s", "600"]);
    let said = paths.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (table, names) in ROWS {
        let rows: Vec<&Value> = rows.iter().filter(|row| row["table"] == table).collect();
        assert_eq!(rows.len(), names.len(), "{text}");
        for name in names {
            let is_it = |row: &&&Value| row["row"].as_str().unwrap().contains(name);
            assert!(rows.iter().any(|row| is_it(&row)), "{table} has no {name}: {text}");
        }
    }
    for row in &rows {
        let is_here = row["row"].as_str().unwrap().contains("loopback");
        assert_eq!(is_here, row["why_not"].is_null(), "{row}");
    }
    let latency = |path: &str| {
        let mut rows = rows.iter().filter(|row| row["table"] == "latency");
        rows.find(|row| row["row"] == path).unwrap()["status_says"].as_str().unwrap()
    };
    assert!(latency("direct, loopback").starts_with("direct /ip4/127.0.0.1/"), "{text}");
    assert!(latency("relayed, loopback").starts_with("relay: "), "{text}");
}
