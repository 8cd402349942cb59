//! A relay that lies: the real one, in this process, on a store that leaves out what it says it keeps.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use protocol::ids::{LogId, Timestamp};
use rendezvous::{
    Config, Limits,
    store::{LogStore, MemoryStore, NewEntry, Outcome, Page, StoreError, Trimmed, Usage},
};

use crate::world::Shared;

/// A relay of this world that can be told to withhold. It speaks as any other, and ends with this value.
pub struct Liar {
    _relay: rendezvous::Relay,
    _shared: Arc<Shared>,
    store: Arc<Leaving>,
    address: String,
}

impl Liar {
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        // It says that it keeps entries as long as any.
        let limits = Limits::default();
        let kept = MemoryStore::new(limits.quota).expect("a store");
        let store = Arc::new(Leaving { kept, hides: false.into(), hidden: Mutex::default() });
        let listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let config = Config { listen, limits, ..Config::live() };
        let started = rendezvous::Relay::start_on(config, Arc::clone(&store) as Arc<dyn LogStore>);
        let relay = shared.runtime.block_on(started).expect("the relay starts");
        let addresses = relay.addrs().into_iter().map(|address| address.to_string());
        let mut tcp = addresses.filter(|it| it.contains("/tcp/") && !it.contains("/ws"));
        let address = tcp.next().expect("it listens over TCP");
        Self { _relay: relay, _shared: shared, store, address }
    }

    /// The TCP multiaddr that nodes are given, with the relay's `/p2p`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it leaves out what it takes from now on, to all who have read something of the log already.
    pub fn hides(&self, hides: bool) {
        self.store.hides.store(hides, Ordering::SeqCst);
    }

    /// How many entries it leaves out.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.store.hidden.lock().expect("places").len()
    }
}

/// Says of each entry that it keeps it, and of each log where it ends.
struct Leaving {
    kept: MemoryStore,
    hides: AtomicBool,
    hidden: Mutex<BTreeSet<(LogId, u64)>>,
}

impl LogStore for Leaving {
    fn generation(&self) -> u64 {
        self.kept.generation()
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let before: Vec<u64> = batch.iter().map(|new| self.head(new.log)).collect();
        let outcomes = self.kept.append(batch, now)?;
        if self.hides.load(Ordering::SeqCst) {
            let mut hidden = self.hidden.lock().expect("places");
            for ((new, head), outcome) in batch.iter().zip(before).zip(&outcomes) {
                if let Outcome::Kept(seq) = outcome
                    && *seq > head
                {
                    hidden.insert((new.log, *seq));
                }
            }
        }
        Ok(outcomes)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let mut page = self.kept.read(log, after, max_bytes)?;
        if after > 0 {
            let hidden = self.hidden.lock().expect("places");
            page.entries.retain(|entry| !hidden.contains(&(log, entry.seq)));
        }
        Ok(page)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.kept.trim(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        self.kept.expire(before, now, max)
    }

    fn clock(&self) -> Option<Timestamp> {
        self.kept.clock()
    }

    fn usage(&self) -> Option<Usage> {
        self.kept.usage()
    }

    /// What came a moment ago is not told past this store.
    fn is_own(&self) -> bool {
        false
    }
}

impl Leaving {
    fn head(&self, log: LogId) -> u64 {
        self.kept.read(log, u64::MAX, 0).map_or(0, |page| page.head)
    }
}
