//! Slots that don't open, told and repaired: two small state machines.
//!
//! > A recipient tells a sender at most once a minute that its slot does not open, and again until
//! > one does. A sender repairs each recipient at most once a minute, and all who told it within
//! > ten seconds by one new chain.
//!
//! Telling is repeated because a statement may be lost; the pauses double up to six hours. A slot
//! of a chain that was made before the last repair is not repaired again: the statement may be an
//! old one, told anew by a relay.

use alloc::{collections::BTreeMap, vec::Vec};

use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Entry, Event, Group, Output, Timer, control::Said, records::Key,
    wire::Statement,
};
use crate::{
    audit::{Fact, RotationReason},
    ids::{ChainId, MemberId, Timestamp},
};

/// Between two statements to one sender, and between two repairs for one recipient, in
/// milliseconds.
const MINUTE_MS: u64 = 60_000;
/// The longest pause between two statements, in milliseconds.
const PAUSE_MS: u64 = 6 * 60 * MINUTE_MS;
/// Between two chains made for repair, in milliseconds.
const TOGETHER_MS: u64 = 10_000;
/// Cards told in one repair; who isn't among these asks again.
const CARDS: usize = 16;
/// How long an ML-KEM ciphertext is waited for before its sender is told, and from then on before
/// its slot counts as one that doesn't open, in milliseconds.
const PATIENCE_MS: u64 = MINUTE_MS;
const GIVE_UP_MS: u64 = 60 * MINUTE_MS;

/// The senders whose newest slot does not open here.
#[derive(Default)]
pub(super) struct Nacks {
    failing: BTreeMap<MemberId, Failing>,
    /// When each sender was last told.
    told: BTreeMap<MemberId, Timestamp>,
}

struct Failing {
    chain: ChainId,
    due: Timestamp,
    pause: u64,
}

/// What a member can't open, and the topic under which it said so.
struct Ask {
    chain: ChainId,
    topic: [u8; 32],
}

/// Who is to be sealed to anew.
#[derive(Default)]
pub(super) struct Repairs {
    /// When each member was last sealed to anew, and the time that no earlier chain has.
    done: BTreeMap<MemberId, (Timestamp, Timestamp)>,
    /// Who asked since.
    asked: BTreeMap<MemberId, Ask>,
    /// When a chain was last made for it.
    last: Option<Timestamp>,
}

/// Whether a bundle waits for this member's ML-KEM ciphertext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Since(Timestamp),
    /// For long: the sender was told.
    Long(Timestamp),
}

impl Waits {
    /// When it has been waited for long enough.
    pub fn due(self) -> Option<Timestamp> {
        match self {
            Self::No => None,
            Self::Since(since) => Some(since.plus_ms(PATIENCE_MS)),
            Self::Long(since) => Some(since.plus_ms(GIVE_UP_MS)),
        }
    }

    /// The same, waited for so much less.
    pub fn put_off(self, ms: u64, now: Timestamp) -> Self {
        let later = |since: Timestamp| since.plus_ms(ms).min(now).max(since);
        match self {
            Self::No => Self::No,
            Self::Since(since) => Self::Since(later(since)),
            Self::Long(since) => Self::Long(later(since)),
        }
    }
}

impl Nacks {
    /// This sender's slot in this chain does not open.
    pub fn fail(&mut self, sender: MemberId, chain: ChainId, now: Timestamp) {
        let due = self.told.get(&sender).map_or(now, |told| now.max(told.plus_ms(MINUTE_MS)));
        let failing =
            self.failing.entry(sender).or_insert(Failing { chain, due, pause: MINUTE_MS });
        failing.chain = chain;
    }

    /// The chain of this sender that is told now.
    fn failing(&self, sender: &MemberId) -> Option<ChainId> {
        self.failing.get(sender).map(|failing| failing.chain)
    }

    /// A slot of this sender opened, of a chain that is none before what is told.
    pub fn open(&mut self, sender: &MemberId) {
        self.failing.remove(sender);
    }

    /// This sender can be reached now: it is told as soon as it may be.
    pub fn hurry(&mut self, sender: &MemberId, now: Timestamp) {
        let told = self.told.get(sender).copied();
        if let Some(failing) = self.failing.get_mut(sender) {
            failing.due = told.map_or(now, |told| now.max(told.plus_ms(MINUTE_MS)));
            failing.pause = MINUTE_MS;
        }
    }

    /// Whom to tell of which chain now.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<ChainId> {
        let mut due = Vec::new();
        for (sender, failing) in &mut self.failing {
            // A clock that was set back must not silence it for long.
            failing.due = failing.due.min(now.plus_ms(PAUSE_MS));
            if failing.due <= now {
                failing.due = now.plus_ms(failing.pause);
                failing.pause = PAUSE_MS.min(2 * failing.pause);
                self.told.insert(*sender, now);
                due.push(failing.chain);
            }
        }
        due
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.failing.values().map(|failing| failing.due).min()
    }

    pub fn keep(&mut self, stays: impl Fn(&MemberId) -> bool) {
        self.failing.retain(|member, _| stays(member));
        self.told.retain(|member, _| stays(member));
    }
}

impl Repairs {
    /// Whether somebody was sealed to anew within the last minute.
    pub fn is_recent(&self, member: &MemberId, now: Timestamp) -> bool {
        self.done.get(member).is_some_and(|(done, _)| now.ms_since(*done) < MINUTE_MS)
    }

    /// This member is sealed to anew now, in a chain whose time is `made` or later.
    pub fn note(&mut self, member: MemberId, now: Timestamp, made: Timestamp) {
        self.done.insert(member, (now, made));
    }

    /// A member can't open its slot in a chain that was made at `made`.
    fn ask(&mut self, member: MemberId, ask: Ask, made: Timestamp) {
        if self.done.get(&member).is_none_or(|(_, done)| *done <= made) {
            self.asked.insert(member, ask);
        }
    }

    /// When the next chain for repair is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        let together = self.last.map_or(Timestamp(0), |last| last.plus_ms(TOGETHER_MS));
        let first = self.asked.keys().map(|member| {
            self.done.get(member).map_or(Timestamp(0), |(done, _)| done.plus_ms(MINUTE_MS))
        });
        first.min().map(|first| first.max(together))
    }

    /// Whom to seal to anew now, in a chain whose time is `made` or later.
    fn take_due(&mut self, now: Timestamp, made: Timestamp) -> Vec<(MemberId, Ask)> {
        // Where the clock was set back, nothing waits for its return.
        self.last = self.last.map(|last| last.min(now));
        self.done.values_mut().for_each(|(done, _)| *done = now.min(*done));
        if self.deadline().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let asked = core::mem::take(&mut self.asked);
        let (later, due): (BTreeMap<_, _>, BTreeMap<_, _>) =
            asked.into_iter().partition(|(member, _)| self.is_recent(member, now));
        self.asked = later;
        due.keys().for_each(|member| self.note(*member, now, made));
        self.last = Some(now);
        due.into_iter().collect()
    }

    pub fn keep(&mut self, stays: impl Fn(&MemberId) -> bool) {
        self.done.retain(|member, _| stays(member));
        self.asked.retain(|member, _| stays(member));
    }
}

impl Group {
    /// A slot does not open here: its sender is told.
    pub(super) fn nack<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        sender: MemberId,
        chain: ChainId,
    ) {
        self.fail_slot(cx.now, sender, chain);
        self.tell_nacks(cx);
    }

    /// A slot does not open. The newest of its sender's is what is told: an older one may have been
    /// repaired before this state was lost, and would not be again.
    fn fail_slot(&mut self, now: Timestamp, sender: MemberId, chain: ChainId) {
        let known = self.nacks.failing(&sender).filter(|known| self.comes_after(*known, chain));
        self.nacks.fail(sender, known.unwrap_or(chain), now);
    }

    /// A slot opened: what is told of its sender has an end, unless that is of a later chain.
    pub(super) fn open_after_nack(&mut self, sender: &MemberId, chain: ChainId) {
        let later = self.nacks.failing(sender).filter(|failing| self.comes_after(*failing, chain));
        if later.is_none() {
            self.nacks.open(sender);
        }
    }

    /// Whether one chain followed another, as the heads of those between them say.
    fn comes_after(&self, later: ChainId, earlier: ChainId) -> bool {
        // A chain's id has the one before it hashed in: no circle can be made.
        let mut at = self.followed_by(&later);
        while let Some(before) = at {
            if before == earlier {
                return true;
            }
            at = self.followed_by(&before);
        }
        false
    }

    /// The chain that this one followed.
    fn followed_by(&self, chain: &ChainId) -> Option<ChainId> {
        let accepted = self.receiving.chains.get(chain).map(|entry| &entry.head);
        let head = accepted.or_else(|| self.receiving.held.get(chain).map(|held| &held.head))?;
        head.head().closing.map(|closing| closing.chain)
    }

    /// Somebody can't open this node's slot: it gets a fresh one in a new chain, with the topic,
    /// where it can be read.
    pub(super) fn take_nack<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        chain: ChainId,
    ) {
        let Some(Entry { state: ChainState::Mine { .. }, at, .. }) =
            self.receiving.chains.get(&chain)
        else {
            return;
        };
        let at = *at;
        if self.may_have(&said.from, &chain) {
            self.out.push_back(Output::Event(Event::Unopened { by: said.from, chain }));
            self.sending.repairs.ask(said.from, Ask { chain, topic: said.topic }, at);
            self.repair(cx);
        }
    }

    /// A bundle lacks this member's ciphertext and nothing else.
    pub(super) fn wait_for_ciphertext(&mut self, now: Timestamp, chain: ChainId) {
        if let Some(held) = self.receiving.held.get_mut(&chain)
            && held.waits == Waits::No
        {
            held.waits = Waits::Since(now);
            self.want_bundle(now, chain);
            self.watch_nacks();
        }
    }

    /// Tells and repairs what is due.
    pub(super) fn on_nacks_due<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let held = self.receiving.held.iter();
        let mut late: Vec<(u64, ChainId, MemberId)> = held
            .filter(|(_, held)| held.waits.due().is_some_and(|due| due <= cx.now))
            .map(|(chain, held)| (held.place, *chain, held.head.head().sender))
            .collect();
        // In the order of coming: the newest is told.
        late.sort_unstable();
        for (_, chain, sender) in late {
            let stays = self.is_member(&sender);
            match self.receiving.held.get_mut(&chain) {
                Some(held) if matches!(held.waits, Waits::Since(_)) => {
                    held.waits = Waits::Long(cx.now);
                    // Whoever is gone seals to nobody anew; others may have the ciphertext.
                    if stays {
                        self.fail_slot(cx.now, sender, chain);
                    }
                }
                // That keys are missing was said when they were asked for in vain.
                _ => self.accept(cx, chain, ChainState::Failed),
            }
        }
        self.tell_nacks(cx);
        self.repair(cx);
        self.watch_nacks();
    }

    /// Sets the timer for what is due next.
    pub(super) fn watch_nacks(&mut self) {
        let waits = self.receiving.held.values().filter_map(|held| held.waits.due());
        let due = waits.chain(self.nacks.deadline()).chain(self.sending.repairs.deadline()).min();
        if let Some(due) = due {
            self.set_timer(Timer::Nacks, due);
        }
    }

    /// After a start: whose newest slot did not open is told again.
    pub(super) fn recall_nacks(&mut self, now: Timestamp) {
        let mut newest: BTreeMap<MemberId, (Timestamp, Option<ChainId>)> = BTreeMap::new();
        for (chain, entry) in &self.receiving.chains {
            let failed = match entry.state {
                ChainState::Failed => Some(*chain),
                ChainState::Open(_) | ChainState::Closed { .. } => None,
                ChainState::NotForMe | ChainState::Mine { .. } => continue,
            };
            let of = newest.entry(entry.head.head().sender).or_insert((entry.at, failed));
            *of = (*of).max((entry.at, failed));
        }
        for (sender, (_, failed)) in newest {
            if let Some(chain) = failed.filter(|_| self.is_member(&sender)) {
                self.nacks.fail(sender, chain, now);
            }
        }
        self.watch_nacks();
    }

    fn tell_nacks<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let under = self.topics_to_ask_under();
        if !under.is_empty() {
            let due = self.nacks.take_due(cx.now);
            // Whoever seals anew before it has this node's newest card seals to keys that may be lost, and then
            // not again for a minute: what is said over a channel can overtake what a relay has.
            if !due.is_empty() {
                let card = Vec::from(cx.me.card().as_bytes()).into();
                self.publish_control(cx, &Statement::Card(card), &under);
            }
            for chain in due {
                self.publish_control(cx, &Statement::SlotNack(chain), &under);
            }
        }
        self.watch_nacks();
    }

    /// What was sealed to somebody since a chain that it can't open does not open there either: what the
    /// keys went on from is lost.
    fn tell_unopened(&mut self, by: MemberId, asked: ChainId) {
        let chains = &self.receiving.chains;
        let Some(since) = chains.get(&asked).map(|entry| entry.at) else { return };
        let is_since = |chain: &ChainId| chains.get(chain).is_some_and(|entry| entry.at >= since);
        let own = self.own_newest().into_iter().filter(is_since);
        let own: Vec<ChainId> = own.filter(|chain| self.may_have(&by, chain)).collect();
        for chain in own {
            self.out.push_back(Output::Event(Event::Unopened { by, chain }));
        }
    }

    fn repair<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let mut under = self.write_topics();
        let due = self.sending.repairs.take_due(cx.now, self.next_at(cx.now));
        if due.is_empty() {
            self.watch_nacks();
            return;
        }
        let topic = under.first().and_then(|commit| self.topics.secret(commit)).cloned();
        let mut cards = Vec::new();
        for (member, Ask { chain, topic: asked_under }) in due {
            self.tell_unopened(member, chain);
            self.note(cx, Fact::SlotRefused { member, chain });
            // An old copy doesn't know its newest card, and so not that others seal by it.
            cards.extend(self.people.cards.get(&member).map(|card| Vec::from(card.as_bytes())));
            self.forget_turn(&member);
            if let Some(pair) = self.sending.pairs.get_mut(&member) {
                pair.reset();
                self.dirty.mark(Key::PairSend(member));
            }
            if !under.contains(&asked_under) {
                under.push(asked_under);
            }
        }
        for card in cards.into_iter().take(CARDS) {
            self.publish_control(cx, &Statement::Card(card.into()), &under);
        }
        self.rotate_chain(cx, RotationReason::SlotNack, topic.as_ref(), &under);
        self.watch_nacks();
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::{super::world::World, *};

    const ANA: MemberId = MemberId([1; 32]);
    const BEN: MemberId = MemberId([2; 32]);
    const NOW: Timestamp = Timestamp(10_000_000_000);

    fn chain(n: u8) -> ChainId {
        ChainId([n; 16])
    }

    fn ask(n: u8) -> Ask {
        Ask { chain: chain(n), topic: [n; 32] }
    }

    fn whom(due: Vec<(MemberId, Ask)>) -> Vec<MemberId> {
        due.into_iter().map(|(member, _)| member).collect()
    }

    #[test]
    fn who_is_told_that_a_slot_does_not_open_has_the_card_to_seal_by_first() {
        let mut world = World::with(2, true);
        let chain = world.say(0, "one").chain;
        world.settle();
        let (by, sender) = (world.id(1), world.id(0));
        let now = world.now;
        assert!(world.people[1].me.overtake(1 << 24, now, &mut world.rng));
        let newest = world.people[1].me.card().card().seq;
        let known = |world: &World| world.member(0).people.cards[&by].card().seq;
        assert!(known(&world) < newest);
        world.act(1, |group, cx| group.nack(&mut { cx }, sender, chain));
        world.settle();
        assert_eq!(known(&world), newest);
        world.say(0, "two");
        world.settle();
        assert!(world.heard(1).contains(&"two".into()));
    }

    #[test]
    fn a_sender_is_told_again_ever_more_rarely_until_a_slot_opens() {
        let (mut nacks, mut now, mut pauses) = (Nacks::default(), NOW, vec![]);
        nacks.fail(ANA, chain(1), now);
        for _ in 0..12 {
            let due = nacks.deadline().unwrap();
            assert!(nacks.take_due(Timestamp(due.0 - 1)).is_empty());
            assert_eq!(nacks.take_due(due), [chain(1)]);
            pauses.push(due.ms_since(now) / MINUTE_MS);
            now = due;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
        nacks.open(&ANA);
        assert_eq!(nacks.deadline(), None);
    }

    #[test]
    fn a_sender_is_told_of_the_newest_chain_and_at_most_once_a_minute() {
        let mut nacks = Nacks::default();
        nacks.fail(ANA, chain(1), NOW);
        assert_eq!(nacks.take_due(NOW), [chain(1)]);
        for second in 1..60 {
            let now = NOW.plus_ms(second * 1_000);
            nacks.fail(ANA, chain(2), now);
            nacks.hurry(&ANA, now);
            assert!(nacks.take_due(now).is_empty(), "after {second} s");
            nacks.open(&ANA);
        }
        nacks.fail(ANA, chain(3), NOW.plus_ms(59_000));
        assert_eq!(nacks.take_due(NOW.plus_ms(MINUTE_MS)), [chain(3)]);
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nobody_for_long() {
        let mut nacks = Nacks::default();
        nacks.fail(ANA, chain(1), NOW);
        assert_eq!(nacks.take_due(NOW), [chain(1)]);
        let back = Timestamp(1_000_000);
        assert!(nacks.take_due(back).is_empty());
        assert_eq!(nacks.take_due(back.plus_ms(PAUSE_MS)), [chain(1)]);
        let mut repairs = Repairs::default();
        repairs.ask(ANA, ask(1), NOW);
        assert_eq!(whom(repairs.take_due(NOW, NOW)), [ANA]);
        assert!(repairs.take_due(back, back).is_empty());
        repairs.ask(ANA, ask(2), NOW);
        assert_eq!(whom(repairs.take_due(back.plus_ms(MINUTE_MS), back)), [ANA]);
    }

    #[test]
    fn those_who_ask_within_ten_seconds_are_repaired_together() {
        let mut repairs = Repairs::default();
        repairs.ask(ANA, ask(1), Timestamp(5));
        assert_eq!(whom(repairs.take_due(NOW, NOW)), [ANA], "the first at once");
        for n in 2..50 {
            repairs.ask(MemberId([n; 32]), ask(1), Timestamp(5));
            assert!(repairs.take_due(NOW.plus_ms(1_000), NOW).is_empty());
        }
        assert_eq!(repairs.deadline(), Some(NOW.plus_ms(TOGETHER_MS)));
        assert_eq!(repairs.take_due(NOW.plus_ms(TOGETHER_MS), NOW).len(), 48);
        assert_eq!(repairs.deadline(), None);
    }

    #[test]
    fn one_member_is_repaired_once_a_minute_and_not_for_an_older_chain() {
        let mut repairs = Repairs::default();
        repairs.ask(ANA, ask(1), Timestamp(5));
        let made = NOW.plus_ms(3);
        assert_eq!(whom(repairs.take_due(NOW, made)), [ANA]);
        repairs.ask(ANA, ask(1), Timestamp(5));
        assert_eq!(repairs.deadline(), None, "that was repaired");
        repairs.ask(ANA, ask(2), made);
        repairs.ask(BEN, ask(2), made);
        let soon = NOW.plus_ms(TOGETHER_MS);
        assert_eq!(whom(repairs.take_due(soon, soon)), [BEN]);
        assert_eq!(repairs.deadline(), Some(NOW.plus_ms(MINUTE_MS)));
        assert_eq!(whom(repairs.take_due(NOW.plus_ms(MINUTE_MS), soon)), [ANA]);
    }

    #[test]
    fn what_was_sealed_before_a_repair_is_told_not_to_open() {
        let mut world = World::with(2, true);
        let refuse = |world: &mut World, chain| {
            let topic = world.member(0).write_topics()[0];
            let said = Said { from: world.id(1), topic };
            world.act(0, |group, mut cx| group.take_nack(&mut cx, said, chain));
        };
        let first = world.say(0, "one").chain;
        refuse(&mut world, first);
        let second = world.say(0, "two").chain;
        assert_ne!(first, second, "repaired at once");
        refuse(&mut world, second);
        world.say(0, "three, before the minute is over");
        world.people[0].events.clear();
        world.pass(2 * MINUTE_MS);
        let unopened = Event::Unopened { by: world.id(1), chain: second };
        assert!(world.people[0].events.contains(&unopened), "{:?}", world.people[0].events);
    }

    #[test]
    fn who_is_no_member_is_neither_told_nor_repaired() {
        let (mut nacks, mut repairs) = (Nacks::default(), Repairs::default());
        nacks.fail(ANA, chain(1), NOW);
        repairs.ask(ANA, ask(1), NOW);
        nacks.keep(|_| false);
        repairs.keep(|_| false);
        assert_eq!((nacks.deadline(), repairs.deadline()), (None, None));
    }
}
