//! A walk through all that people are shown to type: it works as it stands there.
//!
//! > Each command in the documents' blocks of shell and in the help of every command is run by real processes, in
//! > [`story::STORY`], or is one of [`story::EXCEPTIONS`], with the reason. What is in neither fails, and so does
//! > what is there and shown nowhere any more.
//!
//! What stands for something else is put in its place: a relay's address, an id, a person's machine.

mod shown;
mod story;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{Node, Relay, Said, World};
use node::api::types::CreateInvite;

use self::story::{EXCEPTIONS, How, STORY};

#[test]
fn everything_that_people_are_shown_to_type_is_walked_or_excepted() {
    let world = World::new();
    let shown = shown::shown(&world);
    let walked: BTreeSet<&str> = STORY.iter().map(|(line, _)| *line).collect();
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().map(|(line, _)| *line).collect();
    assert_eq!(walked.intersection(&excepted).next(), None, "walked, and excepted");
    let known: BTreeSet<&str> = walked.union(&excepted).copied().collect();
    let new: Vec<_> = shown.iter().filter(|(line, _)| !known.contains(line.as_str())).collect();
    assert!(new.is_empty(), "shown, and neither walked nor excepted: {new:#?}");
    let stale: Vec<_> = known.iter().filter(|line| !shown.contains_key(**line)).collect();
    assert!(stale.is_empty(), "shown nowhere any more: {stale:#?}");
    assert!(EXCEPTIONS.iter().all(|(_, why)| !why.is_empty()));
}

#[test]
fn what_people_are_shown_to_type_works() {
    let world = World::new();
    let stage = Stage::new(&world);
    let failed: Vec<String> = STORY
        .iter()
        .filter_map(|(line, how)| Some(format!("{line}\n{}", stage.run(line, *how).err()?)))
        .collect();
    assert!(failed.is_empty(), "{} of them fail:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// The people, their relay, and the folder in which they work.
struct Stage<'a> {
    world: &'a World,
    relay: Relay,
    nodes: Vec<Node>,
    desk: PathBuf,
}

impl<'a> Stage<'a> {
    fn new(world: &'a World) -> Self {
        let relay = world.relay();
        let names = ["ana", "ben", "cleo", "mallory", "dora", "eve"];
        let nodes = names.map(|name| world.node(name).relay(&relay).start()).into();
        let desk = world.dir().join("desk");
        for folder in
            ["bin", ".zfunc", ".local/share/bash-completion/completions", ".local/share/man/man1"]
        {
            fs::create_dir_all(desk.join(folder)).unwrap();
        }
        fs::create_dir_all(desk.join(".config/fish/completions")).unwrap();
        fs::write(desk.join("plan.pdf"), "the plan").unwrap();
        fs::write(desk.join("text"), "deployed to production\n").unwrap();
        symlink(shown::repository().join("docs"), desk.join("docs")).unwrap();
        // What not every machine has, or what would go on for ever.
        program(&desk, "journalctl", "echo web: up; echo web: serves");
        program(&desk, "make", "echo make: nothing to be done");
        program(&desk, "man", "cat > /dev/null");
        program(&desk, "uptime", "echo up 3 days");
        program(&desk, "jq", "cat > /dev/null");
        program(&desk, "ship", "echo shipped");
        program(&desk, "zbarimg", "cat pair");
        Self { world, relay, nodes, desk }
    }

    fn run(&self, line: &str, how: How) -> Result<(), String> {
        let words = self.filled(line);
        match how {
            How::By(who) => ended_well(self.shell(who, &words)),
            How::Fed(who, file) => ended_well(self.shell(who, &format!("{words} < {file}"))),
            How::Soon(who) => self.soon(self.node(who), &words),
            How::Until(who, says) => {
                let line = self.here(&format!("exec {words} 2>&1"));
                let beside = self.world.beside(who, "walk", &line);
                beside.says(says, |line| line.contains(says).then_some(()));
                Ok(())
            }
            How::Asked(who) => {
                self.ask_for("ops");
                ended_well(self.shell(who, &words))
            }
        }
    }

    /// Runs it again after the node's next events, as long as it does not end well.
    fn soon(&self, node: &Node, words: &str) -> Result<(), String> {
        let mut ended = Ok(());
        for _ in 0..TIMES {
            let seen = node.latest_event();
            ended = ended_well(self.shell(node.name(), words));
            if ended.is_ok() {
                break;
            }
            node.within(AGAIN, seen, |_| Some(()));
        }
        ended
    }

    /// Ben shows Ana a code by which she is asked.
    fn ask_for(&self, group: &str) {
        let asks = CreateInvite { ask: Some(true), ..CreateInvite::default() };
        let ana = self.node("ana");
        let code = ana.invite_for(group, asks).code.unwrap();
        self.node("ben").join_later(&code);
        ana.until_group(group, "Ben to wait", |_| {
            let waiting = ana.ask("requests", |client| async move { client.requests("ops").await });
            waiting.iter().any(|request| request.member.name == "ben")
        });
    }

    /// With what stands for something in its place.
    fn filled(&self, line: &str) -> String {
        let line = line.strip_prefix("ana$ ").or(line.strip_prefix("ben$ ")).unwrap_or(line);
        let relay = self.relay.address();
        let mut filled =
            line.replace("target/release/", "").replace(" ADDRESS", &format!(" {relay}"));
        for far in
            ["/dns/relay.example.org/tcp/4407/p2p/12D3…", "/ip4/203.0.113.7/tcp/4407/p2p/12D3…"]
        {
            filled = filled.replace(far, relay);
        }
        for asks in ["doctor", "check"] {
            filled =
                filled.replace(&format!("{asks} relay.example.org"), &format!("{asks} {relay}"));
        }
        if filled.contains("5f0c…") {
            filled = filled.replace("5f0c…", self.node("ben").member());
        }
        if filled.contains("3f9a1c2b") {
            let list = self.shell("nobody", "wattle-rendezvous token list").ok();
            let line =
                list.lines().find(|line| line.contains("ana")).unwrap_or_else(|| panic!("{list}"));
            filled = filled.replace("3f9a1c2b", line.split_whitespace().next().unwrap());
        }
        filled = filled.replace("@1a2b3c4d", &format!("@{}", self.node("ben").member()));
        filled = filled.replace("4711", "1");
        if filled.contains("--compare") {
            let people = self.node("ana").group("ops").people;
            let ben = people.into_iter().find(|it| it.member.name == "ben").expect("he is in");
            fs::write(self.desk.join("pair"), &ben.pair).unwrap();
            if let Some((before, _)) = filled.split_once("11111") {
                filled = format!("{before}{}", ben.pair);
            }
        }
        if filled.contains("1a2b3c4d") {
            filled = filled.replace("1a2b3c4d", &self.id(&filled));
        }
        filled
    }

    /// The id of Ana's newest message in the group, or of an invite of hers.
    fn id(&self, line: &str) -> String {
        let ana = self.node("ana");
        if line.contains("invite") {
            let all = ana.ask("invites", |client| async move { client.invites("ops").await });
            return all.last().expect("she has made some").id.clone();
        }
        let history = ana.history("ops");
        let mine = history.iter().rev().find(|message| message.mine);
        mine.expect("she has said something").id.clone()
    }

    fn shell(&self, who: &str, words: &str) -> Said {
        self.world.shell(who, &self.here(words))
    }

    /// At the desk, which is everybody's home. No port is one that another program may have.
    fn here(&self, words: &str) -> String {
        let desk = self.desk.display();
        format!(
            "cd '{desk}' && export HOME='{desk}' PATH='{desk}/bin':\"$PATH\" && \
             export WATTLE_RENDEZVOUS_LISTEN=127.0.0.1:0 WATTLE_RENDEZVOUS_WATCH= && \
             unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME && {words}"
        )
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name() == name).expect("one of the six")
    }
}

fn program(desk: &Path, name: &str, does: &str) {
    let path = desk.join("bin").join(name);
    fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn ended_well(said: Said) -> Result<(), String> {
    if said.code == Some(0) { Ok(()) } else { Err(format!("{said:#?}")) }
}

/// How often something is tried that waits for others.
const TIMES: usize = 12;
/// How long a node's next event is waited for in between.
const AGAIN: Duration = Duration::from_secs(5);
