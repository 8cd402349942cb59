use alloc::vec::Vec;

use super::*;
use crate::ids::{ChainId, InviteId, OpId};

const GROUP: GroupId = GroupId([7; 32]);

fn me() -> SigningSecret {
    SigningSecret::from_seed(&[1; 32])
}

/// A log of so many facts, with the heads that stood after each.
fn written(facts: u64) -> (Vec<Vec<u8>>, Vec<[u8; 16]>) {
    let mut log = AuditLog::new(&GROUP, &me().id());
    let (mut entries, mut heads) = (Vec::new(), Vec::from([log.head16()]));
    for number in 0..facts {
        let mut chain = ChainId([0; 16]);
        chain.0[..8].copy_from_slice(&number.to_be_bytes());
        let fact = Fact::ChainClosed { chain, count: 3 };
        for (seq, entry) in log.write(fact, Timestamp(1_000 + number), &GROUP, &me()) {
            assert_eq!(seq, entries.len() as u64);
            entries.push(entry);
        }
        heads.push(log.head16());
    }
    (entries, heads)
}

fn check(
    entries: &[Vec<u8>],
    anchors: impl IntoIterator<Item = ([u8; 16], Timestamp)>,
) -> Result<Report, AuditError> {
    let mut verifier = Verifier::new(GROUP, me().id(), anchors);
    for entry in entries {
        verifier.push(entry)?;
    }
    verifier.finish()
}

fn at(heads: &[[u8; 16]]) -> Vec<([u8; 16], Timestamp)> {
    heads.iter().map(|head| (*head, Timestamp(1_000_000))).collect()
}

#[test]
fn every_fact_reads_back_and_an_unknown_one_is_kept() {
    let member = me().id();
    let cut = crate::membership::Cut {
        incarnation: crate::ids::Incarnation([3; 8]),
        chain: ChainId([1; 16]),
        index: 70_000,
    };
    let facts = [
        Fact::Checkpoint(Signature([9; 64])),
        Fact::Began(crate::ids::Incarnation([2; 8])),
        Fact::Handshake(member),
        Fact::Certificate { member, key: [4; 32], until: Timestamp(5) },
        Fact::ChainMade {
            chain: ChainId([1; 16]),
            reason: RotationReason::Disconnect,
            recipients: 1023,
        },
        Fact::ChainOpened { member, chain: ChainId([1; 16]), audit_head: [6; 16] },
        Fact::ChainClosed { chain: ChainId([1; 16]), count: 256 },
        Fact::SlotFailed { member, chain: ChainId([1; 16]) },
        Fact::SlotRefused { member, chain: ChainId([1; 16]) },
        Fact::OpAccepted { op: OpId([8; 32]), kind: 3, author: member },
        Fact::OpVoid { op: OpId([8; 32]), kind: 4, author: member, why: VoidReason::Revoked },
        Fact::RemovalCut { member, cut: Vec::from([cut; 64]) },
        Fact::InviteCreated { invite: InviteId([1; 16]), max_uses: 3, expires: Timestamp(5) },
        Fact::InviteUsed { invite: InviteId([1; 16]), member },
        Fact::InviteRevoked(InviteId([1; 16])),
        Fact::Equivocation(member),
        Fact::Clone(member),
        Fact::Rollback,
        Fact::Rekey { member, times: u32::MAX },
        Fact::Verified { member, verified: true },
        Fact::HistoryShared { by: member, count: 9 },
        Fact::Sealed {
            chain: ChainId([1; 16]),
            since: Some(ChainId([2; 16])),
            with: Vec::from([member; 60]),
            without: Vec::from([member; 40]),
        },
        Fact::Other { event: 23, args: Vec::from([0x81, 0x01]) },
        Fact::Other { event: 200, args: Vec::from([0x80]) },
    ];
    for (number, fact) in facts.into_iter().enumerate() {
        if !matches!(fact, Fact::Other { .. }) {
            assert_eq!(usize::from(fact.number()), number);
        }
        let entry = Entry { seq: 5, prev: [1; 32], at: Timestamp(7), group: [7; 4], fact };
        let bytes = codec::encode(&entry);
        assert!(bytes.len() <= ENTRY_BYTES, "{} bytes", bytes.len());
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
    }
}

#[test]
fn a_whole_log_holds_with_every_head_that_a_bundle_may_have_told_of() {
    let (entries, heads) = written(600);
    let report = check(&entries, at(&heads)).unwrap();
    assert_eq!((report.first, report.next, report.checkpoints), (0, 602, 2));
    assert_eq!((report.anchors, report.older), (601, 0));
    assert_eq!(check(&[], at(&heads[..1])).unwrap().anchors, 1, "an empty one too");
}

#[test]
fn a_changed_entry_shows_wherever_it_is_but_at_the_very_end() {
    let (entries, heads) = written(40);
    for changed in 0..entries.len() {
        for bit in 0..entries[changed].len() * 8 {
            let mut entries = entries.clone();
            entries[changed][bit / 8] ^= 1 << (bit % 8);
            // The last one stands behind no other: there, a bundle's head tells.
            let anchors = if changed + 1 < entries.len() { &[][..] } else { &heads[40..] };
            assert!(check(&entries, at(anchors)).is_err(), "entry {changed}, bit {bit}");
        }
    }
}

#[test]
fn an_entry_that_was_left_out_or_moved_shows() {
    let (entries, _) = written(40);
    for out in 0..entries.len() - 1 {
        let mut fewer = entries.clone();
        fewer.remove(out);
        assert!(check(&fewer, []).is_err(), "without entry {out}");
        let mut moved = entries.clone();
        moved.swap(out, out + 1);
        assert!(check(&moved, []).is_err(), "with entry {out} after the next");
    }
    let mut twice = entries.clone();
    twice.insert(4, entries[4].clone());
    assert_eq!(check(&twice, []), Err(AuditError::Order { expected: 5, found: 4 }));
}

#[test]
fn a_log_that_was_cut_off_shows_by_the_heads_in_bundles() {
    let (entries, heads) = written(40);
    let bundles = at(&[heads[3], heads[21]]);
    assert!(check(&entries[..21], bundles.clone()).is_ok());
    let error = check(&entries[..20], bundles.clone());
    assert_eq!(error, Err(AuditError::Anchors { missing: 1, entries: 20 }));
    assert_eq!(check(&[], bundles), Err(AuditError::Anchors { missing: 2, entries: 0 }));
}

#[test]
fn a_log_that_was_written_anew_shows_by_the_heads_in_bundles() {
    let (_, heads) = written(40);
    let mut log = AuditLog::new(&GROUP, &me().id());
    let mut entries = Vec::new();
    for number in 0..60 {
        let fact = Fact::Handshake(MemberId([number; 32]));
        entries.extend(log.write(fact, Timestamp(9), &GROUP, &me()).into_iter().map(|it| it.1));
    }
    assert!(check(&entries, []).is_ok(), "it is a log by itself");
    assert!(check(&entries, at(&heads[1..])).is_err());
}

#[test]
fn a_log_is_of_one_member_and_one_group() {
    let (entries, _) = written(3);
    let mut other = Verifier::new(GROUP, MemberId([9; 32]), []);
    assert_eq!(other.push(&entries[0]), Err(AuditError::Broken { seq: 0 }));
    let mut other = Verifier::new(GroupId([8; 32]), me().id(), []);
    assert_eq!(other.push(&entries[0]), Err(AuditError::Malformed { after: 0 }));
}

#[test]
fn a_checkpoint_that_somebody_else_signed_shows() {
    let forger = SigningSecret::from_seed(&[2; 32]);
    let mut log = AuditLog::new(&GROUP, &me().id());
    let mut verifier = Verifier::new(GROUP, me().id(), []);
    let mut refused = None;
    for number in 0..256 {
        for (_, entry) in log.write(Fact::Rollback, Timestamp(number), &GROUP, &forger) {
            refused = refused.or(verifier.push(&entry).err());
        }
    }
    assert_eq!(refused, Some(AuditError::Checkpoint { seq: 255 }));
}

#[test]
fn a_log_whose_old_end_went_by_the_rule_holds_from_its_first_checkpoint() {
    let (entries, heads) = written(KEPT + 2 * SEGMENT);
    let next = entries.len() as u64;
    let first = prunable(next) as usize;
    assert!(first > 0 && next - first as u64 >= KEPT);
    let report = check(&entries[first..], at(&heads[first + 2..])).unwrap();
    assert_eq!(report.first, first as u64);
    let old = [(heads[1], Timestamp(1_000))];
    assert_eq!(check(&entries[first..], old).unwrap().older, 1);
    // What is newer than the first entry may not be lacking.
    let new = [([5; 16], Timestamp(u64::MAX))];
    let error = Err(AuditError::Anchors { missing: 1, entries: next - first as u64 });
    assert_eq!(check(&entries[first..], new), error);
}

#[test]
fn a_log_that_begins_anywhere_else_does_not_hold() {
    let (entries, _) = written(600);
    assert_eq!(check(&entries[7..], []), Err(AuditError::Beginning { first: 7 }));
    assert_eq!(check(&entries[255..], []), Err(AuditError::Beginning { first: 255 }));
    assert_eq!(prunable(600), 0);
    assert_eq!(prunable(KEPT + SEGMENT), SEGMENT - 1);
}

#[test]
fn a_log_goes_on_where_its_last_entry_ends() {
    let (entries, _) = written(300);
    let mut log = AuditLog::after(entries.last().unwrap()).unwrap();
    assert_eq!(log.next(), entries.len() as u64);
    let mut entries = entries;
    entries.extend(log.write(Fact::Rollback, Timestamp(9), &GROUP, &me()).into_iter().map(|e| e.1));
    assert!(check(&entries, []).is_ok());
    assert!(AuditLog::after(b"no entry").is_none());
}
