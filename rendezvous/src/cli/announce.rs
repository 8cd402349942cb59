//! Where the relay is, for people and for programs.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::{IpAddr, Ipv6Addr},
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use rendezvous::{Relay, config::PORT};

/// Says where the relay is: the one line that programs wait for, or words and addresses.
pub(super) fn announce(relay: &Relay, json: bool) -> io::Result<()> {
    let addrs = relay.addrs();
    let mut out = io::stdout().lock();
    if json {
        let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
        let peer = relay.peer_id().to_string();
        let mut ready = serde_json::json!({"v": 1, "event": "ready", "peer": peer, "addrs": addrs});
        if let Some(watch) = relay.watch() {
            ready["watch"] = format!("http://{watch}/").into();
        }
        writeln!(out, "{ready}")?;
        return out.flush();
    }
    for addr in &addrs {
        writeln!(out, "{addr}")?;
    }
    out.flush()?;
    // Without colours nobody knows which of the two is dark.
    let colours = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    if io::stderr().is_terminal()
        && colours
        && let Some(addr) = addrs.iter().rev().max_by_key(|addr| Reach::of(addr))
        && let Some(code) = code(&addr.to_string())
    {
        eprintln!("{code}");
    }
    eprintln!("{}", reach(&addrs));
    if let Some(watch) = relay.watch() {
        eprintln!("Watch it: http://{watch}/");
    }
    eprintln!("The relay is ready. On each machine: wattle up --relay ADDRESS");
    Ok(())
}

/// A QR code in half blocks, with its quiet zone: dark on light, whatever colours the terminal has.
fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let code = code.render::<Dense1x2>().quiet_zone(true).build();
    let lines = code.lines().map(|line| format!("\u{1b}[30;107m{line}\u{1b}[0m"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// How far these addresses reach, and what to do about it.
fn reach(addrs: &[Multiaddr]) -> String {
    let reach = addrs.iter().map(Reach::of).max().unwrap_or(Reach::Machine);
    match reach {
        Reach::World => String::from("Reachable from anywhere, if no firewall keeps it off."),
        Reach::Network => format!(
            "Only machines in this network can reach these addresses. For others: have the router pass \
             port {PORT} (TCP and UDP) on to this machine, and name the address that the world knows: \
             --external HOST:{PORT}"
        ),
        Reach::Machine => format!(
            "Only this machine can reach these addresses. For others: --listen 0.0.0.0:{PORT}"
        ),
    }
}

/// From where an address can be reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reach {
    Machine,
    Network,
    World,
}

impl Reach {
    fn of(addr: &Multiaddr) -> Self {
        match addr.iter().next() {
            Some(Protocol::Ip4(ip)) => Self::of_ip(ip.into()),
            Some(Protocol::Ip6(ip)) => Self::of_ip(ip.into()),
            // A name was set by whoever knows what it stands for.
            _ => Self::World,
        }
    }

    fn of_ip(ip: IpAddr) -> Self {
        let shared = |ip: Ipv6Addr| ip.is_unique_local() || ip.is_unicast_link_local();
        match ip {
            _ if ip.is_loopback() => Self::Machine,
            // Private, link-local, and what providers' NATs use (RFC 6598).
            IpAddr::V4(ip)
                if ip.is_private()
                    || ip.is_link_local()
                    || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64) =>
            {
                Self::Network
            }
            IpAddr::V6(ip) if shared(ip) => Self::Network,
            _ => Self::World,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_address_reaches_is_said() {
        let said = |addr: &str| Reach::of(&addr.parse().unwrap());
        for (addr, reach) in [
            ("/ip4/127.0.0.1/tcp/1", Reach::Machine),
            ("/ip6/::1/tcp/1", Reach::Machine),
            ("/ip4/192.168.1.2/tcp/1", Reach::Network),
            ("/ip4/100.64.0.1/tcp/1", Reach::Network),
            ("/ip6/fd00::1/tcp/1", Reach::Network),
            ("/ip4/192.0.2.1/tcp/1", Reach::World),
            ("/ip6/2001:db8::1/tcp/1", Reach::World),
            ("/dns/relay.example/tcp/1", Reach::World),
        ] {
            assert_eq!(said(addr), reach, "{addr}");
        }
    }

    #[test]
    fn an_address_fits_a_code_that_a_terminal_shows() {
        let addr = "/ip4/192.0.2.1/udp/4407/quic-v1/p2p/\
                    12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let code = code(addr).unwrap();
        assert!(code.lines().count() <= 26 && code.lines().all(|it| it.chars().count() <= 80));
    }
}
