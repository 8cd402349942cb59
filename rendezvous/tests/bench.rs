//! `wattle-rendezvous bench`: load on a relay of its own and on one that is named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Output, Stdio},
};

use rendezvous::{Config, Limits, Relay, store::Quota};
use serde_json::Value;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.arg("bench").args(args).env_remove("WATTLE_RELAY_TOKEN");
    command
}

/// Exit code, standard output, standard error.
fn bench(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn json(out: &str) -> Value {
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(out).unwrap()
}

/// Nothing was lost, told twice, made up or cut off, and something came.
fn is_whole(figures: &Value, fan_out: u64) {
    let deliveries = &figures["deliveries"];
    for none in ["lost", "cut_off", "repeated", "strange", "connections_lost"] {
        assert_eq!(deliveries[none], 0, "{none}: {figures}");
    }
    let acknowledged = figures["appends"]["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 0, "{figures}");
    assert_eq!(figures["appends"]["unanswered"], 0, "{figures}");
    assert_eq!(deliveries["delivered"], acknowledged * fan_out, "{figures}");
    for times in ["ack", "delivery"] {
        let at = |name: &str| figures[times][name].as_f64().unwrap();
        let in_order = [at("p50_ms"), at("p90_ms"), at("p99_ms"), at("max_ms")];
        assert!(in_order[0] > 0.0 && in_order.is_sorted(), "{figures}");
    }
    assert_eq!(figures["ack"]["count"], acknowledged, "{figures}");
    assert_eq!(figures["delivery"]["count"], acknowledged * fan_out, "{figures}");
}

async fn relay(limits: Limits) -> Relay {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap()
}

#[test]
fn a_relay_of_its_own_loses_nothing_and_its_figures_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let load = ["--clients", "6", "--logs", "8", "--fan-out", "3", "--idle", "4", "--seconds", "2"];
    let (code, out, words) =
        bench(&[&load[..], &["--rate", "100", "--dir", place, "--json"]].concat());
    assert_eq!(code, Some(0), "{out}{words}");
    let figures = json(&out);
    assert_eq!((&figures["v"], &figures["load"]["relay"]), (&1.into(), &"own".into()));
    is_whole(&figures, 3);
    assert_eq!(figures["connect"]["count"], 10);
    assert!(figures["wire"]["bytes_per_delivery"].as_f64().unwrap() > 512.0, "{figures}");
    if cfg!(target_os = "linux") {
        let cost = &figures["relay"];
        for figure in ["cpu_s", "memory_before", "memory_most", "files_most"] {
            assert!(cost[figure].as_f64().unwrap() > 0.0, "{figure}: {figures}");
        }
        assert!(cost["files_most"].as_u64() > cost["files_before"].as_u64(), "{figures}");
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "and nothing stays");
}

#[test]
fn people_get_lines_and_as_fast_as_can_be_is_a_rate_too() {
    let load = ["--clients", "3", "--logs", "1", "--fan-out", "3", "--seconds", "1"];
    let (code, out, words) = bench(&[&load[..], &["--rate", "0", "--no-store"]].concat());
    assert_eq!(code, Some(0), "{out}{words}");
    for name in ["load", "connect", "appends", "deliveries", "ack", "delivery", "wire", "loss"] {
        assert!(out.lines().any(|line| line.starts_with(name)), "{name}: {out}");
    }
    assert!(out.contains("0 lost, 0 told twice, 0 never appended"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_named_is_loaded_by_each_way_and_its_process_read() {
    let relay = relay(Limits::live()).await;
    let addr = relay.addrs()[0].to_string();
    let pid = std::process::id().to_string();
    for way in ["tcp", "quic", "ws"] {
        let load = ["--clients", "3", "--logs", "2", "--fan-out", "2", "--seconds", "1"];
        let named = [addr.as_str(), "--way", way, "--pid", pid.as_str(), "--rate", "50", "--json"];
        let (code, out, words) = bench(&[&named[..], &load].concat());
        assert_eq!(code, Some(0), "{out}{words}");
        assert!(words.contains("count against"), "{words}");
        let figures = json(&out);
        is_whole(&figures, 2);
        assert_eq!(
            (&figures["load"]["way"], &figures["load"]["relay"]),
            (&way.into(), &"named".into())
        );
        assert_eq!(figures["wire"].is_null(), way == "quic", "{figures}");
        assert_eq!(figures["relay"].is_object(), cfg!(target_os = "linux"), "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_refuses_is_counted_and_said_and_is_no_loss() {
    let quota = Quota { log_entries: 5, ..Limits::live().quota };
    let relay = relay(Limits { quota, ..Limits::live() }).await;
    let addr = relay.addrs()[0].to_string();
    let load = ["--clients", "2", "--logs", "1", "--fan-out", "2", "--seconds", "3"];
    let (code, out, words) = bench(&[&[addr.as_str(), "--json"][..], &load].concat());
    assert_eq!(code, Some(0), "{out}{words}");
    let figures = json(&out);
    is_whole(&figures, 2);
    assert_eq!(figures["appends"]["acknowledged"], 5, "{figures}");
    assert!(figures["appends"]["refused"].as_u64().unwrap() > 0, "{figures}");
    assert_eq!(figures["appends"]["refusal"], "the log is full", "{figures}");
}

#[test]
fn a_soak_takes_half_of_the_rate_and_says_whether_it_was_long_enough() {
    let load = ["--clients", "2", "--logs", "1", "--fan-out", "1", "--seconds", "8"];
    let (code, out, words) =
        bench(&[&load[..], &["--soak", "--rate", "100", "--warm-up", "0", "--json"]].concat());
    assert_eq!(code, Some(0), "{out}{words}");
    let figures = json(&out);
    is_whole(&figures, 1);
    assert_eq!(figures["load"]["rate"], 50);
    if cfg!(target_os = "linux") {
        let soak = &figures["soak"];
        assert_eq!((&soak["judged"], &soak["holds"]), (&false.into(), &true.into()), "{figures}");
        assert!(soak["samples"].as_u64().unwrap() >= 3, "{figures}");
        assert!(soak["memory_percent_per_hour"].is_number(), "{figures}");
    }
}

#[test]
fn the_honest_lose_nothing_among_those_who_mean_no_good() {
    if cfg!(target_os = "linux")
        && !std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|it| it.contains(" lo"))
    {
        println!("skipped: there is no ::1");
        return;
    }
    // As few and for as long as that newcomers come through also where the machine is busy with others.
    let load =
        ["--clients", "3", "--logs", "2", "--fan-out", "2", "--seconds", "5", "--rate", "40"];
    let hostile =
        ["--hostile", "handshakes,slow,noise,frames,stuck,appends,guesses", "--attackers", "20"];
    let (code, out, words) =
        bench(&[&load[..], &hostile, &["--attacks", "15", "--no-store", "--json"]].concat());
    assert_eq!(code, Some(0), "{out}{words}");
    let figures = json(&out);
    for none in ["lost", "cut_off", "repeated", "strange", "connections_lost"] {
        assert_eq!(figures["deliveries"][none], 0, "{none}: {figures}");
    }
    let siege = &figures["siege"];
    assert_eq!(siege["attacks"].as_array().unwrap().len(), 7, "{figures}");
    // Each once at least; how many more is up to the machine.
    assert!(siege["tried"].as_u64().unwrap() >= 7, "{figures}");
    for stage in ["before", "under"] {
        for times in ["ack", "delivery", "connect"] {
            assert!(
                siege[stage][times]["p99_ms"].as_f64().unwrap() > 0.0,
                "{stage} {times}: {figures}"
            );
        }
        assert_eq!(siege[stage]["turned_away"], 0, "{stage}: {figures}");
    }
}

#[test]
fn one_that_is_interrupted_tells_what_there_is() {
    let mut command = command(&["--seconds", "3600", "--clients", "2", "--fan-out", "1", "--json"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut words = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("of load") {
        line.clear();
        assert!(words.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut out = String::new();
    process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130), "{out}");
    let figures = json(&out);
    assert_eq!(figures["interrupted"], true);
    assert_eq!(figures["deliveries"]["lost"], 0);
}

#[test]
fn what_can_not_be_measured_is_refused_in_words() {
    for (args, said) in [
        (&["--fan-out", "9", "--clients", "3"][..], "no more followers"),
        (&["--bytes", "500"], "512, 1024"),
        (&["--soak", "--rate", "0"], "--rate"),
        (&["--soak", "/ip4/127.0.0.1/tcp/9"], "--pid"),
        (&["--pid", "1"], "ADDR"),
    ] {
        let (code, _, words) = bench(args);
        assert!(code == Some(2) && words.contains(said), "{args:?}: {code:?} {words}");
    }
    // A port that is held, and on which nobody listens.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (code, out, words) = bench(&[&held.local_addr().unwrap().to_string()]);
    assert_eq!((code, out.as_str()), (Some(4), ""), "{words}");
    assert!(words.contains("can't connect"), "{words}");
}
