//! Who was compared, under which names, and who else has these now.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    group::{Group, Member},
    ids::{GroupId, MemberId, Timestamp},
};

use super::look::look;
use crate::{
    core::membership::is_active,
    store::{OtherKeyRow, StoreError, Tx, VerifiedRow},
};

/// The names of one identity that are kept: those that it had when it was compared, and later ones.
const NAMES: usize = 16;

/// What is stored, and what follows from it and from who is in the groups now.
#[derive(Default)]
pub struct Trust {
    verified: BTreeMap<MemberId, VerifiedRow>,
    /// Who of these has which names, by how they look.
    holders: BTreeMap<String, BTreeSet<MemberId>>,
    /// Others under such names, by how these look.
    others: BTreeMap<(MemberId, String), OtherKeyRow>,
    /// Those of them in each group that the person has not seen; none before they were first looked for.
    unseen: Option<BTreeMap<GroupId, Vec<Unseen>>>,
    /// How the names look that members have: one may have told two groups two names.
    looks: BTreeMap<String, String>,
}

/// An identity under the name of another one that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    pub member: MemberId,
    pub name: String,
    pub look: String,
}

/// What is to be stored, and told, by who is in the groups now.
#[derive(Default)]
pub struct Found {
    pub unseen: BTreeMap<GroupId, Vec<Unseen>>,
    /// Of these, those that are to be told.
    pub told: Vec<(GroupId, Unseen)>,
    pub put: Vec<OtherKeyRow>,
    pub dropped: Vec<(MemberId, String)>,
    /// Names that were taken since.
    pub names: Vec<(MemberId, String)>,
}

impl Trust {
    /// Takes up what is stored.
    pub fn load(tx: &Tx<'_>) -> Result<Self, StoreError> {
        let verified = tx.verified()?.into_iter().map(|row| (row.member, row)).collect();
        let others = tx.other_keys()?.into_iter();
        let others = others.map(|row| ((row.member, look(&row.name)), row)).collect();
        let mut trust = Self { verified, others, ..Self::default() };
        trust.hold();
        Ok(trust)
    }

    /// Whether nothing is to be looked for.
    pub fn is_idle(&self) -> bool {
        self.verified.is_empty() && self.others.is_empty()
    }

    /// The mark of an identity.
    pub fn mark_of(&self, member: &MemberId) -> Option<&VerifiedRow> {
        self.verified.get(member)
    }

    /// All marks.
    pub fn marks(&self) -> impl Iterator<Item = &VerifiedRow> {
        self.verified.values()
    }

    /// The identities that were compared under a name that looks so.
    pub fn holders(&self, look: &str) -> impl Iterator<Item = &MemberId> {
        self.holders.get(look).into_iter().flatten()
    }

    /// Who is in a group under another one's name and was not seen.
    pub fn unseen(&self, group: &GroupId) -> &[Unseen] {
        self.unseen.as_ref().and_then(|all| all.get(group)).map_or(&[], Vec::as_slice)
    }

    /// Whether this identity is one of those, in any group.
    pub fn is_unseen(&self, member: &MemberId) -> bool {
        self.unseen.iter().flat_map(BTreeMap::values).flatten().any(|it| it.member == *member)
    }

    /// What is kept of an identity that came under others' names and was not seen.
    pub fn rows_of(&self, member: &MemberId) -> Vec<OtherKeyRow> {
        let rows = self.others.values().filter(|row| row.member == *member && !row.seen);
        rows.cloned().collect()
    }

    /// When an identity was found under that look.
    pub fn since(&self, member: MemberId, look: &str) -> Option<Timestamp> {
        self.others.get(&(member, look.to_owned())).map(|row| row.at)
    }

    /// Keeps a mark that is stored.
    pub fn mark(&mut self, row: VerifiedRow) {
        self.verified.insert(row.member, row);
        self.hold();
    }

    /// Takes a mark back.
    pub fn unmark(&mut self, member: &MemberId) {
        self.verified.remove(member);
        self.hold();
    }

    /// Keeps a row that is stored.
    pub fn put(&mut self, row: OtherKeyRow) {
        self.others.insert((row.member, look(&row.name)), row);
    }

    /// Keeps what was found, and is stored.
    pub fn adopt(&mut self, found: Found) {
        let Found { unseen, told: _, put, dropped, names } = found;
        self.unseen = Some(unseen);
        put.into_iter().for_each(|row| self.put(row));
        for (member, name) in dropped {
            self.others.remove(&(member, look(&name)));
        }
        for (member, name) in names {
            let Some(row) = self.verified.get_mut(&member) else { continue };
            row.names.push(name);
        }
        self.hold();
    }

    /// Looks at who is in the groups.
    pub fn look_at(
        &mut self,
        groups: &BTreeMap<GroupId, Group>,
        me: MemberId,
        now: Timestamp,
    ) -> Found {
        let active = || groups.values().filter(|group| is_active(group));
        let members: Vec<(&Group, Vec<Member>)> =
            active().map(|group| (group, group.members())).collect();
        self.learn_looks(members.iter().flat_map(|(_, members)| members));
        let mut found = Found { names: self.new_names(&members), ..Found::default() };
        let mut there = BTreeSet::new();
        for (group, members) in &members {
            let others = members.iter().filter(|member| member.id != me);
            for member in others.filter(|member| self.is_other(member, group, members)) {
                let look = self.look_of(member);
                let key = (member.id, look.clone());
                let kept = self.others.get(&key);
                there.insert(key);
                if kept.is_some_and(|row| row.seen) {
                    continue;
                }
                let name = member.card.card().name.clone();
                let new = Unseen { member: member.id, name: name.clone(), look };
                let is_told = match &self.unseen {
                    Some(_) => self.unseen(&group.id()).iter().any(|it| it.is_like(&new)),
                    // Before a start it was told where it is kept.
                    None => kept.is_some(),
                };
                if !is_told {
                    found.told.push((group.id(), new.clone()));
                }
                let of =
                    |row: &OtherKeyRow| row.member == member.id && self.look(&row.name) == new.look;
                if kept.is_none() && !found.put.iter().any(of) {
                    found.put.push(OtherKeyRow { member: member.id, name, at: now, seen: false });
                }
                found.unseen.entry(group.id()).or_default().push(new);
            }
        }
        let holds = |(key, row): &(&(MemberId, String), &OtherKeyRow)| match row.seen {
            true => self.holders.contains_key(&key.1),
            false => there.contains(*key),
        };
        let gone = self.others.iter().filter(|it| !holds(it));
        found.dropped = gone.map(|(_, row)| (row.member, row.name.clone())).collect();
        found
    }

    /// Whether somebody has the name of another identity that was compared. One that a holder of that name, who is in the group,
    /// names as a machine of the same person, and that names it, is none.
    fn is_other(&self, member: &Member, group: &Group, members: &[Member]) -> bool {
        let Some(holders) = self.holders.get(&self.look_of(member)) else { return false };
        let is_in = |holder: &MemberId| members.iter().any(|member| member.id == *holder);
        let says = |one: &MemberId, other: &MemberId| {
            group.card(one).is_some_and(|card| card.card().names(other))
        };
        let is_linked = |holder: &&MemberId| {
            is_in(holder) && says(holder, &member.id) && says(&member.id, holder)
        };
        !holders.contains(&member.id) && !holders.iter().any(|holder| is_linked(&holder))
    }

    /// Names that identities which were compared have taken since, and nobody else has: else whoever was compared could
    /// make others look like impostors.
    fn new_names(&self, members: &[(&Group, Vec<Member>)]) -> Vec<(MemberId, String)> {
        let mut names = Vec::new();
        let all = || members.iter().flat_map(|(_, members)| members);
        for member in all().filter(|member| self.verified.contains_key(&member.id)) {
            let name = &member.card.card().name;
            let look = self.look_of(member);
            let held = self.verified.get(&member.id).map_or(&[][..], |row| row.names.as_slice());
            let is_held = held.contains(name) || names.contains(&(member.id, name.clone()));
            let is_free = || {
                self.holders(&look).all(|holder| *holder == member.id)
                    && all().all(|other| other.id == member.id || self.look_of(other) != look)
            };
            if !is_held && held.len() < NAMES && is_free() {
                names.push((member.id, name.clone()));
            }
        }
        names
    }

    fn look_of(&self, member: &Member) -> String {
        self.look(&member.card.card().name)
    }

    fn look(&self, name: &str) -> String {
        self.looks.get(name).cloned().unwrap_or_else(|| look(name))
    }

    fn learn_looks<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let mut before = std::mem::take(&mut self.looks);
        for name in members.map(|member| &member.card.card().name) {
            if !self.looks.contains_key(name) {
                let known = before.remove(name).unwrap_or_else(|| look(name));
                self.looks.insert(name.clone(), known);
            }
        }
    }

    fn hold(&mut self) {
        self.holders.clear();
        for row in self.verified.values() {
            for name in &row.names {
                self.holders.entry(look(name)).or_default().insert(row.member);
            }
        }
    }
}

impl Found {
    /// Whether all of it is stored as it is.
    pub fn is_stored(&self) -> bool {
        self.put.is_empty() && self.dropped.is_empty() && self.names.is_empty()
    }
}

impl Unseen {
    fn is_like(&self, other: &Self) -> bool {
        (self.member, &self.look) == (other.member, &other.look)
    }
}
