//! A group is erased from this machine.
//!
//! > It ceases in one step, and nothing uses it from then on; its rows go in parts, so that nobody waits for that, and a restart
//! > goes on with them. Only what is on this machine goes: what others have is theirs.

use std::{collections::BTreeSet, path::PathBuf};

use protocol::{
    group::{Group, GroupState},
    ids::{GroupId, LogId, MemberId, Timestamp},
};

use super::{Core, VerbError};
use crate::{api::types::What, store::StoreError};

/// A group that may be erased.
pub struct Doomed {
    /// Which.
    pub group: GroupId,
    /// Its files that were fetched into the data directory, as the store has their paths.
    pub files: Vec<PathBuf>,
}

/// Messages that are erased in one step.
const AT_ONCE: u32 = 200;

impl Core {
    /// The group that is meant, if it may be erased: not by who is a member; nor, unless `unheard`, while nobody
    /// has heard that this node left.
    pub fn doomed(&mut self, reference: &str, unheard: bool) -> Result<Doomed, VerbError> {
        let id = self.find_group(reference)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        if group.state() == GroupState::Active {
            return Err(VerbError::StillAMember);
        }
        if !unheard && self.store.read(|tx| tx.has_outbox(id))? {
            return Err(VerbError::Unheard);
        }
        Ok(Doomed { group: id, files: self.fetched(id)? })
    }

    /// Erases a group that [`Self::doomed`] gave, if it still may be. Gives its fetched files once more: some may have come since.
    pub fn wipe(&mut self, id: GroupId, now: Timestamp) -> Result<Vec<PathBuf>, VerbError> {
        let Some(group) = self.groups.get(&id) else {
            // Somebody else was faster; but one that can't be taken up just now is there still.
            let is_there = self.unloaded.contains(&id);
            return if is_there { Err(StoreError::Damaged.into()) } else { Ok(Vec::new()) };
        };
        if group.state() == GroupState::Active {
            return Err(VerbError::StillAMember);
        }
        let names = self.known_there_alone(group);
        let (logs, files) = (self.logs_read_for(id)?, self.fetched(id)?);
        self.record(now, |step| {
            step.tx.begin_erasing(id, &logs, &names)?;
            step.emit(None, What::GroupWiped)
        })?;
        self.forget_access(id);
        self.groups.remove(&id);
        self.queued.remove(&id);
        self.resting.remove(&id);
        self.backlogs.remove(&id);
        self.wired.retain(|(group, _)| *group != id);
        self.closed.retain(|(group, _), _| *group != id);
        self.asked.retain(|asked| asked.group != id);
        self.hosted.forget_group(id);
        self.erasing.insert(id);
        (self.after.logs, self.after.members) = (true, true);
        self.finish(now);
        Ok(files)
    }

    /// Whether there is still something of a group that is being erased.
    #[must_use]
    pub fn is_being_erased(&self, id: GroupId) -> bool {
        self.erasing.contains(&id)
    }

    /// When to erase more: now, unless the store has just refused something.
    pub(super) fn erase_due(&self) -> Option<Timestamp> {
        (self.again.is_none() && !self.erasing.is_empty()).then_some(Timestamp(0))
    }

    /// Erases the next part of what is left of groups.
    pub(super) fn erase(&mut self) -> Result<(), StoreError> {
        let Some(id) = self.erasing.first().copied() else { return Ok(()) };
        if !self.store.transaction(|tx| tx.erase_group(id, AT_ONCE))? {
            self.erasing.remove(&id);
            self.store.checkpoint();
        }
        Ok(())
    }

    /// Erases all that is left of a group that is there again.
    pub(super) fn erase_all(&mut self, id: GroupId) -> Result<(), StoreError> {
        if self.erasing.contains(&id) {
            while self.store.transaction(|tx| tx.erase_group(id, AT_ONCE))? {}
            self.erasing.remove(&id);
        }
        Ok(())
    }

    /// A group's files that were fetched into the data directory.
    fn fetched(&mut self, id: GroupId) -> Result<Vec<PathBuf>, StoreError> {
        let mut files = self.store.read(|tx| tx.fetched_files(id))?;
        files.retain(|path| path.is_relative());
        Ok(files)
    }

    /// The logs that were read for a group: of topics and codes of before, too, as all are that nothing else is read for. Those of
    /// now alone, where other groups can't be looked at.
    fn logs_read_for(&mut self, id: GroupId) -> Result<Vec<LogId>, StoreError> {
        let ids = |group: &Group| group.logs().iter().map(|log| log.keys.id()).collect::<Vec<_>>();
        if !self.unloaded.is_empty() {
            return Ok(self.groups.get(&id).map(ids).unwrap_or_default());
        }
        let mut others: BTreeSet<LogId> =
            self.joining.mailboxes().map(|(_, _, keys)| keys.id()).collect();
        for other in self.groups.values().filter(|other| other.id() != id) {
            others.extend(ids(other));
            others.extend(self.hosted.mailboxes(other.id()).iter().map(|(keys, _)| keys.id()));
        }
        let mut logs = self.store.read(|tx| tx.logs_read())?;
        logs.retain(|log| !others.contains(log));
        Ok(logs)
    }

    /// Whom this node knows by this group alone. Nobody, where others can't be looked at.
    fn known_there_alone(&self, group: &Group) -> BTreeSet<MemberId> {
        if !self.unloaded.is_empty() {
            return BTreeSet::new();
        }
        let known = |group: &Group| group.known_people().map(|it| it.card().member).collect();
        let mut alone: BTreeSet<MemberId> = known(group);
        alone.remove(&self.me.member());
        for other in self.groups.values().filter(|other| other.id() != group.id()) {
            let elsewhere: BTreeSet<MemberId> = known(other);
            alone.retain(|member| !elsewhere.contains(member));
        }
        alone
    }
}
