use alloc::vec;

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    bundle::{self, Closing, Terms},
    chain::{Draft, SendChain},
    endpoint::Endpoint,
    envelope::HeaderKey,
    ids::{Incarnation, OpId, RosterHash, Timestamp},
    membership::Body,
    sign::SigningSecret,
};

const GROUP: GroupId = GroupId([1; 32]);

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn person() -> Endpoint {
    Endpoint::generate("ana", vec![], &mut rng(1)).unwrap()
}

/// The same person after a restart.
fn again(me: &Endpoint, seed: u64) -> Endpoint {
    Endpoint::load(&me.save(), &mut rng(seed)).unwrap()
}

fn chain(me: &Endpoint, closing: Option<Closing>, seed: u64) -> (SignedHead, SendChain) {
    let terms = Terms {
        group: GROUP,
        heads: vec![OpId([4; 32])],
        roster: RosterHash([5; 32]),
        closing,
        topic: None,
        audit_head: [0; 16],
        now: Timestamp(9),
    };
    let sealed = bundle::seal(me, terms, &mut [], &mut rng(seed));
    (sealed.bundle.head, sealed.chain)
}

fn after(head: &SignedHead, count: u32) -> Option<Closing> {
    Some(Closing { chain: head.chain(), count, last: None })
}

fn say(chain: &mut SendChain, text: &[u8]) -> Record {
    let draft = Draft { kind: 0, heads: vec![], lamport: 1, at: Timestamp(9), payload: text };
    let id = chain.id();
    let sealed = chain.seal(&GROUP, &[HeaderKey::new([6; 32])], draft, &mut rng(7)).unwrap();
    Record { chain: id, index: sealed.index, content: sealed.hash, signature: sealed.signature }
}

fn verdict(notice: &Notice) -> Option<Verdict> {
    let read = Notice::from_bytes(&notice.to_bytes()).unwrap();
    assert_eq!(read, *notice);
    notice.verify(&GROUP).ok().map(|finding| finding.verdict)
}

#[test]
fn two_contents_at_one_place_are_proof_to_anybody() {
    let me = person();
    let ((head, mut one), (_, mut two)) = (chain(&me, None, 3), chain(&me, None, 3));
    let (a, b) = (say(&mut one, b"yes"), say(&mut two, b"no"));
    let notice = Notice::contents(&head, a, b);
    assert_eq!(notice, Notice::contents(&head, b, a));
    let finding = notice.verify(&GROUP).unwrap();
    assert_eq!((finding.accused, finding.verdict), (me.member(), Verdict::Equivocation));
    assert_eq!(verdict(&notice), Some(Verdict::Equivocation));
    // The same words sealed twice are one message, and other places, chains and groups are others.
    assert_eq!(verdict(&Notice::contents(&head, a, a)), None);
    let next = say(&mut one, b"more");
    assert_eq!(verdict(&Notice::contents(&head, a, next)), None);
    assert_eq!(verdict(&Notice::contents(&chain(&me, None, 4).0, a, b)), None);
    assert!(notice.verify(&GroupId([2; 32])).is_err());
    let forged = Record { content: [8; 32], ..b };
    assert_eq!(verdict(&Notice::contents(&head, a, forged)), None);
}

#[test]
fn two_chains_after_one_are_a_suspicion_and_one_after_the_other_are_none() {
    let me = person();
    let (first, _) = chain(&me, None, 3);
    let (a, _) = chain(&me, after(&first, 2), 4);
    let (b, _) = chain(&again(&me, 8), after(&first, 2), 5);
    let (c, _) = chain(&me, after(&b, 0), 6);
    assert_eq!(verdict(&Notice::successors(&a, &b)), Some(Verdict::Clone));
    assert_eq!(Notice::successors(&a, &b), Notice::successors(&b, &a));
    assert_eq!(verdict(&Notice::successors(&a, &a)), None);
    assert_eq!(verdict(&Notice::successors(&b, &c)), None);
    let (other, _) = chain(&Endpoint::generate("ben", vec![], &mut rng(2)).unwrap(), None, 7);
    assert_eq!(verdict(&Notice::successors(&first, &other)), None);
}

#[test]
fn a_message_beyond_the_count_is_a_suspicion_and_one_within_it_is_none() {
    let me = person();
    let (first, mut sender) = chain(&me, None, 3);
    let (within, beyond) = (say(&mut sender, b"one"), say(&mut sender, b"two"));
    let (next, _) = chain(&again(&me, 8), after(&first, 1), 4);
    assert_eq!(verdict(&Notice::beyond(&first, beyond, &next)), Some(Verdict::Clone));
    assert_eq!(verdict(&Notice::beyond(&first, within, &next)), None);
    assert_eq!(verdict(&Notice::beyond(&next, beyond, &first)), None);
}

#[test]
fn a_run_that_goes_on_after_another_is_a_suspicion_and_a_restart_is_none() {
    let one = person();
    let two = again(&one, 8);
    let (a, _) = chain(&one, None, 3);
    let (b, _) = chain(&two, after(&a, 0), 4);
    let (c, _) = chain(&one, after(&b, 0), 5);
    let (d, _) = chain(&two, after(&b, 0), 6);
    assert_eq!(verdict(&Notice::returned([&a, &b, &c])), Some(Verdict::Clone));
    assert_eq!(verdict(&Notice::returned([&a, &b, &d])), None);
    assert_eq!(verdict(&Notice::returned([&a, &c, &b])), None);
    assert_eq!(verdict(&Notice::returned([&a, &b])), None);
}

#[test]
fn two_ops_with_one_number_are_proof_in_one_run_and_a_suspicion_in_two() {
    let me = person();
    let op = |me: &Endpoint, at: u64, named: bool| {
        let body = Body {
            group: Some(GROUP),
            author: me.member(),
            seq: 4,
            deps: vec![OpId([3; 32])],
            cap: None,
            at: Timestamp(at),
            kind: Kind::Leave,
            incarnation: named.then(|| me.incarnation()),
        };
        Op::sign(body, me.identity())
    };
    let two = again(&me, 8);
    let pairs = [
        (op(&me, 1, true), op(&me, 2, true), Some(Verdict::Equivocation)),
        (op(&me, 1, true), op(&two, 2, true), Some(Verdict::Clone)),
        (op(&me, 1, false), op(&me, 2, false), Some(Verdict::Clone)),
        (op(&me, 1, true), op(&me, 1, true), None),
    ];
    for (a, b, shown) in pairs {
        assert_eq!(Notice::ops(&a, &b), Notice::ops(&b, &a));
        assert_eq!(verdict(&Notice::ops(&a, &b)), shown);
    }
}

#[test]
fn a_notice_with_any_bit_flipped_shows_nothing() {
    let me = person();
    let ((head, mut one), (_, mut two)) = (chain(&me, None, 3), chain(&me, None, 3));
    let notice = Notice::contents(&head, say(&mut one, b"yes"), say(&mut two, b"no")).to_bytes();
    for bit in 0..notice.len() * 8 {
        let mut bytes = notice.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let shown = Notice::from_bytes(&bytes).and_then(|notice| notice.verify(&GROUP));
        assert!(shown.is_err(), "bit {bit}");
    }
    assert!(Notice::from_bytes(&vec![0; NOTICE_BYTES + 1]).is_err());
}

#[test]
fn nobody_makes_up_a_proof_by_retiring_somebody_else() {
    let (victim, thief) = (person().member(), SigningSecret::from_seed(&[66; 32]));
    for runs in [[Some(9), Some(9)], [Some(9), Some(8)], [None, None]] {
        let [a, b] = [0, 1].map(|n: usize| {
            let body = Body {
                group: Some(GROUP),
                author: victim,
                seq: 5,
                deps: vec![OpId(GROUP.0)],
                cap: Some(OpId(GROUP.0)),
                at: Timestamp(n as u64),
                kind: Kind::Retire { recovery: thief.public(), cut: vec![] },
                incarnation: runs[n].map(|run| Incarnation([run; 8])),
            };
            Op::sign(body, &thief)
        });
        assert!(Op::from_bytes(a.as_bytes()).is_ok(), "a Retire as such");
        assert_eq!(verdict(&Notice::ops(&a, &b)), None);
    }
}
