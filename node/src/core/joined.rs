//! The end of a join: its Welcome is taken.
//!
//! > A Welcome begins the group anew, but for whose node is in it already, as an op has told it: what that
//! > has opened and said since stays. It is taken for the group alone that the code and the handshake have proved: whoever
//! > has a group of their own could hand one for another.

use protocol::{
    group::{Cx, Group, WelcomeError},
    ids::{GroupId, InviteId, MemberId, Timestamp},
    noise::Peer,
};
use zeroize::Zeroizing;

use super::{
    Core,
    joins::{UNHEARD_REMOVAL, view},
    step::Step,
};
use crate::{
    api::types::{JoinState, What},
    store::{JoinRow, StoreError},
};

impl Core {
    /// `proved` is the group that the host has shown to be an admin's of.
    pub(super) fn joined(
        &mut self,
        id: InviteId,
        proved: GroupId,
        welcome: &[u8],
        host: &Peer,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A state that can't be read now is not begun anew: the Welcome waits until it can.
        if self.unloaded.contains(&proved) {
            tracing::warn!("a welcome to a group that can't be taken up waits for that");
            if let Some(attempt) = self.joining.0.get_mut(&id) {
                let welcome = Zeroizing::new(welcome.to_vec());
                attempt.welcomed = Some((proved, welcome, host.clone()));
            }
            return Ok(());
        }
        let is_proved = |group: &&Group| group.id() == proved;
        let before = |id: &GroupId| self.groups.get(id).filter(is_proved);
        if let Some(group) = Group::known_by(welcome, host.member, before) {
            return self.joined_before(id, group, welcome, host, now);
        }
        let cx = Cx { me: &self.me, now, rng: &mut self.rng };
        let before = |id: &GroupId| self.groups.get(id).filter(is_proved);
        let joined = match Group::join(cx, welcome, host.member, before) {
            Ok(group) if group.id() != proved => Err(WelcomeError::Malformed),
            joined => joined,
        };
        let group = match joined {
            Ok(group) => group,
            Err(WelcomeError::NotAMember) => {
                let why = self.unheard(id).unwrap_or(UNHEARD_REMOVAL);
                return self.fail_join(id, why, now);
            }
            Err(error) => {
                tracing::warn!(%error, "a welcome was not taken");
                return Ok(());
            }
        };
        let Some(row) = self.joined_row(id, group.id()) else { return Ok(()) };
        let unconfirmed = (!group.is_confirmed()).then_some(host.member);
        self.add_group(group, now, |step| step.joined(&row, unconfirmed))?;
        self.join_ended(id, host);
        Ok(())
    }

    /// A group was taken up again: Welcomes to it that came before that are taken.
    pub(super) fn take_waiting_welcomes(
        &mut self,
        group: GroupId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for id in self.joining.0.keys().copied().collect::<Vec<_>>() {
            let attempt = self.joining.0.get_mut(&id);
            let welcomed = attempt.and_then(|it| it.welcomed.take_if(|(of, ..)| *of == group));
            let Some((proved, welcome, host)) = welcomed else { continue };
            if let Err(error) = self.joined(id, proved, &welcome, &host, now) {
                if let Some(attempt) = self.joining.0.get_mut(&id) {
                    attempt.welcomed = Some((proved, welcome, host));
                }
                self.unloaded.insert(group);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A Welcome to a group that this node is in already, as an op has told it: what it has opened and
    /// said since stays.
    fn joined_before(
        &mut self,
        id: InviteId,
        group: GroupId,
        welcome: &[u8],
        host: &Peer,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(row) = self.joined_row(id, group) else { return Ok(()) };
        self.step(group, now, |group, step| {
            if let Err(error) = group.take_welcome(step.cx(), welcome, host.member) {
                tracing::warn!(%error, "a welcome was not taken");
            }
            step.settle(group)?;
            step.names(group)?;
            step.emit(Some(group.id()), What::GroupAdded)?;
            step.joined(&row, (!group.is_confirmed()).then_some(host.member))
        })?;
        self.after.present.push(group);
        (self.after.members, self.after.logs) = (true, true);
        self.join_ended(id, host);
        Ok(())
    }

    /// What is kept of a join that has come to its end.
    fn joined_row(&self, id: InviteId, group: GroupId) -> Option<JoinRow> {
        let attempt = self.joining.0.get(&id)?;
        Some(JoinRow {
            code: None,
            state: JoinState::Joined,
            detail: String::new(),
            group: Some(group),
            request: None,
            ..attempt.row.clone()
        })
    }

    /// The host's addresses, which the code names, are tried until it tells its own.
    fn join_ended(&mut self, id: InviteId, host: &Peer) {
        if let Some(attempt) = self.joining.0.get(&id) {
            self.peers.hints.insert(host.member, attempt.code.direct.clone());
        }
        self.end_join(id);
    }
}

impl Step<'_> {
    /// Says that a join has come to its end, and that its group is so far its host's word alone.
    fn joined(&mut self, row: &JoinRow, unconfirmed: Option<MemberId>) -> Result<(), StoreError> {
        self.tx.put_join(row)?;
        let join = view(self.tx, row)?;
        self.emit(row.group, What::Join { join })?;
        let Some(host) = unconfirmed else { return Ok(()) };
        let by = self.tx.member(host)?;
        self.emit(row.group, What::ViewUnconfirmed { by })
    }
}
