//! Identities that the person of this node has compared, and who comes under their names afterwards.
//!
//! > A mark is the identity's, not the name's. Who has the name of a marked identity and is another one is told
//! > aloud, and nothing is sent to a group with such a member until the person has seen it.
//!
//! docs/decisions/0031-verified-members.md.

mod look;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    fingerprint::{self, Compared},
    group::{Group, Member},
    ids::{GroupId, MemberId, Timestamp},
};

pub(super) use self::names::Trust;
use self::{
    look::look,
    names::{Found, Unseen},
};
use super::{
    Core, VerbError,
    membership::{id_prefix, is_active},
};
use crate::{
    api::types::{
        GroupRef, MemberIdentity, MemberRef, OtherKey, SharedGroup, VERSION, VerifyMember, What,
    },
    store::{OtherKeyRow, StoreError, VerifiedRow, rfc3339},
};

/// Identities of one name that are shown.
const SHOWN: usize = 8;

/// Digits of an id that are shown.
const DIGITS: usize = 16;

/// Why an identity was not compared, or nothing is sent.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nobody of that name or id in any group.
    #[error("there is no member \"{0}\" in your groups, and no verified identity of that name")]
    Nobody(String),
    /// One's own identity.
    #[error("that is you")]
    Yourself,
    /// Nothing that can be compared.
    #[error("that is neither a number of 60 digits nor the text of a QR code")]
    Unreadable,
    /// Somebody in the group has another one's name.
    #[error(
        "{name} is in this group under the name of {verified}, whom you verified, and is another identity: \
         nothing is sent until you have looked at it"
    )]
    OtherKey {
        /// Name and short id.
        name: String,
        /// The same of the one that was compared.
        verified: String,
    },
}

impl TrustError {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Nobody(_) => "no-such-member",
            Self::Yourself => "verify-self",
            Self::Unreadable => "no-number",
            Self::OtherKey { .. } => "key-changed",
        }
    }

    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Nobody(_) => "`wattle group show GROUP` shows its members.",
            Self::Yourself => "Name another member: `wattle group show GROUP` shows them.",
            Self::Unreadable => "`wattle verify @MEMBER` shows both, there as here.",
            Self::OtherKey { .. } => {
                "Ask them by another way, and compare numbers: `wattle verify @ID` (the first digits of the id). \
                 Then --compare or --mark; --accept sends without; `wattle group remove GROUP ID` removes them."
            }
        }
    }

    pub(super) const fn exit(&self) -> u8 {
        match self {
            Self::Nobody(_) => 6,
            Self::Yourself | Self::Unreadable => 2,
            Self::OtherKey { .. } => 7,
        }
    }
}

/// Of these members, those whose names are easily mistaken for another one's.
pub(super) fn alike(members: &[Member]) -> BTreeSet<MemberId> {
    let mut by_look: BTreeMap<String, Vec<MemberId>> = BTreeMap::new();
    for member in members {
        by_look.entry(look(&member.card.card().name)).or_default().push(member.id);
    }
    by_look.into_values().filter(|alike| alike.len() > 1).flatten().collect()
}

impl Core {
    /// A member of any group as an identity to be compared: by name or an unambiguous id prefix, with or without
    /// `@`.
    pub fn identity(&mut self, reference: &str) -> Result<MemberIdentity, VerbError> {
        let member = self.find_identity(reference)?;
        self.identity_view(member)
    }

    /// Marks an identity, or takes the mark back, or takes note of one that has another one's name.
    pub fn verify_member(
        &mut self,
        reference: &str,
        asked: &VerifyMember,
        now: Timestamp,
    ) -> Result<MemberIdentity, VerbError> {
        let member = self.find_identity(reference)?;
        let mut equal = None;
        match asked {
            VerifyMember::Mark => self.mark(member, now)?,
            VerifyMember::Unmark => self.unmark(member, now)?,
            VerifyMember::Accept => self.accept(member, now)?,
            VerifyMember::Compare { text } => {
                let me = self.me.member();
                equal = match fingerprint::compare(text, &me, &member) {
                    Compared::Equal => Some(true),
                    Compared::Different => Some(false),
                    Compared::Unreadable => return Err(TrustError::Unreadable.into()),
                };
                if equal == Some(true) {
                    self.mark(member, now)?;
                }
            }
        }
        self.after.members = true;
        self.finish(now);
        Ok(MemberIdentity { equal, ..self.identity_view(member)? })
    }

    /// Who is in a group under the name of an identity that was compared, is another one, and was not seen.
    pub(super) fn other_keys(&self, group: &GroupId) -> Vec<OtherKey> {
        self.trust.unseen(group).iter().map(|new| self.other_key(new)).collect()
    }

    /// Refuses to send to a group while somebody in it has another one's name unseen.
    pub(super) fn may_send(&self, group: &GroupId) -> Result<(), TrustError> {
        let Some(new) = self.trust.unseen(group).first() else { return Ok(()) };
        let OtherKey { member, verified, .. } = self.other_key(new);
        let verified = verified.iter().map(named).collect::<Vec<_>>().join(" or ");
        Err(TrustError::OtherKey { name: named(&member), verified })
    }

    /// Looks at who is in the groups under which name, and tells what is new of it.
    pub(super) fn watch_names(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.trust.is_idle() {
            self.trust.adopt(Found::default());
            return Ok(());
        }
        let found = self.trust.look_at(&self.groups, self.me.member(), now);
        let told: Vec<(GroupId, OtherKey)> = found
            .told
            .iter()
            .map(|(group, new)| (*group, OtherKey { since: rfc3339(now), ..self.other_key(new) }))
            .collect();
        if !found.is_stored() || !told.is_empty() {
            self.record(now, |step| {
                found.put.iter().try_for_each(|row| step.tx.put_other_key(row))?;
                let dropped = &mut found.dropped.iter();
                dropped.try_for_each(|(member, name)| step.tx.drop_other_key(*member, name))?;
                let names = &mut found.names.iter();
                names.try_for_each(|(member, name)| step.tx.put_verified_name(*member, name))?;
                told.into_iter().try_for_each(|(group, other)| {
                    let text = warning(&other);
                    step.emit(Some(group), What::KeyChanged { other, text })
                })
            })?;
        }
        self.trust.adopt(found);
        Ok(())
    }

    /// The names under which a member was verified, where the one of now is none of them.
    pub(super) fn verified_as(&self, member: &Member) -> Vec<String> {
        let names = self.trust.mark_of(&member.id).map(|row| row.names.clone()).unwrap_or_default();
        if names.contains(&member.card.card().name) { Vec::new() } else { names }
    }

    /// Whose name this is, where other identities than this one were verified under it.
    pub(super) fn verified_under(&self, member: MemberId, name: &str) -> Vec<MemberRef> {
        let asked = look(name);
        if self.trust.holders(&asked).any(|holder| *holder == member) {
            return Vec::new();
        }
        let rows = self.trust.holders(&asked).filter_map(|id| self.trust.mark_of(id));
        let of = |row: &VerifiedRow| {
            let name = row.names.iter().find(|name| look(name) == asked);
            MemberRef { id: row.member.to_string(), name: name.cloned().unwrap_or_default() }
        };
        rows.take(SHOWN).map(of).collect()
    }

    fn other_key(&self, new: &Unseen) -> OtherKey {
        let since = self.trust.since(new.member, &new.look).unwrap_or_default();
        OtherKey {
            member: MemberRef { id: new.member.to_string(), name: new.name.clone() },
            verified: self.verified_under(new.member, &new.name),
            since: rfc3339(since),
        }
    }

    fn mark(&mut self, member: MemberId, now: Timestamp) -> Result<(), StoreError> {
        let known = self.store.read(|tx| tx.member(member))?.name;
        let mut names: Vec<String> = self.names_of(&member).chain([known]).collect();
        // The first is the one that was shown. Of others it may have told other groups what is somebody else's.
        let mut is_shown = true;
        names.retain(|name| std::mem::take(&mut is_shown) || self.is_free(name, &member));
        names.extend(self.trust.mark_of(&member).into_iter().flat_map(|row| row.names.clone()));
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        if self.trust.mark_of(&member).is_none() {
            self.note_verified(member, true, now)?;
        }
        let row = VerifiedRow { member, at: now, names };
        self.record(now, |step| {
            step.tx.put_verified(&row)?;
            let member = step.tx.member(member)?;
            step.emit(None, What::MemberVerified { member, verified: true })
        })?;
        self.trust.mark(row);
        Ok(())
    }

    fn unmark(&mut self, member: MemberId, now: Timestamp) -> Result<(), StoreError> {
        if self.trust.mark_of(&member).is_none() {
            return Ok(());
        }
        self.note_verified(member, false, now)?;
        self.record(now, |step| {
            step.tx.drop_verified(member)?;
            let member = step.tx.member(member)?;
            step.emit(None, What::MemberVerified { member, verified: false })
        })?;
        self.trust.unmark(&member);
        Ok(())
    }

    fn accept(&mut self, member: MemberId, now: Timestamp) -> Result<(), StoreError> {
        let rows = self.trust.rows_of(&member).into_iter();
        let rows: Vec<_> = rows.map(|row| OtherKeyRow { seen: true, ..row }).collect();
        if !rows.is_empty() {
            self.record(now, |step| rows.iter().try_for_each(|row| step.tx.put_other_key(row)))?;
            rows.into_iter().for_each(|row| self.trust.put(row));
        }
        Ok(())
    }

    /// Writes it into the audit logs of the groups that both are in.
    fn note_verified(
        &mut self,
        member: MemberId,
        verified: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.groups_with(&member).into_iter().try_for_each(|id| {
            self.step(id, now, |group, step| {
                group.on_verified(step.cx(), member, verified);
                Ok(())
            })
        })
    }

    fn groups_with(&self, member: &MemberId) -> Vec<GroupId> {
        let groups = self.groups.values().filter(|group| is_active(group));
        groups.filter(|group| group.is_member(member)).map(Group::id).collect()
    }

    /// The names that an identity has now; one may have told two groups two.
    fn names_of(&self, member: &MemberId) -> impl Iterator<Item = String> {
        let groups = self.groups.values().filter(|group| is_active(group));
        let cards =
            groups.filter(|group| group.is_member(member)).filter_map(|group| group.card(member));
        cards.map(|card| card.card().name.clone()).collect::<Vec<_>>().into_iter()
    }

    /// Whether nobody else has a name like this one, or was verified under it.
    fn is_free(&self, name: &str, member: &MemberId) -> bool {
        let asked = look(name);
        let mut groups = self.groups.values().filter(|group| is_active(group));
        self.trust.holders(&asked).all(|holder| holder == member)
            && groups.all(|group| {
                let others = group.members().into_iter().filter(|other| other.id != *member);
                others.into_iter().all(|other| look(&other.card.card().name) != asked)
            })
    }

    /// Names stand for whoever has them, or had them when they were compared: who has a verified identity's name is
    /// never taken for it.
    pub(super) fn find_identity(&self, reference: &str) -> Result<MemberId, VerbError> {
        let asked = reference.strip_prefix('@').unwrap_or(reference);
        let prefix = id_prefix(asked);
        let mut found: BTreeMap<MemberId, String> = BTreeMap::new();
        let mut look_at = |id: MemberId, name: &str| {
            let digits = id.to_string();
            let is_named = !name.is_empty() && name == asked;
            if is_named || prefix.as_ref().is_some_and(|prefix| digits.starts_with(prefix)) {
                found.entry(id).or_insert_with(|| name.to_owned());
            }
        };
        for group in self.groups.values().filter(|group| is_active(group)) {
            for member in group.members() {
                look_at(member.id, &member.card.card().name);
            }
        }
        for row in self.trust.marks() {
            row.names.iter().for_each(|name| look_at(row.member, name));
            look_at(row.member, "");
        }
        if let Some(whole) = found.keys().find(|id| Some(id.to_string()) == prefix).copied() {
            found.retain(|id, _| *id == whole);
        }
        let me = found.remove(&self.me.member());
        let all: Vec<(&MemberId, &String)> = found.iter().collect();
        match all.as_slice() {
            [] if me.is_some() => Err(TrustError::Yourself.into()),
            [] => Err(TrustError::Nobody(asked.chars().take(80).collect()).into()),
            [(id, _)] => Ok(**id),
            several => Err(VerbError::AmbiguousMember {
                asked: reference.into(),
                candidates: several
                    .iter()
                    .take(SHOWN)
                    .map(|(id, name)| {
                        named(&MemberRef { id: id.to_string(), name: (*name).clone() })
                    })
                    .collect(),
            }),
        }
    }

    fn identity_view(&mut self, member: MemberId) -> Result<MemberIdentity, VerbError> {
        let mut who = self.store.read(|tx| tx.member(member))?;
        if let Some(name) = self.names_of(&member).next() {
            who.name = name;
        }
        let me = self.me.member();
        let mark = self.trust.mark_of(&member);
        let shared = self.groups_with(&member).into_iter();
        let shared: Vec<&Group> = shared.filter_map(|id| self.groups.get(&id)).collect();
        let other_than = shared.iter().flat_map(|group| self.trust.unseen(&group.id()));
        let other_than = other_than.filter(|new| new.member == member);
        let mut other_than: Vec<MemberRef> =
            other_than.flat_map(|new| self.other_key(new).verified).collect();
        other_than.dedup();
        Ok(MemberIdentity {
            v: VERSION,
            member: who,
            verified: mark.is_some(),
            verified_at: mark.map(|row| rfc3339(row.at)),
            verified_as: mark.map(|row| row.names.clone()).unwrap_or_default(),
            number: fingerprint::of_pair(&me, &member),
            code: fingerprint::code_of_pair(&me, &member),
            fingerprint: fingerprint::of_member(&member),
            groups: shared
                .iter()
                .map(|group| SharedGroup {
                    group: GroupRef {
                        id: group.id().to_string(),
                        name: group.policy().name.clone(),
                    },
                    fingerprint: group.fingerprint(),
                })
                .collect(),
            other_than,
            equal: None,
        })
    }
}

/// Name and id, with so many digits that nobody finds another identity with the same.
fn named(it: &MemberRef) -> String {
    format!("{} ({})", it.name, it.id.get(..DIGITS).unwrap_or(&it.id))
}

/// What it may mean, and what to do.
fn warning(other: &OtherKey) -> String {
    let verified = other.verified.iter().map(named).collect::<Vec<_>>().join(" or ");
    let (new, id) = (named(&other.member), other.member.id.get(..DIGITS).unwrap_or_default());
    format!(
        "{new} has the name of {verified}, whom you verified, and is another identity. It may be a new machine of \
         theirs, or the old one is lost, or somebody poses as them, or it is somebody else of that name. Ask them \
         by another way and compare numbers: wattle verify @{id}. Nothing is sent to this group from here until you \
         have said so (--compare, --mark, or --accept without comparing), or they are gone."
    )
}
