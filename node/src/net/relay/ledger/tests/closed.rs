//! The ledger against a relay that wants tokens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::relay_log::{Answer, LogKeys, Refusal, RelayToken, Request};

use super::{challenge, entries, handle_of, keys, place, reports, requests};
use crate::net::relay::{
    Begin, LogPlan, RelayReport, TokenFault, Under,
    dial::Greeting,
    ledger::{Ledger, tokens::TOKEN_PAUSE},
};

fn token(byte: u8) -> RelayToken {
    RelayToken::from_bytes([byte; RelayToken::LEN])
}

fn under(byte: u8) -> Under {
    Some(token(byte).hash())
}

fn plan(keys: &Arc<LogKeys>, byte: u8) -> LogPlan {
    LogPlan { keys: Arc::clone(keys), after: None, begin: Begin::Start, token: Some(token(byte)) }
}

fn closed(nonce: u8) -> Greeting {
    Greeting { challenge: challenge(nonce), wants_token: true, keeps: Duration::from_secs(60) }
}

fn connected(plan: Vec<LogPlan>) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.plan(plan);
    ledger.connected(closed(1));
    assert_eq!(reports(&mut ledger), [], "it is of no use yet");
    ledger
}

fn shown(requests: &[Request]) -> Vec<RelayToken> {
    let token = |request: &Request| match request {
        Request::Token { token } => Some(token.clone()),
        _ => None,
    };
    requests.iter().filter_map(token).collect()
}

const UP: RelayReport = RelayReport::Up { wants_token: true, keeps: Duration::from_secs(60) };

fn told(byte: u8, fault: Option<TokenFault>) -> RelayReport {
    RelayReport::Token { under: under(byte), fault }
}

#[test]
fn a_token_is_shown_before_the_logs_under_it_and_to_no_relay_that_is_open() {
    let mut ledger = connected(vec![plan(&keys(1), 1), plan(&keys(2), 1)]);
    assert_eq!(shown(&requests(&mut ledger)), [token(1)], "and nothing before it is taken");
    assert_eq!(ledger.shut_out(), None, "it is waited for");
    ledger.answer(Answer::TokenTaken, Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger), [UP, told(1, None)]);
    let opened = requests(&mut ledger);
    let opens = opened.iter().filter(|it| matches!(it, Request::Open { .. })).count();
    assert_eq!((opens, shown(&opened).len()), (2, 0));
    assert!(ledger.answer(Answer::TokenTaken, Instant::now()).is_err(), "nobody asked");

    let mut ledger = super::connected(vec![plan(&keys(1), 1)]);
    assert_eq!(shown(&requests(&mut ledger)), []);
}

#[test]
fn each_token_is_taken_before_the_next_and_one_that_is_refused_keeps_up_nobody() {
    let [one, two] = [keys(1), keys(2)];
    let mut ledger = connected(vec![plan(&one, 1), plan(&two, 2)]);
    ledger.append(one.id(), 1, Bytes::from_static(&[1; 512]));
    ledger.append(two.id(), 2, Bytes::from_static(&[2; 512]));
    let now = Instant::now();
    let first = shown(&requests(&mut ledger)).remove(0);
    let bad = if first == token(1) { 1 } else { 2 };
    let good = 3 - bad;
    ledger.answer(Answer::TokenRefused { reason: Refusal::TokenInvalid }, now).unwrap();
    let refused = RelayReport::Refused { tag: bad.into(), reason: Refusal::TokenInvalid };
    assert_eq!(reports(&mut ledger), [refused, told(bad, Some(TokenFault::Refused))]);
    assert_eq!(shown(&requests(&mut ledger)), [token(good)]);
    ledger.answer(Answer::TokenTaken, now).unwrap();
    assert_eq!(reports(&mut ledger), [UP, told(good, None)]);
    let sent = requests(&mut ledger);
    let appended = |it: &Request| matches!(it, Request::Append { entry, .. } if entry[0] == good);
    assert!(sent.iter().any(appended), "{sent:?}");
    assert_eq!(ledger.shut_out(), None);

    // What comes for the one that is refused is refused at once, and it is shown again in time.
    let log = if bad == 1 { one.id() } else { two.id() };
    ledger.append(log, 7, Bytes::from_static(&[7; 512]));
    let refused = RelayReport::Refused { tag: 7, reason: Refusal::TokenInvalid };
    assert_eq!(reports(&mut ledger), [refused]);
    let again = ledger.deadline(now).unwrap();
    assert!(again <= now + TOKEN_PAUSE[0] && shown(&requests(&mut ledger)).is_empty());
    assert!(
        matches!(ledger.next_request(again), Some(Request::Token { token: it }) if it == token(bad))
    );
    ledger.answer(Answer::TokenTaken, again).unwrap();
    assert_eq!(reports(&mut ledger), [told(bad, None)]);
    handle_of(&requests(&mut ledger));
}

#[test]
fn a_relay_that_takes_no_token_is_left_and_a_new_token_is_worth_a_try() {
    let log = keys(1);
    let mut ledger = connected(vec![plan(&log, 1)]);
    requests(&mut ledger);
    let reason = Refusal::TokenInvalid;
    ledger.answer(Answer::TokenRefused { reason }, Instant::now()).unwrap();
    assert_eq!(ledger.shut_out(), Some(TokenFault::Refused));
    assert!(!ledger.has_new_token());
    ledger.plan(vec![plan(&log, 2)]);
    assert!(ledger.has_new_token());

    let mut bare = connected(vec![super::plan(&log)]);
    bare.append(log.id(), 1, Bytes::from_static(&[1; 512]));
    assert_eq!(requests(&mut bare), []);
    assert_eq!(bare.shut_out(), Some(TokenFault::Missing));
    let missing = RelayReport::Token { under: None, fault: Some(TokenFault::Missing) };
    let refused = RelayReport::Refused { tag: 1, reason: Refusal::TokenNeeded };
    let told = reports(&mut bare);
    assert!(told.contains(&missing) && told.contains(&refused), "{told:?}");
    assert_eq!(connected(vec![]).shut_out(), Some(TokenFault::Missing), "nor has it a log");
}

#[test]
fn a_log_goes_on_under_another_token_from_where_it_was() {
    let log = keys(1);
    let mut ledger = connected(vec![plan(&log, 1)]);
    requests(&mut ledger);
    ledger.answer(Answer::TokenTaken, Instant::now()).unwrap();
    let handle = handle_of(&requests(&mut ledger));
    ledger.answer(entries(handle, 7), Instant::now()).unwrap();
    reports(&mut ledger);

    ledger.plan(vec![plan(&log, 2)]);
    let changed = requests(&mut ledger);
    assert_eq!(changed[0], Request::Close { handle });
    assert_eq!(shown(&changed), [token(2)]);
    ledger.answer(Answer::TokenTaken, Instant::now()).unwrap();
    assert_eq!(reports(&mut ledger), [told(2, None)], "it was up all the time");
    let opened = requests(&mut ledger);
    let handle = handle_of(&opened);
    assert_eq!(opened[1], Request::Follow { handle, after: Some(place(7)) });
    ledger.plan(vec![plan(&log, 2)]);
    assert_eq!(requests(&mut ledger), []);
}

#[test]
fn what_a_token_does_not_grant_now_is_asked_for_again() {
    let mut ledger = connected(vec![plan(&keys(1), 1)]);
    requests(&mut ledger);
    let now = Instant::now();
    let reason = Refusal::TokenSpent { retry_ms: 30_000 };
    ledger.answer(Answer::TokenRefused { reason }, now).unwrap();
    assert_eq!(reports(&mut ledger), [told(1, Some(TokenFault::Spent))]);
    let again = ledger.deadline(now).unwrap();
    assert_eq!(again, now + std::time::Duration::from_secs(30));
    ledger.next_request(again).unwrap();
    let endless = Refusal::TokenSpent { retry_ms: u64::MAX };
    ledger.answer(Answer::TokenRefused { reason: endless }, again).unwrap();
    assert_eq!(ledger.deadline(again), Some(again + TOKEN_PAUSE[1]));
    assert_eq!(reports(&mut ledger), [], "told once");
}
