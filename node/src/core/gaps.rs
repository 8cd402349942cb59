//! What is known to be missing, told to people: once for all that one step finds out of a writer. The group gathers what a
//! burst shows one by one.
//!
//! > The group knows its gaps, and that after a restart too; nothing is counted here.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    group::{GapState, Group},
    ids::MemberId,
};

use super::step::Step;
use crate::{
    api::types::{MemberRef, What},
    store::StoreError,
};

/// What one step of a group finds out of missing messages.
#[derive(Default)]
pub(super) struct Gaps {
    /// Of whom some are found missing.
    pub(super) found: BTreeSet<MemberId>,
    /// Of whom one has come, and whether one of these was still asked for.
    pub(super) healed: BTreeMap<MemberId, bool>,
    /// Of whom so many can't be had.
    pub(super) vain: BTreeMap<MemberId, u64>,
    /// Who is asked for them, and whether everybody is.
    pub(super) asked: (Vec<MemberId>, bool),
}

impl Step<'_> {
    /// Tells what was found out since it was told last.
    pub(super) fn tell_gaps(&mut self, group: &Group) -> Result<(), StoreError> {
        let Gaps { found, healed, vain, asked } = std::mem::take(&mut self.gaps);
        if found.is_empty() && healed.is_empty() && vain.is_empty() {
            return Ok(());
        }
        // Of each writer all that are missing, and those that are still asked for.
        let mut missing: BTreeMap<MemberId, (u64, u64)> = BTreeMap::new();
        for gap in group.gaps() {
            let of = missing.entry(gap.from).or_default();
            of.0 += 1;
            of.1 += u64::from(gap.state == GapState::Asked);
        }
        let missing = |from: &MemberId| missing.get(from).copied().unwrap_or_default();
        let id = Some(group.id());
        for (from, was_asked) in healed {
            // What is given up was told as that, and is not waited for.
            let (all, asked) = missing(&from);
            let waited_for = if was_asked { asked } else { all };
            if waited_for > 0 {
                continue;
            }
            let from = self.named(group, from)?;
            self.emit(id, What::GapHealed { from, missing: all })?;
        }
        let (asked, everybody) = asked;
        let asked: Vec<MemberRef> =
            asked.into_iter().map(|who| self.named(group, who)).collect::<Result<_, _>>()?;
        for from in found {
            let (_, missing) = missing(&from);
            if missing > 0 {
                let from = self.named(group, from)?;
                self.emit(id, What::Gap { from, missing, asked: asked.clone(), everybody })?;
            }
        }
        for (from, missing) in vain {
            let from = self.named(group, from)?;
            self.emit(id, What::GivenUp { from, missing })?;
        }
        Ok(())
    }
}
