//! The ledger against a relay that exists on paper only.

mod closed;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::relay_log::{Answer, Challenge, Cursor, Entry, LogKeys, Refusal, Request, Role};

use super::{APPEND_PAUSE, APPENDS, LOG_PAUSE, Ledger, WINDOW};
use crate::net::relay::{Begin, DownReason, LogPlan, RelayReport, dial::Greeting};

fn keys(seed: u8) -> Arc<LogKeys> {
    Arc::new(LogKeys::from_seeds([seed; 32], [seed + 100; 32], None))
}

fn plan(keys: &Arc<LogKeys>) -> LogPlan {
    LogPlan { keys: Arc::clone(keys), after: None, begin: Begin::Start, token: None }
}

fn challenge(nonce: u8) -> Challenge {
    Challenge::new(b"relay", [nonce; 32])
}

fn open(nonce: u8) -> Greeting {
    Greeting { challenge: challenge(nonce), wants_token: false, keeps: Duration::from_secs(60) }
}

fn connected(plan: Vec<LogPlan>) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.plan(plan);
    ledger.connected(open(1));
    assert_eq!(
        ledger.next_report(),
        Some(RelayReport::Up { wants_token: false, keeps: Duration::from_secs(60) })
    );
    ledger
}

fn place(seq: u64) -> Cursor {
    Cursor { generation: 1, seq }
}

fn entries(handle: u32, seq: u64) -> Answer {
    let entries = vec![Entry { seq, bytes: vec![0; 512] }];
    Answer::Entries { handle, entries, cursor: place(seq) }
}

fn requests(ledger: &mut Ledger) -> Vec<Request> {
    std::iter::from_fn(|| ledger.next_request(Instant::now())).collect()
}

fn reports(ledger: &mut Ledger) -> Vec<RelayReport> {
    std::iter::from_fn(|| ledger.next_report()).collect()
}

fn handle_of(requests: &[Request]) -> u32 {
    match requests[0] {
        Request::Open { handle, .. } => handle,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_planned_log_is_opened_and_followed_and_a_dropped_one_closed() {
    let mut ledger = connected(vec![plan(&keys(1))]);
    let first = requests(&mut ledger);
    let handle = handle_of(&first);
    assert_eq!(first[1..], [Request::Follow { handle, after: None }]);

    ledger.plan(vec![plan(&keys(1)), plan(&keys(2))]);
    let second = requests(&mut ledger);
    assert_eq!((second.len(), handle_of(&second) == handle), (2, false), "only the new one");

    ledger.plan(vec![plan(&keys(2))]);
    assert_eq!(requests(&mut ledger), [Request::Close { handle }]);
    ledger.answer(entries(handle, 1), Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger), [], "what was under way then is dropped");
}

#[test]
fn a_log_is_followed_anew_under_another_handle_and_what_is_to_be_appended_waits_on() {
    let keys = keys(1);
    let mut ledger = Ledger::default();
    ledger.plan(vec![plan(&keys)]);
    ledger.append(keys.id(), 1, Bytes::from_static(&[1; 512]));
    ledger.follow_anew(keys.id(), Some(place(2)));
    assert_eq!(reports(&mut ledger), [], "without a connection it is as good as done");
    ledger.connected(open(1));
    let before = requests(&mut ledger);
    let handle = handle_of(&before);
    assert_eq!(before[1], Request::Follow { handle, after: Some(place(2)) });
    assert!(matches!(before[2], Request::Append { .. }));
    ledger.answer(entries(handle, 7), Instant::now()).unwrap();
    reports(&mut ledger);

    ledger.append(keys.id(), 2, Bytes::from_static(&[2; 512]));
    ledger.follow_anew(keys.id(), Some(place(3)));
    ledger.answer(entries(handle, 8), Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger), [], "what was under way is dropped");
    let after = requests(&mut ledger);
    assert_eq!(after[0], Request::Close { handle });
    let other = handle_of(&after[1..]);
    assert_eq!(after[2], Request::Follow { handle: other, after: Some(place(3)) });
    assert!(matches!(after[3], Request::Append { handle, .. } if handle == other));
    ledger.answer(entries(other, 4), Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger).len(), 1);
}

fn own_first(keys: &Arc<LogKeys>) -> LogPlan {
    LogPlan { begin: Begin::OwnFirst, ..plan(keys) }
}

#[test]
fn a_log_of_which_nothing_was_read_is_followed_from_its_start_once_a_plan_says_so() {
    let keys = keys(1);
    let start = |handle| [Request::Follow { handle, after: None }];
    let mut ledger = connected(vec![own_first(&keys)]);
    let handle = handle_of(&requests(&mut ledger));
    ledger.plan(vec![plan(&keys)]);
    assert_eq!(requests(&mut ledger), start(handle));
    // And from then on, whatever is appended and planned.
    ledger.plan(vec![own_first(&keys)]);
    ledger.connected(open(2));
    let again = requests(&mut ledger);
    assert_eq!(again[1..], start(handle_of(&again)));
    // Before there is a connection, too.
    let mut ledger = Ledger::default();
    ledger.plan(vec![own_first(&keys)]);
    ledger.plan(vec![plan(&keys)]);
    ledger.connected(open(1));
    let first = requests(&mut ledger);
    assert_eq!(first[1..], start(handle_of(&first)));
}

#[test]
fn a_log_can_be_followed_from_the_first_entry_that_is_appended_here() {
    let keys = keys(1);
    let mut ledger = connected(vec![own_first(&keys)]);
    let handle = handle_of(&requests(&mut ledger));
    assert!(requests(&mut ledger).is_empty(), "what was there before is not read");
    ledger.append(keys.id(), 1, Bytes::from_static(&[1; 512]));
    let Request::Append { req, .. } = requests(&mut ledger)[0] else { panic!("no append") };
    ledger.connected(open(2));
    let again = requests(&mut ledger);
    let (handle, before) = (handle_of(&again), handle);
    assert_ne!(handle, before);
    let Request::Append { req: other, .. } = again[1] else { panic!("{again:?}") };
    assert_ne!(req, other);
    let appended = |req, seq| Answer::Appended { req, cursor: place(seq) };
    ledger.answer(appended(other, 7), Instant::now()).unwrap();
    assert_eq!(requests(&mut ledger), [Request::Follow { handle, after: Some(place(7)) }]);
    // What is appended later moves nothing.
    ledger.append(keys.id(), 2, Bytes::from_static(&[2; 512]));
    let Request::Append { req, .. } = requests(&mut ledger)[0] else { panic!("no append") };
    ledger.answer(appended(req, 9), Instant::now()).unwrap();
    assert!(requests(&mut ledger).is_empty());
    ledger.answer(entries(handle, 8), Instant::now()).unwrap();
    // A plan that wants it from its start comes too late.
    ledger.plan(vec![plan(&keys)]);
    assert!(requests(&mut ledger).is_empty());
    // Where that place is no more, nobody knows what was said meanwhile.
    ledger.connected(open(3));
    let handle = handle_of(&requests(&mut ledger));
    ledger.answer(Answer::CursorGone { handle }, Instant::now()).unwrap();
    assert_eq!(requests(&mut ledger), [Request::Follow { handle, after: None }]);
}

#[test]
fn a_log_that_may_only_be_written_is_not_followed() {
    let all = keys(1).publics();
    let writer = Arc::new(LogKeys::write_only([1; 32], all.read, all.trim));
    let mut ledger = connected(vec![plan(&writer)]);
    let requests = requests(&mut ledger);
    let [Request::Open { proofs, .. }] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(proofs.iter().map(|proof| proof.role).collect::<Vec<_>>(), [Role::Write]);
}

#[test]
fn after_a_reconnect_a_log_is_followed_from_what_was_reported() {
    let mut ledger = connected(vec![plan(&keys(1))]);
    let handle = handle_of(&requests(&mut ledger));
    ledger.answer(entries(handle, 7), Instant::now()).unwrap();

    ledger.connected(open(2));
    let again = requests(&mut ledger);
    let handle = handle_of(&again);
    assert_eq!(again[1..], [Request::Follow { handle, after: Some(place(7)) }]);
    let Request::Open { publics, proofs, .. } = &again[0] else { panic!() };
    assert!(publics.check(&proofs[0], &challenge(2)).is_ok(), "proven for the new connection");
}

#[test]
fn unanswered_appends_are_sent_again_in_order_and_answered_ones_are_not() {
    let keys = keys(1);
    let mut ledger = connected(vec![plan(&keys)]);
    for tag in 1..=3 {
        ledger.append(keys.id(), tag, Bytes::from(vec![tag as u8; 512]));
    }
    let sent = requests(&mut ledger);
    let Request::Append { req, .. } = sent[3] else { panic!("{sent:?}") };
    ledger.answer(Answer::Appended { req, cursor: place(2) }, Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger), [RelayReport::Appended { tag: 2, cursor: place(2) }]);

    ledger.connected(open(2));
    let again: Vec<_> = requests(&mut ledger)
        .into_iter()
        .filter_map(|request| match request {
            Request::Append { entry, .. } => Some(entry[0]),
            _ => None,
        })
        .collect();
    assert_eq!(again, [1, 3]);
}

#[test]
fn an_append_waits_for_its_log_and_holds_up_no_other() {
    let (one, two) = (keys(1), keys(2));
    let mut ledger = connected(vec![plan(&two)]);
    ledger.append(one.id(), 1, Bytes::from_static(&[1; 512]));
    ledger.append(two.id(), 2, Bytes::from_static(&[2; 512]));
    let first = requests(&mut ledger);
    assert!(matches!(&first[2..], [Request::Append { entry, .. }] if entry[0] == 2), "{first:?}");
    ledger.plan(vec![plan(&one), plan(&two)]);
    let second = requests(&mut ledger);
    assert!(matches!(&second[2..], [Request::Append { entry, .. }] if entry[0] == 1), "{second:?}");
}

#[test]
fn appends_to_a_log_that_is_dropped_or_refused_are_refused() {
    let (one, two) = (keys(1), keys(2));
    let mut ledger = Ledger::default();
    ledger.plan(vec![plan(&one), plan(&two)]);
    ledger.append(one.id(), 1, Bytes::from_static(&[1; 512]));
    ledger.plan(vec![plan(&two)]);
    let refused = |tag, reason| RelayReport::Refused { tag, reason };
    assert_eq!(reports(&mut ledger), [refused(1, Refusal::NoSuchHandle)]);

    ledger.connected(open(1));
    let handle = handle_of(&requests(&mut ledger));
    ledger.append(two.id(), 2, Bytes::from_static(&[2; 512]));
    let reason = Refusal::TooManyLogs;
    ledger.answer(Answer::OpenRefused { handle, reason }, Instant::now()).unwrap();
    let expected = [
        RelayReport::Up { wants_token: false, keeps: Duration::from_secs(60) },
        RelayReport::LogRefused { log: two.id(), reason },
        refused(2, reason),
    ];
    assert_eq!(reports(&mut ledger), expected);
}

#[test]
fn a_relay_that_is_busy_is_asked_again_later() {
    let keys = keys(1);
    let mut ledger = connected(vec![plan(&keys)]);
    ledger.append(keys.id(), 1, Bytes::from_static(&[1; 512]));
    let sent = requests(&mut ledger);
    let Request::Append { req, .. } = sent[2] else { panic!("{sent:?}") };
    let now = Instant::now();
    let reason = Refusal::RateLimited { retry_ms: 1000 };
    ledger.answer(Answer::AppendRefused { req, reason }, now).unwrap();
    assert_eq!(ledger.next_request(now), None);
    assert_eq!(ledger.deadline(now), Some(now + Duration::from_secs(1)));
    assert!(ledger.next_request(now + Duration::from_secs(1)).is_some());
    assert_eq!(ledger.deadline(now + Duration::from_secs(1)), None);
    assert_eq!(reports(&mut ledger), []);
}

#[test]
fn a_cursor_that_is_gone_starts_the_log_again_once() {
    let keys = keys(1);
    let mut ledger = connected(vec![LogPlan {
        keys: Arc::clone(&keys),
        after: Some(place(9)),
        begin: Begin::Start,
        token: None,
    }]);
    let handle = handle_of(&requests(&mut ledger));
    ledger.answer(Answer::CursorGone { handle }, Instant::now()).unwrap();
    assert_eq!(requests(&mut ledger), [Request::Follow { handle, after: None }]);
    assert_eq!(reports(&mut ledger), [RelayReport::CursorGone { log: keys.id() }]);
    let twice = ledger.answer(Answer::CursorGone { handle }, Instant::now());
    assert_eq!(twice, Err(DownReason::Misbehaved));
}

#[test]
fn a_relay_that_breaks_the_rules_is_left() {
    let mut ledger = connected(vec![plan(&keys(1))]);
    let handle = handle_of(&requests(&mut ledger));
    ledger.answer(entries(handle, 5), Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger).len(), 1);
    let entry = |seq| Entry { seq, bytes: vec![0; 512] };
    let odd = Entry { seq: 6, bytes: vec![0; 511] };
    let other_life = Cursor { generation: 2, seq: 9 };
    let batches = [
        (vec![], place(9)),
        (vec![entry(7), entry(6)], place(7)),
        (vec![entry(6), entry(6)], place(6)),
        (vec![entry(8)], place(7)),
        (vec![entry(5)], place(5)),
        (vec![entry(4), entry(6)], place(6)),
        (vec![entry(6)], other_life),
        (vec![odd], place(6)),
    ];
    let lies = batches
        .into_iter()
        .map(|(entries, cursor)| Answer::Entries { handle, entries, cursor })
        .chain([
            Answer::CaughtUp { handle, cursor: place(4) },
            Answer::CaughtUp { handle, cursor: other_life },
            Answer::CaughtUp { handle: handle + 9, cursor: place(9) },
            Answer::Opened { handle: u32::MAX },
            Answer::Appended { req: 77, cursor: place(9) },
            Answer::AppendRefused { req: 77, reason: Refusal::LogFull },
            Answer::Hello {
                nonce: [0; 32],
                max_logs: 0,
                ttl_ms: u64::MAX,
                now_ms: u64::MAX,
                wants_token: None,
            },
        ]);
    for lie in lies {
        let words = format!("{lie:?}");
        assert_eq!(ledger.answer(lie, Instant::now()), Err(DownReason::Misbehaved), "{words}");
    }
    assert_eq!(reports(&mut ledger), []);
    let end = || Answer::CaughtUp { handle, cursor: place(5) };
    ledger.answer(end(), Instant::now()).unwrap();
    assert_eq!(ledger.answer(end(), Instant::now()), Err(DownReason::Misbehaved), "once a follow");
}

#[test]
fn entries_of_a_log_that_is_only_written_are_a_lie() {
    let all = keys(1).publics();
    let writer = Arc::new(LogKeys::write_only([1; 32], all.read, all.trim));
    let mut ledger = connected(vec![plan(&writer)]);
    let handle = handle_of(&requests(&mut ledger));
    assert_eq!(ledger.answer(entries(handle, 1), Instant::now()), Err(DownReason::Misbehaved));
}

#[test]
fn a_log_that_could_not_be_read_or_opened_is_asked_for_again_after_a_pause() {
    let keys = keys(1);
    let mut ledger = connected(vec![plan(&keys)]);
    let handle = handle_of(&requests(&mut ledger));
    let (now, reason) = (Instant::now(), Refusal::Unavailable);
    ledger.answer(Answer::FollowRefused { handle, reason }, now).unwrap();
    assert_eq!(ledger.next_request(now), None);
    assert_eq!(ledger.deadline(now), Some(now + LOG_PAUSE));
    let then = now + LOG_PAUSE;
    assert_eq!(ledger.next_request(then), Some(Request::Follow { handle, after: None }));

    ledger.answer(Answer::OpenRefused { handle, reason }, then).unwrap();
    ledger.append(keys.id(), 1, Bytes::from_static(&[1; 512]));
    assert_eq!(ledger.next_request(then), None);
    let again: Vec<_> = std::iter::from_fn(|| ledger.next_request(then + LOG_PAUSE)).collect();
    let [Request::Open { .. }, Request::Follow { .. }, Request::Append { .. }] = &again[..] else {
        panic!("{again:?}")
    };
}

#[test]
fn an_append_that_is_due_but_can_t_be_sent_keeps_nobody_awake() {
    let keys = keys(1);
    let mut ledger = connected(vec![plan(&keys)]);
    for tag in 0..=WINDOW as u64 {
        ledger.append(keys.id(), tag, Bytes::from_static(&[1; 512]));
    }
    let sent = requests(&mut ledger);
    let Some(Request::Append { req, .. }) = sent.last() else { panic!("{sent:?}") };
    let now = Instant::now();
    let reason = Refusal::RateLimited { retry_ms: 0 };
    ledger.answer(Answer::AppendRefused { req: *req, reason }, now).unwrap();
    assert!(ledger.next_request(now).is_some(), "the one that waited for room");
    assert_eq!(ledger.deadline(now), Some(now + APPEND_PAUSE[0]), "not at once, whatever it says");
    assert_eq!(ledger.deadline(now + Duration::from_secs(9)), None, "the window is full");
}

#[test]
fn appends_that_wait_are_bounded() {
    let mut ledger = Ledger::default();
    for tag in 0..=APPENDS as u64 {
        ledger.append(keys(1).id(), tag, Bytes::from_static(&[0; 512]));
    }
    let tag = APPENDS as u64;
    let refused = RelayReport::Refused { tag, reason: Refusal::Unavailable };
    assert_eq!(reports(&mut ledger), [refused]);
}

fn inbox(seed: u8) -> Arc<LogKeys> {
    Arc::new(LogKeys::from_seeds([seed; 32], [seed + 100; 32], Some([seed + 200; 32])))
}

#[test]
fn logs_with_a_trim_key_are_trimmed_one_after_the_other_and_the_last_place_counts() {
    let (one, two) = (inbox(1), inbox(2));
    let mut ledger = connected(vec![plan(&one), plan(&two), plan(&keys(3))]);
    ledger.trim(one.id(), place(4));
    ledger.trim(one.id(), place(7));
    ledger.trim(two.id(), place(5));
    ledger.trim(keys(3).id(), place(9));
    ledger.trim(keys(4).id(), place(9));
    let sent = requests(&mut ledger);
    let opened =
        |request: &&Request| matches!(request, Request::Open { proofs, .. } if proofs.len() == 3);
    assert_eq!(sent.iter().filter(opened).count(), 2, "with all that is held: {sent:?}");
    let Some(Request::Trim { req, cursor: first, .. }) = sent.last().cloned() else {
        panic!("{sent:?}")
    };
    assert_eq!(ledger.next_request(Instant::now()), None, "one at a time");

    let other = Answer::Trimmed { req: req + 1, cursor: first };
    assert_eq!(ledger.answer(other, Instant::now()), Err(DownReason::Misbehaved));
    ledger.answer(Answer::Trimmed { req, cursor: place(3) }, Instant::now()).unwrap();
    let told = reports(&mut ledger);
    let [RelayReport::Trimmed { log, cursor }] = told[..] else { panic!("{told:?}") };
    assert_eq!(cursor, place(3), "what the relay says, whatever was asked");
    let sent = requests(&mut ledger);
    let [Request::Trim { req, cursor: second, .. }] = sent[..] else { panic!("{sent:?}") };
    let asked = if log == one.id() { [place(7), place(5)] } else { [place(5), place(7)] };
    assert_eq!([first, second], asked);
    let reason = Refusal::Unavailable;
    ledger.answer(Answer::TrimRefused { req, reason }, Instant::now()).unwrap();
    assert_eq!((requests(&mut ledger), reports(&mut ledger)), (vec![], vec![]), "and no more");
}

#[test]
fn a_trim_without_an_answer_is_lost_with_the_connection_and_one_that_was_not_sent_is_not() {
    let (one, two) = (inbox(1), inbox(2));
    let mut ledger = connected(vec![plan(&one), plan(&two)]);
    ledger.trim(one.id(), place(7));
    ledger.trim(two.id(), place(7));
    let trims = |requests: Vec<Request>| {
        requests.into_iter().filter(|it| matches!(it, Request::Trim { .. })).count()
    };
    assert_eq!(trims(requests(&mut ledger)), 1);
    ledger.connected(open(2));
    assert_eq!(trims(requests(&mut ledger)), 1);
    ledger.connected(open(3));
    assert_eq!(trims(requests(&mut ledger)), 0, "a relay that hangs up at it is asked once");

    ledger.trim(one.id(), place(7));
    ledger.plan(vec![plan(&two)]);
    assert_eq!(trims(requests(&mut ledger)), 0, "nor a log that is over");
}

#[test]
fn a_log_that_begins_later_is_read_from_there_and_said_so_once_and_first() {
    let keys = keys(1);
    let follow = || {
        let plan = LogPlan {
            keys: Arc::clone(&keys),
            after: Some(place(4)),
            begin: Begin::Start,
            token: None,
        };
        let mut ledger = connected(vec![plan]);
        let handle = handle_of(&requests(&mut ledger));
        (ledger, handle)
    };
    let begins = |handle, seq| Answer::Begins { handle, cursor: place(seq) };
    let (mut ledger, handle) = follow();
    ledger.answer(begins(handle, 9), Instant::now()).unwrap();
    ledger.answer(entries(handle, 10), Instant::now()).unwrap();
    let told = reports(&mut ledger);
    assert_eq!(told[0], RelayReport::Begins { log: keys.id(), cursor: place(9) });
    assert!(matches!(told[1..], [RelayReport::Entries { .. }]), "{told:?}");
    let late = ledger.answer(begins(handle, 12), Instant::now());
    assert_eq!(late, Err(DownReason::Misbehaved), "after entries");

    let (mut ledger, handle) = follow();
    ledger.answer(begins(handle, 9), Instant::now()).unwrap();
    assert!(ledger.answer(begins(handle, 12), Instant::now()).is_err(), "twice");
    for seq in [3, 4] {
        let (mut ledger, handle) = follow();
        assert!(ledger.answer(begins(handle, seq), Instant::now()).is_err(), "not later: {seq}");
    }
    let (mut ledger, handle) = follow();
    let other = Answer::Begins { handle, cursor: Cursor { generation: 2, seq: 9 } };
    assert!(ledger.answer(other, Instant::now()).is_err(), "of another life");
    let mut ledger = connected(vec![plan(&keys)]);
    let handle = handle_of(&requests(&mut ledger));
    assert!(ledger.answer(begins(handle, 9), Instant::now()).is_err(), "nobody asked for a place");
}

#[test]
fn a_relay_that_leaves_is_asked_for_nothing_more_and_the_next_connection_for_all_of_it() {
    let keys = keys(1);
    let mut ledger = connected(vec![plan(&keys)]);
    let handle = handle_of(&requests(&mut ledger));
    let now = Instant::now();
    ledger.answer(Answer::Opened { handle }, now).unwrap();
    ledger.append(keys.id(), 1, Bytes::from(vec![1; 512]));
    let sent = requests(&mut ledger);
    let Request::Append { req, .. } = sent[0] else { panic!("{sent:?}") };
    ledger.answer(Answer::Leaving { retry_ms: 700 }, now).unwrap();
    ledger.append(keys.id(), 2, Bytes::from(vec![2; 512]));
    assert_eq!(ledger.leaving(), Some(Duration::from_millis(700)));
    assert_eq!(requests(&mut ledger), []);
    // What it had taken is answered all the same.
    ledger.answer(Answer::Appended { req, cursor: place(1) }, now).unwrap();
    assert_eq!(reports(&mut ledger), [RelayReport::Appended { tag: 1, cursor: place(1) }]);
    ledger.connected(open(2));
    assert_eq!(ledger.leaving(), None);
    let again = requests(&mut ledger);
    assert!(again.iter().any(|it| matches!(it, Request::Append { entry, .. } if entry[0] == 2)));
}
