//! The rule at work on signed ops.

use alloc::{vec, vec::Vec};

use super::{
    Cut, InsertError, Inserted, Kind, Missing, NotAdmin, NotAllowed, Op, OpError, OpSet,
    RemoveReason, admin_path, fixture::*, proves_admin,
};
use crate::{
    ids::{ChainId, Incarnation, InviteId, OpId},
    limits,
    sign::SigningSecret,
};

fn members(set: &OpSet) -> usize {
    set.resolve().members.len()
}

#[test]
fn members_join_are_removed_and_come_back_with_another_grant() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    let first = act(&mut set, &a, admit(&b));
    act(&mut set, &a, admit(&c));
    let full = set.resolve().roster(set.group());
    assert_eq!(full.members().len(), 3);
    let cut = Cut { incarnation: Incarnation([1; 8]), chain: ChainId([2; 16]), index: 9 };
    let removal = act(
        &mut set,
        &a,
        Kind::Remove {
            member: b.id(),
            cut: vec![cut],
            reason: RemoveReason::Conduct,
            topic_commit: [1; 32],
        },
    );
    assert!(!set.resolve().is_member(&b.id()) && set.resolve().is_member(&c.id()));
    let ended = set.resolve().ended(&first).unwrap();
    assert_eq!((ended.removals.as_slice(), ended.cut.as_slice()), (&[removal][..], &[cut][..]));
    assert!(!ended.void);
    let again = act(&mut set, &a, admit(&b));
    let now = set.resolve();
    assert_eq!(now.members[&b.id()].grant, again);
    assert_eq!(now.roster(set.group()), full);
    assert!(now.ended(&first).is_some() && now.ended(&again).is_none());
    assert_eq!(set.next(a.id(), admit(&b), NOW), Err(NotAllowed::AlreadyAMember));
}

#[test]
fn the_cut_of_two_removals_accepts_what_either_accepts() {
    let (a, c) = (person(1), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&c));
    let grant = set.resolve().members[&c.id()].grant;
    let mut other = set.clone();
    let cut = |chain: u8, index| Cut {
        incarnation: Incarnation([1; 8]),
        chain: ChainId([chain; 16]),
        index,
    };
    let removal = |cut| Kind::Remove {
        member: c.id(),
        cut,
        reason: RemoveReason::Unsaid,
        topic_commit: [1; 32],
    };
    act(&mut set, &a, removal(vec![cut(1, 5), cut(2, 2)]));
    act(&mut other, &a, removal(vec![cut(1, 3), cut(3, 9)]));
    merge(&mut set, &other);
    assert_eq!(set.resolve().ended(&grant).unwrap().cut, [cut(1, 5), cut(2, 2), cut(3, 9)]);
}

#[test]
fn the_junior_of_two_admins_who_remove_one_another_is_out() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    for who in [&b, &c] {
        act(&mut set, &a, admit(who));
        act(&mut set, &a, promote(who));
    }
    assert_eq!(set.resolve().admins(), [a.id(), b.id(), c.id()]);
    // c can't, by its own node; so it forges what its node refuses to make.
    let mut forged = set.next(c.id(), refresh(None), NOW).unwrap();
    assert!(matches!(
        set.next(c.id(), remove(b.id(), 2), NOW),
        Err(NotAllowed::TargetIsSenior { .. })
    ));
    forged.kind = remove(b.id(), 2);
    let forged = Op::sign(forged, &c);
    act(&mut set, &b, remove(c.id(), 1));
    set.insert(forged.clone()).unwrap();
    let now = set.resolve();
    assert!(now.is_admin(&b.id()) && !now.is_member(&c.id()));
    assert!(now.void.contains(&forged.id()));
}

#[test]
fn what_an_admin_did_before_its_removal_stays_and_what_it_did_beside_it_goes() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &b, admit(&c));
    let mut beside = set.clone();
    let late = act(&mut beside, &b, admit(&d));
    act(&mut set, &a, remove(b.id(), 1));
    merge(&mut set, &beside);
    let now = set.resolve();
    assert!(now.is_member(&c.id()) && !now.is_member(&d.id()) && !now.is_member(&b.id()));
    assert!(now.ended(&late).unwrap().void);
}

#[test]
fn the_founder_leaves_of_its_own_will_alone() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    assert!(!set.resolve().may_remove(&b.id(), &a.id()));
    assert!(set.resolve().members[&a.id()].founder);
    act(&mut set, &a, Kind::Leave);
    assert!(!set.resolve().is_member(&a.id()) && set.resolve().is_admin(&b.id()));
    assert_eq!(set.next(a.id(), admit(&person(3)), NOW), Err(NotAllowed::NotAMember));
}

#[test]
fn a_join_proof_binds_the_newcomer_and_the_card() {
    let (a, b, thief) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, invite(1, 1));
    let mut stolen = redeem(&set, 1, &b);
    if let Kind::Admit { card: shown, .. } = &mut stolen {
        *shown = card(&thief);
    }
    assert_eq!(set.next(a.id(), stolen.clone(), NOW), Err(NotAllowed::BadProof));
    let mut forged = set.next(a.id(), refresh(None), NOW).unwrap();
    forged.kind = stolen;
    let (before, forged) = (set.heads(), Op::sign(forged, &a));
    assert_eq!(set.insert(forged), Err(InsertError::NotFormed));
    assert_eq!((set.heads(), members(&set)), (before, 1));
    let good = redeem(&set, 1, &b);
    act(&mut set, &a, good);
    assert!(set.resolve().is_member(&b.id()));
    assert_eq!(set.resolve().invites[&InviteId([1; 16])].used, 1);
}

#[test]
fn an_invite_is_refused_when_used_expired_revoked_or_somebody_elses() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, invite(1, 1));
    let kind = redeem(&set, 1, &c);
    let late = NOW.plus_ms(1001);
    assert_eq!(set.next(a.id(), kind.clone(), late), Err(NotAllowed::InviteExpired));
    assert_eq!(
        set.next(b.id(), Kind::InviteRevoke { invite: InviteId([1; 16]) }, NOW),
        Err(NotAllowed::InviteIsSenior)
    );
    assert_eq!(set.next(a.id(), redeem(&set, 9, &c), NOW), Err(NotAllowed::NoSuchInvite));
    let mut strict = invite(2, 1);
    if let Kind::InviteCreate { strict, .. } = &mut strict {
        *strict = true;
    }
    act(&mut set, &a, strict);
    assert_eq!(set.next(b.id(), redeem(&set, 2, &c), NOW), Err(NotAllowed::NotTheCreator));
    act(&mut set, &a, kind);
    let uses = NotAllowed::InviteUsed { uses: 1 };
    assert_eq!(set.next(a.id(), redeem(&set, 1, &person(4)), NOW), Err(uses));
    act(&mut set, &a, Kind::InviteRevoke { invite: InviteId([2; 16]) });
    assert_eq!(set.next(a.id(), redeem(&set, 2, &person(4)), NOW), Err(NotAllowed::InviteRevoked));
}

#[test]
fn of_two_admits_that_race_for_one_use_that_of_the_senior_counts() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, invite(1, 1));
    let mut other = set.clone();
    act(&mut set, &a, refresh(None));
    let senior = redeem(&set, 1, &c);
    act(&mut set, &a, senior);
    let junior = redeem(&other, 1, &d);
    act(&mut other, &b, junior);
    assert!(other.resolve().is_member(&d.id()));
    merge(&mut set, &other);
    merge(&mut other, &set);
    for set in [&set, &other] {
        let now = set.resolve();
        assert!(now.is_member(&c.id()) && !now.is_member(&d.id()));
        assert_eq!(now.invites[&InviteId([1; 16])].used, 1);
    }
}

#[test]
fn a_revoke_wins_over_a_concurrent_admit_and_changes_nothing_of_an_earlier_one() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, invite(1, 5));
    let earlier = redeem(&set, 1, &b);
    act(&mut set, &a, earlier);
    let mut other = set.clone();
    act(&mut set, &a, Kind::InviteRevoke { invite: InviteId([1; 16]) });
    let beside = redeem(&other, 1, &c);
    act(&mut other, &a, beside);
    merge(&mut set, &other);
    assert!(set.resolve().is_member(&b.id()) && !set.resolve().is_member(&c.id()));
}

#[test]
fn a_revoke_by_a_removed_admin_revokes_nothing() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    for who in [&b, &c] {
        act(&mut set, &a, admit(who));
        act(&mut set, &a, promote(who));
    }
    act(&mut set, &c, invite(1, 1));
    let mut other = set.clone();
    act(&mut set, &a, remove(b.id(), 1));
    act(&mut other, &b, Kind::InviteRevoke { invite: InviteId([1; 16]) });
    merge(&mut set, &other);
    assert!(!set.resolve().invites[&InviteId([1; 16])].revoked);
    let kind = redeem(&set, 1, &d);
    act(&mut set, &a, kind);
    assert!(set.resolve().is_member(&d.id()));
}

#[test]
fn an_invite_that_an_admin_made_beside_its_removal_brings_nobody_in() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    for who in [&b, &c] {
        act(&mut set, &a, admit(who));
        act(&mut set, &a, promote(who));
    }
    let mut other = set.clone();
    act(&mut other, &c, invite(1, 9));
    let kind = redeem(&other, 1, &d);
    act(&mut other, &b, kind);
    assert!(other.resolve().is_member(&d.id()));
    act(&mut set, &a, remove(c.id(), 1));
    merge(&mut set, &other);
    assert!(!set.resolve().is_member(&d.id()) && set.resolve().is_admin(&b.id()));
    assert!(set.resolve().invites.is_empty());
}

#[test]
fn an_invite_copied_by_a_junior_does_not_take_the_place_of_the_seniors() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let mut other = set.clone();
    act(&mut set, &a, refresh(None));
    act(&mut set, &a, invite(1, 1));
    let mut copy = invite(1, 0);
    if let Kind::InviteCreate { record, .. } = &mut copy {
        record.ipk = person(99).public();
    }
    act(&mut other, &b, copy);
    merge(&mut set, &other);
    assert_eq!(set.resolve().invites[&InviteId([1; 16])].max_uses, 1);
    let kind = redeem(&set, 1, &c);
    act(&mut set, &a, kind);
    assert!(set.resolve().is_member(&c.id()));
}

#[test]
fn a_fork_of_one_author_is_kept_whole_and_reported() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    let mut clone = set.clone();
    assert!(set.equivocations().is_empty());
    let one = act(&mut set, &a, admit(&b));
    let two = act(&mut clone, &a, admit(&c));
    merge(&mut set, &clone);
    assert_eq!(set.equivocations(), [(one.min(two), one.max(two))]);
    assert_eq!((members(&set), set.heads().len()), (3, 2));
}

#[test]
fn ops_come_in_any_order_and_pending_ones_complete() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    let mut late = set.clone();
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &b, refresh(Some(1)));
    let ops: Vec<Op> = set.iter().skip(1).cloned().collect();
    assert_eq!(late.insert(ops[2].clone()), Ok(Inserted::Pending));
    assert_eq!(late.insert(ops[2].clone()), Ok(Inserted::Pending));
    assert_eq!(late.insert(ops[1].clone()), Ok(Inserted::Pending));
    assert_eq!(late.missing(), [ops[0].id()]);
    let all: Vec<OpId> = ops.iter().map(Op::id).collect();
    assert_eq!(late.insert(ops[0].clone()), Ok(Inserted::New(all)));
    assert_eq!(late.insert(ops[0].clone()), Ok(Inserted::Known));
    assert!(late.missing().is_empty());
    assert_eq!((late.heads(), late.resolve()), (set.heads(), set.resolve()));
}

#[test]
fn any_order_and_any_repetition_of_ops_comes_to_the_same() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &b, invite(1, 1));
    let mut other = set.clone();
    let kind = redeem(&set, 1, &c);
    act(&mut set, &b, kind);
    let kind = redeem(&other, 1, &d);
    act(&mut other, &a, kind);
    act(&mut other, &a, remove(b.id(), 1));
    act(&mut set, &b, refresh(Some(2)));
    merge(&mut set, &other);
    act(&mut set, &d, refresh(Some(3)));
    let ops: Vec<Op> = set.iter().skip(1).cloned().collect();
    let mut random = 1_u64;
    for _ in 0..100 {
        let mut again = group(&a);
        let mut left: Vec<&Op> = ops.iter().chain(&ops[2..5]).collect();
        while !left.is_empty() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let op = left.swap_remove((random >> 33) as usize % left.len());
            again.insert(op.clone()).unwrap();
            let _ = again.resolve();
        }
        assert_eq!((again.resolve(), again.heads()), (set.resolve(), set.heads()));
    }
}

#[test]
fn a_full_set_refuses_more_and_stays_as_it_is() {
    let a = person(1);
    let mut set = group(&a);
    let mut body = set.next(a.id(), refresh(None), NOW).unwrap();
    let mut args = vec![0x59, 0x3e, 0x80];
    args.resize(3 + 16_000, 0);
    body.kind = Kind::Other { kind: 99, args };
    let mut bytes = set.iter().next().unwrap().as_bytes().len();
    loop {
        body.seq += 1;
        let op = Op::sign(body.clone(), &a);
        bytes += op.as_bytes().len();
        let ops = set.iter().count();
        let heads = set.heads();
        match set.insert(op) {
            Ok(_) => assert!(bytes <= limits::OPS_TOTAL_BYTES),
            Err(error) => {
                assert_eq!(error, InsertError::Full { ops });
                assert!(bytes > limits::OPS_TOTAL_BYTES);
                assert_eq!((set.iter().count(), set.heads()), (ops, heads));
                break;
            }
        }
        body.deps = set.heads();
    }
}

#[test]
fn pending_ops_are_bounded_and_strangers_have_the_smaller_share() {
    let (a, stranger) = (person(1), person(66));
    let mut set = group(&a);
    let mut body = set.next(a.id(), refresh(None), NOW).unwrap();
    let mut hanging = |who: &SigningSecret, number: usize| {
        body.author = who.id();
        body.seq = u32::try_from(number).unwrap();
        body.deps = vec![OpId([0xee; 32])];
        Op::sign(body.clone(), who)
    };
    for number in 0..limits::OPS_PENDING_STRANGE {
        assert_eq!(set.insert(hanging(&stranger, number)), Ok(Inserted::Pending));
    }
    let full = |ops| Err(InsertError::PendingFull { ops });
    assert_eq!(set.insert(hanging(&stranger, 9999)), full(limits::OPS_PENDING_STRANGE));
    for number in limits::OPS_PENDING_STRANGE..limits::OPS_PENDING {
        assert_eq!(set.insert(hanging(&a, number)), Ok(Inserted::Pending));
    }
    assert_eq!(set.insert(hanging(&a, 9999)), full(limits::OPS_PENDING));
    assert_eq!(set.missing(), [OpId([0xee; 32])]);
    act(&mut set, &a, admit(&person(2)));
    assert_eq!(members(&set), 2);
}

#[test]
fn strangers_other_groups_and_borrowed_grants_are_refused() {
    let (a, b, stranger) = (person(1), person(2), person(66));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let body = set.next(a.id(), refresh(None), NOW).unwrap();
    let with = |who: &SigningSecret, kind, cap| {
        let mut body = body.clone();
        (body.author, body.kind, body.cap) = (who.id(), kind, cap);
        Op::sign(body, who)
    };
    let root = set.iter().next().unwrap().id();
    let grant = set.resolve().members[&b.id()].grant;
    for op in [
        with(&stranger, Kind::Leave, None),
        with(&stranger, Kind::Other { kind: 99, args: vec![0x80] }, None),
        with(&stranger, refresh(None), Some(root)),
        with(&b, promote(&b), Some(grant)),
        with(&b, promote(&b), Some(root)),
        with(&b, Kind::Leave, Some(grant)),
        with(&a, refresh(None), None),
    ] {
        assert_eq!(set.insert(op), Err(InsertError::NotFormed));
    }
    let other = group(&b);
    let foreign = op(&other, &b, refresh(None));
    assert_eq!(set.insert(foreign), Err(InsertError::OtherGroup));
    assert_eq!(set.insert(genesis(&b)), Err(InsertError::OtherGroup));
    assert_eq!(set.iter().count(), 2);
}

#[test]
fn an_unknown_kind_is_kept_and_changes_nothing() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let mut body = set.next(b.id(), refresh(None), NOW).unwrap();
    body.kind = Kind::Other { kind: 42, args: vec![0xf6] };
    let op = Op::from_bytes(Op::sign(body, &b).as_bytes()).unwrap();
    let before = set.resolve().clone();
    assert_eq!(set.insert(op.clone()), Ok(Inserted::New(vec![op.id()])));
    assert_eq!((set.resolve(), set.heads()), (&before, vec![op.id()]));
}

#[test]
fn pasts_say_what_a_peer_lacks() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    let old = set.heads();
    let joined = act(&mut set, &a, admit(&b));
    let refreshed = act(&mut set, &b, refresh(None));
    let stranger = OpId([0xaa; 32]);
    assert_eq!(set.not_in_past(&[old[0], stranger]), [joined, refreshed]);
    assert_eq!(set.not_in_past(&set.heads()), []);
    assert_eq!(set.past(&[joined]).unwrap(), [old[0], joined].into());
    assert_eq!(set.past(&[stranger]), Err(Missing(vec![stranger])));
    assert_eq!(set.resolve_at(&old).unwrap().members.len(), 1);
    assert_eq!(*set.resolve_at(&set.heads()).unwrap(), *set.resolve());
    assert!(set.resolve_at(&[stranger]).is_err());
}

#[test]
fn more_heads_than_an_op_can_hold_are_joined_by_a_refresh_first() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let base = set.clone();
    for commit in 0..20 {
        let op = op(&base, &b, refresh(Some(commit)));
        set.insert(op).unwrap();
    }
    let many = set.next(a.id(), admit(&person(3)), NOW);
    assert_eq!(many, Err(NotAllowed::TooManyHeads { heads: 20 }));
    act(&mut set, &a, refresh(None));
    assert_eq!(set.heads().len(), 5);
    act(&mut set, &a, admit(&person(3)));
    assert_eq!(set.heads().len(), 1);
}

#[test]
fn a_removal_begins_a_clean_topic_and_two_at_once_need_a_refresh() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    for who in [&b, &c, &d] {
        act(&mut set, &a, admit(who));
    }
    act(&mut set, &a, promote(&d));
    assert_eq!(
        (set.resolve().topics().write.clone(), set.resolve().topics().clean),
        (vec![[0; 32]], true)
    );
    let mut other = set.clone();
    act(&mut set, &a, remove(b.id(), 1));
    assert_eq!(set.resolve().topics().write, [[1; 32]]);
    act(&mut other, &d, remove(c.id(), 2));
    merge(&mut set, &other);
    let topics = set.resolve().topics();
    assert!(topics.needs_refresh());
    assert_eq!(topics.write, [[1; 32], [2; 32]]);
    act(&mut set, &a, refresh(Some(3)));
    let topics = set.resolve().topics();
    assert_eq!((topics.write.as_slice(), topics.clean), (&[[3; 32]][..], true));
}

#[test]
fn of_two_clean_topics_the_higher_is_written_to_then_the_smaller() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let mut other = set.clone();
    act(&mut set, &a, refresh(Some(5)));
    act(&mut other, &b, refresh(Some(4)));
    let mut third = other.clone();
    merge(&mut set, &other);
    assert_eq!(set.resolve().topics().write, [[4; 32]]);
    act(&mut third, &b, refresh(None));
    act(&mut third, &b, refresh(Some(8)));
    merge(&mut set, &third);
    assert_eq!(set.resolve().topics().write, [[8; 32]]);
    assert_eq!(set.resolve().topics().frontier.len(), 2);
}

#[test]
fn the_latest_policy_counts_and_of_concurrent_ones_the_seniors() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let mut other = set.clone();
    act(&mut set, &a, Kind::SetPolicy { policy: policy("Senior") });
    act(&mut other, &b, refresh(None));
    act(&mut other, &b, Kind::SetPolicy { policy: policy("Junior") });
    merge(&mut set, &other);
    assert_eq!(set.resolve().policy, policy("Senior"));
    act(&mut set, &b, Kind::SetPolicy { policy: policy("Later") });
    assert_eq!(set.resolve().policy, policy("Later"));
    let bad = Kind::SetPolicy { policy: policy(" ") };
    assert_eq!(set.next(a.id(), bad, NOW), Err(NotAllowed::Malformed(OpError::Malformed)));
}

#[test]
fn promotions_prove_an_admin_to_a_newcomer() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, admit(&c));
    act(&mut set, &b, promote(&c));
    let prefix = set.group().0[..20].try_into().unwrap();
    for (who, length) in [(&a, 1), (&b, 2), (&c, 3)] {
        let path = admin_path(&set, &who.id());
        assert_eq!(path.len(), length);
        assert_eq!(proves_admin(&path, &prefix, who.id()), Ok(set.group()));
        assert_eq!(proves_admin(&path, &prefix, person(9).id()), Err(NotAdmin::Path));
        assert_eq!(proves_admin(&path, &[0; 20], who.id()), Err(NotAdmin::OtherGroup));
    }
    let mut path = admin_path(&set, &c.id());
    path.remove(1);
    assert_eq!(proves_admin(&path, &prefix, c.id()), Err(NotAdmin::Path));
    assert_eq!(proves_admin(&path[1..], &prefix, c.id()), Err(NotAdmin::OtherGroup));
    assert_eq!(proves_admin(&[], &prefix, c.id()), Err(NotAdmin::Length { ops: 0 }));
    assert!(admin_path(&set, &person(9).id()).is_empty());
}
