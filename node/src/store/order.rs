//! The order in which a group's messages are shown: alike at all members, and causal.
//!
//! > A message's place is made of what its writer signed: the logical clock, which is greater than that of
//! > each message that the writer had; then the writer's time; then the message's id. So whoever has the
//! > same messages shows them in the same order, and what comes late takes its place between the others
//! > without moving them. docs/spec/consistency.md, *Order*.
//!
//! A writer whose clock leaps further than a reader's follows would stand after all that is said from then on.
//! What it says stands where it came, at each node by itself, and stays there: nothing that has a place moves.

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

    /// Where what stands by a greater clock than this one begins.
    pub(super) fn beyond(clock: u64) -> Self {
        Self::of(clock.saturating_add(1), 0, [0; 16])
    }

    /// What is never sealed, or was ahead of this node's clock, stands after the last there was.
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
        limits,
        sign::Signature,
    };
    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;
    use crate::{
        api::types::{Class, Message},
        store::{Body, NewMessage, Store, StoreError, Unlock},
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

    fn followed(clock: u64, lamport: u64) -> u64 {
        clock.max(lamport.min(clock + limits::LAMPORT_LEAP))
    }

    /// What some say whose clocks differ by days, and who hear of one another now and then; then all but the first
    /// hear everything, so many times each. What the first says of its clocks may be anything; then it goes on.
    fn conversation(rng: &mut ChaCha20Rng, lies: bool, rounds: usize) -> Vec<Written> {
        let mut said: Vec<Written> = Vec::new();
        let mut had: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); WRITERS];
        let mut clocks = [0; WRITERS];
        let skews: Vec<u64> = (0..WRITERS).map(|_| rng.next_u64() % 200_000_000).collect();
        for step in 0..60 + rounds * WRITERS {
            let (mut by, mut heard) = (below(rng, WRITERS), had[below(rng, WRITERS)].clone());
            if step >= 60 {
                by = step % WRITERS;
                heard = (0..said.len()).collect();
            }
            if step >= 60 || below(rng, 2) == 0 {
                for number in heard {
                    if had[by].insert(number) {
                        clocks[by] = followed(clocks[by], said[number].lamport);
                    }
                }
            }
            clocks[by] += 1;
            let (mut lamport, mut at) = (clocks[by], 1_800_000_000_000 + skews[by] + step as u64);
            if lies && by == 0 {
                lamport = [0, 3, u64::MAX][below(rng, 3)];
                at = rng.next_u64();
            }
            let index = u32::try_from(said.iter().filter(|it| it.by == by).count()).unwrap();
            said.push(Written { by, index, lamport, at: Timestamp(at), had: had[by].clone() });
            had[by].insert(said.len() - 1);
        }
        said
    }

    /// All that a member's node shows, whose group stands for it.
    fn page(store: &Store, node: u8) -> Vec<Message> {
        let page = store.reader().unwrap().messages(GroupId([node; 32]), None, 1_000).unwrap();
        assert!(page.is_sorted_by(|one, other| one.place < other.place));
        page
    }

    fn said_of(page: &[Message]) -> Vec<usize> {
        page.iter().map(|message| message.text.parse().unwrap()).collect()
    }

    /// Lets messages come in this order to a member's node; gives what it shows.
    fn come(store: &mut Store, node: u8, said: &[Written], order: &[usize]) -> Vec<Message> {
        let (group, signature) = (GroupId([node; 32]), Signature([0; 64]));
        let signed = SignedContent { content: Vec::new(), signature };
        store
            .transaction(|tx| {
                tx.put_group(group, "tea", Timestamp(0))?;
                let mut clock = 0;
                for number in order {
                    let it = &said[*number];
                    clock = followed(clock, it.lamport);
                    let mut local = id(*number).0;
                    local[15] = node;
                    let seq = tx.put_message(&NewMessage {
                        group,
                        id: local,
                        from: MemberId([1; 32]),
                        body: Body::text(&number.to_string()),
                        by_admin: false,
                        at: it.at,
                        class: Class::Ok,
                        chain: ChainId([u8::try_from(it.by).unwrap(); 16]),
                        index: it.index,
                        message: id(*number),
                        lamport: it.lamport,
                        clock,
                        signed: &signed,
                        shared_by: None,
                    })?;
                    assert!(seq.is_some());
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
        page(store, node)
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
            let said = conversation(&mut rng, false, 0);
            let orders: Vec<Vec<usize>> = (1..5)
                .map(|node| {
                    let order = shuffled(&mut rng, said.len());
                    said_of(&come(&mut store, node, &said, &order))
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
        let said = conversation(&mut rng, false, 0);
        let order = shuffled(&mut rng, said.len());
        let first = said_of(&come(&mut store, 1, &said, &order[..40]));
        let mut last = said_of(&come(&mut store, 1, &said, &order[40..]));
        last.retain(|number| first.contains(number));
        assert_eq!(first, last);
    }

    #[test]
    fn whoever_lies_about_its_clock_leaves_the_others_one_order_and_hides_none_of_them() {
        for seed in 0..8 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
            // As many rounds as the first may have leapt.
            let said = conversation(&mut rng, true, 60);
            for node in 2..6 {
                let mut order = shuffled(&mut rng, 60);
                order.extend(60..said.len());
                let page = come(&mut store, node, &said, &order);
                let shown = said_of(&page);
                let is_honest = |number: &usize| said[*number].by > 0;
                // Once all have followed its leaps of before, whatever it says, each word stands where it came.
                let rounds: Vec<usize> = (said.len() - 20 * WRITERS..said.len()).collect();
                let stand = |number: &usize| said[*number].lamport > 3 || is_honest(number);
                let expected: Vec<usize> = rounds.iter().copied().filter(stand).collect();
                assert_eq!(shown[shown.len() - expected.len()..], expected, "seed {seed}: {node}");
            }
            // What is ahead at none of two nodes they show in one order.
            let pages: Vec<_> = (2..6).map(|node| page(&store, node)).collect();
            let ahead: BTreeSet<usize> = pages
                .iter()
                .flat_map(|page| said_of(page).into_iter().zip(page).filter(|(_, it)| it.ahead))
                .map(|(number, _)| number)
                .collect();
            let alike = |page: &[Message]| {
                let mut order = said_of(page);
                order.retain(|number| !ahead.contains(number));
                order
            };
            assert!(pages.iter().all(|page| alike(page) == alike(&pages[0])), "seed {seed}");
            assert!(alike(&pages[0]).len() > 60, "seed {seed}");
        }
    }

    const GROUP: GroupId = GroupId([1; 32]);

    /// Lets a message of the first writer or the second come, at a node whose clock follows; gives the clock.
    fn came(store: &mut Store, number: u64, lamport: u64, clock: u64) -> u64 {
        let clock = followed(clock, lamport);
        let signed = SignedContent { content: Vec::new(), signature: Signature([0; 64]) };
        let text = number.to_string();
        let new = NewMessage {
            group: GROUP,
            id: u128::from(number).to_be_bytes(),
            from: MemberId([1; 32]),
            body: Body::text(&text),
            by_admin: false,
            at: Timestamp(1_800_000_000_000 + number),
            class: Class::Ok,
            chain: ChainId([1; 16]),
            index: u32::try_from(number).unwrap(),
            message: MessageId(u128::from(number).to_be_bytes()),
            lamport,
            clock,
            signed: &signed,
            shared_by: None,
        };
        let put = store.transaction(|tx| tx.put_message(&new));
        assert!(put.unwrap().is_some());
        clock
    }

    fn with_group(dir: &tempfile::TempDir) -> Store {
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        store.transaction(|tx| tx.put_group(GROUP, "tea", Timestamp(0))).unwrap();
        store
    }

    #[test]
    fn who_leaps_hides_nobody_and_who_pages_meets_each_message_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = with_group(&dir);
        let reader = store.reader().unwrap();
        let mut clock = 0;
        for number in 0..66 {
            let leaps = (5..65).contains(&number);
            let lamport = if leaps { u64::MAX - number } else { clock + 1 };
            clock = came(&mut store, number, lamport, clock);
        }
        let all = reader.messages(GROUP, None, 1_000).unwrap();
        assert!(all.iter().map(|it| it.text.parse::<u64>().unwrap()).eq(0..66));
        assert!(all.iter().all(|it| it.ahead == (6..=65).contains(&it.seq)));
        let last = reader.messages(GROUP, None, 50).unwrap();
        assert_eq!(last[49].text, "65", "what others say is seen");
        let shared = store.read(|tx| tx.signed_records(GROUP, 50)).unwrap();
        assert_eq!(shared[49].index, 65, "and shared");
        let (mut met, mut before) = (Vec::new(), None);
        for number in 66.. {
            let page = reader.messages(GROUP, before, 7).unwrap();
            let Some(first) = page.first() else { break };
            before = Some(first.seq);
            met.splice(0..0, page);
            // More comes meanwhile, of both.
            let lamport = if number % 2 == 0 { u64::MAX } else { clock + 1 };
            clock = came(&mut store, number, lamport, clock);
        }
        assert_eq!(met, all);
        let given_up = store
            .transaction(|tx| {
                let seq = tx.queue_message(
                    GROUP,
                    [255; 16],
                    MemberId([9; 32]),
                    &Body::text("mine"),
                    Timestamp(0),
                )?;
                tx.unqueue(seq)?;
                Ok::<_, StoreError>(seq)
            })
            .unwrap();
        came(&mut store, 200, clock + 1, clock);
        let last = reader.messages(GROUP, None, 2).unwrap();
        assert_eq!((last[0].seq, last[1].text.as_str()), (given_up, "200"));
    }

    const LEAP: u64 = limits::LAMPORT_LEAP;

    fn numbers(page: &[Message]) -> Vec<u64> {
        page.iter().map(|message| message.text.parse().unwrap()).collect()
    }

    #[test]
    fn who_pages_back_meets_each_message_once_also_where_the_clock_gets_to_what_was_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = with_group(&dir);
        let reader = store.reader().unwrap();
        let mut clock = 0;
        for (number, lamport) in [1, 2 * LEAP + 5, 2, 3].into_iter().enumerate() {
            clock = came(&mut store, number as u64, lamport, clock);
        }
        let last = reader.messages(GROUP, None, 3).unwrap();
        assert_eq!(numbers(&last), [1, 2, 3]);
        assert!(last[0].ahead);
        for (number, lamport) in [(4, clock + LEAP), (5, 2 * LEAP + 6)] {
            clock = came(&mut store, number, lamport, clock);
        }
        assert!(clock > 2 * LEAP + 5);
        let page = reader.messages(GROUP, Some(last[0].seq), 3).unwrap();
        assert_eq!(numbers(&page), [0]);
        let all = reader.messages(GROUP, None, 10).unwrap();
        assert_eq!(numbers(&all), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn one_message_has_no_old_ones_come_up_again_and_what_was_ahead_stays_marked() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = with_group(&dir);
        let reader = store.reader().unwrap();
        let mut clock = came(&mut store, 0, 1, 0);
        let far = clock + 50 * LEAP + 1_000;
        for number in 1..=50 {
            clock = came(&mut store, number, far + number, clock);
        }
        for number in 51..=70 {
            clock = came(&mut store, number, clock + 1, clock);
        }
        let shown = reader.messages(GROUP, None, 100).unwrap();
        assert_eq!(numbers(&shown), Vec::from_iter(0..=70));
        // Now the clock is there.
        clock = came(&mut store, 71, far + 51, clock);
        assert_eq!(clock, far + 51);
        let page = reader.messages(GROUP, None, 50).unwrap();
        assert_eq!(numbers(&page), Vec::from_iter(22..=71));
        let all = reader.messages(GROUP, None, 100).unwrap();
        assert_eq!(all[..71], shown, "nothing that was shown is shown in another way");
        assert!(all.iter().all(|it| it.ahead == (2..=51).contains(&it.seq)));
    }

    #[test]
    fn what_leapt_before_such_places_were_marked_hides_nobody_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = with_group(&dir);
        let reader = store.reader().unwrap();
        let mut clock = 0;
        for number in 0..10 {
            clock = came(&mut store, number, clock + 1, clock);
        }
        // As they stood in a database of before.
        let leaps = [3, 4, 7];
        let was = |tx: &crate::store::Tx<'_>| {
            for number in leaps {
                let place = Place::new(u64::MAX - number, Timestamp(1), id(1));
                let seq = i64::try_from(number + 1).unwrap();
                let update = "UPDATE messages SET place = ?2 WHERE seq = ?1";
                tx.sql.execute(update, rusqlite::params![seq, place.0])?;
            }
            tx.queue_message(GROUP, [255; 16], MemberId([9; 32]), &Body::text("10"), Timestamp(0))
        };
        store.transaction(was).unwrap();
        let hidden = numbers(&reader.messages(GROUP, None, 4).unwrap());
        assert_eq!(hidden, [7, 4, 3, 10]);
        store.transaction(|tx| tx.settle_places(GROUP, clock)).unwrap();
        let all = reader.messages(GROUP, None, 100).unwrap();
        assert_eq!(numbers(&all), Vec::from_iter(0..=10));
        let marked = all.iter().filter(|it| it.ahead).map(|it| it.seq - 1);
        assert!(marked.eq(leaps));
        // Once is enough, and nothing stands after what is said from then on.
        store.transaction(|tx| tx.settle_places(GROUP, clock)).unwrap();
        assert_eq!(reader.messages(GROUP, None, 100).unwrap(), all);
        came(&mut store, 11, clock + 1, clock);
        assert_eq!(numbers(&reader.messages(GROUP, None, 2).unwrap()), [11, 10]);
    }

    #[test]
    fn what_was_left_unsealed_stands_after_no_leap() {
        let signed = Place::new(u64::MAX - 1, Timestamp(1), id(1));
        for was_settled_before_the_leap in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = with_group(&dir);
            let reader = store.reader().unwrap();
            let mut clock = 0;
            for number in 0..3 {
                clock = came(&mut store, number, clock + 1, clock);
            }
            // In a database of before, or as that left it: not sealed, and in no queue, as from a backup.
            let mine = |tx: &crate::store::Tx<'_>| {
                let update = "UPDATE messages SET place = ?2 WHERE seq = ?1";
                tx.sql.execute(update, rusqlite::params![2, signed.0])?;
                let me = MemberId([9; 32]);
                let seq = tx.queue_message(GROUP, [255; 16], me, &Body::text("3"), Timestamp(0))?;
                match was_settled_before_the_leap {
                    true => tx.unqueue(seq),
                    false => Ok(tx.sql.execute("DELETE FROM queue", []).map(drop)?),
                }
            };
            store.transaction(mine).unwrap();
            clock = came(&mut store, 4, u64::MAX - 9, clock);
            let place = |store: &mut Store, seq: i64| {
                let ahead = "SELECT ahead FROM messages WHERE seq = ?1";
                let ahead = |tx: &crate::store::Tx<'_>| {
                    Ok::<_, StoreError>(tx.sql.query_row(ahead, [seq], |row| row.get(0))?)
                };
                store.read(ahead).unwrap()
            };
            let was: Option<[u8; 32]> = place(&mut store, 5);
            store.transaction(|tx| tx.settle_places(GROUP, clock)).unwrap();
            came(&mut store, 5, clock + 1, clock);
            let all = reader.messages(GROUP, None, 100).unwrap();
            let mut shown = numbers(&all);
            assert_eq!(shown.pop(), Some(5), "{was_settled_before_the_leap}: it hides nothing");
            shown.sort_unstable();
            assert_eq!(shown, Vec::from_iter(0..5));
            let marked = all.iter().filter(|it| it.ahead).map(|it| it.seq - 1);
            assert!(marked.eq([1, 4]), "what was never sealed is no leap: {all:?}");
            assert_eq!((place(&mut store, 2), place(&mut store, 5)), (Some(signed.0), was));
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
