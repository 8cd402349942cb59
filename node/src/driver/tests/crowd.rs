//! A large group of real nodes by a real relay: what it costs when many join, speak, and one is removed.
//!
//! > Counted at the relay and in the nodes' stores; docs/spec/costs.md states the bounds. Time bounds nothing here.

use std::{collections::BTreeMap, net::SocketAddr};

use futures::future::join_all;
use rendezvous::{Config, Relay, WatchConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::*;
use crate::{
    api::types::{GroupState, GroupView},
    net::address::is_web,
};

/// Members of the group; `WATTLE_CROWD=100` asks for another number.
const MEMBERS: usize = 16;
/// Nodes that do something at the same time.
const AT_ONCE: usize = 5;
/// The counts have come to rest when they stand still for so long. In groups of more than 64 what is had is gathered for up to
/// a minute before it is said.
const REST: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(75)];

/// What a relay has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    appends: u64,
    append_bytes: u64,
    deliveries: u64,
}

impl Counted {
    async fn at(watch: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(watch).await.unwrap();
        let asked = format!("GET /metrics HTTP/1.1\r\nhost: {watch}\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        let count = |name: &str| {
            let name = format!("wattle_rendezvous_{name}_total ");
            let line = said.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap_or_else(|| panic!("no {name} in {said}")).trim().parse().unwrap()
        };
        Self {
            appends: count("appends"),
            append_bytes: count("append_bytes"),
            deliveries: count("deliveries"),
        }
    }

    /// The counts once nothing happens any more.
    async fn rested(watch: SocketAddr) -> Self {
        let mut last = Self::at(watch).await;
        let rest = REST[usize::from(members() > 64)];
        loop {
            sleep(rest).await;
            let now = Self::at(watch).await;
            if now == last {
                return now;
            }
            last = now;
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            appends: self.appends - before.appends,
            append_bytes: self.append_bytes - before.append_bytes,
            deliveries: self.deliveries - before.deliveries,
        }
    }
}

/// The group as a node shows it.
fn view(core: &mut Core, now: Timestamp) -> GroupView {
    core.group("tea", now).unwrap()
}

/// Waits until each of these nodes says yes.
async fn all_until(
    nodes: &[Running],
    ask: impl Fn(&mut Core, Timestamp) -> bool + Clone + Send + 'static,
) {
    for node in nodes {
        let ask = ask.clone();
        until(node, move |core, now| ask(core, now).then_some(())).await;
    }
}

/// Sends, and waits until each of these nodes has it.
async fn says(from: &Running, to: &[Running], text: &'static str) {
    from.handle.call(move |core, now| core.send("tea", text, now)).await.unwrap().unwrap();
    for node in to {
        let reader = node.reader.clone();
        until(node, move |_, _| {
            let all = reader.came_after(None, 0, 1_000).unwrap();
            all.iter().any(|message| message.text == text).then_some(())
        })
        .await;
    }
}

fn members() -> usize {
    let asked = std::env::var("WATTLE_CROWD").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(MEMBERS).max(6)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_real_nodes_join_speak_and_remove_within_what_is_stated() {
    let (count, dir) = (members(), TempDir::new().unwrap());
    let n = u64::try_from(count).unwrap();
    let watch = WatchConfig { listen: Some("127.0.0.1:0".parse().unwrap()), ..Default::default() };
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let relay = Config { listen, watch, ..Config::durable(dir.path().join("relay")) };
    let relay = Relay::start(relay).await.unwrap();
    let watch = relay.watch().unwrap();
    let by_tcp = |addr: &String| addr.contains("/tcp/");
    let addrs = relay.addrs().into_iter().filter(|addr| !is_web(addr));
    let relays: Vec<String> = addrs.map(|addr| addr.to_string()).filter(by_tcp).collect();

    let dirs: Vec<TempDir> = (0..count).map(|_| TempDir::new().unwrap()).collect();
    let mut nodes = Vec::new();
    for (at, dir) in dirs.iter().enumerate() {
        let config = config(dir, &format!("member {at}"));
        let relays = if at == 0 { relays.clone() } else { Vec::new() };
        nodes.push(start(NodeConfig { direct: false, relays, ..config }).await.unwrap());
    }
    println!("{n} nodes are up");
    let founder = &nodes[0];
    let named = |core: &mut Core, now| core.create_group(&CreateGroup::named("tea"), now);
    founder.handle.call(named).await.unwrap().unwrap();
    let before = Counted::rested(watch).await;

    // They come, a few at a time: half of them each by a code of its own, and the others all by one.
    let invite = async |terms: CreateInvite| {
        let invite = founder.handle.call(move |core, now| core.invite("tea", &terms, now));
        invite.await.unwrap().unwrap().code.unwrap()
    };
    let uses = Some(u32::try_from(count).unwrap());
    let common = invite(CreateInvite { uses, ask: Some(false), ..CreateInvite::default() }).await;
    for (at, some) in nodes[1..].chunks(AT_ONCE).enumerate() {
        join_all(some.iter().map(async |node| {
            let code = match at % 2 {
                0 => invite(CreateInvite::default()).await,
                _ => common.clone(),
            };
            let join = node.handle.call(move |core, now| core.join(&code, now));
            let join = join.await.unwrap().unwrap();
            until(node, move |core, _| {
                let view = core.join_state(&join.id).unwrap();
                assert_ne!(view.state, JoinState::Failed, "{}", view.detail);
                (view.state == JoinState::Joined).then_some(())
            })
            .await;
        }))
        .await;
        println!("{} more have joined", some.len());
    }
    all_until(&nodes, move |core, now| view(core, now).people.len() == count).await;
    let joined = Counted::rested(watch).await;
    let spent = joined.since(before);
    println!("{n} joins: {spent:?}");
    assert!(spent.appends <= 16 * n, "{spent:?}");
    assert!(spent.append_bytes <= 16 * n * 2_048 + n * n * 2_048, "{spent:?}");
    assert!(spent.deliveries <= 8 * n * n, "{spent:?}");
    let (first_words, removal) = (3 * n + 8, 5 * n + 8);

    // The first words of one.
    says(&nodes[1], &nodes, "hello").await;
    let first = Counted::rested(watch).await;
    let spent = first.since(joined);
    println!("a first message: {spent:?}");
    assert!(spent.appends <= first_words, "{spent:?}");
    says(&nodes[1], &nodes, "hello again").await;
    says(&nodes[2], &nodes, "good day").await;
    let spoken = Counted::rested(watch).await;
    let spent = spoken.since(first);
    println!("a second, and the first of another: {spent:?}");
    assert!(spent.appends <= 2 * first_words, "{spent:?}");

    // One is removed, and the others go on.
    let (rest, gone) = nodes.split_at(count - 1);
    let last = gone[0].handle.call(|core, _| core.endpoint().member()).await.unwrap().to_string();
    let removed = rest[0].handle.call(move |core, now| core.remove("tea", &last, now));
    removed.await.unwrap().unwrap();
    all_until(rest, move |core, now| view(core, now).people.len() == count - 1).await;
    all_until(gone, |core, now| view(core, now).summary.state == GroupState::Removed).await;
    let removed = Counted::rested(watch).await;
    let spent = removed.since(spoken);
    println!("a removal: {spent:?}");
    assert!(spent.appends <= removal, "{spent:?}");
    for (from, text) in [(1, "without you"), (2, "without you, too"), (0, "us three")] {
        says(&rest[from], rest, text).await;
    }
    let after = Counted::rested(watch).await;
    let spent = after.since(removed);
    println!("three who speak after it: {spent:?}");
    assert!(spent.appends <= 3 * first_words, "{spent:?}");

    let texts = |node: &Running| -> Vec<String> {
        let all = node.reader.came_after(None, 0, 1_000).unwrap();
        all.into_iter().map(|message| message.text).collect()
    };
    let all = ["hello", "hello again", "good day", "without you", "without you, too", "us three"];
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for node in rest {
        assert_eq!(texts(node), all, "each of them, once, in its order");
        for (table, rows) in node.reader.rows().unwrap() {
            let known = most.entry(table).or_default();
            *known = rows.max(*known);
        }
    }
    assert_eq!(texts(&gone[0]), all[..3], "the removed one opens nothing of what followed");
    println!("rows at most: {most:?}");
    join_all(nodes.into_iter().map(Running::shutdown)).await;
    relay.stop().await;
}
