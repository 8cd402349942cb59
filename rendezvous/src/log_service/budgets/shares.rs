//! One address's part of what all clients share: the queues of appends, the reads of the store, and the
//! lines for what takes long.
//!
//! > A line is fair to those who stand in it, and one address may have half a thousand streams. So each
//! > address has a line of its own, from which few at a time go on to the common one: others wait for
//! > those few. Where all come from one address, as behind a proxy, its part keeps the relay as busy as
//! > it can be: most of each queue, and half of the reads is more than a disk needs. Each lane's queue is
//! > shared by itself: who may choose a log's id may choose its lane, too.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Budget;
use crate::limits::{QUEUE_KEPT, QUEUE_SHARE, READS_SHARE};

/// What one block takes, and may take.
pub(super) struct Shares {
    /// How many times what an address may this block may.
    times: usize,
    /// Appends of this block in the queue of each lane.
    queued: Box<[AtomicU32]>,
    reads: Arc<Semaphore>,
    trims: Arc<Semaphore>,
    catch_ups: Arc<Semaphore>,
}

/// An append in the queue of a lane, counted until this is dropped.
pub(in crate::log_service) struct Queued {
    budget: Budget,
    lane: usize,
}

/// A place in the common line, until dropped.
pub(in crate::log_service) type Place = Vec<OwnedSemaphorePermit>;

impl Shares {
    pub(super) fn new(times: u32, reads: usize, lanes: usize) -> Self {
        let times = times as usize;
        // A part of one address; of the network around it all but what is for others.
        let part = reads / (READS_SHARE * times);
        let reads = if times == 1 { part } else { reads - part };
        Self {
            times,
            queued: (0..lanes).map(|_| AtomicU32::new(0)).collect(),
            reads: Arc::new(Semaphore::new(reads.max(1))),
            trims: Arc::new(Semaphore::new(times)),
            catch_ups: Arc::new(Semaphore::new(times)),
        }
    }

    /// Whether more of a lane's queue, with room for so many, is this block's than its part.
    fn is_beyond(&self, lane: usize, all: usize) -> bool {
        let part = (all * self.times / QUEUE_SHARE).max(1);
        self.queued[lane].load(Ordering::Relaxed) as usize > part
    }
}

impl Budget {
    /// Counts one more append to a lane's queue for so many, of which so many places are free. `None`: the
    /// address has its part of it, and others need the rest.
    pub(in crate::log_service) fn queue(
        &self,
        lane: usize,
        all: usize,
        free: usize,
    ) -> Option<Queued> {
        for account in self.0.iter() {
            account.shares.queued[lane].fetch_add(1, Ordering::Relaxed);
        }
        let queued = Queued { budget: self.clone(), lane };
        let is_beyond = self.0.iter().any(|account| account.shares.is_beyond(lane, all));
        (!is_beyond || free > all / QUEUE_KEPT).then_some(queued)
    }

    /// Waits until the address may read once more.
    pub(in crate::log_service) async fn reading(&self) -> Place {
        self.line(|shares| &shares.reads).await
    }

    /// Waits until no other trim of the address is under way.
    pub(in crate::log_service) async fn trimming(&self) -> Place {
        self.line(|shares| &shares.trims).await
    }

    /// Waits until nobody else of the address waits for others who write.
    pub(in crate::log_service) async fn catching_up(&self) -> Place {
        self.line(|shares| &shares.catch_ups).await
    }

    async fn line(&self, line: fn(&Shares) -> &Arc<Semaphore>) -> Place {
        let mut place = Place::new();
        for account in self.0.iter() {
            // It is never closed.
            place.extend(Arc::clone(line(&account.shares)).acquire_owned().await.ok());
        }
        place
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        for account in self.budget.0.iter() {
            account.shares.queued[self.lane].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv6Addr},
        time::Instant,
    };

    use futures::FutureExt as _;

    use super::{super::Budgets, *};
    use crate::limits::Limits;

    /// Of a /64 of one household.
    fn of(budgets: &Budgets, subnet: u16) -> Budget {
        let address: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, 0).into();
        budgets.of(address, Instant::now())
    }

    #[test]
    fn an_address_has_a_part_of_a_queue_and_most_of_one_that_nobody_else_needs() {
        let budgets = Budgets::new(&Limits::default(), 1);
        let mut queue = Vec::new();
        let mut most = |subnet| {
            let before = queue.len();
            while let Some(queued) = of(&budgets, subnet).queue(0, 64, 64 - queue.len()) {
                queue.push(queued);
            }
            queue.len() - before
        };
        let taken = [1, 2, 1, 3].map(&mut most);
        assert_eq!(taken, [48, 0, 0, 0], "what is kept is not for its network");
        queue.truncate(3);
        // As if others had filled it so far.
        let mut most = |subnet| {
            let before = queue.len();
            while let Some(queued) = of(&budgets, subnet).queue(0, 64, 16) {
                queue.push(queued);
            }
            queue.len() - before
        };
        assert_eq!([1, 2, 3, 4, 5].map(&mut most), [5, 8, 8, 8, 0]);
        drop(queue);
        assert_eq!((0..9).map_while(|_| of(&budgets, 6).queue(0, 8, 2)).count(), 9, "nobody waits");
    }

    #[test]
    fn an_address_has_a_part_of_each_lane_s_queue_whatever_it_has_in_the_others() {
        const LANES: usize = 8;
        let budgets = Budgets::new(&Limits::default(), LANES);
        let all = Limits::default().append_queue / LANES;
        let mut queue = Vec::new();
        let mut most = |lane, subnet| {
            let (before, mut free) = (queue.len(), all);
            while let Some(queued) = of(&budgets, subnet).queue(lane, all, free) {
                queue.push(queued);
                free -= 1;
            }
            queue.len() - before
        };
        // Queues that nobody else needs, but for what is kept.
        assert_eq!([(0, 1), (1, 1), (2, 9)].map(|(lane, subnet)| most(lane, subnet)), [96; 3]);
        queue.clear();
        // And those that others have filled so far.
        let mut most = |lane, subnet| {
            let before = queue.len();
            while let Some(queued) = of(&budgets, subnet).queue(lane, all, all / QUEUE_KEPT) {
                queue.push(queued);
            }
            queue.len() - before
        };
        assert_eq!((0..LANES).map(|lane| most(lane, 1)).collect::<Vec<_>>(), [all / 8; LANES]);
        assert_eq!([2, 3, 4, 5].map(|subnet| most(0, subnet)), [16, 16, 16, 0], "of a network");
    }

    #[test]
    fn an_address_has_half_of_the_reads_and_a_network_not_all() {
        let budgets = Budgets::new(&Limits { reads: 16, ..Limits::default() }, 1);
        let mut places = Vec::new();
        let mut most = |subnet| {
            let before = places.len();
            places.extend((0..99).map_while(|_| of(&budgets, subnet).reading().now_or_never()));
            places.len() - before
        };
        assert_eq!([1, 2, 3].map(&mut most), [8, 6, 0]);
        let least = Budgets::new(&Limits { reads: 1, ..Limits::default() }, 1);
        assert!(of(&least, 1).reading().now_or_never().is_some());
        let others = Budget::default();
        assert!((0..99).all(|_| others.reading().now_or_never().is_some()), "who has no address");
    }

    #[test]
    fn one_trim_and_one_catching_up_of_an_address_are_under_way_at_a_time() {
        let budgets = Budgets::new(&Limits::default(), 1);
        let (here, there) = (of(&budgets, 1), of(&budgets, 2));
        let place = here.trimming().now_or_never();
        let mut second = Box::pin(here.trimming());
        assert!(place.is_some() && (&mut second).now_or_never().is_none());
        assert!(there.trimming().now_or_never().is_some());
        let other = here.catching_up().now_or_never();
        assert!(other.is_some() && here.catching_up().now_or_never().is_none());
        drop(place);
        assert!(second.now_or_never().is_some());
    }
}
