//! Questions to everybody under a topic, and who answers them.
//!
//! > The nearest in the roster that has it answers, unless another has. What was told under the
//! > topics once is told there again ever more rarely, whoever asks.
//!
//! docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Group, Output, Source, Timer,
    control::{Said, parts},
    wire::{BundleWire, ChainSummary, Indexes, Statement, Want},
};
use crate::{
    audit::RotationReason,
    bundle::Bundle,
    ids::{ChainId, MemberId, OpId, RosterHash, Timestamp},
    topic::TopicSecret,
};

/// Answers to what others lack that wait for somebody nearer to give them.
const ANSWERS: usize = 256;
/// How many of these one asker may have.
const OF_ONE: usize = 64;
/// How long each member before this one in the roster is given to answer first, in milliseconds.
const ANSWER_STEP_MS: u64 = 250;
/// How many members answer so, and how long the others wait beside that, in milliseconds: where what these say takes its time, a
/// hundred who say it too would take more.
const NEAR: u64 = 6;
const FAR_MS: u64 = 30_000;
/// How long an author is given to tell its own messages first, in milliseconds.
const OTHERS_MS: u64 = 3_000;
/// One member's questions to everybody are heard this often, in milliseconds.
const HEARD_MS: u64 = 1_000;
/// How far a member's clock may be ahead, in milliseconds: an hour.
const AHEAD_MS: u64 = 60 * 60 * 1000;
/// How long one chain with a topic answers all who ask for it under one topic, in milliseconds.
const HANDED_MS: u64 = 60_000;
/// Messages served to one request on a relay's log.
const SERVED: usize = 64;
/// Ops told in answer to one, and the envelopes that they fill.
const OPS_TOLD: usize = 512;
pub(super) const OPS_ENVELOPES: usize = 8;

/// What somebody asked everybody for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Bundle(ChainId),
    /// The head alone: the chain is not for whoever asks.
    Head(ChainId),
    Kem(ChainId, MemberId),
    Ops(MemberId),
    Topic(MemberId),
    /// The ops by which somebody is out.
    Gone(MemberId),
    /// Messages of others, whom they may reach no more.
    Messages(MemberId),
}

/// An answer that this node gives unless another does.
pub(super) struct Answer {
    /// Who asked first.
    pub by: MemberId,
    pub due: Timestamp,
    pub topic: [u8; 32],
    /// The ops that were asked for and nobody told yet.
    pub ops: Vec<OpId>,
    /// The messages that were asked for and did not come since.
    pub messages: BTreeSet<(ChainId, u32)>,
}

/// That the topic of the moment was told under another one, in a chain for a whole roster.
pub(super) struct Handed {
    roster: RosterHash,
    at: Timestamp,
}

impl Handed {
    /// Whether whoever of this roster asks will find it there.
    fn serves(&self, roster: &RosterHash, now: Timestamp) -> bool {
        self.roster == *roster && self.at <= now && now.ms_since(self.at) < HANDED_MS
    }
}

impl Asked {
    fn is_of_bundle(&self) -> bool {
        matches!(self, Self::Bundle(_) | Self::Head(_) | Self::Kem(..))
    }
}

impl Group {
    /// Somebody lacks something and asks under a topic: the nearest in the roster that has it
    /// answers there, unless another has.
    pub(super) fn take_public_want<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        want: &Want,
    ) {
        let heard = self.heard.get(&said.from);
        if heard.is_some_and(|it| *it <= cx.now && cx.now.ms_since(*it) < HEARD_MS) {
            return;
        }
        // An old question that somebody repeats is not answered.
        // The asker's clock may have been ahead, and set back since.
        let last = self.questions.get(&said.from).copied();
        let last = last.filter(|last| *last <= cx.now.plus_ms(AHEAD_MS));
        if want.at.is_some() && last >= want.at {
            return;
        }
        if let Some(at) = want.at {
            self.questions.insert(said.from, at);
        }
        self.heard.insert(said.from, cx.now);
        let due = self.turn_to_answer(cx);
        let by = said.from;
        let answer = |ops| Answer { by, due, topic: said.topic, ops, messages: BTreeSet::new() };
        if let Some(heads) = &want.ops_after {
            let mut ops = self.ops.to_tell(heads, self.heads_named());
            ops.truncate(OPS_TOLD);
            if !ops.is_empty() {
                self.answer(Asked::Ops(said.from), answer(ops));
            }
        }
        if want.topics {
            self.is_asked_beside(cx.now);
        }
        if want.topics && self.topic_beside(&said.topic).is_some() {
            self.answer(Asked::Topic(said.from), answer(Vec::new()));
        }
        // The author answers on a log at once, the others where it does not; on channels anybody does.
        let mut room = SERVED;
        let (mut mine, mut others) = (Vec::new(), BTreeSet::new());
        for Indexes { chain, indexes } in &want.messages {
            let missing = indexes.iter().copied().take(room).collect();
            let wanted = ChainSummary { chain: *chain, next: u32::MAX, missing };
            let Some((chain, indexes)) = self.lacking(&said.from, &wanted) else { continue };
            room -= indexes.len();
            let entry = self.receiving.chains.get(&chain);
            if entry.is_some_and(|entry| matches!(entry.state, ChainState::Mine { .. })) {
                mine.push((chain, indexes));
            } else {
                others.extend(indexes.into_iter().map(|index| (chain, index)));
            }
        }
        self.tell_again(said.from, mine, cx.now);
        if !others.is_empty() {
            let due = due.plus_ms(OTHERS_MS);
            let answer = Answer { due, messages: others, ..answer(Vec::new()) };
            self.answer(Asked::Messages(said.from), answer);
        }
        // Whoever can't open a bundle learns from it that its chain is not for it. Who made it answers first.
        for chain in want.bundles.iter().take(64) {
            let entry = self.receiving.chains.get(chain);
            let is_mine = entry.is_some_and(|it| matches!(it.state, ChainState::Mine { .. }));
            let due = if is_mine { cx.now } else { due };
            let answer = |ops| Answer { due, ..answer(ops) };
            if self.may_have(&said.from, chain) {
                self.answer(Asked::Bundle(*chain), answer(Vec::new()));
            } else if self.receiving.chains.contains_key(chain) {
                self.answer(Asked::Head(*chain), answer(Vec::new()));
            }
            if self.slots.of(chain, &said.from).is_some() {
                self.answer(Asked::Kem(*chain, said.from), answer(Vec::new()));
            }
        }
    }

    /// When this node answers, unless one before it in the roster has.
    pub(super) fn turn_to_answer<R: CryptoRng>(&self, cx: &mut Cx<'_, R>) -> Timestamp {
        let jitter = cx.rng.next_u64() % ANSWER_STEP_MS;
        let place = self.place();
        let far = if place < NEAR { 0 } else { FAR_MS };
        cx.now.plus_ms(place * ANSWER_STEP_MS + far + jitter)
    }

    /// How many members come before this one in the roster.
    pub(super) fn place(&self) -> u64 {
        let members = &self.ops.resolve().members;
        members.keys().position(|member| *member == self.me).unwrap_or(0) as u64
    }

    /// Has messages told that somebody lacks: on its channel, or under the topics of the moment those
    /// that were not told there lately.
    fn tell_again(&mut self, to: MemberId, mut messages: Vec<(ChainId, Vec<u32>)>, now: Timestamp) {
        if !self.peers.contains_key(&to) {
            for (chain, indexes) in &mut messages {
                indexes.retain(|index| self.again.take((*chain, *index), now));
            }
            messages.retain(|(_, indexes)| !indexes.is_empty());
        }
        if !messages.is_empty() {
            self.out.push_back(Output::Serve { to, messages });
        }
    }

    /// A message came, perhaps once more: nobody needs to tell it now. One that somebody put on a log
    /// is not told there again before the pause is over.
    pub(super) fn is_told(&mut self, message: (ChainId, u32), from: Source, now: Timestamp) {
        let waited = self.answers.values_mut().map(|answer| answer.messages.remove(&message));
        if waited.filter(|it| *it).count() > 0 && matches!(from, Source::Log(_)) {
            self.again.take(message, now);
        }
    }

    /// The same of an envelope that is known.
    pub(super) fn is_told_again(&mut self, bytes: &[u8], from: Source, now: Timestamp) {
        if self.answers.values().any(|answer| !answer.messages.is_empty())
            && let Some((_, header)) = self.topics.peek(bytes)
        {
            self.is_told((header.chain, header.index), from, now);
        }
    }

    /// Has an answer wait. Who asks for much displaces its own bundles, and a full table loses
    /// bundles first.
    pub(super) fn answer(&mut self, asked: Asked, answer: Answer) {
        if self.answers.contains_key(&asked) {
            return;
        }
        let of_asker = self.answers.values().filter(|it| it.by == answer.by).count();
        let full = self.answers.len() >= ANSWERS;
        if full || of_asker >= OF_ONE {
            let mine = of_asker >= OF_ONE;
            let of = self.answers.iter().filter(|(it, _)| it.is_of_bundle());
            let of = of.filter(|(_, it)| !mine || it.by == answer.by);
            let last = of.max_by_key(|(_, it)| it.due).map(|(asked, _)| *asked);
            match last.filter(|_| !asked.is_of_bundle()) {
                Some(last) => self.answers.remove(&last),
                None => return,
            };
        }
        let due = answer.due;
        self.answers.insert(asked, answer);
        self.set_timer(Timer::Answers, due);
    }

    pub(super) fn give_answers<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let due: Vec<Asked> = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.due <= cx.now)
            .map(|(asked, _)| *asked)
            .collect();
        for asked in due {
            let Some(answer) = self.answers.remove(&asked) else { continue };
            match asked {
                Asked::Bundle(chain) => {
                    if let Some(entry) = self.receiving.chains.get(&chain) {
                        let bundle =
                            Bundle { head: entry.head.clone(), pages: entry.pages.clone() };
                        self.publish_bundle(cx, &bundle, &[answer.topic]);
                    }
                }
                Asked::Head(chain) => {
                    if let Some(entry) = self.receiving.chains.get(&chain) {
                        let head = entry.head.as_bytes().into();
                        let wire = BundleWire { head, pages: Vec::new() };
                        let statement = Statement::Bundle(wire);
                        self.publish_control(cx, &statement, &[answer.topic]);
                    }
                }
                Asked::Kem(chain, member) => {
                    for wire in self.slots.wires(&chain, Some(&member)) {
                        self.publish_control(cx, &Statement::Kem(wire), &[answer.topic]);
                    }
                }
                Asked::Ops(_) => {
                    let ops = answer.ops.iter().filter_map(|id| self.ops.op(id));
                    let ops = ops.map(|op| Vec::from(op.as_bytes()).into()).collect();
                    for ops in parts(ops).into_iter().take(OPS_ENVELOPES) {
                        self.publish_control(cx, &Statement::Ops(ops), &[answer.topic]);
                    }
                }
                Asked::Gone(member) => self.tell_gone(cx, member, &answer),
                Asked::Topic(member) => self.hand_over(cx, member, &answer.topic),
                Asked::Messages(to) => {
                    let mut messages: BTreeMap<ChainId, Vec<u32>> = BTreeMap::new();
                    for (chain, index) in answer.messages {
                        messages.entry(chain).or_default().push(index);
                    }
                    self.tell_again(to, messages.into_iter().collect(), cx.now);
                }
            }
        }
        if let Some(next) = self.answers.values().map(|answer| answer.due).min() {
            self.set_timer(Timer::Answers, next);
        }
    }

    /// Hands the topic of the moment to a member that asked for it under another one: in a new
    /// chain, and so sealed to the roster.
    fn hand_over<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, to: MemberId, under: &[u8; 32]) {
        let roster = self.ops.resolve().roster(self.id).hash();
        let handed = self.sending.handed.get(under);
        let is_on_its_way = handed.is_some_and(|handed| handed.serves(&roster, cx.now));
        if is_on_its_way || self.sending.repairs.is_recent(&to, cx.now) {
            return;
        }
        if let Some(topic) = self.topic_beside(under).filter(|_| self.is_member(&to)) {
            self.sending.repairs.note(to, cx.now, self.next_at(cx.now));
            self.sending.handed.retain(|_, handed| handed.serves(&roster, cx.now));
            self.sending.handed.insert(*under, Handed { roster, at: cx.now });
            self.rotate_chain(cx, RotationReason::HandOver, Some(&topic), &[*under]);
        }
    }

    /// The secret of a topic to write to that is another one than this.
    fn topic_beside(&self, known: &[u8; 32]) -> Option<TopicSecret> {
        let other = self.write_topics().into_iter().find(|commit| commit != known)?;
        self.topics.secret(&other).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{chain::SendChain, sim::world::World};

    /// How many messages somebody has told by now.
    fn told(group: &mut Group) -> usize {
        let mut told = 0;
        while let Some(output) = group.poll() {
            if let Output::Serve { messages, .. } = output {
                told += messages.iter().map(|(_, indexes)| indexes.len()).sum::<usize>();
            }
        }
        told
    }

    /// Somebody asks for the first messages of a chain, every so often; when they were told.
    fn times(world: &mut World, of: usize, chain: ChainId, every: u64, rounds: u64) -> Vec<u64> {
        let (start, mut times) = (world.now, vec![]);
        for round in 0..rounds {
            world.now = start.plus_ms(round * every * 1_000);
            let from = world.id(1 + usize::try_from(round % 2).unwrap());
            let indexes = (0..64).collect();
            let messages = vec![Indexes { chain, indexes }];
            let want = Want { messages, at: Some(world.now), ..Want::default() };
            let told = world.act(of, |group, mut cx| {
                told(group);
                let topic = group.write_topics()[0];
                group.take_public_want(&mut cx, Said { from, topic }, &want);
                let at_once = told(group);
                cx.now = cx.now.plus_ms(every * 1_000 - 1);
                group.give_answers(&mut cx);
                at_once + told(group)
            });
            if told > 0 {
                times.push(round * every);
            }
        }
        times
    }

    #[test]
    fn what_is_asked_for_again_and_again_is_appended_ever_more_rarely() {
        let mut world = World::with(3, true);
        let sent: Vec<_> = (0..64).map(|n| world.say(0, &std::format!("{n}"))).collect();
        world.settle();
        assert_eq!(times(&mut world, 0, sent[0].chain, 1, 60 * 60), [0, 290, 870, 2_030]);
    }

    #[test]
    fn who_is_not_the_author_tells_a_message_ever_more_rarely_too() {
        let mut world = World::with(4, true);
        let chain = world.say(0, "x").chain;
        world.settle();
        assert_eq!(times(&mut world, 3, chain, 10, 6 * 60), [0, 290, 870, 2_030]);
    }

    #[test]
    fn what_another_puts_on_the_log_counts_as_told() {
        let mut world = World::with(4, true);
        let sent = world.say(0, "x");
        world.settle();
        let place = (sent.chain, sent.index);
        let waits = |world: &mut World, by| {
            let from = world.id(by);
            world.act(3, |group, mut cx| {
                let messages = vec![Indexes { chain: place.0, indexes: vec![place.1] }];
                let want = Want { messages, at: Some(cx.now), ..Want::default() };
                let topic = group.write_topics()[0];
                group.take_public_want(&mut cx, Said { from, topic }, &want);
            });
        };
        waits(&mut world, 1);
        let (from, log) = (world.id(2), world.member(3).logs()[0].keys.id());
        world.act(3, |group, cx| {
            group.is_told(place, Source::Member(from), cx.now);
            assert!(group.again.take(place, cx.now.plus_ms(1)), "a channel is no log");
        });
        world.now = world.now.plus_ms(60 * 60_000);
        waits(&mut world, 2);
        world.act(3, |group, cx| {
            group.is_told(place, Source::Log(log), cx.now);
            assert!(!group.again.take(place, cx.now.plus_ms(1_000)));
        });
    }

    #[test]
    fn one_chain_hands_a_topic_to_all_who_ask_for_it_within_a_minute() {
        let mut world = World::with(4, true);
        world.settle();
        let under = world.member(0).write_topics()[0];
        let gone = world.id(3);
        world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        let mut made = |by: usize, wait_ms: u64| {
            world.now = world.now.plus_ms(wait_ms);
            let from = world.id(by);
            world.act(0, |group, mut cx| {
                let before = group.sending.chain.as_ref().map(SendChain::id);
                let want = Want { topics: true, at: Some(cx.now), ..Want::default() };
                group.take_public_want(&mut cx, Said { from, topic: under }, &want);
                cx.now = cx.now.plus_ms(2_000);
                group.give_answers(&mut cx);
                before != group.sending.chain.as_ref().map(SendChain::id)
            })
        };
        assert!(made(1, 1_000));
        assert!(!made(2, 5_000), "it was made for all");
        assert!(!made(1, 30_000));
        assert!(made(1, 60_000), "what is asked for again did not help");
        assert!(!made(2, 5_000));
    }

    #[test]
    fn one_asker_leaves_room_for_the_answers_to_others() {
        let mut world = World::with(3, true);
        let from = [world.id(1), world.id(2)];
        world.act(0, |group, cx| {
            let answer = |by, n| Answer {
                by,
                due: cx.now.plus_ms(n),
                topic: [0; 32],
                ops: vec![],
                messages: BTreeSet::new(),
            };
            let bundle = |n: u64| Asked::Bundle(ChainId([n as u8; 16]));
            (0..200).for_each(|n| group.answer(bundle(n), answer(from[0], n)));
            assert_eq!(group.answers.len(), 64);
            // Its own topic and ops displace its own bundles, the last ones first.
            group.answer(Asked::Topic(from[0]), answer(from[0], 0));
            group.answer(Asked::Ops(from[0]), answer(from[0], 0));
            assert_eq!(group.answers.len(), 64);
            assert!(!group.answers.contains_key(&bundle(63)));
            assert!(!group.answers.contains_key(&bundle(62)));
            // A full table loses bundles, whosever they are.
            for asker in 2..10 {
                let by = MemberId([asker; 32]);
                (0..40).for_each(|n| {
                    let chain = ChainId([100 + asker; 16]);
                    group.answer(Asked::Kem(chain, MemberId([n as u8; 32])), answer(by, n));
                });
            }
            assert_eq!(group.answers.len(), ANSWERS);
            group.answer(bundle(250), answer(from[1], 0));
            assert!(!group.answers.contains_key(&bundle(250)));
            group.answer(Asked::Topic(from[1]), answer(from[1], 0));
            assert!(group.answers.contains_key(&Asked::Topic(from[1])));
            assert_eq!(group.answers.len(), ANSWERS);
        });
    }
}
