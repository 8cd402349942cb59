//! The order in which a group's messages are shown: alike at all members, and causal.
//!
//! > A message's place is made of what its writer signed: the logical clock, which is greater than that of
//! > each message that the writer had; then the writer's time; then the message's id. So whoever has the
//! > same messages shows them in the same order, and what comes late takes its place between the others
//! > without moving them. docs/spec/consistency.md, *Order*.

use protocol::ids::{MessageId, Timestamp};

/// Where a message stands: compared byte by byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(pub(super) [u8; Place::BYTES]);

impl Place {
    /// Its length.
    pub(super) const BYTES: usize = 32;

    pub(super) fn new(lamport: u64, at: Timestamp, message: MessageId) -> Self {
        // The greatest clock is that of what waits.
        Self::of(lamport.min(u64::MAX - 1), at.0, message.0)
    }

    /// What waits to be sealed stands last, in the order in which it was written.
    pub(super) fn queued(seq: u64) -> Self {
        Self::of(u64::MAX, seq, [0; 16])
    }

    /// What is never sealed stands after the last that was, or what was left so before.
    pub(super) fn after(last: Option<Self>) -> Self {
        let Self(mut place) = last.unwrap_or(Self::of(0, 0, [0; 16]));
        for byte in place.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte > 0 {
                break;
            }
        }
        Self(place)
    }

    fn of(lamport: u64, at: u64, id: [u8; 16]) -> Self {
        let mut place = [0; Self::BYTES];
        place[..8].copy_from_slice(&lamport.to_be_bytes());
        place[8..16].copy_from_slice(&at.to_be_bytes());
        place[16..].copy_from_slice(&id);
        Self(place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::{
        group::SignedContent,
        ids::{ChainId, GroupId, MemberId},
        sign::Signature,
    };
    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;
    use crate::{
        api::types::Class,
        store::{NewMessage, Store, StoreError, Unlock},
    };

    /// A message of a conversation, and what its writer had.
    struct Written {
        by: usize,
        index: u32,
        lamport: u64,
        at: Timestamp,
        had: BTreeSet<usize>,
    }

    const WRITERS: usize = 5;

    fn below(rng: &mut ChaCha20Rng, end: usize) -> usize {
        usize::try_from(rng.next_u64() % end as u64).unwrap()
    }

    fn id(number: usize) -> MessageId {
        let mut id = [0; 16];
        // Not in the order of writing.
        id[..8].copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        MessageId(id)
    }

    /// What some say whose clocks differ by days, and who hear of one another now and then.
    fn conversation(rng: &mut ChaCha20Rng) -> Vec<Written> {
        let mut said: Vec<Written> = Vec::new();
        let mut had: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); WRITERS];
        let skews: Vec<u64> = (0..WRITERS).map(|_| rng.next_u64() % 200_000_000).collect();
        for step in 0..60_u64 {
            let by = below(rng, WRITERS);
            let heard = had[below(rng, WRITERS)].clone();
            if below(rng, 2) == 0 {
                had[by].extend(heard);
            }
            let lamport = had[by].iter().map(|it| said[*it].lamport).max().unwrap_or(0) + 1;
            let index = said.iter().filter(|it| it.by == by).count();
            said.push(Written {
                by,
                index: u32::try_from(index).unwrap(),
                lamport,
                at: Timestamp(1_800_000_000_000 + skews[by] + step),
                had: had[by].clone(),
            });
            had[by].insert(said.len() - 1);
        }
        said
    }

    /// Lets messages come in this order to a member's node, whose group stands for it; gives the order shown.
    fn shown(store: &mut Store, node: u8, said: &[Written], order: &[usize]) -> Vec<usize> {
        let (group, signature) = (GroupId([node; 32]), Signature([0; 64]));
        let signed = SignedContent { content: Vec::new(), signature };
        store
            .transaction(|tx| {
                tx.put_group(group, "tea", Timestamp(0))?;
                for number in order {
                    let it = &said[*number];
                    let mut local = id(*number).0;
                    local[15] = node;
                    let seq = tx.put_message(&NewMessage {
                        group,
                        id: local,
                        from: MemberId([1; 32]),
                        text: &number.to_string(),
                        at: it.at,
                        class: Class::Ok,
                        chain: ChainId([u8::try_from(it.by).unwrap(); 16]),
                        index: it.index,
                        message: id(*number),
                        lamport: it.lamport,
                        signed: &signed,
                        shared_by: None,
                    })?;
                    assert!(seq.is_some());
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
        let page = store.reader().unwrap().messages(group, None, 1_000).unwrap();
        assert!(page.is_sorted_by(|one, other| one.place < other.place));
        page.iter().map(|message| message.text.parse().unwrap()).collect()
    }

    fn shuffled(rng: &mut ChaCha20Rng, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        (1..length).rev().for_each(|last| order.swap(last, below(rng, last + 1)));
        order
    }

    #[test]
    fn in_whatever_order_they_come_all_members_show_one_order_and_each_after_what_it_follows() {
        for seed in 0..24 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
            let said = conversation(&mut rng);
            let orders: Vec<Vec<usize>> = (1..5)
                .map(|node| {
                    let order = shuffled(&mut rng, said.len());
                    shown(&mut store, node, &said, &order)
                })
                .collect();
            assert!(orders.iter().all(|order| *order == orders[0]), "seed {seed}: {orders:?}");
            let mut before = BTreeSet::new();
            for number in &orders[0] {
                assert!(said[*number].had.is_subset(&before), "seed {seed}: {number}");
                before.insert(*number);
            }
            assert_eq!(before.len(), said.len());
        }
    }

    #[test]
    fn what_comes_late_moves_nothing_that_was_shown() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        let said = conversation(&mut rng);
        let order = shuffled(&mut rng, said.len());
        let first = shown(&mut store, 1, &said, &order[..40]);
        let mut last = shown(&mut store, 1, &said, &order[40..]);
        last.retain(|number| first.contains(number));
        assert_eq!(first, last);
    }

    #[test]
    fn whoever_lies_about_its_clock_stands_alike_at_all_members_and_moves_nobody_else() {
        for seed in 0..8 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
            let mut said = conversation(&mut rng);
            let order = shuffled(&mut rng, said.len());
            let honest = shown(&mut store, 1, &said, &order);
            for lie in said.iter_mut().filter(|it| it.by == 0) {
                lie.lamport = [0, 3, u64::MAX][below(&mut rng, 3)];
                lie.at = Timestamp(rng.next_u64());
            }
            let orders: Vec<Vec<usize>> = (2..6)
                .map(|node| {
                    let order = shuffled(&mut rng, said.len());
                    shown(&mut store, node, &said, &order)
                })
                .collect();
            assert!(orders.iter().all(|order| *order == orders[0]), "seed {seed}: {orders:?}");
            let others = |order: &[usize]| -> Vec<usize> {
                order.iter().copied().filter(|number| said[*number].by > 0).collect()
            };
            assert_eq!(others(&orders[0]), others(&honest), "seed {seed}");
        }
    }

    #[test]
    fn what_waits_stands_after_all_that_is_sealed_and_what_is_given_up_after_all_that_was() {
        let sealed = Place::new(u64::MAX, Timestamp(u64::MAX), MessageId([255; 16]));
        assert!(sealed < Place::queued(0) && Place::queued(1) < Place::queued(2));
        let first = Place::new(7, Timestamp(1), MessageId([255; 16]));
        let given_up = Place::after(Some(first));
        assert!(first < given_up && given_up < Place::after(Some(given_up)));
        assert!(given_up < Place::new(7, Timestamp(3), MessageId([0; 16])));
    }
}
