//! What members signed that does not go together, and what is missing, in words.

use std::collections::BTreeMap;

use protocol::{
    audit::VoidReason,
    evidence::Verdict,
    group::{GapCause, GapState, Group},
    ids::{MemberId, Timestamp},
};

use crate::{
    api::types::{Adopted, Gap, MemberRef, Notice, NoticeKind},
    store::{hex, rfc3339},
};

/// Cards of this identity come, again and again, that this run did not make.
pub(super) const COPIED: &str = "Another copy of this identity seems to run: others go on hearing of keys \
    of it that this node did not make. Was a backup restored, or this machine copied? Stop one of the \
    two and start the other one again: what is said to the one can't be read by the other.";

/// What an op does, by the number of its kind.
pub(super) const fn op(kind: u8) -> &'static str {
    match kind {
        0 => "founded",
        1 => "invite",
        2 => "invite revoked",
        3 => "admitted",
        4 => "removed",
        5 => "left",
        6 => "made admin",
        7 => "admin no more",
        8 => "new keys asked for",
        10 => "policy",
        11 => "moved",
        12 => "retired",
        13 => "conduct",
        _ => "unknown",
    }
}

/// Why an op does not count.
pub(super) const fn void(why: VoidReason) -> &'static str {
    match why {
        VoidReason::Revoked => "void, its author was removed or demoted at the same time",
        VoidReason::Grant => "void, what its author was allowed by is void",
        VoidReason::Invite => "void, its invite was revoked, used up or void",
        VoidReason::Other => "void",
    }
}

pub(super) fn equivocation(name: &str, me: bool) -> String {
    if me {
        return "It is proven that this identity signed two different statements under one number: \
                another copy of this node is at work, or its key was stolen. Stop the copy, or join \
                again with a new identity."
            .into();
    }
    format!(
        "It is proven that {name} signed two different statements under one number: {name} tells \
         members different things, or somebody else has the key. Ask them by another way, and \
         remove them if in doubt."
    )
}

pub(super) fn clone(name: &str, me: bool) -> String {
    if me {
        return "Members see two copies of this node at work: a restored backup or a copy of this \
                machine? Stop one of the two."
            .into();
    }
    format!(
        "{name}'s node went on from one state in two ways: a backup was restored, or the device was \
         copied. Ask {name} which; if neither, remove them."
    )
}

/// A member by its id and the name on its newest card.
pub(super) fn named(group: &Group, member: &MemberId) -> MemberRef {
    let name = group.card(member).map(|card| card.card().name.clone());
    MemberRef { id: member.to_string(), name: name.unwrap_or_default() }
}

/// Who sends under this view.
pub(super) fn adopted(group: &Group) -> Adopted {
    let adopted = group.adopted();
    let all = |members: Vec<MemberId>| members.iter().map(|it| named(group, it)).collect();
    Adopted { under: all(adopted.under), waiting: all(adopted.waiting) }
}

/// What is missing, by writer.
pub(super) fn gaps(group: &Group) -> Vec<Gap> {
    let mut by_writer: BTreeMap<MemberId, (u64, Timestamp, u64, u64, GapCause)> = BTreeMap::new();
    for gap in group.gaps() {
        let of = by_writer.entry(gap.from).or_insert((0, gap.since, 0, 0, gap.cause));
        of.0 += 1;
        of.1 = of.1.min(gap.since);
        let is_vain = gap.state == GapState::GivenUp;
        of.2 += u64::from(is_vain);
        of.3 += u64::from(is_vain && !gap.cause.is_word_of(&gap.from));
    }
    let gap = |(from, (missing, since, given_up, doubtful, cause)): (MemberId, _)| {
        let known_by = match cause {
            GapCause::Skipped => "a later message of the same writer came".into(),
            GapCause::Named(by) => format!("{} has answered to it", named(group, &by).name),
            GapCause::Closed => "the writer's next keys count it".into(),
            GapCause::Read(by) => format!("{} has it", named(group, &by).name),
        };
        let (from, since) = (named(group, &from), rfc3339(since));
        Gap { from, missing, since, given_up, doubtful, known_by }
    };
    by_writer.into_iter().map(gap).collect()
}

/// What members signed that does not go together.
pub(super) fn notices(group: &Group, me: MemberId) -> Vec<Notice> {
    let notices = group.notices();
    notices
        .map(|(finding, notice)| {
            let member = named(group, &finding.accused);
            let is_me = finding.accused == me;
            let (kind, text) = match finding.verdict {
                Verdict::Equivocation => {
                    (NoticeKind::Equivocation, equivocation(&member.name, is_me))
                }
                Verdict::Clone => (NoticeKind::Clone, clone(&member.name, is_me)),
            };
            Notice { member, kind, text, proof: hex(&notice.to_bytes()) }
        })
        .collect()
}
