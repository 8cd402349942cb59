//! What a relay can tell: nothing that was said, nobody's name, no key, no group.

use std::fs;

use harness::{Forms, Node, Relay, World, absent, files_below};

const WORDS: &str = "the quick brown kettle sings at noon";

/// A life with everything in it: joins, messages, a rotation, a removal, a leave.
fn a_life(world: &World, relay: &Relay, link: &harness::Link) -> Vec<Node> {
    let names = ["anastasia", "benedikta", "cleopatra", "evangeline"];
    let nodes: Vec<Node> =
        names.iter().map(|name| world.node(name).relay_over(link).no_direct().start()).collect();
    let [ana, ben, cleo, eve] = &nodes[..] else { unreachable!() };
    ana.create_group("teatime-secrets");
    for other in [ben, cleo, eve] {
        other.join(&ana.invite("teatime-secrets"));
    }
    for node in &nodes {
        node.until_people("teatime-secrets", &names);
    }
    ana.send("teatime-secrets", WORDS);
    for other in [ben, cleo, eve] {
        other.hears("teatime-secrets", WORDS);
    }
    ana.rotate("teatime-secrets");
    ana.remove("teatime-secrets", "evangeline");
    ben.until_people("teatime-secrets", &["anastasia", "benedikta", "cleopatra"]);
    let long = WORDS.repeat(60);
    let sent = ben.send("teatime-secrets", &long);
    ana.hears("teatime-secrets", &long);
    ben.until_stored(&sent);
    cleo.leave("teatime-secrets");
    ana.until_people("teatime-secrets", &["anastasia", "benedikta"]);
    assert!(relay.data_dir().is_dir());
    nodes
}

/// What must not be found.
fn secrets(nodes: &[Node]) -> Vec<Forms> {
    let group = nodes[0].group("teatime-secrets").summary;
    let mut secrets = vec![
        Forms::text("what was said", "quick brown kettle"),
        Forms::text("the group's name", "teatime-secrets"),
        Forms::hex("the group's id", &group.id),
        // An invite code has the first 20 bytes of it.
        Forms::hex("the beginning of the group's id", &group.id[..40]),
    ];
    for node in nodes {
        secrets.push(Forms::text("a name", node.name()));
        secrets.push(Forms::hex("an identity key", node.member()));
    }
    secrets
}

#[test]
fn what_the_relay_received_stored_and_remembers_tells_it_nothing() {
    let world = World::new();
    let mut relay = world.relay();
    let link = world.link(&relay);
    let nodes = a_life(&world, &relay, &link);
    let secrets = secrets(&nodes);

    let memory = relay.memory();
    assert!(memory.len() > 1 << 20, "the relay's memory was read: {} bytes", memory.len());
    let wire = link.recording();
    assert!(wire.len() > 10_000, "the relay's wire was recorded: {} bytes", wire.len());
    relay.kill9();
    let files = files_below(&relay.data_dir());
    assert!(!files.is_empty());
    absent(&secrets, "the wire", &wire);
    absent(&secrets, "the relay's memory", &memory);
    absent(&secrets, "the relay's log", &fs::read(relay.log_file()).unwrap());
    for file in &files {
        absent(&secrets, &file.display().to_string(), &fs::read(file).unwrap());
        absent(&secrets, "a file's name", file.to_string_lossy().as_bytes());
    }

    let entries = relay.stored();
    assert!(entries.len() > 20, "a life leaves more than {} entries", entries.len());
    for entry in &entries {
        assert!(BUCKETS.contains(&entry.len()), "an entry of {} bytes", entry.len());
        let mut kinds = [false; 256];
        entry.iter().for_each(|byte| kinds[usize::from(*byte)] = true);
        let kinds = kinds.iter().filter(|seen| **seen).count();
        // 512 random bytes have 221 different values, give or take 5.
        assert!(kinds > 180, "an entry that is not like noise: {kinds} different bytes");
    }
}

/// The sizes of an envelope (docs/spec/envelope.md), said again so that a change is noticed.
const BUCKETS: [usize; 7] = [512, 1024, 2048, 4096, 8192, 16384, 32768];

#[test]
fn the_same_search_finds_everything_where_it_may_be() {
    let world = World::new();
    let ana = world.node("anastasia").no_relay().start();
    let group = ana.create_group("teatime-secrets");
    ana.send("teatime-secrets", WORDS);
    let seen = format!("{:?} {:?}", ana.history("teatime-secrets"), ana.status());
    for secret in [
        Forms::text("what was said", "quick brown kettle"),
        Forms::text("the group's name", "teatime-secrets"),
        Forms::hex("the group's id", &group.summary.id),
        Forms::text("a name", "anastasia"),
        Forms::hex("an identity key", ana.member()),
    ] {
        assert!(
            secret.occurs_in(seen.as_bytes()),
            "{} should be found here: a search that finds nothing proves nothing",
            secret.name
        );
    }
}

#[test]
fn a_nodes_own_disk_holds_no_plaintext_either() {
    let world = World::new();
    let mut ana = world.node("anastasia").no_relay().start();
    ana.create_group("teatime-secrets");
    ana.send("teatime-secrets", WORDS);
    assert_eq!(ana.texts("teatime-secrets"), [WORDS]);
    ana.kill9();
    let files = files_below(&ana.data_dir());
    assert!(!files.is_empty());
    let secrets = [
        Forms::text("what was said", "quick brown kettle"),
        Forms::text("the group's name", "teatime-secrets"),
    ];
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        absent(&secrets, &file.display().to_string(), &bytes);
    }
}
