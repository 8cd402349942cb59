//! The bench: nodes, relays, a clock, and everything that carries bytes between them.

mod relays;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use libp2p::PeerId;
use protocol::{
    ids::{LogId, MemberId, Timestamp},
    noise::Peer,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use tempfile::TempDir;

use self::relays::{Connection, Following, Relay};
use crate::{
    api::types::{CreateGroup, CreateInvite, Event, JoinState, JoinView, Message, Via},
    core::{Core, Effect, Options, init},
    net::{
        BookEntry, Reach, address,
        mesh::INBOUND,
        relay::{Begin, RelayKey, RelayReport},
    },
    store::{Store, Unlock},
};

pub(super) struct World {
    pub(super) now: Timestamp,
    nodes: BTreeMap<&'static str, Node>,
    relays: BTreeMap<RelayKey, Relay>,
    inbound: u64,
    /// Pairs that can't reach each other directly.
    pub(super) cut: BTreeSet<(&'static str, &'static str)>,
}

pub(super) struct Node {
    dir: TempDir,
    options: Options,
    core: Option<Core>,
    seed: u64,
    plans: BTreeMap<RelayKey, Connection>,
    book: Option<Vec<BookEntry>>,
    open: bool,
    channels: BTreeSet<MemberId>,
    streams: BTreeMap<u64, (&'static str, u64)>,
    /// Effects carried out so far, and after how many the process dies.
    effects: usize,
    dies_after: Option<usize>,
    inbox: VecDeque<Input>,
    /// What was told once.
    pub(super) live: Vec<Event>,
}

enum Input {
    Frame(MemberId, Vec<u8>),
    JoinOpen(u64),
    JoinFrame(u64, Vec<u8>),
    JoinClosed(u64),
    Relay(RelayKey, RelayReport),
}

pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: START,
            nodes: BTreeMap::new(),
            relays: BTreeMap::new(),
            inbound: INBOUND,
            cut: BTreeSet::new(),
        }
    }

    /// A relay; gives its address.
    pub(super) fn relay(&mut self, number: u8) -> String {
        let secret = libp2p::identity::ed25519::SecretKey::try_from_bytes([number; 32]).unwrap();
        let keys = libp2p::identity::ed25519::Keypair::from(secret);
        let peer = PeerId::from_public_key(&keys.public().into());
        self.relays.insert(peer, Relay::default());
        format!("/ip4/192.0.2.{number}/tcp/4407/p2p/{peer}")
    }

    /// A node that reaches the world through these relays alone.
    pub(super) fn node(&mut self, name: &'static str, relays: &[&str]) {
        self.add(name, relays, Options::default());
    }

    /// A node that makes and takes direct connections, too.
    pub(super) fn direct_node(&mut self, name: &'static str, relays: &[&str]) {
        self.add(name, relays, Options { direct: true, ..Options::default() });
    }

    /// A node for local networks alone, which finds the others there.
    pub(super) fn lan_node(&mut self, name: &'static str) {
        let options =
            Options { direct: true, reach: Reach::Local, mdns: true, ..Options::default() };
        self.add(name, &[], options);
    }

    fn add(&mut self, name: &'static str, relays: &[&str], options: Options) {
        let dir = tempfile::tempdir().unwrap();
        let seed = u64::try_from(self.nodes.len()).unwrap() * 1000;
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        init(&mut store, name, &mut ChaCha20Rng::seed_from_u64(seed)).unwrap();
        drop(store);
        let relays = relays.iter().map(|relay| (*relay).to_owned()).collect();
        let node = Node {
            dir,
            options: Options { relays, ..options },
            core: None,
            seed,
            plans: BTreeMap::new(),
            book: None,
            open: false,
            channels: BTreeSet::new(),
            streams: BTreeMap::new(),
            effects: 0,
            dies_after: None,
            inbox: VecDeque::new(),
            live: vec![],
        };
        self.nodes.insert(name, node);
        self.start(name);
    }

    pub(super) fn start(&mut self, name: &'static str) {
        let now = self.now;
        let listen = format!("/ip4/198.51.100.{}/tcp/4000/p2p/", self.nodes.len());
        let node = self.nodes.get_mut(name).unwrap();
        node.seed += 1;
        let store = Store::open(node.dir.path(), &Unlock::KeyFile).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(node.seed);
        let mut core = Core::open(store, rng, node.options.clone(), now).unwrap();
        if node.options.direct {
            let peer = core.endpoint().card().card().nodes[0].to_vec();
            let peer = PeerId::from_bytes(&peer).unwrap();
            core.on_listening(vec![format!("{listen}{peer}")], now).unwrap();
        }
        core.on_time(now, now.ms_since(START));
        node.core = Some(core);
    }

    /// Kills a node's process: what it has not committed is gone.
    pub(super) fn stop(&mut self, name: &'static str) {
        let node = self.nodes.get_mut(name).unwrap();
        let member = node.core.take().map(|core| core.endpoint().member());
        node.plans.clear();
        node.inbox.clear();
        (node.book, node.open, node.dies_after) = (None, false, None);
        node.channels.clear();
        let streams = std::mem::take(&mut node.streams);
        for (peer, stream) in streams.into_values() {
            self.tell(peer, Input::JoinClosed(stream));
        }
        let now = self.now;
        for other in self.nodes.values_mut() {
            if let (Some(core), Some(member)) = (&mut other.core, member)
                && other.channels.remove(&member)
            {
                core.on_channel_down(member, "the connection was closed".into(), now).unwrap();
            }
        }
    }

    /// Where a node keeps what it has.
    pub(super) fn dir(&self, name: &str) -> &std::path::Path {
        self.nodes[name].dir.path()
    }

    /// A copy of a node's disk. The node is stopped, and starts again.
    pub(super) fn disk(&mut self, name: &'static str) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        self.stop(name);
        copy_files(self.nodes[name].dir.path(), copy.path());
        self.start(name);
        copy
    }

    /// Sets a node back to a copy of its disk.
    pub(super) fn set_back(&mut self, name: &'static str, disk: TempDir) {
        self.stop(name);
        self.nodes.get_mut(name).unwrap().dir = disk;
        self.start(name);
    }

    /// Lets a node's process die after it has carried out so many more effects.
    pub(super) fn dies_after(&mut self, name: &'static str, effects: usize) {
        let node = self.nodes.get_mut(name).unwrap();
        node.dies_after = Some(node.effects + effects);
    }

    pub(super) fn lives_on(&mut self, name: &'static str) {
        self.nodes.get_mut(name).unwrap().dies_after = None;
    }

    pub(super) fn is_dead(&self, name: &str) -> bool {
        self.nodes[name].core.is_none()
    }

    /// Whether a node lets strangers in.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.nodes[name].open
    }

    pub(super) fn relay_stands(&mut self, relay: &str, stands: bool) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().down = !stands;
    }

    /// The logs that a node's groups write to now take nothing more at a relay.
    pub(super) fn logs_are_full(&mut self, relay: &str, name: &'static str) {
        let peer = address::relays([relay])[0].peer_id;
        let groups = self.core(name).groups.values();
        let logs = groups.flat_map(protocol::group::Group::logs);
        let full = logs.filter(|log| log.role == protocol::group::LogRole::Write);
        let full: Vec<LogId> = full.map(|log| log.keys.id()).collect();
        self.relays.get_mut(&peer).unwrap().full_logs.extend(full);
    }

    /// Whether a relay refuses every entry.
    pub(super) fn relay_is_full(&mut self, relay: &str, full: bool) {
        let peer = address::relays([relay])[0].peer_id;
        self.relays.get_mut(&peer).unwrap().full = full;
    }

    pub(super) fn core(&mut self, name: &str) -> &mut Core {
        self.nodes.get_mut(name).unwrap().core.as_mut().unwrap()
    }

    pub(super) fn node_of(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    pub(super) fn member(&mut self, name: &str) -> MemberId {
        self.core(name).endpoint().member()
    }

    pub(super) fn events(&mut self, name: &str) -> Vec<Event> {
        self.core(name).reader().unwrap().events(0, 100_000).unwrap()
    }

    pub(super) fn history(&mut self, name: &str) -> Vec<Message> {
        let groups: Vec<_> = self.core(name).groups.keys().copied().collect();
        let reader = self.core(name).reader().unwrap();
        match groups[..] {
            [group] => reader.messages(group, None, 10_000).unwrap(),
            _ => reader.came_after(None, 0, 10_000).unwrap(),
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        self.history(name).into_iter().map(|message| message.text).collect()
    }

    /// Everything that relays hold.
    pub(super) fn stored(&self) -> Vec<Bytes> {
        let logs = self.relays.values().flat_map(|relay| relay.logs.values());
        logs.flatten().cloned().collect()
    }

    // Verbs, in the words of a story.

    pub(super) fn create(&mut self, name: &'static str, group: &str) {
        let now = self.now;
        self.core(name).create_group(&CreateGroup::named(group), now).unwrap();
        self.settle();
    }

    pub(super) fn invite(&mut self, name: &'static str, group: &str) -> String {
        self.invite_with(name, group, &CreateInvite::default())
    }

    pub(super) fn invite_with(
        &mut self,
        name: &'static str,
        group: &str,
        terms: &CreateInvite,
    ) -> String {
        let now = self.now;
        let invite = self.core(name).invite(group, terms, now).unwrap();
        self.settle();
        invite.code.unwrap()
    }

    pub(super) fn join(&mut self, name: &'static str, code: &str) -> JoinView {
        let now = self.now;
        let join = self.core(name).join(code, now).unwrap();
        self.settle();
        self.core(name).join_state(&join.id).unwrap()
    }

    pub(super) fn joined(&mut self, name: &'static str, code: &str) {
        let join = self.join(name, code);
        assert_eq!(join.state, JoinState::Joined, "{}", join.detail);
    }

    /// Ada, who knows these relays, founds a group, and Bob joins it; both make and take direct connections.
    pub(super) fn pair(&mut self, relays: &[&str]) {
        self.direct_node("ada", relays);
        self.create("ada", "reading");
        let code = self.invite("ada", "reading");
        self.direct_node("bob", &[]);
        self.joined("bob", &code);
    }

    pub(super) fn send(&mut self, name: &'static str, group: &str, text: &str) -> Message {
        let now = self.now;
        let message = self.core(name).send(group, text, now).unwrap();
        self.settle();
        message
    }

    pub(super) fn remove(&mut self, name: &'static str, group: &str, member: &str) {
        let now = self.now;
        self.core(name).remove(group, member, now).unwrap();
        self.settle();
    }

    // The world's own ways.

    /// Lets everything happen that can happen at this instant.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let names: Vec<&'static str> = self.nodes.keys().copied().collect();
            let mut busy = false;
            for name in names {
                busy |= self.carry_out(name);
                busy |= self.deliver(name);
                busy |= self.serve(name);
            }
            busy |= self.connect();
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Only one node goes on, at another time than the world's; what it does then is not delivered.
    pub(super) fn alone(&mut self, name: &str, ms: u64, ahead_ms: i64) {
        let ran = self.now.ms_since(START);
        let core = self.core(name);
        for ran in (ran..ran + ms).step_by(30_000).chain([ran + ms]) {
            let now = Timestamp((START.0 + ran).saturating_add_signed(ahead_ms));
            core.on_time(now, ran);
            if core.deadline().is_some_and(|deadline| deadline <= now) {
                core.on_deadline(now).unwrap();
            }
        }
        self.now = START.plus_ms(ran + ms);
    }

    /// Lets time pass, in steps no longer than to the next deadline.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        self.settle();
        while self.now < end {
            let cores = self.nodes.values().filter_map(|node| node.core.as_ref());
            let next = cores.filter_map(Core::deadline).min().unwrap_or(end).min(end);
            self.now = next.max(self.now.plus_ms(1));
            let now = self.now;
            for node in self.nodes.values_mut() {
                if let Some(core) = &mut node.core {
                    core.on_time(now, now.ms_since(START));
                }
                if let Some(core) = &mut node.core
                    && core.deadline().is_some_and(|deadline| deadline <= now)
                {
                    core.on_deadline(now).unwrap();
                }
            }
            self.settle();
        }
    }

    fn tell(&mut self, name: &str, input: Input) {
        let node = self.nodes.get_mut(name).unwrap();
        if node.core.is_some() {
            node.inbox.push_back(input);
        }
    }

    fn carry_out(&mut self, name: &'static str) -> bool {
        let mut busy = false;
        loop {
            let node = self.nodes.get_mut(name).unwrap();
            let Some(core) = &mut node.core else { return busy };
            if node.dies_after.is_some_and(|at| node.effects >= at) {
                self.stop(name);
                return true;
            }
            let Some(effect) = core.poll_effect() else { return busy };
            node.effects += 1;
            busy = true;
            self.effect(name, effect);
        }
    }

    fn effect(&mut self, name: &'static str, effect: Effect) {
        let member = self.member(name);
        let node = self.nodes.get_mut(name).unwrap();
        match effect {
            Effect::RelayPlan(relay, logs) => {
                let connection = node.plans.entry(relay.peer_id).or_default();
                let mut old = std::mem::take(&mut connection.logs);
                for plan in logs {
                    let id = plan.keys.id();
                    let begin = plan.begin;
                    let mut following = old.remove(&id).unwrap_or_else(|| Following {
                        read: plan.after.map_or(0, |cursor| usize::try_from(cursor.seq).unwrap()),
                        waits: plan.after.is_none(),
                        plan,
                        caught_up: false,
                    });
                    following.waits &= begin == Begin::OwnFirst;
                    connection.logs.insert(id, following);
                }
                // As the ledger does: what waits for a log that is wanted no more is refused.
                let gone = |log: &LogId| old.contains_key(log);
                for (_, tag, _) in connection.appends.extract_if(.., |(log, ..)| gone(log)) {
                    let reason = protocol::relay_log::Refusal::NoSuchHandle;
                    let refused = RelayReport::Refused { tag, reason };
                    node.inbox.push_back(Input::Relay(relay.peer_id, refused));
                }
            }
            Effect::FollowAnew { relay, log, after } => {
                let connection = node.plans.entry(relay).or_default();
                if let Some(following) = connection.logs.get_mut(&log) {
                    following.read = after.map_or(0, |at| usize::try_from(at.seq).unwrap());
                    (following.caught_up, following.waits) = (false, false);
                }
            }
            Effect::RelayDrop(relay) => {
                node.plans.remove(&relay);
                let is_its = |input: &Input| matches!(input, Input::Relay(key, _) if *key == relay);
                node.inbox.retain(|input| !is_its(input));
            }
            Effect::Append { relay, log, tag, entry } => {
                node.plans.entry(relay).or_default().appends.push((log, tag, entry));
            }
            Effect::Trim { relay, log, cursor } => {
                node.plans.entry(relay).or_default().trims.push((log, cursor));
            }
            Effect::Book(book) => node.book = Some(book),
            Effect::Channel { to, frame } => {
                if node.channels.contains(&to)
                    && let Some(peer) = self.name_of(to)
                {
                    self.tell(peer, Input::Frame(member, frame));
                }
            }
            Effect::JoinDial { stream, addresses } => self.dial(name, stream, &addresses),
            Effect::JoinSend { stream, frame } => {
                if let Some((peer, theirs)) = node.streams.get(&stream).copied() {
                    self.tell(peer, Input::JoinFrame(theirs, frame));
                }
            }
            Effect::JoinClose { stream } => {
                if let Some((peer, theirs)) = node.streams.remove(&stream) {
                    self.nodes.get_mut(peer).unwrap().streams.remove(&theirs);
                    self.tell(peer, Input::JoinClosed(theirs));
                }
            }
            Effect::OpenForJoins(open) => node.open = open,
            Effect::Live(event) => node.live.push(*event),
            Effect::Probe { .. } | Effect::Woken(_) => {}
        }
    }

    fn name_of(&mut self, member: MemberId) -> Option<&'static str> {
        let alive =
            |node: &Node| node.core.as_ref().is_some_and(|core| core.endpoint().member() == member);
        self.nodes.iter().find(|(_, node)| alive(node)).map(|(name, _)| *name)
    }

    fn is_cut(&self, one: &'static str, other: &'static str) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    fn dial(&mut self, name: &'static str, stream: u64, addresses: &[Vec<u8>]) {
        let now = self.now;
        let host = self.nodes.iter_mut().find_map(|(host, node)| {
            let core = node.core.as_mut()?;
            let listening = core.status(now).unwrap().listen;
            let met = listening.iter().filter_map(|text| address::to_bytes(text));
            (node.open && met.into_iter().any(|own| addresses.contains(&own))).then_some(*host)
        });
        match host.filter(|host| !self.is_cut(name, host)) {
            None => self.tell(name, Input::JoinClosed(stream)),
            Some(host) => {
                let theirs = self.inbound;
                self.inbound += 1;
                self.nodes.get_mut(name).unwrap().streams.insert(stream, (host, theirs));
                self.nodes.get_mut(host).unwrap().streams.insert(theirs, (name, stream));
                self.tell(host, Input::JoinOpen(theirs));
                self.tell(name, Input::JoinOpen(stream));
            }
        }
    }

    fn deliver(&mut self, name: &'static str) -> bool {
        let now = self.now;
        let node = self.nodes.get_mut(name).unwrap();
        let Some(core) = &mut node.core else { return false };
        let Some(input) = node.inbox.pop_front() else { return false };
        match input {
            Input::Frame(member, frame) => core.on_channel_frame(member, &frame, now),
            Input::JoinOpen(stream) => core.on_join_open(stream, now),
            Input::JoinFrame(stream, frame) => core.on_join_frame(stream, &frame, now),
            Input::JoinClosed(stream) => {
                node.streams.remove(&stream);
                core.on_join_closed(stream, now)
            }
            Input::Relay(relay, report) => core.on_relay(&relay, report, now),
        }
        .unwrap();
        true
    }

    /// Channels between nodes whose books name each other.
    fn connect(&mut self) -> bool {
        let names: Vec<&'static str> = self.nodes.keys().copied().collect();
        for (i, one) in names.iter().enumerate() {
            for other in &names[i + 1..] {
                if self.is_dead(one) || self.is_dead(other) {
                    continue;
                }
                let (a, b) = (self.member(one), self.member(other));
                let stands = self.nodes[one].channels.contains(&b);
                let wanted = self.wants(one, b)
                    && self.wants(other, a)
                    && (self.can_dial(one, b) || self.can_dial(other, a))
                    && !self.is_cut(one, other);
                if stands != wanted {
                    self.channel(one, other, wanted);
                    self.channel(other, one, wanted);
                    return true;
                }
            }
        }
        false
    }

    fn wants(&self, name: &str, member: MemberId) -> bool {
        let book = self.nodes[name].book.as_ref();
        book.is_some_and(|book| book.iter().any(|entry| entry.member == member))
    }

    fn can_dial(&self, name: &str, member: MemberId) -> bool {
        let book = self.nodes[name].book.iter().flatten();
        book.filter(|entry| entry.member == member).any(|entry| !entry.addresses.is_empty())
    }

    fn channel(&mut self, name: &str, with: &str, stands: bool) {
        let now = self.now;
        let card = self.core(with).endpoint().card().clone();
        let member = card.card().member;
        let node = self.nodes.get_mut(name).unwrap();
        let core = node.core.as_mut().unwrap();
        if stands {
            node.channels.insert(member);
            let certified = Some((*b"the key of a channel's other end", now.plus_ms(1)));
            let peer = Peer { member, card, certified };
            let (address, via) = match node.options.mdns {
                true => ("/ip4/10.0.0.7/udp/1/quic-v1", Via::Mdns),
                false => ("/ip4/198.51.100.1", Via::Told),
            };
            core.on_channel_up(&peer, address.into(), via, now).unwrap();
        } else {
            node.channels.remove(&member);
            core.on_channel_down(member, "the connection was closed".into(), now).unwrap();
        }
    }
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
