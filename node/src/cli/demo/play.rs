//! The demo's steps.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use node::api::types::{CreateInvite, GroupState, JoinState, PAGE_MAX, Page, Path, What};

use super::{
    report::Report,
    scan::{Secret, scan},
};
use crate::cli::stage::{Node, Relay, Stage, copy};

/// Long enough not to occur by chance in what the relay stores.
const GROUP: &str = "kitchen-garden";
const ANA: &str = "Ana Lindgren";
const BEN: &str = "Ben Okonkwo";
const CLEO: &str = "Cleo Marchetti";

const HELLO: [&str; 2] = ["ben here, can you read me?", "welcome ben, I can"];
const DIRECT: [&str; 3] = ["the beans are up", "so are the peas", "slugs in the lettuce"];
const NO_RELAY: [&str; 2] = ["the relay is gone, and you?", "still here without it"];
const RELAYED: [&str; 2] = ["ben, all roads are closed but one", "that one is enough"];
const AWAY: [&str; 5] = [
    "cleo is out, note one of five",
    "note two of five",
    "note three of five",
    "note four of five",
    "note five of five",
];
const SECRET: [&str; 2] = ["the spare key is under the blue pot", "noted, under the blue pot"];

/// How long a removed member is watched for what it must not read.
const WATCH: Duration = Duration::from_millis(700);

/// What joining may take, to the first message readable on both sides.
const JOIN: Duration = Duration::from_secs(1);

struct Cast {
    relay: Relay,
    ana: Node,
    ben: Node,
    cleo: Node,
}

/// What is said of a step that held.
type Held = anyhow::Result<Vec<String>>;

/// Plays all steps.
pub async fn play(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let mut cast = report.begin("start a relay and three nodes", start(stage)).await?;
    let cast = &mut cast;
    report.step("ana makes a group; ben joins by an invite code", joins(cast)).await?;
    report.step("cleo joins with a code of her own", joins_too(cast)).await?;
    report.step("they talk directly, node to node", directly(cast)).await?;
    report.step("the relay stops; they go on talking", without_relay(stage, cast)).await?;
    report.step("ben's direct path is cut; the relay carries", relayed(stage, cast)).await?;
    report.step("cleo is away for a while, and misses nothing", away(stage, cast)).await?;
    report.step("ana removes cleo, who stays connected", removed(cast)).await?;
    report.step("cleo starts from an older copy of her database", old_copy(stage, cast)).await?;
    report.step("the relay's disk is searched, byte by byte", blind(cast)).await?;
    report.step("everything ends in order", end(cast)).await
}

async fn start(stage: &Stage) -> anyhow::Result<(Cast, Vec<String>)> {
    let relay = stage.relay("127.0.0.1:0").await?;
    let known = ["--relay", &relay.address];
    let (ana, ben, cleo) = tokio::try_join!(
        stage.node("ana", ANA, &known),
        stage.node("ben", BEN, &known),
        stage.node("cleo", CLEO, &known),
    )?;
    tokio::try_join!(ana.on_relay(), ben.on_relay(), cleo.on_relay())?;
    let said = "they know one relay's address, and nothing of each other";
    Ok((Cast { relay, ana, ben, cleo }, vec![said.into()]))
}

async fn joins(cast: &Cast) -> Held {
    let Cast { ana, ben, .. } = cast;
    ana.client.create_group(GROUP).await?;
    let code = code(ana).await?;
    let begun = Instant::now();
    join(ben, &code).await?;
    let joined = begun.elapsed();
    ben.client.send(GROUP, HELLO[0]).await?;
    ana.reads(GROUP, &HELLO[..1]).await?;
    ana.client.send(GROUP, HELLO[1]).await?;
    ben.reads(GROUP, &HELLO).await?;
    let readable = begun.elapsed();
    let slow = if readable > JOIN { ": more than the second that it should take" } else { "" };
    Ok(vec![
        format!("joined after {:.2} s, without ana doing anything", joined.as_secs_f64()),
        format!(
            "first messages readable on both sides after {:.2} s{slow}",
            readable.as_secs_f64()
        ),
    ])
}

async fn joins_too(cast: &Cast) -> Held {
    let Cast { ana, ben, cleo, .. } = cast;
    join(cleo, &code(ana).await?).await?;
    tokio::try_join!(members(ana, 3), members(ben, 3), members(cleo, 3))?;
    let fingerprints = tokio::try_join!(fingerprint(ana), fingerprint(ben), fingerprint(cleo))?;
    let (first, second, third) = &fingerprints;
    ensure!(first == second && second == third, "the three don't see the same group");
    Ok(vec!["three members; all three see the same fingerprint".into()])
}

async fn directly(cast: &Cast) -> Held {
    let Cast { ana, ben, cleo, .. } = cast;
    let direct = Path::Direct;
    tokio::try_join!(
        ana.reaches(ben, direct),
        ana.reaches(cleo, direct),
        ben.reaches(ana, direct),
        ben.reaches(cleo, direct),
        cleo.reaches(ana, direct),
        cleo.reaches(ben, direct),
    )?;
    let slowest = says(&[(ana, DIRECT[0]), (ben, DIRECT[1]), (cleo, DIRECT[2])], cast).await?;
    Ok(vec![
        "each has an end-to-end encrypted channel to each other one".into(),
        format!("three messages, each read by the two others within {} ms", slowest.as_millis()),
    ])
}

async fn without_relay(stage: &Stage, cast: &mut Cast) -> Held {
    cast.relay.stop().await?;
    let Cast { ana, ben, .. } = &*cast;
    let slowest = says(&[(ana, NO_RELAY[0]), (ben, NO_RELAY[1])], cast).await?;
    // The same key and the same port: to the nodes it is the same relay.
    let port = cast.relay.address.split('/').skip_while(|part| *part != "tcp").nth(1);
    let listen = format!("127.0.0.1:{}", port.context("the relay has no port")?);
    cast.relay = stage.relay(&listen).await?;
    tokio::try_join!(cast.ana.on_relay(), cast.ben.on_relay(), cast.cleo.on_relay())?;
    let slowest = slowest.as_millis();
    Ok(vec![format!("two messages, each read by the two others within {slowest} ms; it is back")])
}

async fn relayed(stage: &Stage, cast: &mut Cast) -> Held {
    cast.ben.stop().await?;
    cast.ben = stage.node("ben", BEN, &["--no-direct", "--relay", &cast.relay.address]).await?;
    let Cast { ana, ben, cleo, .. } = &*cast;
    let status = ben.client.status().await?;
    ensure!(!status.direct && status.listen.is_empty(), "ben still takes direct connections");
    tokio::try_join!(
        ben.reaches(ana, Path::Relay),
        ben.reaches(cleo, Path::Relay),
        ana.reaches(ben, Path::Relay),
    )?;
    let slowest = says(&[(ana, RELAYED[0]), (ben, RELAYED[1])], cast).await?;
    Ok(vec![
        "ben was started again with --no-direct: only the relay is left to him".into(),
        format!("two messages, each read by the two others within {} ms", slowest.as_millis()),
    ])
}

async fn away(stage: &Stage, cast: &mut Cast) -> Held {
    cast.cleo.stop().await?;
    // For a later step: what somebody keeps who means to read on after being removed.
    copy(&cast.cleo.dir, &stage.place("copy"))?;
    for text in AWAY {
        cast.ana.client.send(GROUP, text).await?;
    }
    cast.ben.reads(GROUP, &AWAY).await?;
    let begun = Instant::now();
    cast.cleo = stage.node("cleo", CLEO, &["--relay", &cast.relay.address]).await?;
    cast.cleo.reads(GROUP, &AWAY).await?;
    let took = begun.elapsed();
    let texts = texts(&cast.cleo).await?;
    let notes: Vec<_> = texts.iter().filter(|text| AWAY.contains(&text.as_str())).collect();
    ensure!(notes == AWAY.iter().collect::<Vec<_>>(), "not in order, or not once: {notes:?}");
    let took = took.as_secs_f64();
    Ok(vec![format!("five messages, in order and once each, {took:.2} s after her node's start")])
}

async fn removed(cast: &Cast) -> Held {
    let Cast { ana, ben, cleo, .. } = cast;
    let before = (place(ana).await?, place(ben).await?);
    ana.client.remove(GROUP, cleo.member()).await?;
    tokio::try_join!(members(ana, 2), members(ben, 2), knows_that_it_is_out(cleo))?;
    let mut watched = cleo.client.events_from_now().await?;
    ana.client.send(GROUP, SECRET[0]).await?;
    ben.reads(GROUP, &SECRET[..1]).await?;
    ben.client.send(GROUP, SECRET[1]).await?;
    ana.reads(GROUP, &SECRET).await?;
    cleo.on_relay().await?;
    let leak = watched.wait_for(|event| match &event.what {
        What::Message { message } => Some(message.text.clone()),
        _ => None,
    });
    // Not to wait for something, but to look at nothing's happening.
    if let Ok(leak) = tokio::time::timeout(WATCH, leak).await {
        anyhow::bail!("cleo read {:?}", leak?);
    }
    has_no_secret(cleo).await?;
    sealed_anew(ana, before.0, ben).await?;
    sealed_anew(ben, before.1, ana).await?;
    Ok(vec![
        "ana and ben wrote on under new keys, sealed to each other and nobody else".into(),
        "cleo's node runs, is connected to the relay, and has none of it".into(),
    ])
}

async fn old_copy(stage: &Stage, cast: &mut Cast) -> Held {
    cast.cleo.stop().await?;
    let member = cast.cleo.ready.member.clone();
    cast.cleo = stage.node("copy", CLEO, &["--relay", &cast.relay.address]).await?;
    let cleo = &cast.cleo;
    ensure!(cleo.member() == member, "the copy is somebody else");
    // What was for her she reads: the copy works, and reads the relay.
    cleo.reads(GROUP, &AWAY).await?;
    knows_that_it_is_out(cleo).await?;
    cleo.on_relay().await?;
    has_no_secret(cleo).await?;
    Ok(vec![
        "it was made before the removal, with all keys of that time".into(),
        "it opens what was for her then, and nothing that came after".into(),
    ])
}

async fn blind(cast: &Cast) -> Held {
    let Cast { relay, ana, ben, cleo } = cast;
    let group = ana.client.group(GROUP).await?.summary.id;
    let all = [&HELLO[..], &DIRECT, &NO_RELAY, &RELAYED, &AWAY, &SECRET].concat();
    let written = texts(ana).await?;
    ensure!(all.iter().all(|text| written.iter().any(|known| known == text)), "ana misses some");
    let mut secrets: Vec<Secret> =
        all.iter().map(|text| Secret::text(&format!("the message {text:?}"), text)).collect();
    secrets.extend([ANA, BEN, CLEO].map(|name| Secret::text(&format!("the name {name}"), name)));
    secrets.extend([ana, ben, cleo].map(|node| Secret::id("an identity key", node.member())));
    secrets.push(Secret::text("the group's name", GROUP));
    secrets.push(Secret::id("the group's id", &group));
    let dir = relay.dir.clone();
    let scanned = tokio::task::spawn_blocking(move || scan(&dir, &secrets)).await??;
    let least = 512 * all.len() as u64;
    ensure!(scanned.bytes >= least, "only {} bytes: that can't be all", scanned.bytes);
    ensure!(scanned.found.is_empty(), "the relay has {}", scanned.found.join(", "));
    let (files, bytes) = (scanned.files, scanned.bytes / 1024);
    Ok(vec![format!(
        "{files} files, {bytes} KiB: no message, no name, no identity key, no group id"
    )])
}

async fn end(cast: &mut Cast) -> Held {
    let Cast { relay, ana, ben, cleo } = cast;
    tokio::try_join!(ana.stop(), ben.stop(), cleo.stop())?;
    relay.stop().await?;
    Ok(Vec::new())
}

/// A new invite's code.
async fn code(node: &Node) -> anyhow::Result<String> {
    let invite = node.client.invite(GROUP, &CreateInvite::default()).await?;
    invite.code.context("the invite has no code")
}

/// Joins, and waits until it is a member.
async fn join(node: &Node, code: &str) -> anyhow::Result<()> {
    let id = node.client.join(code).await?.id;
    let end = node
        .until("joined", async |client| {
            let now = client.join_state(&id).await?;
            Ok((now.state >= JoinState::Joined).then_some(now))
        })
        .await?;
    ensure!(end.state == JoinState::Joined, "the join failed: {}", end.detail);
    Ok(())
}

/// One after the other says something, and all the others read it. Answers the longest that one
/// took to be read by all.
async fn says(lines: &[(&Node, &str)], cast: &Cast) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for (speaker, text) in lines {
        let begun = Instant::now();
        speaker.client.send(GROUP, text).await?;
        let texts = [*text];
        let (ana, ben, cleo) = tokio::try_join!(
            cast.ana.reads(GROUP, &texts),
            cast.ben.reads(GROUP, &texts),
            cast.cleo.reads(GROUP, &texts),
        )?;
        slowest = slowest.max(ana.max(ben).max(cleo) - begun);
    }
    Ok(slowest)
}

/// Waits until a node sees so many members.
async fn members(node: &Node, count: u64) -> anyhow::Result<()> {
    node.until(&format!("sees {count} members"), async |client| {
        Ok((client.group(GROUP).await?.summary.members == count).then_some(()))
    })
    .await
}

async fn fingerprint(node: &Node) -> anyhow::Result<String> {
    Ok(node.client.group(GROUP).await?.fingerprint)
}

/// Waits until a node has seen its own removal.
async fn knows_that_it_is_out(node: &Node) -> anyhow::Result<()> {
    node.until("sees its removal", async |client| {
        Ok((client.group(GROUP).await?.summary.state == GroupState::Removed).then_some(()))
    })
    .await
}

/// Where a node's events are.
async fn place(node: &Node) -> anyhow::Result<u64> {
    Ok(node.client.events_from_now().await?.after())
}

/// Looks that a node has made new keys since, and sealed them to one other member alone.
async fn sealed_anew(node: &Node, since: u64, other: &Node) -> anyhow::Result<()> {
    let (mut events, now) = (node.client.events(since).await?, place(node).await?);
    let mut sealed = 0;
    while events.after() < now {
        let What::Rotated { sender, to } = events.next().await?.what else { continue };
        if sender.id == node.member() {
            let to: Vec<&str> = to.iter().map(|member| member.id.as_str()).collect();
            ensure!(to == [other.member()], "new keys were sealed to {} members", to.len());
            sealed += 1;
        }
    }
    ensure!(sealed > 0, "no new keys were made");
    Ok(())
}

async fn texts(node: &Node) -> anyhow::Result<Vec<String>> {
    let page = Page { limit: Some(PAGE_MAX), ..Page::default() };
    let messages = node.client.history(GROUP, page).await?;
    Ok(messages.into_iter().map(|message| message.text).collect())
}

async fn has_no_secret(node: &Node) -> anyhow::Result<()> {
    let read = texts(node).await?;
    ensure!(!read.iter().any(|text| SECRET.contains(&text.as_str())), "it read what came after");
    Ok(())
}
