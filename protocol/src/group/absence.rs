//! Who has been away too long: the policy `evict_after`.
//!
//! > Nobody is removed by a clock alone. An admin's node removes a junior only if it heard nothing of
//! > it for as long as the policy says, and was itself in sync for a quarter of that time since. A leap
//! > of the clock and an absence of its own begin that quarter anew.
//!
//! Every node tells its presence anew each eighth of the time, so that who is there and silent is heard.
//! Only news counts as heard, at the time of its coming: an old envelope told again keeps nobody in.
//! docs/spec/rotation.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    Alarm, Cx, Event, Group, GroupState, Output, Timer,
    records::Key,
    wire::{Presence, Statement},
};
use crate::{
    ids::{MemberId, Timestamp},
    membership::{Kind, RemoveReason},
};

/// How often it is looked who is away: this part of the time, within these milliseconds.
const LOOKS: u64 = 64;
const LOOK_MS: core::ops::RangeInclusive<u64> = 30_000..=3_600_000;
/// A presence is told anew after this part of the time.
const PRESENT: u64 = 8;
/// For how much of the time this node must have been in sync meanwhile; a gap as long is an absence
/// of its own.
const WATCHED: u64 = 4;
/// How long each more senior admin is given to remove somebody first, in milliseconds.
const SENIOR_MS: u64 = 60_000;
const JITTER_MS: u64 = 30_000;
/// Removals at one look.
const AT_ONCE: usize = 8;

/// What is known of who was heard when.
#[derive(Default)]
pub(super) struct Absence {
    pub watch: Watch,
    pub seen: BTreeMap<MemberId, Seen>,
    /// Who is to be removed, and when, unless it is heard before.
    due: BTreeMap<MemberId, Timestamp>,
}

/// How long this node has been in sync, in all.
#[derive(Clone, Copy, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct Watch {
    /// When it last looked.
    #[n(0)]
    pub looked: Option<Timestamp>,
    /// Milliseconds in sync until then.
    #[n(1)]
    total: u64,
}

/// When somebody was heard last.
#[derive(Clone, Copy, Encode, Decode)]
#[cbor(array)]
pub(super) struct Seen {
    /// By this node's clock.
    #[n(0)]
    at: Timestamp,
    /// What [`Watch`] was at then.
    #[n(1)]
    watched: u64,
}

impl Group {
    /// A member's node is there: it said something new, or this node came to know at `now` that it
    /// did so at `at`.
    pub(super) fn heard_of(&mut self, now: Timestamp, member: MemberId, at: Timestamp) {
        self.losses.down.remove(&member);
        let Some(after) = self.policy().evict_after_ms else { return };
        if self.state != GroupState::Active || !self.is_member(&member) {
            return;
        }
        let seen = Seen { at: at.min(now), watched: self.absence.watch.total };
        let known = self.absence.seen.get(&member).copied();
        // Kept as often as it is looked at: what is lost in a crash is less than that.
        if known.is_none_or(|known| seen.at.ms_since(known.at) >= look(after)) {
            self.absence.seen.insert(member, seen);
            self.absence.due.remove(&member);
            self.dirty.mark(Key::Seen(member));
        }
    }

    /// Begins to look, where the policy asks for it.
    pub(super) fn watch_absence(&mut self, now: Timestamp) {
        if self.policy().evict_after_ms.is_some() {
            if !self.timers.contains_key(&Timer::Absence) {
                self.set_timer(Timer::Absence, now.plus_ms(*LOOK_MS.start()));
            }
        } else if !self.absence.seen.is_empty() || self.absence.watch.looked.is_some() {
            for member in core::mem::take(&mut self.absence).seen.into_keys() {
                self.dirty.mark(Key::Seen(member));
            }
            self.dirty.mark(Key::Watch);
        }
    }

    /// Looks who is away.
    pub(super) fn find_absent<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let Some(after) = self.policy().evict_after_ms else { return };
        self.look(cx.now, after);
        self.present_anew(cx, after);
        self.plan_removals(cx, after);
        let due = self.absence.due.values().min().copied();
        let next = cx.now.plus_ms(look(after));
        self.set_timer(Timer::Absence, due.map_or(next, |due| next.min(due.max(cx.now))));
        let mut due: Vec<MemberId> = Vec::new();
        for (member, at) in &self.absence.due {
            if *at <= cx.now && due.len() < AT_ONCE {
                due.push(*member);
            }
        }
        for member in due {
            self.absence.due.remove(&member);
            self.remove_absent(cx, member);
        }
    }

    /// Counts the time since the last look, if this node was in sync all the while.
    fn look(&mut self, now: Timestamp, after: u64) {
        let synced = self.ready(now).is_ok();
        let Absence { watch, seen, due } = &mut self.absence;
        let last = watch.looked.unwrap_or(now);
        let gap = now.ms_since(last);
        if now < last || gap > after / WATCHED {
            // The clock leapt, or this node was away: whoever is there is given time to say so.
            due.clear();
            for (member, seen) in seen.iter_mut() {
                *seen = Seen { at: seen.at.min(now), watched: watch.total };
                self.dirty.mark(Key::Seen(*member));
            }
        } else if synced && gap <= 2 * look(after) {
            watch.total = watch.total.saturating_add(gap);
        }
        watch.looked = Some(now);
        self.dirty.mark(Key::Watch);
        let members: BTreeSet<MemberId> = self.ops.resolve().members.keys().copied().collect();
        for member in &members {
            self.absence.seen.entry(*member).or_insert_with(|| {
                self.dirty.mark(Key::Seen(*member));
                Seen { at: now, watched: self.absence.watch.total }
            });
        }
        let gone: Vec<MemberId> =
            self.absence.seen.keys().filter(|id| !members.contains(id)).copied().collect();
        for member in gone {
            self.absence.seen.remove(&member);
            self.absence.due.remove(&member);
            self.dirty.mark(Key::Seen(member));
        }
    }

    /// Tells the own presence anew where it was not told for a while.
    fn present_anew<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, after: u64) {
        let known = self.people.presences.get(&self.me);
        let young = known.is_some_and(|told| {
            cx.now.ms_since(told.at).max(told.at.ms_since(cx.now)) < after / PRESENT
        });
        let under = self.write_topics();
        if young || under.is_empty() || self.ready(cx.now).is_err() {
            return;
        }
        let addresses = known.map(|told| told.addresses.clone()).unwrap_or_default();
        let presence = Presence { at: cx.now, addresses };
        if self.people.take_presence(self.me, presence.clone()) {
            self.dirty.mark(Key::Presence(self.me));
            self.publish_control(cx, &Statement::Presence(presence), &under);
        }
    }

    /// Sets a time for the removal of each who is away: the most senior admin's node comes first.
    fn plan_removals<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, after: u64) {
        let resolution = self.ops.resolve();
        let absence = &self.absence;
        let away = |seen: &Seen, part: u64| cx.now.ms_since(seen.at) >= after / part;
        let absent: Vec<MemberId> = absence
            .seen
            .iter()
            .filter(|(member, seen)| {
                resolution.may_remove(&self.me, member)
                    && away(seen, 1)
                    && absence.watch.total - seen.watched.min(absence.watch.total)
                        >= after / WATCHED
            })
            .map(|(member, _)| *member)
            .collect();
        self.absence.due.retain(|member, _| absent.contains(member));
        for member in absent {
            let resolution = self.ops.resolve();
            let seniors = resolution
                .admins()
                .iter()
                .take_while(|admin| **admin != self.me)
                .filter(|admin| {
                    let seen = self.absence.seen.get(admin);
                    seen.is_some_and(|seen| !away(seen, WATCHED))
                })
                .count() as u64;
            let wait = seniors * SENIOR_MS + cx.rng.next_u64() % JITTER_MS;
            self.absence.due.entry(member).or_insert(cx.now.plus_ms(wait));
        }
    }

    fn remove_absent<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, member: MemberId) {
        let cut = self.cut(&member);
        let removed = self.renew(cx, |topic_commit| Kind::Remove {
            member,
            cut,
            reason: RemoveReason::Absent,
            topic_commit,
        });
        // Where it can't be done now it is found anew at the next look.
        if removed.is_ok() {
            self.out.push_back(Output::Event(Event::Alarm(Alarm::Evicted(member))));
        }
    }
}

/// How often it is looked, in milliseconds.
fn look(after: u64) -> u64 {
    (after / LOOKS).clamp(*LOOK_MS.start(), *LOOK_MS.end())
}
