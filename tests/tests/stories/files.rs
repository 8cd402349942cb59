//! Files, from one disk to others.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Disk, Node, World, available};
use node::api::types::{FileStanding, FileView};

pub(super) const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// A file of a node's person, outside of the node's directory: no two of its chunks are alike.
pub(super) fn file(node: &Node, name: &str, bytes: usize) -> (PathBuf, Vec<u8>) {
    let mut state = bytes as u64 | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    let path = node.data_dir().with_file_name(name);
    fs::write(&path, &content).unwrap();
    (path, content)
}

pub(super) fn look(node: &Node) -> Vec<FileView> {
    node.ask("its files", |client| async move { client.files("tea").await })
}

/// Waits until a node's only file is as it should be.
pub(super) fn until(node: &Node, what: &str, holds: impl Fn(&FileView) -> bool) -> FileView {
    let start = Instant::now();
    loop {
        let files = look(node);
        if let [file] = &files[..]
            && holds(file)
        {
            return file.clone();
        }
        assert!(start.elapsed() < PATIENCE, "{} waits for {what}: {files:#?}", node.name());
        sleep(Duration::from_millis(10));
    }
}

pub(super) fn send(node: &Node, path: &std::path::Path) {
    node.cli(&["file", "send", "tea", path.to_str().unwrap()]).ok();
}

pub(super) fn get(node: &Node, file: &str) {
    node.cli(&["file", "get", "tea", file, "--no-wait"]).ok();
}

/// How many files there are of what is not all here.
fn parts(node: &Node) -> usize {
    fs::read_dir(node.data_dir().join("files/parts")).map_or(0, Iterator::count)
}

pub(super) fn content(file: &FileView) -> Vec<u8> {
    fs::read(file.path.as_ref().expect("it is here")).unwrap()
}

#[test]
fn a_file_whose_receiver_is_killed_in_the_middle_goes_on_where_it_was_and_arrives_whole() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    let mut ben = world.node("ben").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let size = std::env::var("WATTLE_FILE_MIB").map_or(40, |mib| mib.parse().unwrap()) * MIB;
    let (path, sent) = file(&ana, "plan.pdf", size);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "plan.pdf");
    // By then it was noted what is there.
    let some = (size / 4).max(17 * MIB) as u64;
    until(&ben, "some of it", |file| file.bytes > some);
    ben.kill9();
    assert!(parts(&ben) >= 2, "it was killed too late to be of use: all was there");

    // What was there is not asked for again: it could not be given.
    let changed = fs::OpenOptions::new().write(true).open(&path).unwrap();
    changed.write_all_at(&[!sent[0]], 0).unwrap();
    ben.start_again();
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
    assert_eq!(parts(&ben), 0, "nothing is left of its parts");
}

/// Ana, Ben and Cleo in one group.
fn three(world: &World) -> [Node; 3] {
    let nodes = ["ana", "ben", "cleo"].map(|name| world.node(name).no_relay().start());
    nodes[0].create_group("tea");
    for node in &nodes[1..] {
        node.join(&nodes[0].invite("tea"));
    }
    for node in &nodes {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    nodes
}

/// One offers notes.txt to the others, who have heard of it: what it has.
fn offer(from: &Node, to: &[&Node]) -> Vec<u8> {
    let (path, sent) = file(from, "notes.txt", 3 * MIB + 17);
    send(from, &path);
    for node in to {
        until(node, "the offer", |file| file.state == FileStanding::Offered);
    }
    sent
}

#[test]
fn whoever_has_a_file_gives_it_while_its_sender_is_away() {
    let world = World::new();
    let [mut ana, ben, cleo] = three(&world);
    let sent = offer(&ana, &[&ben, &cleo]);
    let said = ben.cli(&["file", "get", "tea", "notes.txt"]).ok();
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert_eq!(said.trim(), here.path.as_deref().unwrap());
    assert!(content(&here) == sent);

    ana.stop();
    get(&cleo, "notes.txt");
    let here = until(&cleo, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
}

#[test]
fn who_waits_for_a_file_waits_on_while_who_is_there_has_changed_it() {
    let world = World::new();
    let [mut ana, ben, cleo] = three(&world);
    let sent = offer(&ana, &[&ben, &cleo]);
    let here = ben.cli(&["file", "get", "tea", "notes.txt"]).ok();
    fs::write(here.trim(), b"notes of my own").unwrap();
    ana.stop();
    std::thread::scope(|scope| {
        let said = scope.spawn(|| world.cli("cleo", &["file", "get", "tea", "notes.txt"]).ok());
        let refused = until(&cleo, "a word of it", |file| !file.problem.is_empty());
        assert!(refused.problem.contains("changed") && !refused.failed, "{refused:?}");
        ana.start_again();
        assert!(fs::read(said.join().unwrap().trim()).unwrap() == sent);
    });
}

#[test]
fn what_nobody_wants_any_more_leaves_nothing_behind() {
    let world = World::new();
    let mut ana = world.node("ana").no_relay().start();
    let mut ben = world.node("ben").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let (path, _) = file(&ana, "notes.txt", MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    ana.stop();
    let said = ben.cli(&["file", "get", "tea", "notes.txt", "--timeout", "1s"]).refused(4);
    assert!(said.contains("the node goes on"), "{said}");
    until(&ben, "a place for it", |file| file.state == FileStanding::Fetching && parts(&ben) > 0);
    ben.cli(&["file", "cancel", "tea", "notes.txt"]).ok();
    until(&ben, "its end", |file| file.state == FileStanding::Offered && parts(&ben) == 0);

    // Nor does what a node that was killed has left.
    ben.stop();
    for left in ["4711", "4711.state", "4711.new"] {
        fs::write(ben.data_dir().join("files/parts").join(left), b"left").unwrap();
    }
    ben.start_again();
    until(&ben, "its end", |_| parts(&ben) == 0);
}

#[test]
fn what_is_no_file_too_large_or_of_no_group_is_refused_in_words() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    let large = ana.data_dir().with_file_name("large");
    fs::File::create(&large).unwrap().set_len((16 << 30) + 1).unwrap();
    let send = |group: &str, path: &str| ana.cli(&["file", "send", group, path]).refused(2);
    let said = send("tea", large.to_str().unwrap());
    assert!(said.contains("the largest has 17179869184"), "{said}");
    let said = send("tea", ana.data_dir().parent().unwrap().to_str().unwrap());
    assert!(said.contains("no file"), "{said}");
    let said = send("tea", ana.data_dir().join("key").to_str().unwrap());
    assert!(said.contains("own directory"), "{said}");
    let said = ana.cli(&["file", "send", "coffee", "/etc/hostname"]).refused(6);
    assert!(said.contains("no group"), "{said}");
    let said = ana.cli(&["file", "get", "tea", "plan.pdf"]).refused(6);
    assert!(said.contains("plan.pdf"), "{said}");
    assert!(look(&ana).is_empty());
}

#[test]
fn what_a_small_disk_has_no_room_for_is_not_fetched_and_its_node_goes_on() {
    let world = World::new();
    let dir = world.dir().join("small");
    let Some(_disk) = available(Disk::new(&dir, "64m")) else { return };
    let ana = world.node("ana").no_relay().start();
    let ben = world.node("ben").living_in(dir).no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let (path, _) = file(&ana, "notes.txt", MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "notes.txt");
    let refused = until(&ben, "a word of it", |file| !file.problem.is_empty());
    assert!(refused.problem.contains("1 MiB are still to come"), "{refused:#?}");
    assert!(refused.problem.contains("256 MiB are to stay free"), "{refused:#?}");
    ben.send("tea", "still here");
    ana.hears("tea", "still here");
}
