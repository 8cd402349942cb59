//! Both ends together: files that arrive whole, whatever becomes of those who give them.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use proptest::{collection, prelude::*};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    wire::{Answer, Request},
    *,
};
use crate::{
    codec,
    ids::{MemberId, Timestamp},
    limits::{FILE_CHUNK, FILE_SILENCE_MS, FILE_SOURCES, FILE_WINDOW},
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ANA: MemberId = MemberId([1; 32]);
const BEN: MemberId = MemberId([2; 32]);
const EVE: MemberId = MemberId([3; 32]);

/// No two of its chunks are alike.
fn content(length: usize) -> Vec<u8> {
    let mut state = length as u64 | 1;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

fn source(content: &[u8]) -> Source {
    let layout = Layout::new(content.len() as u64).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(7);
    let mut reading = Reading::new(FileName::new("plan.pdf").unwrap(), layout, rng);
    while reading.wants().is_some() {
        reading.take(part(content, reading.taken())).unwrap();
    }
    reading.finish().unwrap()
}

/// What somebody does with the frames that it gives.
type Habit = fn(Vec<u8>) -> Vec<Vec<u8>>;

/// Somebody who has the file.
struct Giver {
    serving: Option<Serving>,
    habit: Habit,
}

/// A file that is fetched, and those who give it.
struct World<'a> {
    content: &'a [u8],
    source: &'a Source,
    fetch: Fetch,
    written: Vec<u8>,
    givers: BTreeMap<MemberId, Giver>,
    dropped: Vec<(MemberId, Fault)>,
    /// Frames on their way to who fetches.
    wire: VecDeque<(MemberId, Vec<u8>)>,
    now: Timestamp,
    pieces: usize,
}

const HONEST: Habit = |frame| vec![frame];

impl<'a> World<'a> {
    fn new(content: &'a [u8], source: &'a Source) -> Self {
        let fetch = Fetch::new(source.offer().clone());
        Self {
            content,
            source,
            fetch,
            written: vec![0; content.len()],
            givers: BTreeMap::new(),
            dropped: Vec::new(),
            wire: VecDeque::new(),
            now: NOW,
            pieces: 0,
        }
    }

    fn with(mut self, who: MemberId, habit: Habit) -> Self {
        self.join(who, habit);
        self
    }

    fn join(&mut self, who: MemberId, habit: Habit) {
        self.givers.insert(who, Giver { serving: None, habit });
        self.fetch.add(who, self.now).unwrap();
        self.settle();
    }

    fn leave(&mut self, who: MemberId) {
        self.givers.remove(&who);
        self.wire.retain(|(from, _)| *from != who);
        self.fetch.remove(&who, self.now);
        self.settle();
    }

    /// Does what is to be done; what was asked for is given to the wire.
    fn settle(&mut self) {
        while let Some(step) = self.fetch.poll() {
            match step {
                Step::Send { to, frame } => {
                    let giver = self.givers.get_mut(&to).unwrap();
                    match &mut giver.serving {
                        Some(serving) => serving.on_frame(&frame).unwrap(),
                        none => {
                            let asked = Asked::read(&frame).unwrap();
                            assert_eq!(asked.file(), self.source.offer().id());
                            *none = Some(asked.serve(self.source).unwrap());
                        }
                    }
                }
                Step::Drop { source, fault } => {
                    self.dropped.push((source, fault));
                    self.givers.remove(&source);
                    self.wire.retain(|(from, _)| *from != source);
                }
            }
        }
    }

    /// The giver with this number gives one chunk, if it owes one.
    fn give(&mut self, who: MemberId) -> bool {
        let Some(giver) = self.givers.get_mut(&who) else { return false };
        let Some(index) = giver.serving.as_mut().and_then(Serving::poll) else { return false };
        let frame = self.source.answer(index, part(self.content, index)).unwrap();
        let frames = (giver.habit)(frame);
        self.wire.extend(frames.into_iter().map(|frame| (who, frame)));
        true
    }

    /// One frame comes.
    fn hear(&mut self) -> bool {
        let Some((from, frame)) = self.wire.pop_front() else { return false };
        if let Some(Piece { offset, bytes }) = self.fetch.on_frame(&from, &frame, self.now) {
            self.pieces += 1;
            self.written[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        self.settle();
        true
    }

    /// Everybody gives and all is heard, until nothing more comes.
    fn run(&mut self) {
        loop {
            let who: Vec<MemberId> = self.givers.keys().copied().collect();
            let gave = who.into_iter().filter(|who| self.give(*who)).count();
            let heard = self.hear();
            if gave == 0 && !heard {
                return;
            }
        }
    }

    fn assert_whole(&self) {
        assert!(self.fetch.is_whole());
        assert!(self.written == self.content);
        assert_eq!(self.pieces, self.source.offer().layout().chunks() as usize);
        let progress = self.fetch.progress();
        assert_eq!((progress.bytes, progress.size), (progress.size, self.content.len() as u64));
    }
}

fn part(content: &[u8], index: u32) -> &[u8] {
    let rest = &content[index as usize * FILE_CHUNK..];
    &rest[..rest.len().min(FILE_CHUNK)]
}

fn changed(frame: &[u8], change: impl FnOnce(&mut u32, &mut Vec<u8>, &mut Vec<u8>)) -> Vec<u8> {
    let Ok(Answer::Chunk { mut index, mut proof, mut sealed }) = Answer::read(frame) else {
        panic!("a chunk")
    };
    change(&mut index, &mut proof, &mut sealed);
    codec::encode(&Answer::Chunk { index, proof, sealed })
}

#[test]
fn a_file_arrives_as_it_was() {
    for length in [0, 1, FILE_CHUNK, FILE_CHUNK + 1, 70 * FILE_CHUNK + 77] {
        let content = content(length);
        let source = source(&content);
        let mut world = World::new(&content, &source).with(ANA, HONEST);
        world.run();
        world.assert_whole();
        assert!(world.dropped.is_empty());
        assert_eq!(world.fetch.deadline(), None);
    }
}

#[test]
fn whatever_is_changed_on_the_way_is_not_taken_and_its_sender_is_left() {
    let content = content(5 * FILE_CHUNK + 9);
    let source = source(&content);
    let tampered: [(Habit, Fault); 9] = [
        (|frame| vec![changed(&frame, |_, _, sealed| sealed[100] ^= 1)], Fault::Lied),
        (|frame| vec![changed(&frame, |_, _, sealed| sealed.truncate(99))], Fault::Lied),
        (|frame| vec![changed(&frame, |_, _, sealed| sealed.push(0))], Fault::Lied),
        (|frame| vec![changed(&frame, |_, proof, _| proof[40] ^= 1)], Fault::Lied),
        (|frame| vec![changed(&frame, |_, proof, _| proof.truncate(32))], Fault::Lied),
        (|frame| vec![changed(&frame, |_, proof, _| proof.truncate(31))], Fault::Broke),
        // The chunk of another place, under an index that was asked for.
        (|frame| vec![changed(&frame, |index, _, _| *index = (*index + 1) % 5)], Fault::Lied),
        (|frame| vec![frame[1..].to_vec()], Fault::Broke),
        (|frame| vec![[&frame[..], &[0]].concat()], Fault::Broke),
    ];
    for (at, (habit, fault)) in tampered.into_iter().enumerate() {
        let mut world = World::new(&content, &source).with(EVE, habit);
        world.run();
        assert_eq!(world.dropped, [(EVE, fault)], "{at}");
        assert_eq!((world.pieces, world.fetch.progress().bytes), (0, 0), "{at}");
        assert_eq!(world.fetch.add(EVE, NOW), Err(NotTaken::ShutOut));
        // Somebody else has it whole.
        world.join(ANA, HONEST);
        world.run();
        world.assert_whole();
    }
}

#[test]
fn what_was_not_asked_for_or_comes_twice_ends_its_sender() {
    let content = content(3 * FILE_CHUNK);
    let source = source(&content);
    let twice: Habit = |frame| vec![frame.clone(), frame];
    let mut world = World::new(&content, &source).with(EVE, twice);
    world.run();
    assert_eq!((world.dropped, world.pieces), (vec![(EVE, Fault::Broke)], 1));

    let mut fetch = Fetch::new(source.offer().clone());
    fetch.add(EVE, NOW).unwrap();
    let beyond = codec::encode(&Answer::Chunk { index: 3, proof: vec![], sealed: vec![] });
    assert_eq!(fetch.on_frame(&EVE, &beyond, NOW), None);
    // And of whom nothing is known nothing is taken.
    let good = source.answer(0, part(&content, 0)).unwrap();
    assert_eq!(fetch.on_frame(&EVE, &good, NOW), None);
    assert_eq!(fetch.on_frame(&BEN, &good, NOW), None);
    assert_eq!(fetch.progress().bytes, 0);
}

#[test]
fn chunks_may_come_in_any_order() {
    let content = content(9 * FILE_CHUNK);
    let source = source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST);
    while world.give(ANA) {}
    world.wire.make_contiguous().reverse();
    world.run();
    world.assert_whole();
}

#[test]
fn with_another_key_nothing_opens() {
    let content = content(2 * FILE_CHUNK);
    let source = source(&content);
    let mut offer = source.offer().clone();
    offer.key = FileKey([9; 32]);
    let mut fetch = Fetch::new(offer);
    fetch.add(ANA, NOW).unwrap();
    let Some(Step::Send { frame, .. }) = fetch.poll() else { panic!("asks") };
    assert_ne!(Asked::read(&frame).unwrap().file(), source.offer().id(), "it is not even named");
    let chunk = source.answer(0, part(&content, 0)).unwrap();
    assert_eq!(fetch.on_frame(&ANA, &chunk, NOW), None);
    assert_eq!(fetch.poll(), Some(Step::Drop { source: ANA, fault: Fault::Lied }));
}

#[test]
fn two_give_one_file_together_and_one_of_them_lies() {
    let content = content(70 * FILE_CHUNK + 1);
    let source = source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST).with(BEN, HONEST);
    world.run();
    world.assert_whole();
    assert!(world.dropped.is_empty());

    let content = self::content(10 * FILE_CHUNK + 1);
    let source = self::source(&content);
    let lies: Habit = |frame| vec![changed(&frame, |_, _, sealed| sealed[0] ^= 1)];
    let mut world = World::new(&content, &source).with(EVE, lies).with(ANA, HONEST);
    world.run();
    world.assert_whole();
    assert_eq!(world.dropped, [(EVE, Fault::Lied)]);
}

/// What is asked of somebody, and not given from here on.
fn queued(world: &mut World<'_>, who: MemberId) -> BTreeSet<u32> {
    let mut indexes = BTreeSet::new();
    let serving = world.givers.get_mut(&who).unwrap().serving.as_mut().unwrap();
    while let Some(index) = serving.poll() {
        assert!(indexes.insert(index));
    }
    indexes
}

#[test]
fn no_chunk_is_asked_of_two_but_the_last_ones() {
    let content = content(130 * FILE_CHUNK);
    let source = source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST).with(BEN, HONEST);
    let (anas, bens) = (queued(&mut world, ANA), queued(&mut world, BEN));
    assert_eq!((anas.len(), bens.len()), (FILE_WINDOW as usize, FILE_WINDOW as usize));
    assert!(anas.is_disjoint(&bens));

    // Ana takes all that is left, and is slow: Ben has the end of it, too.
    let content = self::content(10 * FILE_CHUNK);
    let source = self::source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST);
    world.join(BEN, HONEST);
    assert_eq!(queued(&mut world, BEN).len(), 8);
    while world.give(ANA) {}
    world.run();
    world.assert_whole();
}

#[test]
fn who_is_silent_is_left_and_others_give_what_it_owed() {
    let content = content(3 * FILE_CHUNK);
    let source = source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST);
    let until = NOW.plus_ms(FILE_SILENCE_MS);
    assert_eq!(world.fetch.deadline(), Some(until));
    world.now = NOW.plus_ms(1_000);
    world.give(ANA);
    world.hear();
    assert_eq!(world.fetch.deadline(), Some(until.plus_ms(1_000)));
    world.fetch.on_time(until);
    world.settle();
    assert!(world.dropped.is_empty());
    world.now = until.plus_ms(1_000);
    world.fetch.on_time(world.now);
    world.settle();
    assert_eq!(world.dropped, [(ANA, Fault::Silent)]);
    world.join(BEN, HONEST);
    // It may be tried again, since it is not the one at fault.
    world.join(ANA, HONEST);
    world.run();
    world.assert_whole();
}

#[test]
fn a_refusal_ends_a_source_which_may_come_again() {
    let content = content(10);
    let source = source(&content);
    for reason in [Refusal::Unknown, Refusal::Changed, Refusal::Busy { retry_ms: 5_000 }] {
        let mut world = World::new(&content, &source).with(ANA, HONEST);
        world.wire.push_back((ANA, refuse(reason)));
        assert!(world.hear());
        assert_eq!(world.dropped, [(ANA, Fault::Refused(reason))]);
        world.join(ANA, HONEST);
        world.run();
        world.assert_whole();
    }
}

#[test]
fn what_was_saved_goes_on_and_what_is_there_is_not_asked_for_again() {
    let content = content(50 * FILE_CHUNK);
    let source = source(&content);
    let mut world = World::new(&content, &source).with(ANA, HONEST);
    for _ in 0..40 {
        world.give(ANA);
        world.hear();
    }
    let saved = world.fetch.save();
    // What came after it, and was not saved, comes again.
    world.give(ANA);
    world.hear();
    world.pieces = 40;
    world.leave(ANA);
    world.fetch = Fetch::load(source.offer().clone(), &saved).unwrap();
    assert_eq!(world.fetch.progress().bytes, 40 * FILE_CHUNK as u64);
    world.join(BEN, HONEST);
    world.run();
    world.assert_whole();

    let done = world.fetch.save();
    let mut fetch = Fetch::load(source.offer().clone(), &done).unwrap();
    assert!(fetch.is_whole());
    fetch.add(ANA, NOW).unwrap();
    assert_eq!(fetch.poll(), None);
}

#[test]
fn a_stored_state_of_another_file_or_a_damaged_one_is_refused() {
    let content = content(12 * FILE_CHUNK);
    let source = source(&content);
    let saved = Fetch::new(source.offer().clone()).save();
    let other = self::source(&content[..11 * FILE_CHUNK]);
    assert!(Fetch::load(other.offer().clone(), &saved).is_err());
    for at in 0..saved.len() {
        assert!(Fetch::load(source.offer().clone(), &saved[..at]).is_err());
    }
    let mut beyond = saved.clone();
    *beyond.last_mut().unwrap() = 0x10;
    assert!(Fetch::load(source.offer().clone(), &beyond).is_err());
    let mut newer = saved;
    newer[1] = 2;
    assert!(Fetch::load(source.offer().clone(), &newer).is_err());
}

#[test]
fn who_asks_for_too_much_or_for_what_is_not_there_is_left() {
    let content = content(70 * FILE_CHUNK);
    let source = source(&content);
    let want = |file, first, count| {
        codec::encode(&Request::Want { file, ranges: vec![Range { first, count }] })
    };
    let id = source.offer().id();
    let asked = |first, count| Asked::read(&want(id, first, count)).unwrap().serve(&source);
    assert!(asked(6, 64).is_ok());
    assert!(asked(7, 64).is_err());
    assert!(asked(70, 1).is_err());
    let mut serving = asked(0, 40).unwrap();
    assert!(serving.on_frame(&want(id, 40, 25)).is_err());
    assert!(serving.on_frame(&want(crate::ids::FileId([0; 16]), 40, 1)).is_err());
    assert!(serving.on_frame(&[]).is_err());
    // What was refused has changed nothing.
    assert_eq!(
        core::iter::from_fn(|| serving.poll()).collect::<Vec<_>>(),
        (0..40).collect::<Vec<_>>()
    );
    assert!(serving.on_frame(&want(id, 0, 64)).is_ok());
}

#[test]
fn there_is_an_end_to_sources() {
    let content = content(1);
    let source = source(&content);
    let mut fetch = Fetch::new(source.offer().clone());
    for n in 0..FILE_SOURCES as u8 {
        fetch.add(MemberId([n; 32]), NOW).unwrap();
    }
    assert_eq!(fetch.add(MemberId([0; 32]), NOW), Err(NotTaken::Known));
    assert_eq!(fetch.add(MemberId([99; 32]), NOW), Err(NotTaken::Full));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_file_arrives_whatever_becomes_of_those_who_give_it(
        chunks in 1..12_usize,
        tail in 1..FILE_CHUNK,
        events in collection::vec((0..8_u8, 0..3_u8), 0..60),
    ) {
        let content = content((chunks - 1) * FILE_CHUNK + tail);
        let source = source(&content);
        let mut world = World::new(&content, &source);
        for (event, who) in events {
            let who = MemberId([who; 32]);
            match event {
                0 if !world.givers.contains_key(&who) => {
                    if world.fetch.add(who, world.now).is_ok() {
                        world.givers.insert(who, Giver { serving: None, habit: HONEST });
                        world.settle();
                    }
                }
                1 => world.leave(who),
                2 => {
                    world.now = world.now.plus_ms(FILE_SILENCE_MS / 3);
                    world.fetch.on_time(world.now);
                    world.settle();
                }
                3 if who.0[0] == 0 => {
                    let saved = world.fetch.save();
                    for who in world.givers.keys().copied().collect::<Vec<_>>() {
                        world.leave(who);
                    }
                    world.fetch = Fetch::load(source.offer().clone(), &saved).unwrap();
                }
                4 if who.0[0] == 2 && world.givers.contains_key(&who) => {
                    world.wire.push_back((who, vec![0xff; 40]));
                }
                5 => {
                    world.hear();
                }
                _ => {
                    world.give(who);
                }
            }
        }
        for who in [ANA, BEN, EVE] {
            if !world.givers.contains_key(&who) && world.fetch.add(who, world.now).is_ok() {
                world.givers.insert(who, Giver { serving: None, habit: HONEST });
                world.settle();
            }
        }
        world.run();
        world.assert_whole();
    }
}
