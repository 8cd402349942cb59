//! `wattle status`.

use node::api::types::{
    self, Ipv6, JoinState, JoinView, Lan, MemberPath, Nat, Outside, Path, PortMap, RelayState,
    RelayStatus, Via,
};

use super::{
    Place, exit,
    exit::Exit,
    group::{path, row},
    join::waits_for,
    show,
};

/// Show how the node, its relays, groups and members stand
///
/// For each member: how it is reached, and why not better.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle status", "wattle --json status"]))]
pub struct Status {}

impl Status {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let status = client.status().await?;
        if place.json {
            show::json(&status)?;
            return Ok(Exit::Done);
        }
        let joins = client.joins().await?;
        for line in lines(&status, &joins) {
            show::data(line)?;
        }
        if status.groups.is_empty() {
            show::next("wattle group create NAME, or wattle join with somebody's invite code");
        }
        Ok(Exit::Done)
    }
}

fn lines(status: &types::Status, joins: &[JoinView]) -> Vec<String> {
    let name = show::name(&status.me);
    let (id, up) = (show::short(&status.me.id), show::lasting(status.up_s));
    let mut lines = vec![format!("{name} ({id}), wattle {}, up for {up}", status.version)];
    lines.push(format!("{:<8}  {}", "number", show::safe(&status.fingerprint)));
    section(&mut lines, "relays", status.relays.iter().map(relay).collect(), "none");
    if let Some(proxy) = &status.relay_proxy {
        let seen = if status.direct { "; members see this machine's addresses" } else { "" };
        lines.push(format!("{:<8}  {} alone leads to relays{seen}", "proxy", show::safe(proxy)));
    }
    let listen = status.listen.iter().map(|address| vec![show::safe(address)]).collect();
    let nowhere = if status.direct { "listening nowhere" } else { "off (--no-direct)" };
    section(&mut lines, "direct", listen, nowhere);
    if !status.outside.is_empty() {
        let seen = status.outside.iter().map(|outside| vec![seen(outside)]).collect();
        section(&mut lines, "outside", seen, "");
    }
    if let Some(six) = &status.ipv6 {
        section(&mut lines, "ipv6", vec![vec![show::safe(&met_over(six))]], "");
    }
    if let Some(map) = &status.port_map {
        section(&mut lines, "router", vec![vec![show::safe(&passed_on(map))]], "");
    }
    if let Some(lan) = &status.lan {
        section(&mut lines, "lan", vec![looking(lan)], "");
    }
    section(&mut lines, "groups", status.groups.iter().map(row).collect(), "none yet");
    let under_way = joins.iter().filter(|join| join.state < JoinState::Joined);
    let joins: Vec<_> = under_way.map(|join| vec![waits_for(join)]).collect();
    if !joins.is_empty() {
        section(&mut lines, "joining", joins, "");
    }
    if !status.paths.is_empty() {
        section(&mut lines, "members", status.paths.iter().map(member).collect(), "");
    }
    lines
}

fn section(lines: &mut Vec<String>, title: &str, rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        lines.push(format!("{title:<8}  {empty}"));
    }
    for (at, line) in show::table(&rows).into_iter().enumerate() {
        let title = if at == 0 { title } else { "" };
        lines.push(format!("{title:<8}  {line}"));
    }
}

fn relay(relay: &RelayStatus) -> Vec<String> {
    let address = relay.addresses.first().map(String::as_str).unwrap_or_default();
    let retry = relay.retry_in_ms.map(|ms| format!("tried again in {} s", ms.div_ceil(1000)));
    let state = match (relay.state, relay.latency_us) {
        (RelayState::Up, Some(latency)) => format!("up, {}", show::took(latency)),
        (RelayState::Up, None) => "up".into(),
        (RelayState::Connecting, _) => "connecting".into(),
        (RelayState::Down, _) => "down".into(),
    };
    let waiting = (relay.waiting > 0).then(|| format!("{} waiting", relay.waiting));
    let reason = (!relay.reason.is_empty()).then(|| show::safe(&relay.reason));
    let withheld = (relay.withheld > 0).then(|| {
        let messages = show::count(relay.withheld, "message");
        format!("does not tell {messages} that it said it keeps: look at `wattle verify`")
    });
    let detail = [reason, retry, waiting, withheld];
    let detail: Vec<String> = detail.into_iter().flatten().collect();
    vec![state, show::safe(address), detail.join("; ")]
}

/// How this machine looks from outside.
fn seen(outside: &Outside) -> String {
    let nat = match outside.nat {
        Nat::None => "no NAT",
        Nat::KeepsPorts => "a NAT that keeps ports",
        Nat::ChangesPorts => {
            "a NAT that changes ports: who is behind one that filters can't reach this node"
        }
    };
    format!("{}; {nat}", show::safe(&outside.address))
}

/// How this machine is met over IPv6.
fn met_over(six: &Ipv6) -> String {
    match six.problem.is_empty() {
        true => format!("{}; met behind firewalls, too", six.addresses.join(", ")),
        false => six.problem.clone(),
    }
}

/// What the router passes on to this node.
fn passed_on(map: &PortMap) -> String {
    match (map.addresses.is_empty(), map.problem.is_empty()) {
        (false, _) => format!("passes a port on ({}): {}", map.by, map.addresses.join(", ")),
        (true, true) => "is being asked for a port".into(),
        (true, false) => format!("no port: {}", map.problem),
    }
}

/// Where members are looked for, by this machine's addresses.
fn looking(lan: &Lan) -> Vec<String> {
    let only = lan.only.then(|| "local networks only".to_owned());
    let networks = match lan.networks.is_empty() {
        true => "looking for members nowhere".to_owned(),
        false => format!("looking for members from {}", lan.networks.join(", ")),
    };
    let problem = (!lan.problem.is_empty()).then(|| lan.problem.clone());
    let said: Vec<String> = [only, Some(networks), problem].into_iter().flatten().collect();
    vec![show::safe(&said.join("; "))]
}

fn member(member: &MemberPath) -> Vec<String> {
    let path = match member.lan {
        true => "direct on the LAN",
        false => path(member.path),
    };
    let path = match (member.latency_us.map(show::took), member.path) {
        (Some(took), Path::Relay) => format!("{path}, {took} to it"),
        (Some(took), _) => format!("{path}, {took}"),
        (None, _) => path.into(),
    };
    let since = member.since.as_deref().map(|since| format!("since {}", show::moment(since)));
    let how = if member.reason.is_empty() { whence(member) } else { member.reason.clone() };
    let mark = show::mark(member.verified, &[], member.other_key);
    let detail: Vec<String> = mark.into_iter().chain(since).chain([how]).collect();
    vec![show::name(&member.member), path, show::safe(&detail.join("; "))]
}

/// The address in use, and how it was known.
fn whence(member: &MemberPath) -> String {
    let address = member.address.as_deref().unwrap_or_default();
    let how = match member.via {
        Some(Via::Mdns) => ", found by mDNS",
        Some(Via::Called) => ", which called this node",
        Some(Via::Told) => ", as it had told",
        None => "",
    };
    format!("{address}{how}")
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    #[test]
    fn status_says_for_each_member_how_it_is_reached_and_why() {
        let me = MemberRef { id: "ab".repeat(32), name: "ana".into() };
        let ben = MemberRef { id: "cd".repeat(32), name: "ben\u{1b}".into() };
        let path = MemberPath {
            member: ben,
            path: Path::Relay,
            address: None,
            via: None,
            latency_us: Some(23_400),
            lan: false,
            reason: "direct connections are off".into(),
            since: Some("2026-01-31T14:03:59Z".into()),
            verified: true,
            other_key: false,
        };
        let cleo = MemberPath {
            member: MemberRef { id: "ef".repeat(32), name: "cleo".into() },
            path: Path::Direct,
            address: Some("/ip4/10.0.0.7/udp/1/quic-v1".into()),
            via: Some(Via::Mdns),
            latency_us: Some(450),
            lan: true,
            reason: String::new(),
            since: None,
            verified: false,
            other_key: true,
        };
        let lan = Lan { only: true, networks: vec!["10.0.0.5".into()], problem: String::new() };
        let map = PortMap { problem: "the router refuses".into(), ..PortMap::default() };
        let relay = RelayStatus {
            addresses: vec!["/ip4/1.2.3.4/tcp/4001".into()],
            state: RelayState::Down,
            reason: "refused".into(),
            retry_in_ms: Some(1_200),
            waiting: 2,
            withheld: 0,
            latency_us: None,
        };
        let up = RelayStatus {
            addresses: vec!["/ip4/1.2.3.5/tcp/4001".into()],
            state: RelayState::Up,
            reason: String::new(),
            retry_in_ms: None,
            waiting: 0,
            withheld: 0,
            latency_us: Some(12_000),
        };
        let status = types::Status {
            v: 1,
            me,
            fingerprint: "12345 67890".into(),
            version: "0.1.0".into(),
            // By a clock that goes ahead of this command's.
            started: "2999-01-01T00:00:00Z".into(),
            up_s: 180,
            listen: vec![],
            direct: false,
            fixed: false,
            outside: vec![Outside { address: "198.51.100.9".into(), nat: Nat::KeepsPorts }],
            ipv6: Some(Ipv6 { addresses: vec!["2a00:79::7".into()], problem: String::new() }),
            lan: Some(lan),
            port_map: Some(map),
            relay_proxy: Some("socks5://127.0.0.1:9050".into()),
            relays: vec![relay, up],
            groups: vec![],
            paths: vec![path, cleo],
        };
        let join = JoinView {
            v: 1,
            id: "01".into(),
            state: JoinState::Connecting,
            group: None,
            detail: "looking".into(),
            exit: None,
        };
        let lines = lines(&status, &[join.clone(), JoinView { state: JoinState::Joined, ..join }]);
        assert_eq!(lines[0], "ana (abababab), wattle 0.1.0, up for 3 minutes");
        assert_eq!(
            lines[1..],
            [
                "number    12345 67890",
                "relays    down       /ip4/1.2.3.4/tcp/4001  refused; tried again in 2 s; 2 waiting",
                "          up, 12 ms  /ip4/1.2.3.5/tcp/4001",
                "proxy     socks5://127.0.0.1:9050 alone leads to relays",
                "direct    off (--no-direct)",
                "outside   198.51.100.9; a NAT that keeps ports",
                "ipv6      2a00:79::7; met behind firewalls, too",
                "router    no port: the router refuses",
                "lan       local networks only; looking for members from 10.0.0.5",
                "groups    none yet",
                "joining   looking",
                "members   ben\\u{1b}  through the relay, 23 ms to it  verified; since 2026-01-31 14:03 UTC; direct \
                 connections are off",
                "          cleo       direct on the LAN, 0.4 ms       NOT the identity that you verified under this name; \
                 /ip4/10.0.0.7/udp/1/quic-v1, found by mDNS",
            ]
        );
    }
}
