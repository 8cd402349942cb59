//! Names that members take.
//!
//! > A name is what a member says of itself; marks, histories and removals are the identity's and stay with it. What is
//! > told is that a card of the group has another name than before, once in each group.

use std::collections::BTreeMap;

use protocol::{
    endpoint::Endpoint,
    group::Group,
    ids::{GroupId, MemberId, Timestamp},
};

use super::{Core, VerbError, membership::is_active};
use crate::{
    api::types::{MemberRef, Renamed, VERSION, What},
    store::StoreError,
};

/// The names on the cards, by group: no more than there are members.
#[derive(Default)]
pub struct Names(BTreeMap<(GroupId, MemberId), String>);

/// A card with another name.
struct Change {
    group: GroupId,
    member: MemberId,
    name: String,
    before: String,
}

impl Names {
    /// Those of whom another name is known.
    fn changes<'a>(&self, groups: impl Iterator<Item = &'a Group>) -> Vec<Change> {
        let mut changes = Vec::new();
        for group in groups {
            for member in group.members() {
                let (group, member, name) = (group.id(), member.id, &member.card.card().name);
                if let Some(before) = self.0.get(&(group, member)).filter(|it| *it != name) {
                    let (name, before) = (name.clone(), before.clone());
                    changes.push(Change { group, member, name, before });
                }
            }
        }
        changes
    }

    fn learn<'a>(&mut self, groups: impl Iterator<Item = &'a Group>) {
        let mut named = BTreeMap::new();
        for group in groups {
            for member in group.members() {
                let key = (group.id(), member.id);
                let name = &member.card.card().name;
                let known = self.0.remove(&key).filter(|known| known == name);
                named.insert(key, known.unwrap_or_else(|| name.clone()));
            }
        }
        self.0 = named;
    }
}

impl Core {
    /// Puts another name on this node's card, and tells it. Groups in which nothing can be told yet hear of it later.
    pub fn rename(&mut self, name: &str, now: Timestamp) -> Result<Renamed, VerbError> {
        let before = self.me.card().card().name.clone();
        let mut me = Endpoint::clone(&self.me);
        if me.set_name(name).map_err(|_| VerbError::BadName)? {
            self.put_endpoint(me, now)?;
            self.after.members = true;
            self.finish(now);
        }
        let me = MemberRef { id: self.me.member().to_string(), name: name.into() };
        Ok(Renamed { v: VERSION, me, before })
    }

    /// Tells who has another name. What a crash comes before is not told any more.
    pub(super) fn watch_renames(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let changes = self.names.changes(self.groups.values().filter(|group| is_active(group)));
        if !changes.is_empty() {
            let own = self.me.member();
            self.record(now, |step| {
                changes.into_iter().try_for_each(|Change { group, member, name, before }| {
                    let me = member == own;
                    let member = MemberRef { id: member.to_string(), name };
                    step.emit(Some(group), What::MemberRenamed { member, before, me })
                })
            })?;
        }
        self.names.learn(self.groups.values().filter(|group| is_active(group)));
        Ok(())
    }
}
