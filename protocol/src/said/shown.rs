//! What a message shows once others have changed it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Said, Text};
use crate::{
    ids::MemberId,
    limits::{REACTIONS, REACTIONS_READ},
};

/// A message that changes another one.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its place in the order of the group's messages (docs/spec/consistency.md): no two have one.
    pub place: [u8; 32],
    /// Who says it.
    pub from: MemberId,
    /// Whether it may delete what others said, and pin: by the rules of the view in which it was said.
    pub is_admin: bool,
    /// What it says.
    pub said: &'a Said,
}

/// What a message shows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown<'a> {
    /// Its text; `None` where it was deleted.
    pub text: Option<&'a str>,
    /// The texts that it had before, the first one first.
    pub before: Vec<&'a str>,
    /// Who deleted it: the first one by place.
    pub deleted_by: Option<MemberId>,
    /// Who reacts, by what.
    pub reactions: BTreeMap<&'a str, BTreeSet<MemberId>>,
    /// Who pinned it, where it stands.
    pub pinned_by: Option<MemberId>,
}

impl<'a> Shown<'a> {
    /// What a text of this author shows after these changes of it, in any order. What somebody says who may not
    /// changes nothing:
    ///
    /// - the author edits, and the last edit by place counts;
    /// - the author or an admin deletes: whatever else is said, before or after;
    /// - of each member's last [`REACTIONS_READ`] reactions the last one of each sign counts, and the last [`REACTIONS`] that stand;
    /// - admins pin, and the last pin by place counts.
    ///
    /// Changes that were sent by a removed member beyond its cut are not to be given.
    #[must_use]
    pub fn of(author: MemberId, said: &'a Text, changes: &[Change<'a>]) -> Self {
        let mut changes: Vec<&Change<'a>> = changes.iter().collect();
        changes.sort_unstable_by_key(|change| change.place);
        let by_who_may = |change: &&&Change<'_>| change.from == author || change.is_admin;
        let deletes = |change: &&&Change<'_>| matches!(change.said, Said::Delete { .. });
        if let Some(first) = changes.iter().filter(by_who_may).find(deletes) {
            return Self { deleted_by: Some(first.from), ..Self::default() };
        }
        let mut texts = Vec::from([said.text.as_str()]);
        let mut pinned_by = None;
        // By member and sign: where it was put, if it stands.
        let mut signs: BTreeMap<(MemberId, &str), [u8; 32]> = BTreeMap::new();
        let mut left: BTreeMap<MemberId, usize> = BTreeMap::new();
        for change in changes.iter().filter(|it| matches!(it.said, Said::Reaction { .. })) {
            *left.entry(change.from).or_default() += 1;
        }
        for Change { place, from, is_admin, said } in changes {
            match said {
                Said::Reaction { .. } if is_too_old(&mut left, *from) => {}
                Said::Edit { text, .. } if *from == author => texts.push(text),
                Said::Pin { on, .. } if *is_admin => pinned_by = on.then_some(*from),
                Said::Reaction { text, on: true, .. } => {
                    signs.insert((*from, text), *place);
                }
                Said::Reaction { text, on: false, .. } => {
                    signs.remove(&(*from, text.as_str()));
                }
                _ => {}
            }
        }
        let text = texts.pop();
        Self { text, before: texts, deleted_by: None, reactions: standing(signs), pinned_by }
    }
}

/// Whether more than [`REACTIONS_READ`] reactions of a member are left, this one counted off.
fn is_too_old(left: &mut BTreeMap<MemberId, usize>, from: MemberId) -> bool {
    let left = left.entry(from).or_default();
    *left = left.saturating_sub(1);
    *left >= REACTIONS_READ
}

/// Of each member the last few.
fn standing(signs: BTreeMap<(MemberId, &str), [u8; 32]>) -> BTreeMap<&str, BTreeSet<MemberId>> {
    let mut last_first: Vec<_> = signs.into_iter().collect();
    last_first.sort_unstable_by_key(|(_, place)| core::cmp::Reverse(*place));
    let mut counts: BTreeMap<MemberId, usize> = BTreeMap::new();
    let mut reactions: BTreeMap<&str, BTreeSet<MemberId>> = BTreeMap::new();
    for ((from, text), _) in last_first {
        let count = counts.entry(from).or_default();
        *count += 1;
        if *count <= REACTIONS {
            reactions.entry(text).or_default().insert(from);
        }
    }
    reactions
}
