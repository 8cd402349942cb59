//! Somebody unknown speaks under a topic of the moment: ops are lacking here.
//!
//! > Who holds the topic had it from a member. Where a state was set back, or an admin's machine died
//! > before anybody else heard of an admission, the newcomer alone has the ops that let it in; what it
//! > says counts for nothing until they are here, and it is asked for them.
//!
//! Who is asked in vain for a topic may be such a newcomer itself: those who have the topic don't know
//! it. It shows what let it in.
//!
//! Nothing is believed of a stranger: what it answers are ops, which are judged by themselves. Who
//! holds the topic and is nobody can have a few questions put, and no more. docs/spec/sync.md.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    Cx, Group, Timer,
    control::parts,
    wire::{Statement, Want},
};
use crate::{
    ids::{MemberId, Timestamp},
    membership::Op,
};

/// Strangers remembered at once, and for how long, in milliseconds: an hour.
const STRANGERS: usize = 16;
const REMEMBERED_MS: u64 = 60 * 60 * 1000;
/// When the ops are asked for after a stranger was heard, in milliseconds: they may be on their way.
const ASKED_MS: [u64; 3] = [2_000, 30_000, 5 * 60_000];
/// When the own admission is shown after a topic was first lacking, in milliseconds.
const SHOWN_MS: [u64; 3] = [4_000, 30_000, 5 * 60_000];
/// The host's ops that are shown with it.
const HOSTS_OPS: usize = 32;
/// Heads told with a question.
const HEADS: usize = 64;

/// Who is heard and not known. None of it is stored.
#[derive(Default)]
pub(super) struct Strangers {
    heard: BTreeMap<MemberId, Stranger>,
    /// Since when a topic has been lacking, and how often the own admission was shown for it.
    shown: Option<(Timestamp, usize)>,
}

struct Stranger {
    since: Timestamp,
    topic: [u8; 32],
    asked: usize,
}

impl Stranger {
    fn due(&self, turn: u64) -> Option<Timestamp> {
        ASKED_MS.get(self.asked).map(|wait| self.since.plus_ms(wait + turn))
    }

    fn is_remembered(&self, now: Timestamp) -> bool {
        self.since <= now && now.ms_since(self.since) < REMEMBERED_MS
    }
}

impl Group {
    /// Somebody who is no member here signed something under a topic; answers whether that is news.
    pub(super) fn note_stranger(
        &mut self,
        now: Timestamp,
        from: MemberId,
        topic: [u8; 32],
    ) -> bool {
        let strangers = &self.strangers.heard;
        let known = strangers.get(&from).is_some_and(|it| it.is_remembered(now));
        let full = strangers.values().filter(|it| it.is_remembered(now)).count() >= STRANGERS;
        if known || full || !self.topics_to_ask_under().contains(&topic) {
            return false;
        }
        self.strangers.heard.retain(|_, it| it.is_remembered(now));
        self.strangers.heard.insert(from, Stranger { since: now, topic, asked: 0 });
        self.hold_for_stranger(now);
        self.watch_strangers();
        true
    }

    /// Asks for the ops that those would come by who are still unknown.
    pub(super) fn ask_strangers<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let under = self.topics_to_ask_under();
        let members = &self.ops.resolve().members;
        // Who left in the moment in which it spoke is gone with the topic.
        self.strangers
            .heard
            .retain(|from, it| !members.contains_key(from) && under.contains(&it.topic));
        let turn = self.turn();
        let mut topics = Vec::new();
        for stranger in self.strangers.heard.values_mut() {
            while stranger.due(turn).is_some_and(|due| due <= cx.now) {
                stranger.asked += 1;
                if !topics.contains(&stranger.topic) {
                    topics.push(stranger.topic);
                }
            }
        }
        self.watch_strangers();
        if !topics.is_empty() {
            let heads = self.ops.heads().into_iter().take(HEADS).collect();
            let want = Want { ops_after: Some(heads), at: Some(cx.now), ..Want::default() };
            self.publish_control(cx, &Statement::Want(want), &topics);
        }
    }

    /// Shows the ops by which this node's member came, where a topic was asked for in vain: the host's
    /// own may be lost with its disk, and all others have what others signed.
    pub(super) fn show_admission<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        since: Timestamp,
        under: &[[u8; 32]],
    ) {
        let shown = self.strangers.shown.filter(|(of, _)| *of == since).map_or(0, |(_, n)| n);
        let due = SHOWN_MS.get(shown).is_some_and(|wait| since.plus_ms(*wait) <= cx.now);
        if !due {
            return;
        }
        self.strangers.shown = Some((since, shown + 1));
        for ops in parts(self.admission()) {
            self.publish_control(cx, &Statement::Ops(ops), under);
        }
    }

    /// The own admission, and the newest ops before it of whoever signed it.
    pub(super) fn admission(&self) -> Vec<ByteVec> {
        let grant = self.ops.resolve().members.get(&self.me).map(|standing| standing.grant);
        let host = grant.and_then(|grant| self.ops.op(&grant)).map(Op::author);
        let past = grant.and_then(|grant| self.ops.past(&[grant]).ok());
        let (Some(host), Some(past)) = (host, past) else { return Vec::new() };
        let ops = self.ops.iter().filter(|op| op.author() == host && past.contains(&op.id()));
        let ops: Vec<ByteVec> = ops.map(|op| Vec::from(op.as_bytes()).into()).collect();
        let newest = ops.len().saturating_sub(HOSTS_OPS);
        ops.into_iter().skip(newest).collect()
    }

    fn watch_strangers(&mut self) {
        let turn = self.turn();
        if let Some(due) = self.strangers.heard.values().filter_map(|it| it.due(turn)).min() {
            self.set_timer(Timer::Strangers, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{
        codec,
        endpoint::Endpoint,
        group::{Event, NotReady, Source, wire::Presence},
        sim::world::World,
    };

    #[test]
    fn an_old_state_that_hears_whom_it_let_in_itself_sends_nothing_before_it_knows() {
        for alone in [true, false] {
            let mut world = World::founded(3, true, 31);
            if !alone {
                world.join(0, 1);
                world.settle();
            }
            let copy = world.people[0].records.clone();
            world.reachable = false;
            world.join(0, 2);
            world.people[0].outbox.clear();
            world.people[0].records = copy;
            world.restart(0);
            world.reachable = true;
            let mut heard = 0;
            for _ in 0..100 {
                world.pass(100);
                let (now, founder) = (world.now, world.member(0));
                if founder.is_member(&world.id(2)) {
                    break;
                }
                if !founder.strangers.heard.is_empty() {
                    heard += 1;
                    assert_eq!(founder.ready(now), Err(NotReady::NotSynced), "alone: {alone}");
                }
            }
            assert!(heard > 0 && world.member(0).is_behind(), "alone: {alone}, {heard}");
            world.pass(10_000);
            assert_eq!(world.member(0).ready(world.now), Ok(()));
        }
    }

    #[test]
    fn strangers_hold_sending_up_for_four_seconds_of_a_run_and_no_more() {
        let mut world = World::with(2, true);
        for (round, held) in [(0, true), (1, false), (2, false)] {
            let stranger = Endpoint::generate("nobody", vec![], &mut world.rng).unwrap();
            let cx = Cx { me: &stranger, now: world.now, rng: &mut world.rng };
            let group = world.people[0].group.as_ref().unwrap();
            let said = codec::encode(&Presence { at: world.now, addresses: vec![] });
            let forged = group.forge_control(cx, 4, &said).unwrap();
            let log = group.log_ids().next().unwrap();
            assert_eq!(world.member(1).ready(world.now), Ok(()));
            let _ = world.attempt(1, |group, cx| group.on_envelope(cx, Source::Log(log), &forged));
            let waits = world.member(1).ready(world.now).is_err();
            assert_eq!(waits, held, "round {round}");
            world.pass(4_000);
            assert_eq!(world.member(1).ready(world.now), Ok(()), "round {round}");
        }
        assert!(world.people[1].events.contains(&Event::Ready));
        assert!(!world.member(1).is_behind());
    }
}
