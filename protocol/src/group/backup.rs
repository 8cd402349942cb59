//! What of a group may be in a backup.
//!
//! > A backup opens nothing: it holds no chain's key, no pair's ratchet, no prekey. Whoever restores it
//! > is sealed to anew.
//!
//! Left out: pairs, own slots to be confirmed, envelopes that wait, receipts. A chain that can be read
//! is left out with its bundle where it is its sender's newest: it comes again, its slot does not open,
//! and the sender makes another one. Older ones stay as closed: what was read of them is kept, what was
//! lacking is lost. docs/spec/storage.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use zeroize::Zeroize;

use super::{
    ChainState, Group,
    records::{ChainRecord, Key},
};
use crate::{
    chain::ReceiveChain,
    codec,
    ids::{ChainId, MemberId, Timestamp},
};

impl Group {
    /// Which of this group's stored records may be in a backup, and as what: for [`Self::load`], after
    /// the identity was restored with prekeys of its own making. Topic secrets are among them: a
    /// backup is to be kept encrypted. What a newer version wrote is left out.
    pub fn backup_records(
        &self,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let left_out = self.newest_open();
        let kept = records.into_iter().filter_map(|(key, value)| {
            let value = match Key::from_bytes(&key)? {
                Key::PairSend(_)
                | Key::PairReceive(_)
                | Key::Inits(_)
                | Key::Parked(_)
                | Key::Receipts => None,
                Key::Bundle(chain)
                | Key::Gaps(chain)
                | Key::Classes(chain)
                | Key::Evidence(chain, _) => (!left_out.contains(&chain)).then_some(value),
                Key::Chain(chain) if left_out.contains(&chain) => None,
                Key::Chain(_) => without_keys(&value),
                _ => Some(value),
            };
            Some((key, value?))
        });
        kept.collect()
    }

    /// The newest readable chain of each sender.
    fn newest_open(&self) -> BTreeSet<ChainId> {
        let open = self.receiving.chains.iter();
        let open = open.filter(|(_, entry)| matches!(entry.state, ChainState::Open(_)));
        let mut newest: BTreeMap<MemberId, (Timestamp, ChainId)> = BTreeMap::new();
        for (chain, entry) in open {
            let of = newest.entry(entry.head.head().sender).or_insert((entry.at, *chain));
            *of = (*of).max((entry.at, *chain));
        }
        newest.into_values().map(|(_, chain)| chain).collect()
    }
}

/// A stored chain without the keys that read it.
fn without_keys(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut record: ChainRecord = codec::decode(bytes).ok()?;
    if record.state == 0 {
        let next = ReceiveChain::load(&record.chain).ok()?.next();
        record.chain.zeroize();
        (record.state, record.count) = (4, next);
    }
    Some(codec::encode(&record))
}
