//! Relays that do not tell what they have: asked, and named.
//!
//! > What a relay has nobody sees but by what it says; and who says that it was given something may lie. So a node
//! > that learns of a message another way gives it to the relay itself, as anybody may: the same bytes are one
//! > entry. From then on the relay has said that it keeps it, to this node, and tells it or shows that it does not.
//!
//! A relay that never was given the message has it then, and so have all who read there. What becomes of each entry,
//! and when a relay is named, is in [`watch`]; it is in memory, and bounded.

mod watch;

use protocol::{
    envelope,
    group::Group,
    ids::{ChainId, EnvelopeId, GroupId, LogId, MemberId, RelayTag, Timestamp},
    relay_log::Cursor,
};

pub(super) use self::watch::Watch;
use self::watch::{ASK_MS, Of, Subject};
use super::{
    Core, Effect, HOUR_MS,
    backlog::Came,
    membership::is_active,
    relays::{Owner, Relay, State, group_relays},
    step::random,
    words,
};
use crate::{
    api::types::{What, Withheld},
    net::relay::{RelayKey, RelayReport},
    store::{OutboxRow, StoreError},
};

/// Who tells what is being taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Teller {
    /// A relay.
    Relay(RelayKey),
    /// A member, on its channel.
    Member(MemberId),
}

/// What was written longer ago a relay may have forgotten, as it may, in milliseconds.
const NEW_MS: u64 = 24 * HOUR_MS;
/// For each member it takes so much longer at most until a relay is given what it lacks, in milliseconds; and in all.
const TURN_MS: u64 = 1_000;
/// See [`TURN_MS`].
const TURNS_MS: u64 = 600_000;

impl Core {
    /// A message came: each relay that did not bring it is to tell it, too. One that waited here for its keys has
    /// been told by those that are noted with it, be it so long ago, or in a run before, that nothing else says so.
    pub(super) fn watch_relays(&mut self, came: &Came) {
        let (Some(envelope), Some(teller)) = (came.envelope, self.teller) else { return };
        let age = came.at.ms_since(came.now).max(came.now.ms_since(came.at));
        let Some(group) = self.groups.get(&came.group).filter(|_| age < NEW_MS) else { return };
        let (by, shown_by) = match teller {
            Teller::Relay(relay) => (Some(relay), None),
            Teller::Member(member) => (None, Some(member)),
        };
        // Who brings the keys does not show it.
        let is_told = self.relays.values().any(|relay| relay.watch.has_told(&envelope));
        let shown_by = shown_by.filter(|_| !is_told && came.told_by.is_empty());
        let subject = Subject { of: (came.group, came.from), place: came.place, shown_by };
        let turns = (group.size() as u64).saturating_mul(TURN_MS).min(TURNS_MS);
        let has_told = |relay: &RelayKey| Some(*relay) == by || came.told_by.contains(&tag(relay));
        for peer in group_relays(group).into_iter().filter(|peer| !has_told(&peer.peer_id)) {
            let Some(relay) = self.relays.get_mut(&peer.peer_id) else { continue };
            // Not all who see it ask at once: what one has given a relay, that tells the others.
            let later = u64::from_be_bytes(random(&mut self.rng)) % turns.max(1);
            let due = came.now.plus_ms(ASK_MS + later);
            relay.watch.lacks(envelope, subject, due, came.now);
        }
    }

    /// What a relay says of what it has is noted, before anything else is made of it.
    pub(super) fn note_report(&mut self, key: &RelayKey, report: &RelayReport, now: Timestamp) {
        let Some(relay) = self.relays.get_mut(key) else { return };
        match report {
            RelayReport::Up { keeps, .. } => relay.watch.up(*keeps, now),
            RelayReport::CursorGone { log } => relay.watch.gone(*log),
            RelayReport::Begins { log, cursor } => relay.watch.begins(*log, *cursor, now),
            _ => {}
        }
    }

    /// A relay has told these entries, the last ones up to a place.
    pub(super) fn note_told(
        &mut self,
        key: &RelayKey,
        log: LogId,
        entries: Vec<EnvelopeId>,
        upto: Cursor,
        now: Timestamp,
    ) {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.watch.tells(log, entries, upto, now);
        }
    }

    /// A relay has told all that it has in a log.
    pub(super) fn note_end(&mut self, key: &RelayKey, log: LogId, upto: Cursor, now: Timestamp) {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.watch.ends(log, upto, now);
        }
    }

    /// A relay says that it keeps an entry: it is to tell that to whoever follows the log. Own messages have
    /// their place.
    pub(super) fn note_kept(
        &mut self,
        key: &RelayKey,
        row: &OutboxRow,
        own: Option<(ChainId, u32)>,
        at: Cursor,
        now: Timestamp,
    ) {
        let Some(Owner::Group(group)) = self.logs.get(&row.log).copied() else { return };
        let Some(relay) = self.relays.get_mut(key) else { return };
        let of = (group, self.me.member());
        let own = own.map(|place| Subject { of, place, shown_by: None });
        relay.watch.keeps(envelope::id(&row.entry), own, row.log, at, now);
    }

    /// When relays are to be asked, or what they are named for told.
    pub(super) fn withheld_deadline(&self) -> Option<Timestamp> {
        let up = self.relays.values().filter(|relay| matches!(relay.state, State::Up));
        up.filter_map(|relay| relay.watch.deadline()).min()
    }

    /// Asks the relays for which that is due, and names those that withhold.
    pub(super) fn ask_relays(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let (mut due, mut again) = (Vec::new(), Vec::new());
        for (key, relay) in &mut self.relays {
            if relay.watch.look(now) && matches!(relay.state, State::Up) {
                due.extend(relay.watch.due(now).into_iter().map(|of| (*key, of)));
                again.extend(relay.watch.again(now).into_iter().map(|of| (*key, of)));
            }
        }
        for (key, (entry, subject)) in due {
            self.ask_relay(&key, entry, &subject, now)?;
        }
        for (key, (log, from)) in again {
            let read = || self.store.read(|tx| tx.cursor(&key.to_bytes(), log));
            let after = from.map_or_else(read, |from| Ok(Some(from)))?;
            if let Some(relay) = self.relays.get_mut(&key) {
                relay.not_at_end(&log);
                self.effects.push_back(Effect::FollowAnew { relay: key, log, after });
            }
        }
        self.name_withholding(now)
    }

    /// Gives a relay a message that it has not told, where it is to have it.
    fn ask_relay(
        &mut self,
        key: &RelayKey,
        entry: EnvelopeId,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ((id, from), (chain, index)) = (subject.of, subject.place);
        let kept = self.store.read(|tx| tx.archived(id, &[(chain, vec![index])]))?;
        let kept = kept.into_iter().find(|kept| envelope::id(&kept.envelope) == entry);
        let group = self.groups.get(&id).filter(|group| is_active(group));
        let group = group.filter(|group| group.is_member(&from) && is_relay_of(group, key));
        let log = group.zip(kept.as_ref()).and_then(|(group, kept)| group.log_of(&kept.envelope));
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        let (Some(kept), Some(log)) = (kept, log) else {
            relay.watch.lets_go(&entry);
            return Ok(());
        };
        // Until it has told what it has, while it refuses, and before own entries, nothing is asked.
        if !relay.serves_whole(&log) {
            relay.watch.not_now(&entry, now);
            return Ok(());
        }
        // In no outbox: where it is not taken people need not know, and in two hours nobody thinks of it.
        let tag = self.streams.transient();
        relay.watch.asked(entry, log, tag, now);
        let entry = kept.envelope.into();
        self.effects.push_back(Effect::Append { relay: *key, log, tag, entry });
        Ok(())
    }

    /// A relay answers an append that is in no outbox: where it was to see what the relay has, it now has it.
    pub(super) fn given_is_kept(&mut self, key: &RelayKey, tag: u64, at: Cursor, now: Timestamp) {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.watch.takes(tag, at, now);
        }
    }

    /// A relay refuses such an append.
    pub(super) fn given_is_refused(&mut self, key: &RelayKey, tag: u64, now: Timestamp) {
        if let Some(relay) = self.relays.get_mut(key) {
            relay.watch.refuses(tag, now);
        }
    }

    /// Tells people which relays withhold.
    pub(super) fn name_withholding(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut news = Vec::new();
        for (key, relay) in &mut self.relays {
            news.extend(relay.watch.news(now).into_iter().map(|of| (*key, of)));
        }
        for (key, of) in news {
            let named = self.relays.get(&key).and_then(|relay| self.named(relay, of));
            if let Some(withheld) = named {
                self.record(now, |step| step.emit(Some(of.0), What::Withheld { withheld }))?;
            }
        }
        Ok(())
    }

    /// What relays withhold of a group's messages.
    pub(super) fn withheld(&self, id: GroupId) -> Vec<Withheld> {
        let of_group = |relay: &Relay| {
            let named = relay.watch.named().into_keys();
            named.filter(|(of, _)| *of == id).collect::<Vec<_>>()
        };
        let relays = self.relays.values();
        let named = relays.flat_map(|relay| of_group(relay).into_iter().map(move |of| (relay, of)));
        named.filter_map(|(relay, of)| self.named(relay, of)).collect()
    }

    fn named(&self, relay: &Relay, of: Of) -> Option<Withheld> {
        let (messages, by) = *relay.watch.named().get(&of)?;
        let group = self.groups.get(&of.0)?;
        Some(Withheld {
            relay: relay.address(),
            mine: of.1 == self.me.member(),
            from: words::named(group, &of.1),
            messages,
            shown_by: by.map(|by| words::named(group, &by)),
        })
    }
}

/// How a group tells a relay apart: by the end of its PeerId, which is its key or a hash of it.
pub(super) fn tag(relay: &RelayKey) -> RelayTag {
    let bytes = relay.to_bytes();
    RelayTag(bytes.last_chunk().copied().unwrap_or_default())
}

fn is_relay_of(group: &Group, key: &RelayKey) -> bool {
    group_relays(group).iter().any(|relay| relay.peer_id == *key)
}
