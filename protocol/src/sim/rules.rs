//! The table of rules that a simulated node keeps, of which a test switches one off to see the
//! check fail that stands for it.
//!
//! > Nothing of this is in the code that ships: what is broken is what lies around it here: how a
//! > node commits, starts and publishes, or the function that a check compares with.

use super::{
    invariant::Invariant,
    world::{Records, World},
};
use crate::group::{Alarm, Event, Group, Received};

/// A rule that can be switched off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// A newcomer is handed no keys of older chains.
    NoOldKeysForNewcomers,
    /// A sender seals by its latest ops.
    SealByLatestOps,
    /// Whoever was removed is handed no keys.
    NoKeysForRemoved,
    /// A salt is used once.
    FreshSalt,
    /// A chain's record only goes forward.
    ChainsGoForward,
    /// A refused step commits nothing.
    RefusedStepsCommitNothing,
    /// An op that came before its past waits for it.
    EarlyOpsWait,
    /// An admin acts on juniors only.
    ActOnJuniors,
    /// A removal voids what its target did beside it.
    RemovalVoidsBeside,
    /// A removal ends the grants that were made beside it.
    RemovalEndsBeside,
    /// A seed is what its commitment says.
    CommittedSeed,
    /// Nobody is accused without a proof.
    AccuseByProof,
    /// What was opened is handed on.
    HandOnWhatOpens,
    /// What is to be published goes out.
    EmptyTheOutbox,
    /// A used key is forgotten.
    ForgetUsedKeys,
    /// Prekeys are replaced.
    ReplacePrekeys,
    /// What can't be read is dropped in the end.
    DropWhatIsStale,
    /// Only canonical bytes are read.
    CanonicalBytes,
    /// What goes out does not depend on what is said.
    SayNothingOutside,
    /// The audit log is only appended to.
    AppendToAudit,
    /// The account hears of each topic that is handed over.
    HearHandOvers,
    /// A chain is sealed to its roster alone.
    SealToRosterAlone,
    /// A chain is left once its roster has changed.
    LeaveOldChains,
    /// A step of a pair's ratchet is forgotten once it was used.
    ForgetUsedSteps,
    /// A slot is sealed to the newest prekey that its sender was told.
    SealToNewestPrekey,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::NoOldKeysForNewcomers,
        Self::SealByLatestOps,
        Self::NoKeysForRemoved,
        Self::FreshSalt,
        Self::ChainsGoForward,
        Self::RefusedStepsCommitNothing,
        Self::EarlyOpsWait,
        Self::ActOnJuniors,
        Self::RemovalVoidsBeside,
        Self::RemovalEndsBeside,
        Self::CommittedSeed,
        Self::AccuseByProof,
        Self::HandOnWhatOpens,
        Self::EmptyTheOutbox,
        Self::ForgetUsedKeys,
        Self::ReplacePrekeys,
        Self::DropWhatIsStale,
        Self::CanonicalBytes,
        Self::SayNothingOutside,
        Self::AppendToAudit,
        Self::HearHandOvers,
        Self::SealToRosterAlone,
        Self::LeaveOldChains,
        Self::ForgetUsedSteps,
        Self::SealToNewestPrekey,
    ];

    /// The invariant whose check fails without it.
    #[must_use]
    pub fn guards(self) -> Invariant {
        match self {
            Self::SealToRosterAlone => Invariant::Confinement,
            Self::HearHandOvers | Self::LeaveOldChains => Invariant::Removal,
            Self::ForgetUsedSteps => Invariant::ForwardSecrecy,
            Self::SealToNewestPrekey => Invariant::Healing,
            first => Invariant::ALL[first as usize],
        }
    }
}

impl World {
    /// A step was refused.
    pub(super) fn refused(&mut self, at: usize) {
        self.watch.happened("refusals");
        if !self.watch.keeps(Rule::RefusedStepsCommitNothing) {
            let records = &mut self.people[at].records;
            if let Some(card) = records.keys().find(|key| key[0] == CARD).cloned() {
                records.remove(&card);
            }
        }
        if self.watch.counts.happened["refusals"].is_multiple_of(8) {
            self.check_committed(at);
        }
    }

    /// A newcomer has taken up its Welcome.
    pub(super) fn welcomed(&mut self, host: usize, at: usize) {
        if !self.watch.keeps(Rule::NoOldKeysForNewcomers) {
            let mut keys = open_chains(&self.people[host].records);
            let first = self.people[host].overwritten.clone();
            keys.iter_mut().for_each(|(key, value)| {
                if let Some(first) = first.get(key) {
                    value.clone_from(first);
                }
            });
            self.people[at].records.extend(keys);
            self.reload(at);
        }
    }

    /// A node is about to start.
    pub(super) fn starts(&mut self, at: usize) {
        let records = &mut self.people[at].records;
        if self.watch.broken_rule == Some(Rule::ChainsGoForward) {
            let old = core::mem::take(&mut self.people[at].overwritten);
            for (key, value) in old {
                if self.people[at].records.contains_key(&key) {
                    self.people[at].records.insert(key, value);
                }
            }
        } else if self.watch.broken_rule == Some(Rule::CommittedSeed) {
            for (_, value) in open_chains(records) {
                let Some((key, record)) = records.iter_mut().find(|(_, it)| **it == value) else {
                    continue;
                };
                if key[0] == CHAIN
                    && let Some(byte) = record.get_mut(CHAIN_KEY_AT)
                {
                    *byte ^= 1;
                }
            }
        }
    }

    /// A record is about to be written over.
    pub(super) fn overwrites(&mut self, at: usize, key: &[u8]) {
        let kept = [Rule::ChainsGoForward, Rule::NoOldKeysForNewcomers, Rule::ForgetUsedKeys];
        if key[0] == CHAIN && kept.iter().any(|rule| !self.watch.keeps(*rule)) {
            let person = &mut self.people[at];
            if let Some(old) = person.records.get(key).cloned() {
                person.overwritten.entry(key.into()).or_insert(old);
            }
        }
    }

    /// Whether a node carries its outbox to the relay.
    pub(super) fn empties_outbox(&self, at: usize) -> bool {
        self.watch.keeps(Rule::EmptyTheOutbox) || at != 0 || !self.put_right
    }

    /// Whether a node hands a message on that it opened.
    pub(super) fn hands_on(&self, received: &Received) -> bool {
        self.watch.keeps(Rule::HandOnWhatOpens) || self.put_right || received.index != 2
    }

    /// The roster change that a sender has not heard of, if it does not seal by its latest ops.
    pub(super) fn forgets_changes(&self) -> bool {
        !self.watch.keeps(Rule::SealByLatestOps)
    }

    /// Some time has passed for a node.
    pub(super) fn idles(&mut self, at: usize) {
        if !self.watch.keeps(Rule::DropWhatIsStale) && self.put_right {
            let address = self.now.0.to_be_bytes().to_vec();
            self.act(at, |group, cx| group.present(cx, alloc::vec![address]));
        }
    }

    /// What honest nodes are told beside their alarms.
    pub(super) fn accuses(&mut self, at: usize) {
        if !self.watch.keeps(Rule::AccuseByProof) && self.put_right {
            let alarm = Event::Alarm(Alarm::Equivocation(self.id(at)));
            self.people[at].events.push(alarm);
        }
    }

    /// Takes up what is committed, as it is.
    pub(super) fn reload(&mut self, at: usize) {
        let person = &mut self.people[at];
        let (records, now) = (person.records.clone(), person.clock(self.now));
        person.group = Some(Group::load(&person.me, records, now).unwrap());
    }
}

/// Kinds of records (docs/spec/storage.md).
const CARD: u8 = 2;
const TOPIC: u8 = 4;
const BUNDLE: u8 = 7;
const CHAIN: u8 = 8;
/// Where the chain key lies in the record of a chain that is open.
const CHAIN_KEY_AT: usize = 90;

/// The records of the chains that can be read.
pub(super) fn open_chains(records: &Records) -> Records {
    let open = records.iter().filter(|(key, value)| key[0] == CHAIN && value.get(1) == Some(&0));
    let mut keys = Records::new();
    for (key, value) in open {
        let bundle = [&[BUNDLE], &key[1..]].concat();
        if let Some(head) = records.get(&bundle) {
            keys.insert(bundle, head.clone());
            keys.insert(key.clone(), value.clone());
        }
    }
    keys
}

/// The records of topics.
pub(super) fn topics(records: &Records) -> Records {
    let topics = records.iter().filter(|(key, _)| key[0] == TOPIC);
    topics.map(|(key, value)| (key.clone(), value.clone())).collect()
}
