//! When this machine's way into the network changes: it has other addresses than before, or it slept.
//!
//! One task watches the interfaces and two clocks. That the machine slept shows by these: the clock of the day
//! has gone on while the one that timers go by stood still. (Where both stood still, as in a machine that was
//! frozen, it shows as soon as the first is set again; where both went on, by a beat that came far too late.)
//!
//! > Whoever waits to try something again is to try now, and what stands is to be tried: a [`Change`] says so,
//! > once in ten seconds at most, however often a network comes and goes, and never for what was there from the
//! > start.

use std::{collections::BTreeSet, future::poll_fn, net::IpAddr, task::Poll, time::Duration};

use if_watch::{IfEvent, IpNet, tokio::IfWatcher};
use protocol::ids::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// The way into the network is not what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Networks in which this machine's address is gone: what led there leads nowhere.
    pub(super) left: Vec<IpNet>,
    /// Whether the machine slept.
    pub slept: bool,
    /// Whether it has an address that it did not have when this was said last, or at the start; of IPv6, where one
    /// network gives many, one of another network.
    pub(super) moved: bool,
}

/// Over so long a time what changes is gathered: an address seldom comes alone.
const SETTLE: Duration = Duration::from_millis(300);
/// What comes so soon after the start was there before.
const START: Duration = Duration::from_millis(500);
/// A change is told no sooner after another.
const REST: Duration = Duration::from_secs(10);
/// Networks that are remembered as left until that is told.
const LEFT: usize = 64;
/// How often the clocks are compared.
const BEAT: Duration = Duration::from_secs(5);
/// A beat that comes so much too late, or a clock that went ahead so far meanwhile, is a sleep.
const ASLEEP: Duration = Duration::from_secs(15);
/// Within so long everybody who was told tries again, each after a chance part of it.
pub(super) const SPREAD: Duration = Duration::from_secs(1);

/// Starts the task, which ends when the receiver is dropped. Must be called inside a tokio runtime.
#[must_use]
pub fn spawn(clock: fn() -> Timestamp) -> mpsc::Receiver<Change> {
    let (changes, taken) = mpsc::channel(1);
    // Where interfaces can't be watched, the clocks still can.
    tokio::spawn(run(IfWatcher::new().ok(), clock, changes));
    taken
}

async fn run(
    mut watcher: Option<IfWatcher>,
    clock: fn() -> Timestamp,
    changes: mpsc::Sender<Change>,
) {
    let mut seen = Seen::new(Instant::now(), clock());
    loop {
        let next = seen.next();
        let interface = poll_fn(|cx| match &mut watcher {
            Some(watcher) => watcher.poll_if_event(cx),
            None => Poll::Pending,
        });
        tokio::select! {
            event = interface => match event {
                Ok(IfEvent::Up(net)) => seen.up(net, Instant::now()),
                Ok(IfEvent::Down(net)) => seen.down(net, Instant::now()),
                Err(_) => watcher = None,
            },
            () = sleep_until(next) => {
                seen.beat(Instant::now(), clock());
                if let Some(change) = seen.due(Instant::now()) {
                    if changes.send(change).await.is_err() {
                        return;
                    }
                    seen.waited(Instant::now(), clock());
                }
            }
            () = changes.closed() => return,
        }
    }
}

/// What was seen, without any network or clock.
struct Seen {
    /// This machine's networks, each with its own address there.
    nets: BTreeSet<IpNet>,
    /// Those of them that have come since a change was told last.
    fresh: BTreeSet<IpNet>,
    /// Those that have gone since.
    left: BTreeSet<IpNet>,
    slept: bool,
    /// Its addresses when it was last told that it has another.
    known: BTreeSet<IpNet>,
    /// Whether what was there from the start is known.
    is_known: bool,
    /// When what has changed is told.
    settled: Option<Instant>,
    told: Option<Instant>,
    /// The last beat, by both clocks.
    beat: (Instant, Timestamp),
}

impl Seen {
    fn new(now: Instant, wall: Timestamp) -> Self {
        Self {
            nets: BTreeSet::new(),
            fresh: BTreeSet::new(),
            left: BTreeSet::new(),
            slept: false,
            known: BTreeSet::new(),
            is_known: false,
            settled: Some(now + START),
            told: None,
            beat: (now, wall),
        }
    }

    fn up(&mut self, net: IpNet, now: Instant) {
        if leads_on(net.addr()) && self.nets.insert(net) {
            self.left.remove(&net);
            self.fresh.insert(net);
            self.changed(now);
        }
    }

    fn down(&mut self, net: IpNet, now: Instant) {
        if self.nets.remove(&net) {
            self.fresh.remove(&net);
            if self.left.len() < LEFT {
                self.left.insert(net);
            }
            self.changed(now);
        }
    }

    /// Compares the clocks.
    fn beat(&mut self, now: Instant, wall: Timestamp) {
        let passed = now.duration_since(self.beat.0);
        let walked = Duration::from_millis(wall.ms_since(self.beat.1));
        if passed >= BEAT + ASLEEP || walked >= passed + ASLEEP {
            self.slept = true;
            self.changed(now);
        }
        self.beat = (now, wall);
    }

    /// Time has gone by in which nobody looked.
    fn waited(&mut self, now: Instant, wall: Timestamp) {
        self.beat = (now, wall);
    }

    fn changed(&mut self, now: Instant) {
        self.settled.get_or_insert(now + SETTLE);
    }

    /// When to look again.
    fn next(&self) -> Instant {
        let beat = self.beat.0 + BEAT;
        let settled = self.settled.map(|at| at.max(self.told.map_or(at, |told| told + REST)));
        settled.map_or(beat, |at| at.min(beat))
    }

    /// What is to be told now.
    fn due(&mut self, now: Instant) -> Option<Change> {
        if self.settled.is_none_or(|at| at > now) || self.told.is_some_and(|told| told + REST > now)
        {
            return None;
        }
        self.settled = None;
        let fresh = std::mem::take(&mut self.fresh);
        let mut left = std::mem::take(&mut self.left);
        let slept = std::mem::take(&mut self.slept);
        let here: BTreeSet<IpNet> = self.nets.iter().map(place).collect();
        let moved = !here.is_subset(&self.known);
        if moved {
            self.known = here;
        }
        if !std::mem::replace(&mut self.is_known, true) {
            return None;
        }
        // Another address, which was there before, may be the one by which things go there.
        left.retain(|gone| {
            let stays = |net: &&IpNet| !fresh.contains(*net) && net.contains(&gone.network());
            !self.nets.iter().any(|net| stays(&net))
        });
        self.told = Some(now);
        Some(Change { left: left.into_iter().collect(), slept, moved })
    }
}

/// By what it is known whether a machine is where it was: its address, or the network of one of IPv6.
fn place(net: &IpNet) -> IpNet {
    match net {
        IpNet::V4(_) => *net,
        IpNet::V6(net) => net.trunc().into(),
    }
}

/// Whether an address leads anywhere but to this machine and to what one cable joins: virtual machines and
/// containers come and go without end, and each brings one of those.
fn leads_on(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp(1_800_000_000_000);

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// On one network since long ago.
    fn seen() -> (Seen, Instant) {
        let start = Instant::now();
        let mut seen = Seen::new(start, WALL);
        seen.up(net("192.168.1.7/24"), start);
        let now = start + START;
        assert_eq!(seen.due(start), None);
        assert_eq!(seen.due(now), None, "what was there from the start is no change");
        (seen, now)
    }

    /// Time goes by, for both clocks, until nothing is left to be told; how often something was.
    fn told(seen: &mut Seen, from: Instant, until: Duration) -> Vec<Change> {
        let (mut now, mut all) = (from, Vec::new());
        while now < from + until {
            now = seen.next().max(now + Duration::from_millis(1));
            let passed = now.duration_since(seen.beat.0);
            let passed = u64::try_from(passed.as_millis()).unwrap();
            seen.beat(now, seen.beat.1.plus_ms(passed));
            all.extend(seen.due(now));
        }
        all
    }

    #[test]
    fn a_new_address_is_told_once_it_has_settled_and_while_nothing_changes_nothing_is() {
        let (mut seen, now) = seen();
        assert_eq!(told(&mut seen, now, Duration::from_secs(3600)), []);
        let now = seen.beat.0;
        seen.up(net("10.0.0.7/24"), now);
        seen.up(net("2001:db8::7/64"), now);
        assert_eq!(seen.due(now), None);
        let moved = Change { moved: true, ..Change::default() };
        assert_eq!(told(&mut seen, now, Duration::from_secs(60)), [moved]);
        let now = seen.beat.0;
        seen.up(net("2001:db8::8/64"), now);
        assert_eq!(told(&mut seen, now, Duration::from_secs(60)), [Change::default()]);
    }

    #[test]
    fn who_comes_back_to_the_same_address_has_not_moved() {
        let (mut seen, now) = seen();
        let (home, cafe) = (net("192.168.1.7/24"), net("10.0.0.7/24"));
        let mut moved = Vec::new();
        let mut now = now;
        for (gone, come) in [(home, home), (home, home), (home, cafe), (cafe, cafe), (cafe, home)] {
            seen.down(gone, now);
            moved.extend(told(&mut seen, now, 2 * REST).into_iter().map(|change| change.moved));
            now = seen.beat.0;
            seen.up(come, now);
            moved.extend(told(&mut seen, now, 2 * REST).into_iter().map(|change| change.moved));
            now = seen.beat.0;
        }
        let (stays, moves) = (false, true);
        let ups = [stays, stays, moves, stays, moves];
        let expected: Vec<bool> = ups.into_iter().flat_map(|up| [stays, up]).collect();
        assert_eq!(moved, expected);
    }

    #[test]
    fn what_leads_nowhere_is_no_change() {
        let (mut seen, now) = seen();
        for nowhere in ["127.0.0.2/8", "169.254.1.1/16", "fe80::1/64", "::1/128"] {
            seen.up(net(nowhere), now);
            seen.down(net(nowhere), now);
        }
        assert_eq!(told(&mut seen, now, Duration::from_secs(60)), []);
    }

    #[test]
    fn a_network_is_left_with_the_address_there_unless_another_was_there_before() {
        let (mut seen, now) = seen();
        let (one, other) = (net("192.168.1.7/24"), net("192.168.1.8/24"));
        seen.down(one, now);
        seen.up(other, now);
        let left = vec![one];
        assert_eq!(told(&mut seen, now, REST), [Change { left, slept: false, moved: true }]);
        let now = seen.beat.0;
        seen.up(one, now);
        let moved = Change { moved: true, ..Change::default() };
        assert_eq!(told(&mut seen, now, 2 * REST), [moved]);
        let now = seen.beat.0;
        seen.down(other, now);
        assert_eq!(
            told(&mut seen, now, 2 * REST),
            [Change::default()],
            "the first still leads there"
        );
        let now = seen.beat.0;
        seen.down(one, now);
        seen.up(one, now);
        assert_eq!(told(&mut seen, now, 2 * REST), [Change::default()], "it was back at once");
    }

    #[test]
    fn an_interface_that_comes_and_goes_without_end_is_told_of_now_and_then() {
        let (mut seen, start) = seen();
        let (mut changes, mut moves) = (0, 0);
        let flap = net("10.0.0.7/24");
        for tenth in 0..6000_u64 {
            let now = start + Duration::from_millis(100 * tenth);
            if tenth % 2 == 0 {
                seen.up(flap, now)
            } else {
                seen.down(flap, now)
            }
            seen.beat(now, WALL.plus_ms(100 * tenth));
            let change = seen.due(now);
            changes += usize::from(change.is_some());
            moves += usize::from(change.is_some_and(|change| change.moved));
        }
        assert!((50..=60).contains(&changes), "{changes} in ten minutes");
        assert!(moves <= 1, "{moves} other addresses");
        assert!(seen.left.len() <= 1 && seen.fresh.len() <= 1);
    }

    #[test]
    fn a_machine_that_slept_is_told_of_by_the_clock_of_the_day_or_by_a_beat_too_late() {
        let asleep = |passed_s: u64, walked_s: u64| {
            let (mut seen, now) = seen();
            seen.beat(now, WALL);
            let now = now + Duration::from_secs(passed_s);
            seen.beat(now, WALL.plus_ms(1000 * walked_s));
            told(&mut seen, now, Duration::from_secs(60))
        };
        let slept = [Change { slept: true, ..Change::default() }];
        assert_eq!(asleep(5, 3600), slept, "timers stood still");
        assert_eq!(asleep(3600, 3600), slept, "nothing stood still, but nobody looked");
        assert_eq!(asleep(5, 5), []);
        assert_eq!(asleep(9, 12), [], "a busy machine, a clock that is set a little");
        assert_eq!(asleep(5, 0), [], "a clock that is set back");
    }
}
