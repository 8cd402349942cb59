//! Who is let back in, who is retired, and where a group moves.

use std::sync::Arc;

use protocol::{
    endpoint::Endpoint,
    group::{Group, GroupState, Successor},
    ids::{GroupId, MemberId, Timestamp},
    membership::{Kind, Op},
    recovery::RecoveryKey,
};
use zeroize::Zeroizing;

use super::{Core, ENDPOINT, VerbError, membership::id_prefix, step::Step};
use crate::{
    api::types::{GroupView, MemberRef, Move, Returned, VoidAct, What},
    store::{StoreError, rfc3339},
};

/// Void ops shown, the newest.
const VOID: usize = 16;

impl Core {
    /// Lets somebody in again: who is back because a removal does not count, or was a member once.
    pub fn readmit(
        &mut self,
        reference: &str,
        member: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let who = self.find_known(id, member)?;
        self.act(id, now, |group, step| group.readmit(step.cx(), who))
    }

    /// The code that retires this machine once it is lost, until it is forgotten here.
    #[must_use]
    pub fn recovery_code(&self) -> Option<Zeroizing<String>> {
        self.me.recovery().map(RecoveryKey::code)
    }

    /// Forgets this machine's recovery code: from here on, whoever has the machine hasn't it.
    pub fn forget_recovery(&mut self) -> Result<(), VerbError> {
        let mut me = Endpoint::clone(&self.me);
        if me.forget_recovery() {
            self.store.transaction(|tx| tx.put_meta(ENDPOINT, &me.save()))?;
            self.me = Arc::new(me);
        }
        Ok(())
    }

    /// Ends the membership of a lost machine, whose recovery code this is.
    pub fn retire(
        &mut self,
        reference: &str,
        code: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        // Who may not is told that, whatever the code is.
        match self.groups.get(&id).map(Group::state) {
            Some(GroupState::Active) => {}
            Some(GroupState::Migrated) => return Err(VerbError::Moved),
            _ => return Err(VerbError::NotAMember),
        }
        let key = RecoveryKey::from_code(code)?;
        let hosted = self.hosted.rows(id);
        let ended = self.step(id, now, |group, step| {
            group.retire(step.cx(), &key)?;
            Ok::<_, VerbError>(step.end_used_invites(group, hosted)?)
        })?;
        self.hosted.renew(ended);
        self.done(id, now)
    }

    /// Founds a group with the same people, and says in the old one that it goes on there.
    pub fn migrate(
        &mut self,
        reference: &str,
        without: &[String],
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let without = without
            .iter()
            .map(|member| self.find_member(id, member))
            .collect::<Result<Vec<MemberId>, _>>()?;
        if without.contains(&self.me.member()) {
            return Err(VerbError::RemoveSelf);
        }
        let old = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        // Whoever can't say so does not found it.
        old.ready(now).map_err(protocol::group::VerbError::from)?;
        let cx = protocol::group::Cx { me: &self.me, now, rng: &mut self.rng };
        let new = old.successor(cx, &without)?;
        let to = self.add_group(new, now, |_| Ok(()))?;
        let new = self.groups.remove(&to).ok_or(StoreError::Damaged)?;
        let said =
            self.step(id, now, |group, step| Ok::<_, VerbError>(group.migrate(step.cx(), &new)?));
        self.groups.insert(to, new);
        said?;
        self.done(to, now)
    }

    /// Follows an admin to the group that this one goes on as: the first by seniority, or the one
    /// whose id begins so.
    pub fn follow(
        &mut self,
        reference: &str,
        to: Option<&str>,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let prefix = to.map(|to| id_prefix(to).ok_or(VerbError::NoSuchMove)).transpose()?;
        let to = group
            .successors()
            .into_iter()
            .filter(|known| known.whole)
            .map(|known| known.to)
            .find(|to| prefix.as_ref().is_none_or(|it| to.to_string().starts_with(it)))
            .ok_or(VerbError::NoSuchMove)?;
        self.step(id, now, |group, _| Ok::<_, VerbError>(group.follow_to(to)?))?;
        self.finish(now);
        if self.groups.contains_key(&to) { self.view(to, now) } else { Err(VerbError::NoSuchMove) }
    }

    /// Takes up the groups that this node's groups have moved to.
    pub(super) fn follow_moves(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let moved: Vec<_> = self
            .groups
            .values()
            .filter_map(|group| Some((group.id(), group.moved()?)))
            .filter_map(|(id, moved)| Some((id, moved.to, moved.welcome?)))
            .collect();
        for (id, to, (welcome, by)) in moved {
            let cx = protocol::group::Cx { me: &self.me, now, rng: &mut self.rng };
            let joined = Group::join(cx, &welcome, by, |id| self.groups.get(id))
                .ok()
                .filter(|group| group.id() == to);
            match joined {
                Some(group) if !self.groups.contains_key(&to) => {
                    self.add_group(group, now, |_| Ok(()))?;
                }
                Some(_) => {}
                None => tracing::warn!(%to, "a welcome to another group does not hold"),
            }
            self.step(id, now, |group, _| {
                group.settled();
                Ok::<_, StoreError>(())
            })?;
        }
        Ok(())
    }

    /// Anybody who is or was a member, by exact name, or an unambiguous id prefix.
    pub fn find_known(&self, id: GroupId, reference: &str) -> Result<MemberId, VerbError> {
        if let Ok(member) = self.find_member(id, reference) {
            return Ok(member);
        }
        let name = reference.strip_prefix('@').unwrap_or(reference);
        let prefix = id_prefix(reference);
        let known = self.groups.get(&id).into_iter().flat_map(Group::known_people);
        let found: Vec<MemberId> = known
            .map(protocol::identity::SignedCard::card)
            .filter(|card| {
                let by_id =
                    prefix.as_ref().is_some_and(|it| card.member.to_string().starts_with(it));
                card.name == name || by_id
            })
            .map(|card| card.member)
            .collect();
        match found.as_slice() {
            [member] => Ok(*member),
            [] => Err(VerbError::NoSuchMember { asked: reference.into() }),
            several => Err(VerbError::AmbiguousMember {
                asked: reference.into(),
                candidates: several.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

impl Step<'_> {
    /// Says that the group goes on as another one.
    pub(super) fn moved(
        &mut self,
        group: &Group,
        to: GroupId,
        by: MemberId,
        followed: bool,
    ) -> Result<(), StoreError> {
        self.after.moved |= followed;
        let by = named(group, &by);
        self.emit(Some(group.id()), What::Moved { to: to.to_string(), by, followed })
    }
}

/// Who is back because a removal does not count, and is not sealed to yet.
pub(super) fn returned(group: &Group) -> Vec<Returned> {
    group
        .held()
        .map(|(member, hold)| Returned {
            member: named(group, &member),
            removed_by: named(group, &hold.by),
            until: rfc3339(hold.until),
        })
        .collect()
}

/// Whose machines are lost.
pub(super) fn retired(group: &Group) -> Vec<MemberRef> {
    group.retired().iter().map(|member| named(group, member)).collect()
}

/// The groups that this one goes on as.
pub(super) fn moves(group: &Group) -> Vec<Move> {
    let gone = group.moved().map(|moved| moved.to);
    let shown = |Successor { to, by, whole }| Move {
        to: to.to_string(),
        by: named(group, &by),
        followed: gone == Some(to),
        ready: whole,
    };
    group.successors().into_iter().map(shown).collect()
}

/// What does not count, the newest last.
pub(super) fn void(group: &Group) -> Vec<VoidAct> {
    let ops: Vec<&Op> = group.void_ops().collect();
    ops.iter()
        .skip(ops.len().saturating_sub(VOID))
        .map(|op| VoidAct {
            by: named(group, &op.author()),
            at: rfc3339(op.body().at),
            what: words(group, op),
        })
        .collect()
}

fn words(group: &Group, op: &Op) -> String {
    let about = op.subject().map(|member| named(group, &member).name).unwrap_or_default();
    match &op.body().kind {
        Kind::Admit { .. } => format!("let {about} in"),
        Kind::Remove { .. } => format!("removed {about}"),
        Kind::Promote { .. } => format!("made {about} an admin"),
        Kind::Demote { .. } => format!("took {about}'s rights as an admin"),
        Kind::InviteCreate { .. } => "made an invite".into(),
        Kind::InviteRevoke { .. } => "took an invite back".into(),
        Kind::Refresh { .. } => "asked for new keys".into(),
        Kind::SetPolicy { .. } => "changed the group's name, relays or rules".into(),
        Kind::Migrate { .. } => "moved the group".into(),
        Kind::Retire { .. } => "was retired with the recovery code".into(),
        _ => "did something that this version does not know".into(),
    }
}

fn named(group: &Group, member: &MemberId) -> MemberRef {
    let name = group.card(member).map(|card| card.card().name.clone());
    MemberRef { id: member.to_string(), name: name.unwrap_or_default() }
}
