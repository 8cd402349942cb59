//! Routers between networks, with what they do to packets.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use super::{Machine, Nets, Network};

/// What a router does to those behind it. Nothing comes in that was not asked for, unless it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// One address for all, and each port as it was where it is free: as most do at home.
    Home,
    /// The same, and whatever comes in that nobody asked for is for the machine [`INSIDE`].
    Open,
    /// As at home, and no UDP.
    Tcp,
    /// Another port for each connection.
    Symmetric,
}

/// The last part of the address of the one machine behind [`Nat::Open`].
pub const INSIDE: u8 = 2;

impl Nets {
    /// A network whose router is on `outer` with the address `outside`, and with `inside` on that.
    #[must_use]
    pub fn behind(
        &self,
        name: &str,
        outer: &Network,
        outside: &str,
        inside: &str,
        nat: Nat,
    ) -> (Network, Machine) {
        let inner = self.network(&format!("{name}-n"));
        let router = self.machine(&format!("{name}-r"));
        router.plug(outer, "ext", outside);
        router.plug(&inner, "int", inside);
        router.run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        let (own, _) = inside.split_once('/').expect("an address with its length");
        let (net, _) = own.rsplit_once('.').expect("an IPv4 address");
        router.nft(&rules(nat, &format!("{net}.{INSIDE}")));
        (inner, router)
    }

    /// A network of IPv6 whose router is on `outer` with the address `outside`, and with `inside` on that. It translates
    /// nothing, and lets nothing in that was not asked for.
    #[must_use]
    pub fn behind_firewall(
        &self,
        name: &str,
        outer: &Network,
        outside: &str,
        inside: &str,
    ) -> (Network, Machine) {
        let inner = self.network(&format!("{name}-n"));
        let router = self.machine(&format!("{name}-r"));
        router.plug(outer, "ext", outside);
        router.plug(&inner, "int", inside);
        router.filters_six();
        (inner, router)
    }
}

impl Machine {
    /// Has a router carry IPv6, too, by the addresses that it was given: it translates nothing, and lets nothing in that
    /// was not asked for.
    pub fn filters_six(&self) {
        self.run(&["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"]);
        self.nft(FIREWALL);
    }

    /// Makes the router one that gives each new connection another port; those that stand go on.
    pub fn changes_ports(&self) {
        self.nft("flush chain ip nat post\nadd rule ip nat post oifname ext masquerade random,fully-random\n");
    }

    /// Has the router carry nothing to and from this address any more.
    pub fn cut(&self, address: &str) {
        self.nft(&format!(
            "table ip cut {{
                chain cut {{
                    type filter hook forward priority -10; policy accept;
                    ip saddr {address} drop
                    ip daddr {address} drop
                }}
            }}
            "
        ));
    }

    /// Undoes that.
    pub fn heal(&self) {
        self.nft("delete table ip cut\n");
    }

    fn nft(&self, rules: &str) {
        let by = self.by();
        let mut nft = Command::new(&by[0]);
        nft.args(&by[1..]).args(["nft", "-f", "-"]);
        let mut nft = nft.stdin(Stdio::piped()).spawn().expect("Debian's nftables");
        nft.stdin.take().expect("its input").write_all(rules.as_bytes()).expect("rules");
        assert!(nft.wait().expect("nft ends").success(), "nft took no rules: {rules}");
    }
}

const FIREWALL: &str = "table ip6 filter {
        chain input {
            type filter hook input priority filter; policy drop;
            meta l4proto ipv6-icmp accept
            ct state established,related accept
            iifname { \"lo\", \"int\" } accept
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            iifname \"int\" oifname \"ext\" accept
        }
    }
    ";

fn rules(nat: Nat, machine: &str) -> String {
    let how = match nat {
        Nat::Home | Nat::Open | Nat::Tcp => "masquerade",
        Nat::Symmetric => "masquerade random,fully-random",
    };
    let passed = match nat {
        Nat::Open => format!("iifname \"ext\" meta l4proto {{ tcp, udp }} dnat to {machine}"),
        _ => String::new(),
    };
    let forwarded = match nat {
        Nat::Open => "ct status dnat accept",
        Nat::Tcp => "meta l4proto udp drop",
        Nat::Home | Nat::Symmetric => "",
    };
    format!(
        "table ip nat {{
            chain post {{
                type nat hook postrouting priority srcnat; policy accept;
                oifname \"ext\" {how}
            }}
            chain pre {{
                type nat hook prerouting priority dstnat; policy accept;
                {passed}
            }}
        }}
        table ip filter {{
            chain input {{
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                iifname {{ \"lo\", \"int\" }} accept
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                {forwarded}
                ct state established,related accept
                iifname \"int\" oifname \"ext\" accept
            }}
        }}
        "
    )
}
