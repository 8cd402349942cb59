//! The group's stored state: one record for each thing that changes by itself, so that a step
//! writes what it changed and no more.
//!
//! The own sending chain is not stored: each start of a process makes a new one, and no key is ever
//! used twice because a state was restored. Only how it ended is kept.

mod key;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

pub(super) use self::key::Key;
use super::{
    Change, Group, GroupState, Timer,
    absence::{Absence, Seen, Watch},
    again::ToldAgain,
    audit::Audit,
    circuits::Circuits,
    classes::{Classes, Classing},
    desync::Own,
    epochs::Epoch,
    gaps::Stuck,
    holds::Holds,
    inbox::Inboxes,
    losses::Losses,
    moving::Moving,
    nacks::Nacks,
    notices::Notices,
    pairs::Turns,
    people::People,
    pings::Pings,
    places::Places,
    receiving::{ChainState, Entry, Parked, Receiving},
    resync::Word,
    sending::Sending,
    slots::Ciphertexts,
    strangers::Strangers,
    talks::Talks,
    topics::KnownTopics,
    unseen::Unseen,
    wire::{BundleWire, Indexes, Presence},
    witness::Witness,
};
use crate::{
    audit::AuditLog,
    bundle::{Closing, SignedHead},
    chain::{HeadRef, ReceiveChain},
    codec,
    endpoint::Endpoint,
    gossip::Gossip,
    identity::SignedCard,
    ids::{ChainId, MemberId, OpId, RelayTag, Timestamp},
    membership::{Op, OpSet},
    pair::{ReceiveState, SendState},
    snapshot::{SnapshotError, VERSION},
    topic::TopicSecret,
};

/// The records that have changed since they were last taken.
#[derive(Default)]
pub(super) struct Dirty(BTreeSet<Key>);

impl Dirty {
    pub fn mark(&mut self, key: Key) {
        self.0.insert(key);
    }

    #[cfg(any(test, feature = "sim"))]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Meta {
    #[n(0)]
    version: u8,
    #[n(1)]
    member: MemberId,
    #[n(2)]
    state: u8,
    #[n(3)]
    lamport: u64,
    #[n(4)]
    closing: Option<Closing>,
    #[n(5)]
    heads: Vec<HeadRef>,
    #[n(6)]
    genesis: OpId,
    /// Since version 2.
    #[n(7)]
    audit: Option<AuditLog>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct TopicRecord {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(1)]
    learnt: Timestamp,
    #[n(2)]
    ended: Option<Timestamp>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct ChainRecord {
    #[n(0)]
    pub state: u8,
    #[n(1)]
    pub at: Timestamp,
    #[n(2)]
    pub count: u32,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub chain: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct InitRecord {
    #[n(0)]
    member: MemberId,
    #[n(1)]
    epoch: u16,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct ParkedRecord {
    #[n(0)]
    chain: ChainId,
    #[n(1)]
    index: u32,
    #[n(2)]
    at: Timestamp,
    #[cbor(n(3), with = "minicbor::bytes")]
    bytes: Vec<u8>,
    /// The relays that have told it; not in records of before there was this.
    #[n(4)]
    told_by: Option<Vec<RelayTag>>,
}

impl Drop for TopicRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for ChainRecord {
    fn drop(&mut self) {
        self.chain.zeroize();
    }
}

impl Group {
    /// The records that have changed since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        core::mem::take(&mut self.dirty.0)
            .into_iter()
            .map(|key| Change { key: key.to_bytes(), value: self.record(key).map(Zeroizing::new) })
            .collect()
    }

    /// Takes up stored records.
    pub fn load(
        me: &Endpoint,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        now: Timestamp,
    ) -> Result<Self, SnapshotError> {
        let mut found: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>> =
            records.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect();
        // First: what a newer version has written is refused as that, whatever else it wrote.
        let meta = found.remove(Key::Meta.to_bytes().as_slice()).ok_or(SnapshotError::Damaged)?;
        let meta = Meta::read(&meta)?;
        let mut kept: BTreeMap<Key, Zeroizing<Vec<u8>>> = BTreeMap::new();
        for (key, value) in found {
            kept.insert(Key::from_bytes(&key).ok_or(SnapshotError::Damaged)?, value);
        }
        if meta.member != me.member() {
            return Err(SnapshotError::Damaged);
        }
        let mut group = Self::of(load_ops(&kept, meta.genesis)?, meta.member);
        group.state = match meta.state {
            0 => GroupState::Active,
            1 => GroupState::Removed,
            _ => GroupState::Left,
        };
        group.lamport = meta.lamport;
        group.audit.log = meta.audit.unwrap_or(group.audit.log);
        group.sending.closing = meta.closing;
        group.heads = meta.heads.into_iter().collect::<VecDeque<_>>();
        for (key, value) in &kept {
            group.take_up(*key, value, &kept)?;
        }
        group.take_stock(now);
        Ok(group)
    }

    fn record(&self, key: Key) -> Option<Vec<u8>> {
        match key {
            Key::Meta => Some(codec::encode(&Meta {
                version: VERSION,
                member: self.me,
                state: match self.state {
                    GroupState::Active | GroupState::Migrated => 0,
                    GroupState::Removed => 1,
                    GroupState::Left => 2,
                },
                lamport: self.lamport,
                closing: self.sending.closing_now(),
                heads: self.heads.iter().copied().collect(),
                genesis: OpId(self.id.0),
                audit: Some(self.audit.log),
            })),
            Key::Op(id) => self.ops.op(&id).map(|op| op.as_bytes().into()),
            Key::Card(member) => self.people.cards.get(&member).map(|card| card.as_bytes().into()),
            Key::Presence(member) => self.people.presences.get(&member).map(codec::encode),
            Key::Topic(commit) => self.topics.record(&commit).map(|(secret, learnt, ended)| {
                codec::encode(&TopicRecord { secret: *secret.as_bytes(), learnt, ended })
            }),
            Key::PairSend(member) => {
                self.sending.pairs.get(&member).map(|pair| pair.save().to_vec())
            }
            Key::PairReceive(member) => {
                self.receiving.pairs.get(&member).map(|pair| pair.save().to_vec())
            }
            Key::Bundle(chain) => {
                let known = self.bundle_wire(&chain).or_else(|| self.shut_bundle(&chain));
                known.map(|bundle| codec::encode(&bundle))
            }
            Key::Chain(chain) => self.chain_record(&chain).map(|record| codec::encode(&record)),
            Key::Inits(chain) => self.sending.inits.get(&chain).map(|inits| {
                let inits: Vec<_> = inits
                    .iter()
                    .map(|(member, epoch)| InitRecord { member: *member, epoch: *epoch })
                    .collect();
                codec::encode(&inits)
            }),
            Key::Parked(id) => self.receiving.parked.get(&id).map(|parked| {
                codec::encode(&ParkedRecord {
                    chain: parked.chain,
                    index: parked.index,
                    at: parked.at,
                    bytes: parked.bytes.clone(),
                    told_by: Some(parked.told_by.clone()).filter(|told_by| !told_by.is_empty()),
                })
            }),
            Key::Watch => self.absence.watch.looked.map(|_| codec::encode(&self.absence.watch)),
            Key::Seen(member) => self.absence.seen.get(&member).map(codec::encode),
            Key::Turns => self.turns.save(),
            Key::Ciphertexts(chain) => self.slots.record(&chain).map(|wire| codec::encode(&wire)),
            Key::Receipts => {
                let receipts: Vec<_> = self
                    .receipts
                    .iter()
                    .map(|(chain, indexes)| Indexes {
                        chain: *chain,
                        indexes: indexes.iter().copied().collect(),
                    })
                    .collect();
                (!receipts.is_empty()).then(|| codec::encode(&receipts))
            }
            Key::Inboxes => self.own_inboxes_record(),
            Key::Inbox(member) => self.inbox_record(&member),
            Key::HandedOver => self.handed_record(),
            Key::Hold(member) => self.holds.hold(&member).map(codec::encode),
            Key::Part(by, number) => {
                let told = self.moving.told.get(&by);
                told.and_then(|told| told.part(number)).map(|part| codec::encode(&part))
            }
            Key::Gone => self.moving.gone.as_ref().map(codec::encode),
            Key::Classes(chain) => {
                let entry = self.receiving.chains.get(&chain);
                let classes = entry.map(|entry| &entry.classes);
                classes.filter(|it| **it != Classes::default()).map(codec::encode)
            }
            Key::Evidence(chain, block) => self.evidence_record(&chain, block),
            Key::Own => self.own_record(),
            Key::Notice(subject) => self.notice_record(&subject),
            Key::Gaps(chain) => self.gaps_record(&chain),
            Key::WelcomedBy => self.welcomed_by.as_ref().map(codec::encode),
            Key::Unseen => self.unseen_record(),
            Key::Place(chain) => self.places.place(&chain).map(codec::encode),
        }
    }

    fn chain_record(&self, chain: &ChainId) -> Option<ChainRecord> {
        let Some(entry) = self.receiving.chains.get(chain) else {
            let at = self.receiving.held.get(chain)?.again?;
            return Some(ChainRecord { state: 1, at, count: 0, chain: Vec::new() });
        };
        let (state, count, chain) = match &entry.state {
            ChainState::Open(chain) => (0, 0, chain.save().to_vec()),
            ChainState::NotForMe => (1, 0, Vec::new()),
            ChainState::Failed => (2, 0, Vec::new()),
            ChainState::Mine { count } => (3, *count, Vec::new()),
            ChainState::Closed { next } => (4, *next, Vec::new()),
        };
        Some(ChainRecord { state, at: entry.at, count, chain })
    }

    fn take_up(
        &mut self,
        key: Key,
        value: &[u8],
        kept: &BTreeMap<Key, Zeroizing<Vec<u8>>>,
    ) -> Result<(), SnapshotError> {
        match key {
            Key::Meta | Key::Op(_) | Key::Chain(_) | Key::Classes(_) => {}
            Key::Hold(member) => self.holds.put(member, read(value)?),
            Key::Part(by, _) => {
                self.moving.take(by, read(value)?);
            }
            Key::Gone => self.moving.gone = Some(read(value)?),
            Key::Card(member) => {
                let card = SignedCard::from_bytes(value).map_err(|_| SnapshotError::Damaged)?;
                self.people.cards.insert(member, card);
            }
            Key::Presence(member) => {
                self.people.presences.insert(member, read::<Presence>(value)?);
            }
            Key::Topic(_) => {
                let topic: TopicRecord = read(value)?;
                let secret = TopicSecret::from_bytes(topic.secret);
                self.topics.load(&self.id, secret, topic.learnt, topic.ended);
            }
            Key::PairSend(member) => {
                self.sending.pairs.insert(member, SendState::load(value)?);
            }
            Key::PairReceive(member) => {
                self.receiving.pairs.insert(member, ReceiveState::load(value)?);
            }
            Key::Bundle(chain) => {
                let record = kept.get(&Key::Chain(chain)).ok_or(SnapshotError::Damaged)?;
                let (bundle, record) = (read::<BundleWire>(value)?, read::<ChainRecord>(record)?);
                let head =
                    SignedHead::from_bytes(&bundle.head).map_err(|_| SnapshotError::Damaged)?;
                let state = match record.state {
                    0 => ChainState::Open(ReceiveChain::load(&record.chain)?),
                    1 => ChainState::NotForMe,
                    2 => ChainState::Failed,
                    3 => ChainState::Mine { count: record.count },
                    4 => ChainState::Closed { next: record.count },
                    _ => return Err(SnapshotError::Damaged),
                };
                let pages = bundle.pages.into_iter().map(Into::into).collect();
                let classes = kept.get(&Key::Classes(chain)).map(|classes| read(classes));
                let classes = classes.transpose()?.unwrap_or_default();
                self.people.note_prekey(head.head().sender, head.head().prekey);
                let entry = Entry { head, pages, at: record.at, state, classes };
                self.receiving.chains.insert(chain, entry);
            }
            Key::Inits(chain) => {
                let inits: Vec<InitRecord> = read(value)?;
                let inits = inits.into_iter().map(|init| (init.member, init.epoch)).collect();
                self.sending.inits.insert(chain, inits);
            }
            Key::Ciphertexts(_) => self.slots.load(read(value)?),
            Key::Parked(id) => {
                let record: ParkedRecord = read(value)?;
                let ParkedRecord { chain, index, at, bytes, told_by } = record;
                let told_by = told_by.unwrap_or_default();
                self.receiving.park(id, Parked { chain, index, at, bytes, told_by });
            }
            Key::Watch => self.absence.watch = read::<Watch>(value)?,
            Key::Turns => self.turns = Turns::load(value)?,
            Key::Seen(member) => {
                self.absence.seen.insert(member, read::<Seen>(value)?);
            }
            Key::Receipts => {
                for receipt in read::<Vec<Indexes>>(value)? {
                    self.receipts.entry(receipt.chain).or_default().extend(receipt.indexes);
                }
            }
            Key::Inboxes => {
                self.load_own_inboxes(value).map_err(|_| SnapshotError::Damaged)?;
            }
            Key::Inbox(member) => {
                self.load_inbox(member, value).map_err(|_| SnapshotError::Damaged)?;
            }
            Key::WelcomedBy => self.welcomed_by = Some(read(value)?),
            Key::Unseen => self.load_unseen(read(value)?),
            Key::HandedOver => {
                self.load_handed(value).map_err(|_| SnapshotError::Damaged)?;
            }
            Key::Evidence(chain, _) => self.load_evidence(chain, value)?,
            Key::Own => self.load_own(value)?,
            Key::Notice(_) => self.load_notice(value)?,
            Key::Gaps(chain) => self.load_gaps(chain, value)?,
            Key::Place(chain) => self.places.load(chain, read(value)?)?,
        }
        Ok(())
    }

    /// A group with these ops and nothing else known.
    pub(super) fn of(ops: OpSet, me: MemberId) -> Self {
        let log = AuditLog::new(&ops.group(), &me);
        Self {
            id: ops.group(),
            me,
            audit: Audit::new(log, ops.resolve()),
            absence: Absence::default(),
            losses: Losses::default(),
            turns: Turns::default(),
            state: GroupState::Active,
            people: People::of(&ops),
            going_on: super::shut::going_on(&ops, &me),
            conducted: ops.resolve().conduct,
            ops,
            topics: KnownTopics::default(),
            sending: Sending::default(),
            receiving: Receiving::default(),
            gossip: Gossip::default(),
            peers: BTreeMap::new(),
            receipts: BTreeMap::new(),
            gaps: BTreeMap::new(),
            witness: Witness::default(),
            notices: Notices::default(),
            own: Own::default(),
            heads: VecDeque::new(),
            lamport: 0,
            relays_up: false,
            fresh_until: Timestamp(0),
            welcomed_by: None,
            timers: [Timer::Inbox, Timer::Word].map(|it| (it, Timestamp(0))).into(),
            classing: Classing::default(),
            holds: Holds::default(),
            moving: Moving::default(),
            answers: BTreeMap::new(),
            again: ToldAgain::default(),
            heard: BTreeMap::new(),
            questions: BTreeMap::new(),
            stuck: Stuck::default(),
            asking: (Vec::new(), false),
            strangers: Strangers::default(),
            unseen: Unseen::default(),
            places: Places::default(),
            inboxes: Inboxes::default(),
            epoch: Epoch::default(),
            slots: Ciphertexts::default(),
            nacks: Nacks::default(),
            word: Word::default(),
            pings: Pings::default(),
            talks: Talks::default(),
            circuits: Circuits::default(),
            out: VecDeque::new(),
            dirty: Dirty::default(),
        }
    }
}

impl Meta {
    fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let version = minicbor::Decoder::new(bytes)
            .array()
            .and_then(|_| minicbor::Decoder::new(bytes.get(1..).unwrap_or_default()).u8());
        match version {
            // Version 1 has no audit log: it begins with the first step of today.
            Ok(1) => read::<Self>(bytes).map(|meta| Self { audit: None, ..meta }),
            Ok(VERSION) => read(bytes),
            Ok(found) if found > VERSION => Err(SnapshotError::Newer { found }),
            _ => Err(SnapshotError::Damaged),
        }
    }
}

fn load_ops(
    kept: &BTreeMap<Key, Zeroizing<Vec<u8>>>,
    genesis: OpId,
) -> Result<OpSet, SnapshotError> {
    let genesis = kept.get(&Key::Op(genesis)).ok_or(SnapshotError::Damaged)?;
    let genesis = Op::from_bytes(genesis).map_err(|_| SnapshotError::Damaged)?;
    let mut others = Vec::new();
    for (key, value) in kept {
        if matches!(key, Key::Op(id) if *id != genesis.id()) {
            others.push(Op::from_bytes(value).map_err(|_| SnapshotError::Damaged)?);
        }
    }
    // What was taken in once by another rule goes, with what follows from it: others refuse it too.
    placed(genesis, others).map(|(set, _)| set).ok_or(SnapshotError::Damaged)
}

/// The set of these ops, whatever their order; `None` where one has no place in it.
pub(super) fn ordered(genesis: Op, others: Vec<Op>) -> Option<OpSet> {
    placed(genesis, others).filter(|(_, refused)| refused.is_empty()).map(|(set, _)| set)
}

/// The set of these ops, whatever their order, and those that are refused or follow from one that is;
/// `None` where one is missing.
fn placed(genesis: Op, others: Vec<Op>) -> Option<(OpSet, BTreeSet<OpId>)> {
    let mut set = OpSet::new(genesis).ok()?;
    let mut refused = BTreeSet::new();
    let mut waiting: BTreeMap<OpId, Vec<Op>> = BTreeMap::new();
    let mut next = others;
    while let Some(op) = next.pop() {
        let (id, deps) = (op.id(), &op.body().deps);
        if deps.iter().any(|dep| refused.contains(dep)) {
            refused.insert(id);
        } else if let Some(missing) = deps.iter().find(|dep| !set.contains(dep)) {
            waiting.entry(*missing).or_default().push(op);
            continue;
        } else if set.insert(op).is_err() {
            refused.insert(id);
        }
        next.extend(waiting.remove(&id).unwrap_or_default());
    }
    waiting.is_empty().then_some((set, refused))
}

fn read<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, SnapshotError> {
    codec::decode(bytes).map_err(|_| SnapshotError::Damaged)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[derive(Encode, Decode)]
    #[cbor(array)]
    struct Before {
        #[n(0)]
        chain: ChainId,
        #[n(1)]
        index: u32,
        #[n(2)]
        at: Timestamp,
        #[cbor(n(3), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    }

    #[test]
    fn what_is_parked_says_who_told_it_and_is_read_where_it_does_not() {
        let (chain, at, bytes) = (ChainId([1; 16]), Timestamp(3), vec![4; 5]);
        let before = Before { chain, index: 2, at, bytes: bytes.clone() };
        let old: ParkedRecord = read(&codec::encode(&before)).unwrap();
        assert!(old.told_by.is_none());
        let told_by = Some(vec![RelayTag([6; 32]), RelayTag([7; 32])]);
        let new = ParkedRecord { told_by: told_by.clone(), ..old };
        let read: ParkedRecord = read(&codec::encode(&new)).unwrap();
        assert_eq!((read.chain, read.index, read.at, read.bytes), (chain, 2, at, bytes));
        assert_eq!(read.told_by, told_by);
    }
}
