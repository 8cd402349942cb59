//! Groups and who is in them: founding, leaving, removing, and how they are shown and found.

use protocol::{
    fingerprint,
    group::{self, Cx, Group, Member, Role},
    identity::is_name,
    ids::{GroupId, MemberId, Timestamp},
    membership::Policy,
};

use super::{Core, VerbError, admins, step::Step, tokens::give_token, words};
use crate::{
    api::types::{
        self, CreateGroup, GroupState, GroupSummary, GroupView, MemberRef, Person, VERSION, What,
    },
    net::address,
    store::StoreError,
};

/// The shortest id prefix that names anything, in hexadecimal digits.
const PREFIX_MIN: usize = 4;

impl Core {
    /// Founds a group, with this node's relays where it names none.
    pub fn create_group(
        &mut self,
        asked: &CreateGroup,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let name = asked.name.as_str();
        if !is_name(name) {
            return Err(VerbError::BadName);
        }
        if self.groups.values().any(|group| is_current(group) && group.policy().name == name) {
            return Err(VerbError::NameTaken { name: name.into() });
        }
        let own = asked.relays.is_empty();
        let relays = if own { &self.options.relays } else { &asked.relays }.clone();
        if let Some(bad) = address::no_relay(&asked.relays) {
            return Err(VerbError::BadRelay { address: bad.into() });
        }
        let mut policy = Policy { name: name.into(), relays, ..Policy::default() };
        if !policy.check() {
            return Err(VerbError::TooManyRelays);
        }
        if let Some(given) = &asked.relay_token {
            give_token(&mut policy, given)?;
        }
        let cx = Cx { me: &self.me, now, rng: &mut self.rng };
        let group = Group::create(cx, policy).map_err(|_| VerbError::BadName)?;
        let id = self.add_group(group, now, |_| Ok(()))?;
        self.finish(now);
        self.view(id, now)
    }

    /// All groups, oldest first.
    pub fn groups(&mut self, now: Timestamp) -> Result<Vec<GroupSummary>, VerbError> {
        let ids = self.store.read(|tx| tx.groups())?;
        let known: Vec<GroupId> =
            ids.into_iter().filter(|id| self.groups.contains_key(id)).collect();
        known.into_iter().map(|id| self.summary(id, now)).collect()
    }

    /// One group: by its exact name or an unambiguous id prefix of at least four digits.
    pub fn group(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        self.view(id, now)
    }

    /// Removes a member: by exact name, with or without `@`, or an unambiguous id prefix. Invites
    /// that somebody has used are ended: the removed member may hold their codes.
    pub fn remove(
        &mut self,
        reference: &str,
        member: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let who = self.find_member(id, member)?;
        if who == self.me.member() {
            return Err(VerbError::RemoveSelf);
        }
        let hosted = self.hosted.rows(id);
        let ended = self.step(id, now, |group, step| {
            group.remove(step.cx(), who)?;
            Ok::<_, VerbError>(step.end_used_invites(group, hosted)?)
        })?;
        self.hosted.renew(ended);
        self.done(id, now)
    }

    /// Makes an admin of a member, by exact name, with or without `@`, or an unambiguous id prefix.
    pub fn promote(
        &mut self,
        reference: &str,
        member: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let who = self.find_member(id, member)?;
        self.act(id, now, |group, step| group.promote(step.cx(), who))
    }

    /// Takes an admin's rights.
    pub fn demote(
        &mut self,
        reference: &str,
        member: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        let who = self.find_member(id, member)?;
        self.act(id, now, |group, step| group.demote(step.cx(), who))
    }

    /// Leaves a group.
    pub fn leave(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        self.act(id, now, |group, step| group.leave(step.cx()))
    }

    /// Makes new keys and seals them to every member.
    pub fn rotate(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let id = self.find_group(reference)?;
        self.act(id, now, |group, step| group.rotate(step.cx()))
    }

    /// Which group a name or id prefix means. A group that one is in goes before one of the same
    /// name that one is out of.
    ///
    /// `@` and a member are the conversation of two with that member.
    pub fn find_group(&self, reference: &str) -> Result<GroupId, VerbError> {
        let is_named = || self.groups.values().any(|group| group.policy().name == reference);
        if reference.starts_with('@') && !is_named() {
            let member = self.find_identity(reference)?;
            return self.talk_with(&member).ok_or(VerbError::NoTalk);
        }
        Self::find_group_among(reference, &self.groups.values().collect::<Vec<_>>())
    }

    /// The same, of some.
    pub(super) fn find_group_among(
        reference: &str,
        groups: &[&Group],
    ) -> Result<GroupId, VerbError> {
        let all = || groups.iter().copied();
        let named: Vec<&Group> = all().filter(|group| group.policy().name == reference).collect();
        let active: Vec<&Group> = named.iter().copied().filter(|group| is_current(group)).collect();
        let found = if !active.is_empty() {
            active
        } else if !named.is_empty() {
            named
        } else if let Some(prefix) = id_prefix(reference) {
            all().filter(|group| group.id().to_string().starts_with(&prefix)).collect()
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [] => Err(VerbError::NoSuchGroup { asked: reference.into() }),
            [group] => Ok(group.id()),
            several => Err(VerbError::AmbiguousGroup {
                asked: reference.into(),
                candidates: several
                    .iter()
                    .map(|group| short(&group.policy().name, &group.id().to_string()))
                    .collect(),
            }),
        }
    }

    pub(super) fn find_member(
        &self,
        group: GroupId,
        reference: &str,
    ) -> Result<MemberId, VerbError> {
        let members = self.groups.get(&group).map(Group::members).unwrap_or_default();
        let name = reference.strip_prefix('@').unwrap_or(reference);
        let named: Vec<&Member> =
            members.iter().filter(|member| member.card.card().name == name).collect();
        let found = match id_prefix(reference) {
            Some(prefix) if named.is_empty() => {
                members.iter().filter(|member| member.id.to_string().starts_with(&prefix)).collect()
            }
            _ => named,
        };
        match found.as_slice() {
            [] => Err(VerbError::NoSuchMember { asked: reference.into() }),
            [member] => Ok(member.id),
            several => Err(VerbError::AmbiguousMember {
                asked: reference.into(),
                candidates: several
                    .iter()
                    .map(|member| short(&member.card.card().name, &member.id.to_string()))
                    .collect(),
            }),
        }
    }

    pub(super) fn act(
        &mut self,
        id: GroupId,
        now: Timestamp,
        verb: impl FnOnce(&mut Group, &mut Step<'_>) -> Result<(), protocol::group::VerbError>,
    ) -> Result<GroupView, VerbError> {
        self.step(id, now, |group, step| Ok::<_, VerbError>(verb(group, step)?))?;
        self.done(id, now)
    }

    pub(super) fn done(&mut self, id: GroupId, now: Timestamp) -> Result<GroupView, VerbError> {
        self.after.members = true;
        self.after.logs = true;
        self.finish(now);
        self.view(id, now)
    }

    /// Takes up a group that was founded or joined, with whatever else belongs to the same step.
    pub(super) fn add_group(
        &mut self,
        mut group: Group,
        now: Timestamp,
        also: impl FnOnce(&mut Step<'_>) -> Result<(), StoreError>,
    ) -> Result<GroupId, StoreError> {
        let id = group.id();
        self.erase_all(id)?;
        self.record(now, |step| {
            step.tx.put_group(id, &group.policy().name, now)?;
            // What was said where the group was before is for those of then.
            step.note_former(&group, Timestamp(0))?;
            if let Some(last) = step.tx.last_audit(id)? {
                group.resume_audit(&last);
            }
            // What an earlier membership of the same group left is of no use to this one.
            step.tx.clear_records(id)?;
            step.tx.clear_outbox(id)?;
            // What came before it is lost on that one, and is for this one to read.
            step.read_anew(&group)?;
            step.names(&group)?;
            step.settle(&mut group)?;
            step.emit(Some(id), What::GroupAdded)?;
            also(step)
        })?;
        self.groups.insert(id, group);
        self.queued.remove(&id);
        self.wired.retain(|(wired, _)| *wired != id);
        self.after.present.push(id);
        (self.after.members, self.after.logs) = (true, true);
        Ok(id)
    }

    /// A group as the API shows it.
    pub(super) fn view(&mut self, id: GroupId, now: Timestamp) -> Result<GroupView, VerbError> {
        let summary = self.summary(id, now)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let (me, by_relay) = (self.me.member(), self.by_relay());
        let own = fingerprint::Own::of(&me);
        let persons = group.people();
        let members = group.members();
        let alike = super::trust::alike(&members);
        let people = members
            .into_iter()
            .map(|member| Person {
                alike: alike.contains(&member.id),
                verified: self.trust.mark_of(&member.id).is_some(),
                verified_as: self.verified_as(&member),
                other_key: self.trust.unseen(&id).iter().any(|new| new.member == member.id),
                member: member_ref(&member),
                role: role(member.role),
                me: member.id == me,
                path: self.path_of(&member.id, &by_relay),
                pair: if member.id == me { String::new() } else { own.pair(&member.id) },
                fingerprint: fingerprint::of_member(&member.id),
                machines: others(&persons, &member.id),
            })
            .collect();
        Ok(GroupView {
            v: VERSION,
            summary,
            people,
            fingerprint: group.fingerprint(),
            relays: group.policy().relays.clone(),
            unconfirmed: !group.is_confirmed(),
            adopted: words::adopted(group),
            gaps: words::gaps(group),
            notices: words::notices(group, me),
            returned: admins::returned(group),
            void: admins::void(group),
            retired: admins::retired(group),
            moves: admins::moves(group),
        })
    }

    fn summary(&mut self, id: GroupId, now: Timestamp) -> Result<GroupSummary, VerbError> {
        let queued = self.store.read(|tx| tx.queued(id))?;
        let shelved = self.shelved(id, now)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let waiting_for = match group.ready(now) {
            Err(reason) if queued > 0 => reason.to_string(),
            Ok(()) if queued > 0 => {
                self.may_send(&id).err().map(|it| it.to_string()).unwrap_or_default()
            }
            _ => String::new(),
        };
        Ok(GroupSummary {
            id: id.to_string(),
            name: group.policy().name.clone(),
            state: state(group),
            members: u64::try_from(group.members().len()).unwrap_or(u64::MAX),
            queued,
            waiting_for,
            missing: u64::try_from(group.gaps().len()).unwrap_or(u64::MAX),
            warnings: u64::try_from(group.notices().count()).unwrap_or(u64::MAX),
            relay_states: self.relay_states(group),
            backlog: self.backlog(&id),
            other_keys: self.other_keys(&id),
            unread: shelved.unread,
            unread_more: shelved.is_more,
            muted: shelved.muted,
            muted_until: shelved.muted_until,
            archived: shelved.archived,
            tells: shelved.tells,
        })
    }
}

/// The same person's other machines.
fn others(persons: &[group::Person], member: &MemberId) -> Vec<String> {
    let person = persons.iter().find(|person| person.machines.contains(member));
    let machines = person.into_iter().flat_map(|person| &person.machines);
    machines.filter(|machine| *machine != member).map(MemberId::to_string).collect()
}

/// Whether this node takes part in a group: is a member, be it one who has moved on.
pub(super) fn is_active(group: &Group) -> bool {
    is_current(group) || group.state() == protocol::group::GroupState::Migrated
}

/// Whether one can write in a group.
pub(super) fn is_current(group: &Group) -> bool {
    group.state() == protocol::group::GroupState::Active
}

pub(super) fn member_ref(member: &Member) -> MemberRef {
    MemberRef { id: member.id.to_string(), name: member.card.card().name.clone() }
}

fn short(name: &str, id: &str) -> String {
    format!("{name} ({})", id.get(..8).unwrap_or(id))
}

/// The text as the beginning of an id, where it may be one.
pub(super) fn id_prefix(text: &str) -> Option<String> {
    (text.len() >= PREFIX_MIN && text.chars().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}

fn state(group: &Group) -> GroupState {
    match group.state() {
        protocol::group::GroupState::Active if group.is_behind() => GroupState::Desynced,
        protocol::group::GroupState::Active => GroupState::Active,
        protocol::group::GroupState::Removed => GroupState::Removed,
        protocol::group::GroupState::Left => GroupState::Left,
        protocol::group::GroupState::Migrated => GroupState::Migrated,
    }
}

fn role(role: Role) -> types::Role {
    match role {
        Role::Founder => types::Role::Founder,
        Role::Admin => types::Role::Admin,
        Role::Member => types::Role::Member,
    }
}
