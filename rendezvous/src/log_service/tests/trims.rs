//! What a log's owner may delete, and what others see of it.

use super::*;
use crate::limits::TRIMS_BURST;

/// An inbox: a log that somebody can trim.
fn inbox() -> LogKeys {
    LogKeys::from_seeds([1; 32], [101; 32], Some([201; 32]))
}

const ALL: [Role; 3] = [Role::Write, Role::Read, Role::Trim];

async fn filled(world: &World, count: u16) -> (Client, u64) {
    let mut client = world.client().await;
    client.open(1, &inbox(), &ALL).await;
    for number in 0..count {
        client.append(1, 1, entry(number, 512)).await;
    }
    (client, world.service.store.generation())
}

impl Client {
    async fn trim(&mut self, handle: u32, cursor: Cursor) -> Answer {
        self.ask(Request::Trim { req: 9, handle, cursor }).await
    }

    /// What is told of a log that is followed after a place, until all was told.
    async fn follow(&mut self, handle: u32, after: Option<Cursor>) -> Vec<Answer> {
        self.send(Request::Follow { handle, after }).await;
        let mut told = Vec::new();
        while !matches!(told.last(), Some(Answer::CaughtUp { .. } | Answer::CursorGone { .. })) {
            told.push(self.next().await);
        }
        told
    }
}

fn numbers(told: &[Answer]) -> Vec<u64> {
    let entries = told.iter().filter_map(|answer| match answer {
        Answer::Entries { entries, .. } => Some(entries),
        _ => None,
    });
    entries.flatten().map(|entry| entry.seq).collect()
}

#[tokio::test]
async fn an_owner_trims_and_whoever_was_before_is_told_where_the_log_begins() {
    let world = world(Limits::default());
    let (mut owner, generation) = filled(&world, 5).await;
    let place = |seq| Cursor { generation, seq };
    assert_eq!(owner.trim(1, place(3)).await, Answer::Trimmed { req: 9, cursor: place(3) });

    let told = owner.follow(1, Some(place(1))).await;
    assert_eq!(told[0], Answer::Begins { handle: 1, cursor: place(3) });
    assert_eq!(numbers(&told), [4, 5]);
    let told = owner.follow(1, Some(place(3))).await;
    assert!(matches!(told[0], Answer::Entries { .. }), "nothing that it lacks is gone: {told:?}");
    let told = owner.follow(1, None).await;
    assert!(matches!(told[0], Answer::Entries { .. }), "it lacks nothing that it names: {told:?}");
    assert_eq!(numbers(&told), [4, 5]);
}

#[tokio::test]
async fn nobody_trims_without_the_proof_for_it_and_nobody_at_all_where_the_trim_key_is_zeros() {
    let world = world(Limits::default());
    let (mut owner, generation) = filled(&world, 3).await;
    let cursor = Cursor { generation, seq: 2 };
    let refused = |reason| Answer::TrimRefused { req: 9, reason };
    assert_eq!(owner.trim(7, cursor).await, refused(Refusal::NoSuchHandle));
    let mut member = world.client().await;
    member.open(1, &inbox(), &[Role::Write, Role::Read]).await;
    assert_eq!(member.trim(1, cursor).await, refused(Refusal::BadProof));

    // A group's log: whatever is signed, with whatever key.
    let publics = keys(1).publics();
    let own = inbox().prove(Role::Trim, &member.challenge).unwrap();
    for proofs in [vec![own], vec![Proof { role: Role::Trim, signature: Signature([0; 64]) }]] {
        let answer = member.ask(Request::Open { handle: 2, publics, proofs }).await;
        assert_eq!(answer, Answer::OpenRefused { handle: 2, reason: Refusal::BadProof });
    }
    assert_eq!(world.service.store.read(inbox().id(), 0, 9999).unwrap().entries.len(), 3);
}

#[tokio::test]
async fn a_trim_heard_elsewhere_is_worth_nothing_on_another_stream() {
    let world = world(Limits::default());
    let (owner, generation) = filled(&world, 3).await;
    let proofs = vec![inbox().prove(Role::Trim, &owner.challenge).unwrap()];
    let mut thief = world.client().await;
    let publics = inbox().publics();
    let answer = thief.ask(Request::Open { handle: 1, publics, proofs }).await;
    assert_eq!(answer, Answer::OpenRefused { handle: 1, reason: Refusal::BadProof });
    let answer = thief.trim(1, Cursor { generation, seq: 2 }).await;
    assert_eq!(answer, Answer::TrimRefused { req: 9, reason: Refusal::NoSuchHandle });
}

#[tokio::test]
async fn a_place_beyond_the_end_or_of_another_generation_trims_nothing() {
    let world = world(Limits::default());
    let (mut owner, generation) = filled(&world, 3).await;
    let nothing = Answer::Trimmed { req: 9, cursor: Cursor { generation, seq: 0 } };
    for cursor in [
        Cursor { generation, seq: 4 },
        Cursor { generation, seq: u64::MAX },
        Cursor { generation: !generation, seq: 2 },
        Cursor { generation, seq: 0 },
    ] {
        assert_eq!(owner.trim(1, cursor).await, nothing, "{cursor:?}");
    }
    assert_eq!(numbers(&owner.follow(1, None).await), [1, 2, 3]);
}

#[tokio::test]
async fn those_who_follow_live_notice_nothing_and_a_full_log_takes_entries_again() {
    let default = Limits::default();
    let quota = Quota { log_entries: 3, ..default.quota };
    let world = world(Limits { quota, ..default });
    let (mut owner, generation) = filled(&world, 3).await;
    let mut reader = world.client().await;
    reader.open(1, &inbox(), &[Role::Read]).await;
    assert_eq!(numbers(&reader.follow(1, None).await), [1, 2, 3]);
    let full = owner.append(1, 1, entry(7, 512)).await;
    assert_eq!(full, Answer::AppendRefused { req: 1, reason: Refusal::LogFull });

    let end = Cursor { generation, seq: 3 };
    let but_one = Cursor { generation, seq: 2 };
    assert_eq!(owner.trim(1, end).await, Answer::Trimmed { req: 9, cursor: but_one });
    assert_eq!(seq(&owner.append(1, 1, entry(7, 512)).await), 4);
    let next = reader.next().await;
    assert!(matches!(next, Answer::Entries { .. }), "{next:?}");
    assert_eq!(numbers(&[next]), [4]);
}

#[tokio::test]
async fn a_long_log_is_trimmed_in_steps_and_all_the_same() {
    let world = world(Limits::default());
    world.fill(&inbox(), 700);
    let mut owner = world.client().await;
    owner.open(1, &inbox(), &[Role::Trim]).await;
    let cursor = Cursor { generation: world.service.store.generation(), seq: 650 };
    assert_eq!(owner.trim(1, cursor).await, Answer::Trimmed { req: 9, cursor });
    let page = world.service.store.read(inbox().id(), 0, 1).unwrap();
    assert_eq!((page.begins, page.head), (650, 700));
}

#[tokio::test]
async fn trims_that_come_too_fast_are_refused_for_a_while() {
    let world = world(Limits::default());
    let (mut owner, generation) = filled(&world, 1).await;
    let cursor = Cursor { generation, seq: 0 };
    let mut taken = 0;
    let answer = loop {
        match owner.trim(1, cursor).await {
            Answer::Trimmed { .. } => taken += 1,
            other => break other,
        }
        assert!(taken < 4 * TRIMS_BURST, "nobody holds it back");
    };
    assert!(taken >= TRIMS_BURST, "only {taken} at once");
    let Answer::TrimRefused { reason: Refusal::RateLimited { .. }, .. } = answer else {
        panic!("{answer:?}")
    };
}
