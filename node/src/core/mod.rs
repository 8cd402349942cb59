//! The node's decisions: it owns the store, the groups and one seeded source of randomness, and
//! names no socket, clock or thread.
//!
//! > Each step is one transaction. What it sends is seen by [`Core::poll_effect`] only after the
//! > commit; what it acknowledges is on the disk. Effects are hints, rows are the truth.
//!
//! Methods are of four kinds: *verbs*, asked by people; *handlers* (`on_…`), told by the network;
//! *deadlines*; and the poll. After each call: [`Core::poll_effect`] until it is empty, then wait
//! until [`Core::deadline`] at the latest. A handler that gives an error has kept nothing of what
//! it was told; it is told again, or the network makes up for it.

mod access;
mod admins;
mod asking;
mod backlog;
mod circuits;
pub mod conduct;
mod cursors;
mod delivery;
mod due;
mod effect;
mod error;
mod events;
mod files;
mod former;
mod gaps;
mod hosting;
mod invites;
mod joined;
mod joins;
mod keys;
mod latency;
mod mail;
mod membership;
mod outlook;
mod passes;
mod peers;
mod pings;
mod receive;
mod relays;
mod renamed;
mod requests;
mod said;
mod search;
mod send;
mod shelf;
mod step;
mod talks;
#[cfg(test)]
mod tests;
mod tokens;
mod trims;
mod trust;
mod typing;
mod verify;
mod why;
mod wipe;
mod withheld;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use protocol::{
    endpoint::Endpoint,
    fingerprint,
    group::Group,
    ids::{GroupId, LogId, MemberId, Timestamp},
    noise::NoiseKey,
    sign::SigningSecret,
};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

use self::{
    access::Accesses,
    backlog::Backlog,
    invites::Hosted,
    joins::Joining,
    keys::Overtaking,
    latency::Latencies,
    mail::Streams,
    membership::is_active,
    passes::Pass,
    peers::Peers,
    pings::Pings,
    relays::{Owner, Relay},
    renamed::Names,
    step::{After, random},
    trust::Trust,
    withheld::{Teller, Watch},
};
pub use self::{
    access::{AccessError, Permit},
    circuits::Summons,
    cursors::CursorError,
    effect::Effect,
    error::{InitError, OpenError, VerbError},
    files::{Given, Givers, Made, Wanted},
    send::TEXT_MAX,
    wipe::Doomed,
};
use crate::{
    api::types::{MemberRef, Status, VERSION},
    net::{
        Reach, address,
        relay::{Proxy, RelayKey, TokenFault},
    },
    store::{Reader, Store, StoreError, rfc3339},
};

/// How this node takes part.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether direct connections are made and taken.
    pub direct: bool,
    /// This node's own relays: multiaddrs, each with `/p2p`. New groups use them.
    pub relays: Vec<String>,
    /// By way of what all relays are reached, if not directly.
    pub relay_proxy: Option<Proxy>,
    /// How far it goes: on local networks alone it uses no relay, whatever its groups have.
    pub reach: Reach,
    /// Whether members are looked for on the local networks.
    pub mdns: bool,
    /// Whether it listens for members where a person said, and nowhere else: then relays are not asked how this
    /// machine looks from outside, and nobody is met there.
    pub fixed: bool,
    /// Whether the router is asked for a port that leads here.
    pub map_port: bool,
}

/// The owner of all state.
pub struct Core {
    store: Store,
    me: Arc<Endpoint>,
    node_key: Zeroizing<[u8; 32]>,
    noise: NoiseKey,
    rng: ChaCha20Rng,
    options: Options,
    started: Timestamp,
    groups: BTreeMap<GroupId, Group>,
    /// Groups that must be taken up from the store again.
    unloaded: BTreeSet<GroupId>,
    /// Groups of which nothing but rows is left, which go.
    erasing: BTreeSet<GroupId>,
    /// When to take more of the history into the index of words.
    index_at: Option<Timestamp>,
    /// Groups with messages that wait to be sealed.
    queued: BTreeSet<GroupId>,
    /// Groups that know of a member's channel.
    wired: BTreeSet<(GroupId, MemberId)>,
    /// Groups whose deadline is not looked at before this instant.
    resting: BTreeMap<GroupId, Timestamp>,
    peers: Peers,
    latencies: Latencies,
    pings: Pings,
    /// Who was asked to come to which own conversation of two, and has not come.
    invited: BTreeMap<GroupId, MemberId>,
    /// Where members wait for this node, and that is not looked at yet.
    asked: VecDeque<circuits::Asked>,
    relays: BTreeMap<RelayKey, Relay>,
    /// What relays are to tell that get a new plan in a moment.
    watches: BTreeMap<RelayKey, Watch>,
    logs: BTreeMap<LogId, Owner>,
    /// Who tells what is being taken.
    teller: Option<Teller>,
    hosted: Hosted,
    joining: Joining,
    passes: Vec<Pass>,
    /// The groups whose token a relay does not take, as they were told.
    closed: BTreeMap<(GroupId, RelayKey), TokenFault>,
    streams: Streams,
    after: After,
    /// When to try again what the store refused.
    again: Option<Timestamp>,
    /// When to tell how far own messages are.
    tell_at: Option<Timestamp>,
    due: due::Due,
    /// What is being read of what groups missed.
    backlogs: BTreeMap<GroupId, Backlog>,
    /// When to drop what is too old.
    tidy: Timestamp,
    overtaking: Overtaking,
    /// Programs with tokens.
    accesses: Accesses,
    /// When it was told last where this node's person is typing.
    typing: BTreeMap<GroupId, Timestamp>,
    /// Whom the person has compared.
    trust: Trust,
    /// Who is called what, in each group.
    names: Names,
    effects: VecDeque<Effect>,
}

/// The store's names for the node's own values.
pub(crate) const ENDPOINT: &str = "endpoint";
const NODE_KEY: &str = "node key";

/// The node's own values that a backup holds as they are.
pub(crate) const META_KEPT: [&str; 3] = [NODE_KEY, keys::NODE_KEY_MADE, keys::NODE_KEY_NEXT];

const HOUR_MS: u64 = 60 * 60 * 1000;
const JOINS_KEPT_MS: u64 = 30 * 24 * HOUR_MS;

/// How long a group rests that stays due.
const REST_MS: u64 = 100;

/// How long to wait after the store has failed.
const AGAIN_MS: u64 = 1000;

/// Makes a node's identity and node key in an empty store.
pub fn init(store: &mut Store, name: &str, rng: &mut ChaCha20Rng) -> Result<MemberId, InitError> {
    if is_initialised(store)? {
        return Err(InitError::Exists);
    }
    let node_key = Zeroizing::new(random::<32>(rng));
    let peer = address::peer_id(&SigningSecret::from_seed(&node_key).public());
    let me = Endpoint::generate(name, peer.into_iter().collect(), rng)?;
    store.transaction(|tx| {
        tx.put_meta(ENDPOINT, &me.save())?;
        tx.put_meta(NODE_KEY, node_key.as_slice())?;
        tx.put_name(me.member(), name)
    })?;
    Ok(me.member())
}

/// Whether [`init`] has been done on this store.
pub fn is_initialised(store: &mut Store) -> Result<bool, StoreError> {
    store.read(|tx| Ok(tx.meta(ENDPOINT)?.is_some()))
}

impl Core {
    /// Takes up everything that is stored. `rng` is seeded from the system, once.
    pub fn open(
        mut store: Store,
        mut rng: ChaCha20Rng,
        options: Options,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let (endpoint, node_key) = store
            .transaction(|tx| Ok::<_, StoreError>((tx.meta(ENDPOINT)?, tx.meta(NODE_KEY)?)))?;
        let (Some(endpoint), Some(node_key)) = (endpoint, node_key) else {
            return Err(OpenError::NoIdentity);
        };
        let mut me = Endpoint::load(&endpoint, &mut rng)?;
        let node_key =
            node_key.as_slice().try_into().map(Zeroizing::new).map_err(|_| StoreError::Damaged)?;
        let node_key = keys::node_key(&mut store, &mut me, node_key, now, &mut rng)?;
        let passes = passes::load(&mut store)?;
        let trust = store.read(Trust::load)?;
        let me = Arc::new(me);
        let noise = NoiseKey::generate(&me, now, &mut rng);
        let mut core = Self {
            store,
            me,
            node_key,
            noise,
            rng,
            options,
            started: now,
            groups: BTreeMap::new(),
            unloaded: BTreeSet::new(),
            erasing: BTreeSet::new(),
            index_at: None,
            queued: BTreeSet::new(),
            wired: BTreeSet::new(),
            resting: BTreeMap::new(),
            peers: Peers::default(),
            latencies: Latencies::default(),
            pings: Pings::default(),
            asked: VecDeque::new(),
            relays: BTreeMap::new(),
            watches: BTreeMap::new(),
            logs: BTreeMap::new(),
            teller: None,
            hosted: Hosted::default(),
            joining: Joining::default(),
            passes,
            invited: BTreeMap::new(),
            closed: BTreeMap::new(),
            streams: Streams::default(),
            after: After { logs: true, members: true, moved: true, ..After::default() },
            again: None,
            tell_at: None,
            due: due::Due::default(),
            backlogs: BTreeMap::new(),
            tidy: now,
            overtaking: Overtaking::default(),
            accesses: Accesses::default(),
            typing: BTreeMap::new(),
            trust,
            names: Names::default(),
            effects: VecDeque::new(),
        };
        core.take_up(now)?;
        core.load_access()?;
        core.load_talks()?;
        core.finish(now);
        Ok(core)
    }

    /// This node's secrets, for channels.
    #[must_use]
    pub fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.me)
    }

    /// The Ed25519 seed of the libp2p node key; its PeerId is on the card.
    #[must_use]
    pub fn node_key(&self) -> &[u8; 32] {
        &self.node_key
    }

    /// A read-only view of the store.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        self.store.reader()
    }

    /// How everything stands.
    pub fn status(&mut self, now: Timestamp) -> Result<Status, VerbError> {
        Ok(Status {
            v: VERSION,
            me: MemberRef {
                id: self.me.member().to_string(),
                name: self.me.card().card().name.clone(),
            },
            fingerprint: fingerprint::of_member(&self.me.member()),
            version: env!("CARGO_PKG_VERSION").into(),
            started: rfc3339(self.started),
            up_s: now.ms_since(self.started) / 1000,
            listen: self.peers.listening.clone(),
            direct: self.options.direct,
            fixed: self.options.fixed,
            outside: self.peers.outlook.all(),
            ipv6: self.ipv6_status(),
            lan: self.lan_status(),
            port_map: self.port_map_status(),
            relay_proxy: self.options.relay_proxy.map(|proxy| proxy.to_string()),
            relays: self.relay_statuses(now)?,
            groups: self.groups(now)?,
            paths: self.paths(now),
        })
    }

    /// When [`Self::on_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let groups = self.groups.values().filter(|group| is_active(group)).filter_map(|group| {
            let rests = self.resting.get(&group.id()).copied().unwrap_or_default();
            Some(group.deadline()?.max(rests))
        });
        groups
            .chain(self.again)
            .chain(self.tell_at)
            .chain(self.due.deadline())
            .chain(self.erase_due())
            .chain(self.index_at)
            .chain(self.joining.deadline())
            .chain(self.hosted.requests.deadline())
            .chain(self.refused_deadline())
            .chain(self.streams.deadline())
            .chain(self.overtake_due())
            .chain(self.withheld_deadline())
            .chain([self.tidy])
            .min()
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let result = self.do_due(now);
        if result.is_err() {
            self.again = Some(now.plus_ms(AGAIN_MS));
        }
        self.finish(now);
        result
    }

    /// The clock was set back: what was to be done at times of the old clock is due now, and the
    /// groups are taken up again with the new one.
    pub fn on_clock_set_back(&mut self, now: Timestamp) {
        self.resting.clear();
        self.tidy = now;
        self.again = Some(now);
        self.tell_at = self.tell_at.map(|_| now);
        self.index_at = self.index_at.map(|_| now);
        self.refused_due(now);
        self.overtaking.all_due();
        self.joining.all_due();
        self.hosted.requests.all_due();
        self.relays.values_mut().for_each(|relay| relay.watch.clock_set_back(now));
        self.unloaded.extend(self.groups.keys());
    }

    /// The next piece of work for the network, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// How many bytes wait for the network.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.effects.iter().map(Effect::bytes).sum()
    }

    #[cfg(test)]
    fn refuse_commits(&mut self, refuse: bool) {
        self.store.refuse_commits(refuse);
    }

    fn take_up(&mut self, now: Timestamp) -> Result<(), OpenError> {
        for id in self.store.read(|tx| tx.groups())? {
            let records = self.store.read(|tx| tx.records(id))?;
            if records.is_empty() {
                self.erasing.insert(id);
                continue;
            }
            let group = Group::load(&self.me, records, now)?;
            if self.store.read(|tx| tx.queued(id))? > 0 {
                self.queued.insert(id);
            }
            // A backup holds neither what waited to be sealed as such, nor which relays were left.
            self.store.transaction(|tx| {
                tx.settle_places(id, group.lamport())?;
                tx.put_former(id, group.left_since_joined(), now)?;
                tx.put_former(id, group.former_relays(), Timestamp(0))
            })?;
            self.groups.insert(id, group);
        }
        self.tell_at = self.store.read(|tx| tx.untold_due())?;
        self.take_up_due()?;
        self.index_at = self.store.read(|tx| tx.lacks_index())?.then_some(now);
        for row in self.store.read(|tx| tx.invites())? {
            self.hosted.add(row);
        }
        for row in self.store.read(|tx| tx.requests())? {
            self.hosted.requests.add(row);
        }
        for row in self.store.read(|tx| tx.joins())? {
            self.resume_join(row);
        }
        Ok(self.try_joins(now)?)
    }

    fn do_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.again.take_if(|again| *again <= now).is_some() {
            self.reload(now);
            (self.after.logs, self.after.members, self.after.outbox) = (true, true, true);
        }
        let due = |group: &&Group| group.deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<GroupId> =
            self.groups.values().filter(|g| is_active(g)).filter(due).map(Group::id).collect();
        for id in due {
            if self.resting.get(&id).is_some_and(|until| *until > now) {
                continue;
            }
            self.resting.insert(id, now.plus_ms(REST_MS));
            self.step(id, now, |group, step| {
                group.on_deadline(step.cx());
                Ok::<_, StoreError>(())
            })?;
        }
        self.tell_deliveries(now)?;
        self.expire(now)?;
        self.erase()?;
        self.index(now)?;
        self.try_joins(now)?;
        self.serve_due(now)?;
        self.retry_refused(now)?;
        self.close_silent(now);
        self.overtake(now)?;
        self.ask_relays(now)?;
        if self.tidy <= now {
            // Where the clock has leapt, what only looks old gets another hour.
            let leapt = now.ms_since(self.tidy) > 24 * HOUR_MS;
            self.tidy = now.plus_ms(HOUR_MS);
            self.renew_noise(now);
            self.renew_keys(now)?;
            if !leapt {
                self.tidy_up(now)?;
            }
        }
        Ok(())
    }

    fn renew_noise(&mut self, now: Timestamp) {
        if self.noise.not_after() < now.plus_ms(24 * HOUR_MS) {
            self.noise = NoiseKey::generate(&self.me, now, &mut self.rng);
        }
    }

    fn tidy_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.store.transaction(|tx| {
            tx.trim_archive(now)?;
            tx.trim_outbox(now)?;
            tx.trim_joins(Timestamp(now.0.saturating_sub(JOINS_KEPT_MS)))
        })?;
        // A relay that was left may have been read for long enough.
        self.after.logs = true;
        self.trim_inboxes(now)?;
        self.forget_invites(now)
    }

    /// Does what follows from the steps before. What the store refuses is tried again later.
    fn finish(&mut self, now: Timestamp) {
        if let Err(error) = self.follow_up(now).and_then(|()| self.tell_backlogs(now)) {
            tracing::error!(%error, "the store refuses; trying again");
            self.again = Some(now.plus_ms(AGAIN_MS));
        }
        self.tell_open(now);
        if let Some(seq) = self.after.woken.take() {
            self.effects.push_back(Effect::Woken(seq));
        }
    }

    fn follow_up(&mut self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            // Nothing is sealed to whoever came under another one's name.
            if self.after.members {
                self.watch_names(now)?;
                self.watch_renames(now)?;
            }
            self.flush(now)?;
            let woken = self.after.woken.take();
            let mut todo = std::mem::replace(&mut self.after, After { woken, ..After::default() });
            if todo.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.follow_steps(&mut todo, now) {
                // Nobody else says again what followed: all of it waits for the store.
                self.adopt(todo);
                return Err(error);
            }
        }
    }

    fn follow_steps(&mut self, todo: &mut After, now: Timestamp) -> Result<(), StoreError> {
        // One that fails is taken up again, and comes again by that.
        while let Some(id) = todo.reloaded.pop() {
            self.catch_up(id, now)?;
            self.take_waiting_welcomes(id, now)?;
        }
        self.present(&todo.present, now)?;
        todo.present.clear();
        if todo.moved {
            self.follow_moves(now)?;
        }
        if todo.members {
            self.settle_requests()?;
            self.settle_talks(now)?;
            self.overtake(now)?;
            self.meet(now)?;
        }
        if todo.logs {
            self.take_up_invites(now)?;
            self.drop_passes()?;
            self.plan(&todo.anew, now)?;
            self.tell_outside();
            self.tell_known(now)?;
        }
        if todo.outbox {
            self.pump()?;
        }
        Ok(())
    }
}
