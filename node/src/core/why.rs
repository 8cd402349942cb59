//! Why a member is not reached directly, in words, of what is known here and what the member tells.

use protocol::ids::Timestamp;

use crate::{
    api::types::Nat,
    net::{
        BookEntry,
        address::{self, Leads},
    },
};

/// A direct path that did not come to be, or ended.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// Why, in words.
    pub(super) reason: String,
    /// When it is tried again.
    pub(super) retry: Timestamp,
    /// How often it has been tried in vain since a path stood; none for one that ended.
    pub(super) times: u32,
}

/// What is known of a path that is not direct.
pub(super) struct Facts<'a> {
    /// What was tried last.
    pub(super) failure: Option<&'a Failure>,
    /// Where the member says that it is, and the PeerIds that its card names.
    pub(super) member: &'a BookEntry,
    /// How this machine looks from outside.
    pub(super) here: Here,
    /// Whether it has an address of the internet over IPv6.
    pub(super) six: bool,
}

/// How this machine looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// As a relay of a group with the member says.
    Seen(Nat),
    /// They don't say, though there are some.
    Unseen,
    /// Relays are not to know.
    Hidden,
    /// It is called where a person said, and nowhere else.
    Fixed,
    /// There is nobody to say it, or it is of no use.
    Apart,
}

/// How a member may be met over IPv4, or by a name, by what it tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// At an address of its own on the internet.
    Open,
    /// Behind a NAT, at an address outside.
    Met,
    /// On local networks alone, and its NAT changes ports.
    ChangesPorts,
    /// There alone.
    Near,
}

/// How a member may be met over IPv6, by what it tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Six {
    /// Not at all.
    None,
    /// At an address of its own, where no firewall is before it.
    Open,
    /// Also behind one.
    Met,
}

/// Why the path is not direct.
pub(super) fn not_direct(facts: &Facts<'_>, now: Timestamp) -> String {
    let Some(failure) = facts.failure else { return "a direct channel is being tried".into() };
    let Failure { reason, retry, times } = failure;
    let tried = match times {
        0 | 1 => String::new(),
        times => format!(" {times} times"),
    };
    let mut words = match *retry > now {
        true => {
            let seconds = retry.ms_since(now).div_ceil(1000);
            format!("direct dial failed{tried}: {reason}; next try in {seconds} s")
        }
        false => format!("no direct channel: {reason}"),
    };
    if let Some(between) = between(facts) {
        words = format!("{between}; {words}");
    }
    words
}

/// What is in the way: over IPv4, and then over IPv6, where one side has that.
fn between(facts: &Facts<'_>) -> Option<String> {
    let six = told_over_six(facts.member);
    let near = match six {
        Six::None => "it tells addresses of local networks only",
        Six::Open | Six::Met => "over IPv4 it tells addresses of local networks only",
    };
    let over_four = over_four(facts.here, told(facts.member), near)?;
    let over_six = match (facts.six, six, facts.here) {
        (false, Six::None, _) => return Some(over_four),
        (false, ..) => "this machine has no IPv6",
        (true, Six::None, _) => "it has no IPv6",
        (true, Six::Open, _) => "over IPv6 it is met only where no firewall is before it",
        (true, Six::Met, Here::Hidden) => {
            "with a proxy for relays (--relay-proxy) nobody is met behind a firewall over IPv6"
        }
        (true, Six::Met, Here::Fixed) => "with --listen nobody is met behind a firewall over IPv6",
        // Nothing is, as far as anybody here can know.
        (true, Six::Met, _) => return None,
    };
    Some(format!("{over_four}; {over_six}"))
}

fn over_four(here: Here, told: Told, near: &str) -> Option<String> {
    const UNSEEN: &str = "no relay says how this machine looks from outside";
    let changes_here = here == Here::Seen(Nat::ChangesPorts);
    Some(match (here, told) {
        (_, Told::Open) => return None,
        (_, Told::ChangesPorts) if changes_here => "both NATs change ports".into(),
        (_, Told::ChangesPorts) => "its NAT changes ports".into(),
        (_, Told::Met) if changes_here => "the NAT here changes ports".into(),
        (_, Told::Near) if changes_here => format!("the NAT here changes ports, and {near}"),
        (Here::Hidden, Told::Met) => {
            "it is behind a NAT, and with a proxy for relays (--relay-proxy) nobody is met behind one"
                .into()
        }
        (Here::Fixed, Told::Met) => {
            "it is behind a NAT, and with --listen nobody is met behind one".into()
        }
        (Here::Unseen, Told::Met) => UNSEEN.into(),
        (Here::Unseen, Told::Near) => format!("{UNSEEN}, and {near}"),
        (_, Told::Near) => near.into(),
        (Here::Seen(_) | Here::Apart, Told::Met) => return None,
    })
}

fn told(member: &BookEntry) -> Told {
    let all = member.addresses.iter().filter(|address| !address::leads_by_six(address));
    let all: Vec<Leads> = all.map(|address| address::leads(address, &member.peers)).collect();
    match (all.contains(&Leads::Far), all.contains(&Leads::Nowhere)) {
        (true, _) => Told::Open,
        (false, _) if all.contains(&Leads::Outside) => Told::Met,
        (false, true) => Told::ChangesPorts,
        (false, false) => Told::Near,
    }
}

fn told_over_six(member: &BookEntry) -> Six {
    let all = member.addresses.iter().filter(|address| address::leads_by_six(address));
    let all: Vec<Leads> = all.map(|address| address::leads(address, &member.peers)).collect();
    match (all.is_empty(), all.contains(&Leads::Outside)) {
        (true, _) => Six::None,
        (false, false) => Six::Open,
        (false, true) => Six::Met,
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::MemberId;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const NEAR: &str = "/ip4/192.168.1.7/udp/4/quic-v1";
    const CARRIERS: &str = "/ip4/100.64.0.7/udp/4/quic-v1";
    const FAR: &str = "/ip4/198.51.100.1/udp/4/quic-v1";
    const CHANGES: &str = "/ip4/0.0.0.0/udp/0/quic-v1";

    fn ben(addresses: &[&str]) -> BookEntry {
        BookEntry {
            member: MemberId([1; 32]),
            peers: vec![b"a key on the card".to_vec()],
            addresses: addresses.iter().filter_map(|text| address::to_bytes(text)).collect(),
        }
    }

    fn words(here: Here, addresses: &[&str], times: u32) -> String {
        words_with(false, here, addresses, times)
    }

    fn words_with(six: bool, here: Here, addresses: &[&str], times: u32) -> String {
        let failure = Failure { reason: "no answer".into(), retry: NOW.plus_ms(39_001), times };
        not_direct(&Facts { failure: Some(&failure), member: &ben(addresses), here, six }, NOW)
    }

    #[test]
    fn it_says_how_often_it_was_tried_and_when_it_is_again() {
        let here = Here::Seen(Nat::KeepsPorts);
        assert_eq!(words(here, &[FAR], 1), "direct dial failed: no answer; next try in 40 s");
        assert_eq!(
            words(here, &[NEAR, FAR], 3),
            "direct dial failed 3 times: no answer; next try in 40 s"
        );
    }

    #[test]
    fn it_says_what_is_in_the_way() {
        let says = |here, addresses: &[&str], begin: &str| {
            let words = words(here, addresses, 1);
            assert!(words.starts_with(&format!("{begin}; direct dial failed")), "{words}");
        };
        let changes = Here::Seen(Nat::ChangesPorts);
        let keeps = Here::Seen(Nat::KeepsPorts);
        let outer = "12D3KooWKRyzVWW6ChFjQjK4miCty85Niy48tpPV95XdKu1BcvMA";
        let [met, with_changes, name] =
            [FAR, CHANGES, ""].map(|place| format!("{place}/p2p/{outer}"));
        let (met, with_changes, name) = (met.as_str(), with_changes.as_str(), name.as_str());
        says(changes, &[with_changes, NEAR], "both NATs change ports");
        says(changes, &[CHANGES, NEAR], "both NATs change ports");
        says(changes, &[met, NEAR], "the NAT here changes ports");
        says(keeps, &[with_changes, NEAR], "its NAT changes ports");
        let near = "it tells addresses of local networks only";
        for addresses in [&[NEAR][..], &[name, NEAR], &[CARRIERS]] {
            says(keeps, addresses, near);
            says(Here::Apart, addresses, near);
            says(Here::Hidden, addresses, near);
            says(Here::Fixed, addresses, near);
            says(changes, addresses, &format!("the NAT here changes ports, and {near}"));
            let unseen = "no relay says how this machine looks from outside";
            says(Here::Unseen, addresses, &format!("{unseen}, and {near}"));
            says(Here::Unseen, &[met, NEAR], unseen);
        }
        says(
            Here::Hidden,
            &[met],
            "it is behind a NAT, and with a proxy for relays (--relay-proxy) nobody is met behind one",
        );
        says(Here::Fixed, &[met], "it is behind a NAT, and with --listen nobody is met behind one");
        // Who is on the internet itself is behind nothing, whatever is here.
        for here in [changes, keeps, Here::Unseen, Here::Hidden, Here::Fixed, Here::Apart] {
            assert!(words(here, &[FAR, met], 1).starts_with("direct dial failed"), "{here:?}");
        }
    }

    #[test]
    fn it_says_what_is_in_the_way_over_ipv6_where_one_side_has_it() {
        let outer = "12D3KooWKRyzVWW6ChFjQjK4miCty85Niy48tpPV95XdKu1BcvMA";
        let (own, met) = ("/ip6/2a00:79::7/udp/4/quic-v1", "/ip6/2a00:79::7/udp/5/quic-v1");
        let met = format!("{met}/p2p/{outer}");
        let (open, met) = (&[own, CHANGES, NEAR][..], &[&met, own, CHANGES, NEAR][..]);
        let (changes, keeps) = (Here::Seen(Nat::ChangesPorts), Here::Seen(Nat::KeepsPorts));
        let says = |six, here, addresses: &[&str], begin: &str| {
            let words = words_with(six, here, addresses, 1);
            assert!(words.starts_with(&format!("{begin}direct dial failed")), "{words}");
        };
        for addresses in [open, met] {
            says(false, changes, addresses, "both NATs change ports; this machine has no IPv6; ");
        }
        says(true, changes, &[CHANGES, NEAR], "both NATs change ports; it has no IPv6; ");
        let firewall = "over IPv6 it is met only where no firewall is before it; ";
        says(true, keeps, open, &format!("its NAT changes ports; {firewall}"));
        let near = "over IPv4 it tells addresses of local networks only; ";
        says(true, keeps, &[own, NEAR], &format!("{near}{firewall}"));
        says(false, keeps, &[own, NEAR], &format!("{near}this machine has no IPv6; "));
        // Where both have it, firewalls are passed.
        for here in [changes, keeps, Here::Unseen, Here::Apart] {
            says(true, here, met, "");
            says(true, here, &met[..3], "");
        }
        let words = words_with(true, Here::Fixed, met, 1);
        assert!(words.contains("; with --listen nobody is met behind a firewall over IPv6; "));
        let words = words_with(true, Here::Hidden, met, 1);
        assert!(words.contains("(--relay-proxy) nobody is met behind a firewall over IPv6; "));
    }

    #[test]
    fn a_path_that_ended_is_no_dial_that_failed() {
        let failure = Failure { reason: "the connection was closed".into(), retry: NOW, times: 0 };
        let far = ben(&[FAR]);
        let here = Here::Apart;
        let facts = Facts { failure: Some(&failure), member: &far, here, six: false };
        assert_eq!(not_direct(&facts, NOW), "no direct channel: the connection was closed");
        let facts = Facts { failure: None, ..facts };
        assert_eq!(not_direct(&facts, NOW), "a direct channel is being tried");
    }
}
