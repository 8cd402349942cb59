//! Settings: by flags, the environment, the file, what is remembered, and which of them holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A person's home, with a settings file or none.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("wattle/node.toml")
    }

    fn command(&self, args: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.args(args).env_clear().env("HOME", self.0.path());
        command.env("XDG_CONFIG_HOME", self.0.path()).env("WATTLE_DATA_DIR", self.data());
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Its exit code, and what it said.
    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let output = self.command(args, environment).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.code(), out, err)
    }

    /// What each key is, and who said so.
    fn origins(&self, args: &[&str], environment: &[(&str, &str)]) -> BTreeMap<String, String> {
        let (code, out, err) = self.run(&[&["config", "--origin"], args].concat(), environment);
        assert_eq!(code, Some(0), "{err}");
        let split = |line: &str| line.split_once(" = ").map(|(key, it)| (key.into(), it.into()));
        out.lines().filter_map(split).collect()
    }

    /// Starts a node there, until it is ready, and ends it.
    fn starts(&self, args: &[&str], environment: &[(&str, &str)]) {
        let mut command = self.command(args, environment);
        command.env("WATTLE_LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ended = self.run(&["down"], &[]).0;
        assert!(line.contains("is up") && ended == Some(0), "{line}");
        assert!(child.wait().unwrap().success());
    }
}

const RELAY: &str = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWKRyzVWW6ChFjQjK4miCty85Niy48tpPV95XdKu1BcvMA";
const SOCKS: &str = "socks5://127.0.0.1:9";

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_defaults() {
    let home = Home::new();
    let all = home.origins(&[], &[]);
    assert_eq!(all["relays"], "[\"host\"]  # default");
    assert!(all["data_dir"].ends_with("/data\"  # environment"), "{all:?}");
    for (key, value) in [("name", "ana"), ("mdns", "true"), ("relays", "none"), ("listen", "a:1")] {
        assert_eq!(home.run(&["config", "set", key, value], &[]).0, Some(0));
    }
    let all = home.origins(&[], &[]);
    for (key, said) in [
        ("name", "\"ana\"  # settings file"),
        ("mdns", "true  # settings file"),
        ("relays", "[\"none\"]  # settings file"),
        ("listen", "[\"a:1\"]  # settings file"),
        ("direct", "true  # default"),
        ("programs", "\"\"  # default"),
    ] {
        assert_eq!(all[key], said, "{key}");
    }
    // What is set to nothing says nothing.
    let nothing = ["NAME", "LISTEN", "RELAY", "RELAY_PROXY", "PROGRAMS", "PASSPHRASE_FILE", "MDNS"];
    let nothing = nothing.map(|name| format!("WATTLE_{name}"));
    let nothing: Vec<(&str, &str)> = nothing.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(home.origins(&[], &nothing), all);
    assert_eq!(home.origins(&["--host"], &nothing)["relays"], "[\"host\"]  # flag");
    let environment = [("WATTLE_NAME", "ben"), ("WATTLE_MDNS", "0"), ("WATTLE_RELAY", RELAY)];
    let all = home.origins(&["--name", "cleo", "--relay-proxy", SOCKS], &environment);
    assert_eq!(all["name"], "\"cleo\"  # flag");
    assert_eq!(all["mdns"], "false  # environment");
    assert_eq!(all["relays"], format!("[\"{RELAY}\"]  # environment"));
    assert_eq!(all["relay_proxy"], format!("\"{SOCKS}\"  # flag"));
    // What is printed is a settings file.
    let (_, printed, _) = home.run(&["config"], &environment);
    fs::write(home.file(), &printed).unwrap();
    assert_eq!(home.run(&["config"], &[]).1, printed);
    let (_, json, _) = home.run(&["--json", "config"], &[]);
    assert!(json.contains(r#"{"v":1,"key":"name","value":"ben","origin":"file"}"#), "{json}");
}

#[test]
fn the_file_is_made_changed_and_refused_by_its_keys() {
    let home = Home::new();
    assert_eq!(home.run(&["config", "init"], &[]).0, Some(0));
    assert_eq!(home.run(&["config", "init"], &[]).0, Some(5));
    let documented = fs::read_to_string(home.file()).unwrap();
    assert_eq!(home.run(&["config", "set", "mdns", "true"], &[]).0, Some(0));
    assert!(fs::read_to_string(home.file()).unwrap().contains("\nmdns = true\n"));
    assert_eq!(home.run(&["config", "unset", "mdns"], &[]).0, Some(0));
    assert_eq!(fs::read_to_string(home.file()).unwrap(), documented);
    let (code, _, err) = home.run(&["config", "set", "mdsn", "true"], &[]);
    assert!(code == Some(2) && err.contains("did you mean mdns?"), "{err}");
    let (code, _, err) = home.run(&["config", "set", "mdns", "maybe"], &[]);
    assert!(code == Some(2) && err.contains("mdns: it is true or false"), "{err}");
    fs::write(home.file(), "relay = \"x\"\n").unwrap();
    for args in [&["config"][..], &["status"], &["up"]] {
        let (code, _, err) = home.run(args, &[]);
        assert!(code == Some(2) && err.contains("did you mean relays?"), "{args:?}: {err}");
    }
    // Nor is one passed over that can't be read.
    fs::remove_file(home.file()).unwrap();
    symlink("nowhere", home.file()).unwrap();
    assert_eq!(home.run(&["up"], &[]).0, Some(2));
    // Another is named; one that is named has to be there.
    assert_eq!(home.run(&["config", "--config", "/dev/null"], &[]).0, Some(0));
    let set = ["config", "set", "mdns", "true", "--config"];
    assert_eq!(home.run(&[&set[..], &["/dev/null"]].concat(), &[]).0, Some(2));
    let (link, to) = (home.0.path().join("link"), home.0.path().join("to"));
    fs::write(&to, "").unwrap();
    symlink(&to, &link).unwrap();
    assert_eq!(home.run(&[&set[..], &[link.to_str().unwrap()]].concat(), &[]).0, Some(0));
    assert!(link.is_symlink() && fs::read_to_string(&to).unwrap() == "mdns = true\n");
    assert_eq!(home.run(&["status"], &[("WATTLE_CONFIG", "/nowhere")]).0, Some(2));
}

#[test]
fn what_the_environment_said_of_relays_is_remembered_and_a_bare_start_hears_it() {
    let home = Home::new();
    let hidden = format!("{RELAY} relay-only");
    home.starts(
        &[],
        &[("WATTLE_RELAY", &hidden), ("WATTLE_RELAY_PROXY", SOCKS), ("WATTLE_NAME", "ana")],
    );
    let all = home.origins(&[], &[]);
    assert_eq!(all["relays"], format!("[\"{RELAY}\"]  # remembered"));
    assert_eq!(all["relay_proxy"], format!("\"{SOCKS}\"  # remembered"));
    assert_eq!(all["direct"], "false  # remembered");
    // So does the next start, without any of it; it needs no flag to start at all.
    home.starts(&["up"], &[]);
    home.starts(&["up"], &[("WATTLE_RELAY_PROXY", "")]);
    assert_eq!(home.origins(&[], &[]), all);
    let (code, _, err) = home.run(&["up"], &[("WATTLE_RELAY_PROXY", "nonsense")]);
    assert!(code == Some(2) && err.contains("--relay-proxy"), "{err}");
}
