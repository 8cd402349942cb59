//! What the running node tells: its version, its files, its groups, how it is reached and reaches others.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use node::{
    api::{
        socket,
        types::{MemberPath, Nat, Path as Kind, PingView, Status, Via, Way},
    },
    client::Client,
    net::address,
};
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    super::{exit::Exit, show},
    check::Check,
};

/// Members who are asked whether their nodes answer.
const ASKED: usize = 8;
/// How long all of that may take.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(200);
/// How far a member's clock may be from this one's before it is said, in milliseconds.
const SKEW_MS: u64 = 60_000;

pub(super) fn look(status: &Status) -> Vec<Check> {
    let mut checks = vec![version(status)];
    checks.push(groups(status));
    checks.extend(relays(status));
    checks.extend([listening(status), nat(status)]);
    checks.extend(ipv6(status));
    checks.extend(router(status));
    checks.push(called(status));
    checks
}

fn version(status: &Status) -> Check {
    let (here, there) = (env!("CARGO_PKG_VERSION"), &status.version);
    let up = show::lasting(status.up_s);
    let said = format!(
        "the node is {there}, up for {up}; this command is {here}; the relay's wire is {}",
        protocol::relay_log::PROTOCOL
    );
    if here == there {
        return Check::well("versions", said);
    }
    Check::look("versions", said)
        .advice("wattle down, then wattle up: the node is of another version")
}

fn groups(status: &Status) -> Check {
    let waiting = status.groups.iter().filter(|group| group.queued > 0);
    let (count, queued) = waiting.fold((0, 0), |(n, sum), group| (n + 1, sum + group.queued));
    let missing: u64 = status.groups.iter().map(|group| group.missing).sum();
    let said = format!(
        "{}; {} wait to be sealed, {missing} are missing",
        show::count(status.groups.len() as u64, "group"),
        show::count(queued, "message"),
    );
    match (count, missing) {
        (0, 0) => Check::well("groups", said),
        _ => Check::look("groups", said)
            .advice("wattle status says what they wait for; wattle verify GROUP what is missing"),
    }
}

fn relays(status: &Status) -> Option<Check> {
    let waiting: u64 = status.relays.iter().map(|relay| relay.waiting).sum();
    let up = status.relays.iter().filter(|relay| relay.reason.is_empty()).count();
    let all = status.relays.len();
    let withheld: u64 = status.relays.iter().map(|relay| relay.withheld).sum();
    let mut said = format!("{up} of {all} connected; {waiting} entries wait for one");
    if withheld > 0 {
        let messages = show::count(withheld, "message");
        let are = if withheld == 1 { "is" } else { "are" };
        said.push_str(&format!("; {messages} that a relay said it keeps {are} not told"));
    }
    match all {
        0 => None,
        _ if withheld > 0 => {
            Some(Check::look("relays", said).advice(
                "wattle status says which, wattle verify GROUP whose: use another beside it",
            ))
        }
        all if all == up => Some(Check::well("relays", said)),
        _ => Some(
            Check::look("relays", said)
                .advice("wattle status says why, and when each is tried again"),
        ),
    }
}

fn listening(status: &Status) -> Check {
    let ways = kinds(status.listen.iter().map(String::as_str));
    match (status.direct, status.listen.is_empty()) {
        (false, _) => {
            Check::well("direct", "off (--no-direct): members see no address of this machine")
        }
        (true, true) => Check::look("direct", "the node listens nowhere")
            .advice("is there any network? members meet it through the relay alone"),
        (true, false) => Check::well("direct", format!("it listens over {}", ways.join(", "))),
    }
}

/// How this machine looks from outside, by what relays say, or else by its own addresses.
fn nat(status: &Status) -> Check {
    const NAME: &str = "nat";
    let kinds: Vec<Nat> = status.outside.iter().map(|outside| outside.nat).collect();
    let detail = status.outside.iter().map(|outside| outside.address.as_str());
    let detail = detail.collect::<Vec<_>>().join(", ");
    let mapped: Vec<&String> = status.port_map.iter().flat_map(|map| &map.addresses).collect();
    if kinds.contains(&Nat::ChangesPorts) && !mapped.is_empty() {
        let said = "one that gives each connection another port, and passes one on to this node";
        return Check::well(NAME, said).detail(detail);
    }
    if kinds.contains(&Nat::ChangesPorts) {
        return Check::look(NAME, "before this machine is one that gives each connection another port")
            .detail(detail)
            .advice("members behind a NAT that filters reach it through the relay alone, unless its router can be told to keep ports");
    }
    if kinds.contains(&Nat::KeepsPorts) {
        let said = "one that keeps ports: members behind such another reach this machine";
        return Check::well(NAME, said).detail(detail);
    }
    let mut own = status.listen.iter().filter(|address| !mapped.contains(address));
    let is_open = own.any(|address| address.starts_with("/ip4/") && is_public(address));
    if is_open || kinds.contains(&Nat::None) {
        return Check::well(NAME, "none: this machine has an address of the internet")
            .detail(detail);
    }
    let why = match (&status.relay_proxy, status.direct, status.fixed) {
        (Some(_), ..) => {
            "relays are reached by way of a proxy, and so don't see how this machine looks from outside"
        }
        (None, false, _) => {
            "without direct connections no relay is asked how it looks from outside"
        }
        (None, true, true) => {
            "with --listen no relay is asked how it looks from outside, and nobody is met behind a NAT"
        }
        (None, true, false) => "no relay says how this machine looks from outside",
    };
    Check::unknown(NAME, format!("this machine has no address of the internet over IPv4; {why}"))
        .advice("whether it is reached from outside stands below")
}

/// How this machine is met over IPv6, where firewalls stand for NATs.
fn ipv6(status: &Status) -> Option<Check> {
    const NAME: &str = "ipv6";
    let six = status.ipv6.as_ref()?;
    if six.problem.is_empty() {
        let said = "members with IPv6 reach this machine over it, also where firewalls are between";
        return Some(Check::well(NAME, said).detail(six.addresses.join(", ")));
    }
    let check = Check::unknown(NAME, six.problem.clone());
    Some(check.advice("over IPv4 it is met as far as its NAT lets members in, which stands above"))
}

/// What the router said to the question for a port, where it is asked.
fn router(status: &Status) -> Option<Check> {
    const NAME: &str = "router";
    let map = status.port_map.as_ref()?;
    if !map.addresses.is_empty() {
        let ways = kinds(map.addresses.iter().map(String::as_str));
        let said =
            format!("it passes a port on to this node ({}), over {}", map.by, ways.join(", "));
        return Some(Check::well(NAME, said));
    }
    if map.problem.is_empty() {
        return Some(Check::unknown(NAME, "it is being asked for a port that leads here"));
    }
    let said = format!("it passes no port on: {}", map.problem);
    Some(Check::look(NAME, said).advice(
        "members who are not on a local network with this one meet it by the relay, or by their own addresses; it is \
         asked again in half an hour at most",
    ))
}

/// Whether an address is one of the internet: neither of a local network nor shared by a provider's customers
/// (RFC 6598).
fn is_public(address: &str) -> bool {
    let ip = address.strip_prefix("/ip4/").and_then(|rest| rest.split('/').next());
    let ip: Option<Ipv4Addr> = ip.and_then(|ip| ip.parse().ok());
    let is_shared = ip.is_some_and(|ip| matches!(ip.octets(), [100, 64..=127, ..]));
    !is_shared && !address::is_local(address)
}

fn called(status: &Status) -> Check {
    const NAME: &str = "reached";
    let direct = |path: &&MemberPath| path.path == Kind::Direct && !path.lan;
    let called = status.paths.iter().filter(direct).filter(|path| path.via == Some(Via::Called));
    let ways = kinds(called.filter_map(|path| path.address.as_deref()));
    if ways.is_empty() {
        return Check::unknown(NAME, "no member has a direct connection that it made from outside")
            .advice("where the router passes this node's port on, for TCP and UDP, members can; else they use the relay");
    }
    Check::well(NAME, format!("from outside, over {}", ways.join(", ")))
}

/// The kinds of transport and address among these, each once.
fn kinds<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut kinds: Vec<String> = addresses.map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn kind(address: &str) -> String {
    let transport = if address.contains("/quic-v1") { "QUIC" } else { "TCP" };
    let family = if address.starts_with("/ip6/") { "IPv6" } else { "IPv4" };
    format!("{transport} on {family}")
}

/// Asks some members' nodes whether they answer.
pub(super) async fn members(client: &Client, status: &Status) -> Vec<Check> {
    let mut asked = Vec::new();
    for path in status.paths.iter().take(ASKED) {
        if let Ok(view) = client.ping(None, &path.member.id).await {
            asked.push(view);
        }
    }
    if asked.is_empty() {
        return Vec::new();
    }
    // What is late is not counted.
    let _ = timeout(PATIENCE, async {
        while asked.iter().any(|view| !view.done) {
            sleep(LOOK).await;
            for view in asked.iter_mut().filter(|view| !view.done) {
                match client.ping_state(&view.id).await {
                    Ok(now) => *view = now,
                    Err(_) => view.done = true,
                }
            }
        }
    })
    .await;
    vec![answers(&asked), reaches(&asked), clocks(&asked)]
}

fn answers(asked: &[PingView]) -> Check {
    let is_there = |view: &&PingView| view.ways.iter().any(|way| way.latency_us.is_some());
    let (there, all) = (asked.iter().filter(is_there).count(), asked.len());
    let said = format!("{there} of the {all} asked answer");
    // Of whom not all was tried in time, nothing is said.
    let silent: Vec<_> = asked.iter().filter(|view| view.done && !is_there(view)).collect();
    let names: Vec<String> = silent.iter().map(|view| view.member.name.clone()).collect();
    if names.is_empty() {
        return Check::well("members", said);
    }
    Check::look("members", said)
        .detail(format!("silent: {}", names.join(", ")))
        .advice("they may be off; wattle ping MEMBER says it way by way")
}

fn reaches(asked: &[PingView]) -> Check {
    const NAME: &str = "reaches";
    let ways = asked.iter().flat_map(|view| &view.ways);
    let direct: Vec<_> =
        ways.filter(|way| way.way == Way::Direct && way.address.is_some()).collect();
    let addresses = |works: bool| {
        let some = direct.iter().filter(move |way| way.latency_us.is_some() == works);
        kinds(some.filter_map(|way| way.address.as_deref()))
    };
    let (works, fails) = (addresses(true), addresses(false));
    if direct.is_empty() {
        return Check::unknown(NAME, "no member has told an address to try");
    }
    let never: Vec<String> = fails.into_iter().filter(|kind| !works.contains(kind)).collect();
    match (works.is_empty(), never.is_empty()) {
        (false, true) => Check::well(NAME, format!("members over {}", works.join(", "))),
        (false, false) => Check::well(
            NAME,
            format!("members over {}; none over {}", works.join(", "), never.join(", ")),
        ),
        (true, _) => {
            Check::look(NAME, format!("no member directly, tried over {}", never.join(", ")))
                .advice(
                    "their addresses lead nowhere from here: a NAT or a firewall, there or here",
                )
        }
    }
}

fn clocks(asked: &[PingView]) -> Check {
    const NAME: &str = "clocks";
    let wrong = |view: &&PingView| {
        view.ways.iter().any(|way| way.ahead_ms.is_some_and(|ms| ms.unsigned_abs() > SKEW_MS))
    };
    let known = asked.iter().filter(|view| view.ways.iter().any(|way| way.ahead_ms.is_some()));
    let (known, wrong) = (known.count(), asked.iter().filter(wrong).collect::<Vec<_>>());
    if known == 0 {
        return Check::unknown(NAME, "no member has told its time");
    }
    let said = format!("{} of {known} differ by more than a minute", wrong.len());
    if wrong.is_empty() {
        return Check::well(
            NAME,
            format!("this one goes with those of {}", show::count(known as u64, "member")),
        );
    }
    let names: Vec<String> = wrong.iter().map(|view| view.member.name.clone()).collect();
    Check::look(NAME, said).detail(names.join(", ")).advice(
        "where all differ it is this one: set it (timedatectl, chrony). Times that people are shown are not right",
    )
}

/// Open files of the node's process, found by whom its socket belongs to.
pub(super) async fn open_files(data_dir: &Path) -> Option<Check> {
    let stream = UnixStream::connect(socket::find(data_dir)).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let limit: usize = limit.split_whitespace().next()?.parse().ok()?;
    let said = format!("{open} of {limit} open files");
    if open >= limit {
        return Some(
            Check::broken("files", said, Exit::Unexpected)
                .advice("raise its limit (ulimit -n, LimitNOFILE=)"),
        );
    }
    if open > limit / 4 * 3 {
        return Some(
            Check::look("files", said).advice("raise its limit (ulimit -n, LimitNOFILE=)"),
        );
    }
    Some(Check::well("files", said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_kind_and_a_providers_shared_ones_are_not_of_the_internet() {
        let all = ["/ip4/10.0.0.1/tcp/1", "/ip6/::1/udp/1/quic-v1", "/ip4/10.0.0.2/tcp/1"];
        assert_eq!(kinds(all.into_iter()), ["QUIC on IPv6", "TCP on IPv4"]);
        for address in ["/ip4/100.64.0.1/tcp/1", "/ip4/192.168.1.7/tcp/1", "/ip6/fd00::1/tcp/1"] {
            assert!(!is_public(address), "{address}");
        }
        assert!(is_public("/ip4/100.128.0.1/tcp/1") && is_public("/ip6/2001:db8::1/tcp/1"));
    }
}
