//! A group in a state that a seed chose, and whatever a member or a relay may bring to it.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cell::OnceCell;

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::Choices;
use crate::{
    bundle::SignedHead,
    chain::{Draft, HeadRef, SendChain},
    codec,
    endpoint::Endpoint,
    envelope::HeaderKey,
    group::{Cx, Group, Output, Source},
    hash::{Label, hash32},
    ids::{ChainId, GroupId, LogId, MemberId, MessageId, Timestamp},
    limits,
    relay_log::{Answer, Cursor, Request},
    sign::Context,
    sim::world::World,
    snapshot::SnapshotError,
};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One node's stored state, and the people around it with their keys.
pub(super) struct Scene {
    people: Vec<Endpoint>,
    subject: usize,
    records: Records,
    /// Each person's own chain, as far as it had gone.
    chains: Vec<Option<SendChain>>,
    header_key: Option<HeaderKey>,
    group: GroupId,
    log: LogId,
    /// What the relay holds, and frames that crossed the channels.
    entries: Vec<Vec<u8>>,
    now: Timestamp,
}

const SCENES: usize = 12;

/// An invite code without addresses.
const CODE: &[u8] =
    b"wattle1qyqqq2z6tfd95kj6tfd95kj6tfd95kj6tfd95knnd9u8get9dcsxy7t5v4ejqmmtkt3f54";

/// The scenes, each made when it is first asked for: what a target keeps from input to input.
#[derive(Default)]
pub struct Stage([OnceCell<Scene>; SCENES]);

impl Stage {
    /// The scene that this byte chooses.
    pub(super) fn scene(&self, seed: u8) -> &Scene {
        let seed = usize::from(seed) % SCENES;
        self.0[seed].get_or_init(|| Scene::new(seed))
    }
}

pub(super) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(99)
}

impl Scene {
    fn new(seed: usize) -> Self {
        let people = 2 + seed % 3;
        let relay = seed.is_multiple_of(2);
        let mut world = World::with(people, relay);
        let linked = |world: &mut World| {
            for a in 0..people {
                (a + 1..people).for_each(|b| world.link(a, b));
            }
        };
        linked(&mut world);
        world.settle();
        for at in 0..people {
            world.say(at, "a word");
        }
        world.settle();
        let last = world.id(people - 1);
        match seed / 3 {
            0 => {}
            1 => drop(world.act(0, |group, cx| group.promote(cx, last))),
            2 => drop((world.invite(0), world.say(0, "another word"))),
            // The subject hasn't heard of it yet.
            _ => drop(world.act(people - 1, |group, cx| group.leave(cx))),
        }
        let subject = seed % people.min(2);
        let all = 0..people;
        let member = |at: usize| world.people[at].group.as_ref().unwrap();
        let log = member(0).logs().first().map_or(LogId([0; 20]), |log| log.keys.id());
        Self {
            subject,
            records: world.people[subject].records.clone(),
            chains: all.map(|at| member(at).own_chain()).collect(),
            header_key: member(0).newest_header_key(),
            group: member(0).id(),
            log,
            entries: world.logs.values().flatten().cloned().collect(),
            now: world.now,
            people: world.people.into_iter().map(|person| person.me).collect(),
        }
    }

    /// Whose state it is.
    pub(super) fn me(&self) -> &Endpoint {
        &self.people[self.subject]
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn load(&self, records: Records) -> Result<Group, SnapshotError> {
        Group::load(&self.people[self.subject], records, self.now)
    }
}

/// A node in a scene, and the steps that it takes.
struct Play<'a> {
    scene: &'a Scene,
    group: Group,
    records: Records,
    chains: Vec<Option<SendChain>>,
    now: Timestamp,
    rng: ChaCha20Rng,
}

impl<'a> Play<'a> {
    fn new(scene: &'a Scene) -> Self {
        let group = scene.load(scene.records.clone()).unwrap();
        let mut play = Self {
            scene,
            group,
            records: scene.records.clone(),
            chains: scene.chains.clone(),
            now: scene.now,
            rng: rng(),
        };
        play.drain();
        play
    }

    fn others(&self) -> Vec<usize> {
        (0..self.scene.people.len()).filter(|at| *at != self.scene.subject).collect()
    }

    fn one(&self, choices: &mut Choices<'_>) -> (usize, MemberId) {
        let others = self.others();
        let at = others[choices.below(others.len())];
        (at, self.scene.people[at].member())
    }

    /// A handler; what it refuses has changed nothing.
    fn tell<E>(&mut self, handler: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> Result<(), E>) {
        let me = &self.scene.people[self.scene.subject];
        let answer = handler(&mut self.group, Cx { me, now: self.now, rng: &mut self.rng });
        if answer.is_err() {
            assert!(self.group.is_drained(), "refused, and yet something changed");
        }
        self.drain();
    }

    fn envelope(&mut self, from: Source, bytes: &[u8]) {
        self.tell(|group, cx| group.on_envelope(cx, from, bytes));
    }

    fn frame(&mut self, from: MemberId, bytes: &[u8]) {
        self.tell(|group, cx| group.on_frame(cx, from, bytes));
    }

    fn statement(&mut self, by: usize, kind: u8, payload: &[u8]) {
        let me = &self.scene.people[by];
        let cx = Cx { me, now: self.now, rng: &mut self.rng };
        let Some(envelope) = self.group.forge_control(cx, kind, payload) else { return };
        let log = self.scene.log;
        self.envelope(Source::Log(log), &envelope);
    }

    /// Everything is carried out; outputs keep to the bounds.
    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.group.poll() {
            outputs += 1;
            assert!(outputs < 20_000, "a step without end");
            match output {
                Output::Publish { envelope, .. } => {
                    assert!(limits::BUCKETS.contains(&envelope.len()));
                }
                Output::Frame { frame, .. } => assert!(frame.len() <= limits::FRAME_MAX),
                _ => {}
            }
        }
        for change in self.group.changes() {
            match change.value {
                Some(value) => drop(self.records.insert(change.key, value.to_vec())),
                None => drop(self.records.remove(&change.key)),
            }
        }
    }

    /// At the end the node goes down and comes back: after an input in eight, since it takes long.
    fn end(mut self, input: &[u8]) {
        if !input.len().is_multiple_of(8) {
            return;
        }
        let all = self.group.all_records();
        assert_eq!(self.group.all_records(), all);
        for (key, value) in &all {
            assert!(self.records.get(key) == Some(value), "{key:02x?} was not committed");
        }
        assert!(self.scene.load(self.records).is_ok(), "what was committed can't be read");
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let (by, member) = self.one(choices);
        let log = Source::Log(self.scene.log);
        match choices.below(12) {
            0 => self.envelope(log, choices.some()),
            1 => self.frame(member, choices.some()),
            2 => self.statement(by, choices.below(40) as u8, choices.some()),
            3 => {
                let entries = &self.scene.entries;
                if let Some(entry) = entries.get(choices.below(entries.len())) {
                    let mut entry = entry.clone();
                    let at = choices.number() as usize % entry.len();
                    entry[at] ^= choices.byte();
                    self.envelope(Source::Member(member), &entry);
                }
            }
            4 => self.message(by, choices),
            // Any body and any core, signed by a member: past the first signature.
            5 => {
                let body = choices.some();
                let signature = self.scene.people[by].identity().sign(Context::Op, &[body]);
                let op = signed(body, None, &signature.0);
                self.statement(by, 1, &list(&[&op]));
            }
            6 => {
                let (core, page) = (choices.some(), choices.some());
                let head = self.head(by, core, page);
                let _ = SignedHead::from_bytes(&head);
                let mut payload = Vec::new();
                let mut e = minicbor::Encoder::new(&mut payload);
                e.array(2).unwrap().bytes(&head).unwrap().array(1).unwrap().bytes(page).unwrap();
                self.statement(by, 2, &payload);
            }
            7 => {
                let ms = choices.number() % (40 * 24 * 60 * 60 * 1000);
                self.now = self.now.plus_ms(ms);
                self.tell(|group, cx| {
                    group.on_deadline(cx);
                    Ok::<_, ()>(())
                });
            }
            8 => self.tell(|group, cx| {
                group.on_channel_up(cx, member);
                Ok::<_, ()>(())
            }),
            9 => self.tell(|group, cx| {
                group.on_channel_down(cx, member);
                Ok::<_, ()>(())
            }),
            10 => self.tell(|group, cx| group.send(cx, choices.byte(), choices.some()).map(|_| ())),
            _ => self.tell(|group, cx| match choices.below(4) {
                0 => group.remove(cx, member).map(|_| ()),
                1 => group.promote(cx, member).map(|_| ()),
                2 => group.rotate(cx),
                _ => group.leave(cx),
            }),
        }
    }

    /// A member's message, in a chain that the subject may know.
    fn message(&mut self, by: usize, choices: &mut Choices<'_>) {
        let head = |choices: &mut Choices<'_>| HeadRef {
            chain: self.chains[choices.below(self.chains.len())]
                .as_ref()
                .map_or(ChainId([choices.byte(); 16]), SendChain::id),
            index: choices.byte().into(),
            id: MessageId([choices.byte(); 16]),
        };
        let heads = (0..choices.below(9)).map(|_| head(choices)).collect();
        let (kind, lamport, at) = (choices.byte(), choices.number(), Timestamp(choices.number()));
        let draft = Draft { kind, heads, lamport, at, payload: choices.some() };
        let (Some(chain), Some(key)) = (&mut self.chains[by], &self.scene.header_key) else {
            return;
        };
        let keys = core::slice::from_ref(key);
        let Ok(sealed) = chain.seal(&self.scene.group, keys, draft, &mut self.rng) else { return };
        let log = Source::Log(self.scene.log);
        sealed.envelopes.iter().for_each(|envelope| self.envelope(log, envelope));
    }

    fn head(&self, by: usize, core: &[u8], page: &[u8]) -> Vec<u8> {
        let context = hash32(Label::BundleContext, &[core]);
        let pages = hash32(Label::BundlePage, &[page]);
        let all = hash32(Label::BundlePages, &[&pages]);
        let me = self.scene.people[by].identity();
        let signature = me.sign(Context::Bundle, &[&context, &all]);
        signed(core, Some(&pages), &signature.0)
    }
}

/// Several steps of everything that can happen to a node.
pub fn group(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut play = Play::new(stage.scene(choices.byte()));
    let mut steps = 0;
    while !choices.is_over() && steps < 12 {
        play.step(&mut choices);
        steps += 1;
    }
    play.end(bytes);
}

/// A single frame on a member's channel: the seed, the member, and then the frame's own bytes.
pub fn frames(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut play = Play::new(stage.scene(choices.byte()));
    let (_, member) = play.one(&mut choices);
    play.frame(member, choices.rest());
    play.end(bytes);
}

/// A single statement in a control envelope: the seed, the member, the kind, and then the
/// statement's own bytes.
pub fn statements(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut play = Play::new(stage.scene(choices.byte()));
    let (by, _) = play.one(&mut choices);
    let kind = choices.byte();
    play.statement(by, kind, choices.rest());
    play.end(bytes);
}

fn signed(body: &[u8], pages: Option<&[u8]>, signature: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut e = minicbor::Encoder::new(&mut bytes);
    e.array(2 + u64::from(pages.is_some())).unwrap().bytes(body).unwrap();
    if let Some(pages) = pages {
        e.bytes(pages).unwrap();
    }
    e.bytes(signature).unwrap();
    bytes
}

fn list(items: &[&[u8]]) -> Vec<u8> {
    let items: Vec<minicbor::bytes::ByteVec> =
        items.iter().map(|item| Vec::from(*item).into()).collect();
    codec::encode(&items)
}

/// Inputs to begin with, of what honest nodes say in the scenes: the target's name, and the input.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (relay, seed) in [(true, 0), (false, 3)] {
        let mut world = World::with(2 + seed % 3, relay);
        let mut frames = Vec::new();
        world.link(0, 1);
        for round in 0..40 {
            if round == 9 {
                world.say(0, "a word");
                world.say(1, "an answer");
            }
            frames.extend(world.frames.iter().map(|(_, _, frame)| frame.clone()));
            world.deliver_frame(0);
            world.pass(500);
        }
        frames.sort();
        frames.dedup();
        let last = world.id(1);
        world.act(0, |group, cx| group.promote(cx, last)).unwrap();
        world.act(0, |group, cx| group.remove(cx, last)).unwrap();
        let group = world.people[0].group.as_ref().unwrap();
        let mut of: BTreeMap<u8, usize> = BTreeMap::new();
        for (kind, payload) in world.logs.values().flatten().filter_map(|it| group.read_control(it))
        {
            let count = of.entry(kind).or_default();
            *count += 1;
            if *count <= 3 {
                seeds.push(("decoders", payload.clone()));
                seeds.push(("statements", [&[seed as u8, 0, kind], &*payload].concat()));
            }
        }
        for frame in frames.into_iter().take(24) {
            seeds.push(("frames", [&[seed as u8, 0], &*frame].concat()));
            seeds.push(("decoders", frame));
        }
        seeds.extend(world.people[0].records.values().map(|value| ("decoders", value.clone())));
        let me = world.people[0].me.save().to_vec();
        seeds.push(("decoders", me));
    }
    let cursor = Cursor { generation: 1, seq: 9 };
    for frame in [
        codec::encode(&Request::Close { handle: 7 }),
        codec::encode(&Request::Follow { handle: 7, after: None }),
        codec::encode(&Request::Trim { req: 8, handle: 7, cursor }),
        codec::encode(&Answer::Trimmed { req: 8, cursor }),
        codec::encode(&Answer::Begins { handle: 7, cursor }),
        codec::encode(&Answer::Leaving { retry_ms: 9 }),
    ] {
        seeds.push(("relay", frame));
    }
    seeds.push(("codes", CODE.into()));
    for seed in 0..SCENES as u8 {
        seeds.push(("stored", Vec::from([seed, 3 * seed, 2, 0, 0, 0, 0, 0, 0, 0, 9, 1])));
        let step = |step: u8| [0, step, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let steps: Vec<u8> = (0..12).flat_map(|at| step((seed + 5 * at) % 12)).collect();
        seeds.push(("group", [&[seed], &*steps].concat()));
    }
    for kind in 0..8 {
        let sound = Vec::from([7, kind, 5, kind, 0, 3, b'o', b'n', b'e', 5, 0, 3, 1, 2, 3, 5]);
        seeds.push(("handshake", sound.clone()));
        seeds.push(("letters", [&[5, 0, 3], b"one".as_slice(), &[2, 0, 5], &sound].concat()));
        seeds.push(("join", [&[0, 5, 5, 5, kind, 0, 4], &*sound].concat()));
        seeds.push(("mailbox", [&[kind, kind, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9], &*sound].concat()));
    }
    seeds
}
