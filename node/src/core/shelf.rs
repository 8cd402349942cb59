//! What this node's people keep of groups and members for themselves: muted, put away, read, blocked.
//!
//! > None of it is told to anybody, and nothing is sent because of it: but what was read, in groups where the admins have
//! > receipts on and somebody said so here.
//!
//! docs/decisions/0032-what-one-keeps-to-oneself.md.

use protocol::{
    group::Role,
    ids::{GroupId, MemberId, Timestamp},
};

use super::{Core, VerbError};
use crate::{
    api::types::{BlockedMember, GroupSummary, Mute, ShelveGroup},
    store::{BLOCKED, MUTED_FOR_EVER, StoreError, UNREAD, rfc3339},
};

/// What a summary shows of a group's shelf.
pub(super) struct Shelved {
    pub unread: u64,
    pub is_more: bool,
    pub muted_until: Option<String>,
    pub muted: bool,
    pub archived: bool,
    pub tells: bool,
}

/// The longest that a group is muted by a span, in seconds: ten years.
const MUTE_MAX_S: u64 = 10 * 365 * 24 * 60 * 60;

impl Core {
    /// Mutes a group, puts it away, or marks it as read; and what of it is over.
    pub fn shelve(
        &mut self,
        reference: &str,
        asked: &ShelveGroup,
        now: Timestamp,
    ) -> Result<GroupSummary, VerbError> {
        let id = self.find_group(reference)?;
        let until = match asked.mute {
            None => None,
            Some(Mute::Off) => Some(Timestamp(0)),
            Some(Mute::On) => Some(MUTED_FOR_EVER),
            Some(Mute::For { seconds }) if (1..=MUTE_MAX_S).contains(&seconds) => {
                Some(now.plus_ms(seconds.saturating_mul(1_000)))
            }
            Some(Mute::For { .. }) => return Err(VerbError::BadMute),
        };
        self.store.transaction(|tx| {
            until.map_or(Ok(()), |until| tx.mute(id, until))?;
            match asked.archive {
                None => {}
                Some(true) => tx.put_away(id)?,
                Some(false) => tx.take_back(id)?,
            }
            asked.tell.map_or(Ok(()), |tells| tx.tell_what_is_read(id, tells))
        })?;
        if asked.read {
            self.read_up_to(id, asked.up_to, now)?;
        }
        Ok(self.group(&id.to_string(), now)?.summary)
    }

    /// Marks what came to a group as read, and tells its members where that is wanted here and there: both or neither is
    /// kept, so that a node that is killed tells nothing twice and leaves nothing out.
    fn read_up_to(
        &mut self,
        id: GroupId,
        up_to: Option<u64>,
        now: Timestamp,
    ) -> Result<(), VerbError> {
        let tells = self.store.read(|tx| tx.shelf(id))?.tells;
        let may = self.groups.get(&id).is_some_and(|group| group.may_tell_seen().is_ok());
        if !tells || !may || self.may_send(&id).is_err() {
            self.store.transaction(|tx| tx.read_up_to(id, up_to))?;
            return Ok(());
        }
        self.step(id, now, |group, step| {
            let before = step.tx.shelf(id)?.read;
            let read = step.tx.read_up_to(id, up_to)?;
            let places = step.tx.places_read(id, (before, read))?;
            // It was asked above: what is not told now is not told.
            let _ = group.tell_seen(step.cx(), places);
            Ok::<_, StoreError>(())
        })?;
        self.finish(now);
        Ok(())
    }

    /// Shows nothing more of a member, in whatever group, until that is taken back.
    pub fn block(&mut self, reference: &str, now: Timestamp) -> Result<BlockedMember, VerbError> {
        let member = self.find_identity(reference)?;
        if !self.store.transaction(|tx| tx.block(member, now))? {
            return Err(VerbError::TooManyBlocked { limit: BLOCKED });
        }
        self.blocked_view(member, now)
    }

    /// Shows what a member says again.
    pub fn unblock(&mut self, reference: &str) -> Result<BlockedMember, VerbError> {
        let all = self.store.read(|tx| tx.blocked())?;
        let member = match self.find_identity(reference) {
            Ok(member) => member,
            // Who is in no group any more is named by the id.
            Err(error) => {
                let asked = reference.strip_prefix('@').unwrap_or(reference);
                let mut found = all.iter().filter(|(id, _)| id.to_string() == asked);
                found.next().ok_or(error)?.0
            }
        };
        let Some((_, since)) = all.into_iter().find(|(id, _)| *id == member) else {
            return Err(VerbError::NotBlocked);
        };
        self.store.transaction(|tx| tx.unblock(member))?;
        self.blocked_view(member, since)
    }

    /// Who is blocked, who was first first.
    pub fn blocked(&mut self) -> Result<Vec<BlockedMember>, VerbError> {
        let all = self.store.read(|tx| tx.blocked())?;
        all.into_iter().map(|(member, since)| self.blocked_view(member, since)).collect()
    }

    pub(super) fn shelved(&mut self, id: GroupId, now: Timestamp) -> Result<Shelved, StoreError> {
        let (shelf, unread, archived) = self.store.read(|tx| {
            Ok::<_, StoreError>((tx.shelf(id)?, tx.unread_messages(id)?, tx.is_away(id, now)?))
        })?;
        let muted = now < shelf.muted_until;
        let ends = muted && shelf.muted_until < MUTED_FOR_EVER;
        Ok(Shelved {
            unread: unread.min(UNREAD),
            is_more: unread > UNREAD,
            muted_until: ends.then(|| rfc3339(shelf.muted_until)),
            muted,
            archived,
            tells: shelf.tells,
        })
    }

    fn blocked_view(
        &mut self,
        member: MemberId,
        since: Timestamp,
    ) -> Result<BlockedMember, VerbError> {
        let groups = self.groups.values().filter(|group| {
            group.members().iter().any(|it| it.id == member && it.role != Role::Member)
        });
        let admin_in = groups.map(|group| group.policy().name.clone()).take(16).collect();
        let member = self.store.read(|tx| tx.member(member))?;
        Ok(BlockedMember { v: crate::api::types::VERSION, member, since: rfc3339(since), admin_in })
    }
}
