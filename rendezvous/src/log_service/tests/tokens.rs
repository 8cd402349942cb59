//! What a client sees of a relay that serves holders of tokens.

use std::time::SystemTime;

use protocol::relay_log::RelayToken;
use tempfile::TempDir;

use super::*;
use crate::tokens::{Grants, Terms, Tokens};

/// A relay for holders of tokens, and its operator.
struct Closed {
    world: World,
    tokens: Tokens,
    holders: Arc<Holders>,
    _dir: TempDir,
}

fn closed(limits: Limits) -> Closed {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::of(dir.path());
    let holders = Holders::open(tokens.clone(), &limits).unwrap();
    let store = Arc::new(MemoryStore::new(limits.quota).unwrap());
    let (world, _) = world_for(limits, store, Some(Arc::clone(&holders)));
    Closed { world, tokens, holders, _dir: dir }
}

impl Closed {
    fn issue(&self, grants: Grants, lasts: Option<Duration>) -> (RelayToken, String) {
        let terms = Terms { label: "x".into(), lasts, grants };
        let (token, issued) = self.tokens.issue(terms, SystemTime::now()).unwrap();
        self.holders.look(SystemTime::now());
        (token, issued.id)
    }

    /// A client that has shown a token, and been answered.
    async fn with(&self, token: &RelayToken) -> (Client, Answer) {
        let mut client = self.world.client().await;
        let answer = client.ask(Request::Token { token: token.clone() }).await;
        (client, answer)
    }
}

fn refused(reason: Refusal) -> Answer {
    Answer::OpenRefused { handle: 1, reason }
}

const BOTH: [Role; 2] = [Role::Write, Role::Read];

#[tokio::test]
async fn nothing_is_opened_without_a_token_and_hello_says_so() {
    let closed = closed(Limits::default());
    let (near, far) = tokio::io::duplex(1 << 16);
    let session = tokio::spawn(serve(Arc::clone(&closed.world.service), None, far));
    let mut io = Framed::new(near, LengthDelimitedCodec::new());
    let hello = codec::decode(&io.next().await.unwrap().unwrap()).unwrap();
    assert!(matches!(hello, Answer::Hello { wants_token: Some(true), .. }));
    session.abort();

    let mut client = closed.world.client().await;
    assert_eq!(client.open(1, &keys(1), &BOTH).await, refused(Refusal::TokenNeeded));
    let unknown = RelayToken::from_bytes([7; 16]);
    let answer = client.ask(Request::Token { token: unknown }).await;
    assert_eq!(answer, Answer::TokenRefused { reason: Refusal::TokenInvalid });
    assert_eq!(client.open(1, &keys(1), &BOTH).await, refused(Refusal::TokenInvalid));

    let (token, _) = closed.issue(Grants::default(), None);
    assert_eq!(client.ask(Request::Token { token }).await, Answer::TokenTaken);
    assert_eq!(client.open(1, &keys(1), &BOTH).await, Answer::Opened { handle: 1 });
    assert_eq!(seq(&client.append(1, 1, entry(1, 512)).await), 1);
}

#[tokio::test]
async fn an_open_relay_asks_for_no_token_and_takes_any() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    let token = RelayToken::from_bytes([7; 16]);
    assert_eq!(client.ask(Request::Token { token }).await, Answer::TokenTaken);
    assert_eq!(client.open(1, &keys(1), &BOTH).await, Answer::Opened { handle: 1 });
}

#[tokio::test]
async fn who_shows_no_good_token_is_sent_away_in_time() {
    let closed = closed(Limits { idle: IDLE, ..Limits::default() });
    let silent = closed.world.client().await;
    let wrong = RelayToken::from_bytes([7; 16]);
    let (guessing, _) = closed.with(&wrong).await;
    assert!(matches!(silent.ended().await, Err(Ended::Idle)));
    assert!(matches!(guessing.ended().await, Err(Ended::Idle)));
    let (token, _) = closed.issue(Grants::default(), None);
    let (mut holder, _) = closed.with(&token).await;
    assert_eq!(holder.open(1, &keys(1), &BOTH).await, Answer::Opened { handle: 1 });
    // Who came later and shows none, or a wrong one after a good one, is gone; who has a log open is not.
    let (mut turned, _) = closed.with(&token).await;
    turned.ask(Request::Token { token: wrong }).await;
    let later = closed.world.client().await;
    assert!(matches!(later.ended().await, Err(Ended::Idle)));
    assert!(matches!(turned.ended().await, Err(Ended::Idle)));
    assert_eq!(seq(&holder.append(1, 1, entry(1, 512)).await), 1);
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_no_others() {
    let closed = closed(Limits::default());
    let (ana, ana_id) = closed.issue(Grants::default(), None);
    let (ben, _) = closed.issue(Grants::default(), None);
    let (mut one, _) = closed.with(&ana).await;
    let (two, _) = closed.with(&ana).await;
    let (mut other, _) = closed.with(&ben).await;
    one.open(1, &keys(1), &BOTH).await;
    // It shows another one, but its log is open under the first.
    assert_eq!(one.ask(Request::Token { token: ben }).await, Answer::TokenTaken);
    closed.tokens.revoke(&ana_id).unwrap();
    closed.holders.look(SystemTime::now());
    assert!(matches!(one.ended().await, Err(Ended::NoToken)));
    assert!(matches!(two.ended().await, Err(Ended::NoToken)));
    assert_eq!(other.open(1, &keys(1), &BOTH).await, Answer::Opened { handle: 1 });
    let (_, answer) = closed.with(&ana).await;
    assert_eq!(answer, Answer::TokenRefused { reason: Refusal::TokenInvalid });
}

#[tokio::test]
async fn a_token_that_has_run_out_ends_its_streams() {
    let closed = closed(Limits::default());
    let hour = Duration::from_hours(1);
    let (token, _) = closed.issue(Grants::default(), Some(hour));
    let (client, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenTaken);
    closed.holders.look(SystemTime::now() + hour + Duration::from_secs(1));
    assert!(matches!(client.ended().await, Err(Ended::NoToken)));
    let (_, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenRefused { reason: Refusal::TokenInvalid });

    closed.holders.look(SystemTime::now());
    let (_, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenTaken, "the clock had leapt, and is right again");
}

#[tokio::test]
async fn a_day_s_bytes_are_spent_by_all_streams_together_and_outlive_a_restart() {
    let closed = closed(Limits::default());
    let grants = Grants { bytes_per_day: Some(1024), ..Grants::default() };
    let (token, _) = closed.issue(grants, None);
    let (mut one, _) = closed.with(&token).await;
    let (mut two, _) = closed.with(&token).await;
    one.open(1, &keys(1), &BOTH).await;
    two.open(1, &keys(2), &BOTH).await;
    seq(&one.append(1, 1, entry(1, 512)).await);
    seq(&two.append(1, 1, entry(2, 512)).await);
    let is_spent = |answer: &Answer| {
        matches!(answer, Answer::AppendRefused { reason: Refusal::TokenSpent { retry_ms }, .. }
            if (1..=86_400_000).contains(retry_ms))
    };
    let answer = one.append(2, 1, entry(3, 512)).await;
    assert!(is_spent(&answer), "{answer:?}");

    closed.holders.keep_usage();
    let holders = Holders::open(closed.tokens.clone(), &Limits::default()).unwrap();
    let store = Arc::new(MemoryStore::new(Limits::default().quota).unwrap());
    let again = Closed {
        world: world_for(Limits::default(), store, Some(Arc::clone(&holders))).0,
        holders,
        ..closed
    };
    let (mut three, _) = again.with(&token).await;
    three.open(1, &keys(1), &BOTH).await;
    let answer = three.append(1, 1, entry(4, 512)).await;
    assert!(is_spent(&answer), "{answer:?}");
}

#[tokio::test]
async fn what_the_address_may_not_spend_is_not_charged_to_the_token() {
    let closed = closed(Limits { address_bytes: 512, ..Limits::default() });
    let grants = Grants { bytes_per_day: Some(1024), ..Grants::default() };
    let (token, _) = closed.issue(grants, None);
    for from in [1, 2] {
        let mut client = closed.world.client_from(Some([192, 0, 2, from].into()), 1 << 16).await;
        client.ask(Request::Token { token: token.clone() }).await;
        client.open(1, &keys(1), &BOTH).await;
        seq(&client.append(1, 1, entry(from.into(), 512)).await);
        let answer = client.append(2, 1, entry(9, 512)).await;
        let is_slow =
            matches!(answer, Answer::AppendRefused { reason: Refusal::RateLimited { .. }, .. });
        assert!(is_slow == (from == 1), "{answer:?}");
    }
}

#[tokio::test]
async fn a_token_s_rate_holds_for_all_its_streams() {
    let closed = closed(Limits::default());
    let grants = Grants { bytes_per_s: Some(512), ..Grants::default() };
    let (token, _) = closed.issue(grants, None);
    let (mut one, _) = closed.with(&token).await;
    let (mut two, _) = closed.with(&token).await;
    one.open(1, &keys(1), &BOTH).await;
    two.open(1, &keys(2), &BOTH).await;
    seq(&one.append(1, 1, entry(1, ENVELOPE_MAX)).await);
    let answer = two.append(1, 1, entry(2, ENVELOPE_MAX)).await;
    let Answer::AppendRefused { reason: Refusal::RateLimited { retry_ms }, .. } = answer else {
        panic!("{answer:?}")
    };
    assert!((1..=64_000).contains(&retry_ms), "{retry_ms}");
}

#[tokio::test]
async fn logs_and_connections_of_a_token_are_counted_and_come_free_again() {
    let closed = closed(Limits::default());
    let grants = Grants { logs: Some(2), connections: Some(2), ..Grants::default() };
    let (token, _) = closed.issue(grants, None);
    let spent = Refusal::TokenSpent { retry_ms: 30_000 };
    let (mut one, _) = closed.with(&token).await;
    let (mut two, _) = closed.with(&token).await;
    let (mut three, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenRefused { reason: spent });
    assert_eq!(three.open(1, &keys(1), &BOTH).await, refused(spent));
    one.open(7, &keys(1), &BOTH).await;
    // Shown once more it is still one connection, and a log that is refused counts for nothing.
    assert_eq!(one.ask(Request::Token { token: token.clone() }).await, Answer::TokenTaken);
    assert_eq!(two.open(1, &keys(3), &[]).await, refused(Refusal::BadProof));
    two.open(8, &keys(2), &BOTH).await;
    assert_eq!(two.open(1, &keys(3), &BOTH).await, refused(spent));
    two.send(Request::Close { handle: 8 }).await;
    assert_eq!(two.open(1, &keys(3), &BOTH).await, Answer::Opened { handle: 1 });

    drop(one.io);
    assert!(matches!(one.session.await.unwrap(), Err(Ended::Closed)));
    assert_eq!(three.ask(Request::Token { token }).await, Answer::TokenTaken);
    assert_eq!(three.open(1, &keys(1), &BOTH).await, Answer::Opened { handle: 1 });
}

#[tokio::test]
async fn a_holder_whose_token_has_no_log_left_stays_and_asks_again() {
    let closed = closed(Limits { idle: IDLE, ..Limits::default() });
    let (token, _) = closed.issue(Grants { logs: Some(1), ..Grants::default() }, None);
    let (mut one, _) = closed.with(&token).await;
    one.open(1, &keys(1), &BOTH).await;
    let (mut two, _) = closed.with(&token).await;
    let spent = Refusal::TokenSpent { retry_ms: 30_000 };
    assert_eq!(two.open(1, &keys(2), &BOTH).await, refused(spent));
    let silent = closed.world.client().await;
    assert!(matches!(silent.ended().await, Err(Ended::Idle)));
    assert!(!two.session.is_finished());
    one.send(Request::Close { handle: 1 }).await;
    assert!(matches!(one.ended().await, Err(Ended::Idle)));
    assert_eq!(two.open(1, &keys(2), &BOTH).await, Answer::Opened { handle: 1 });

    let few = Grants { connections: Some(1), ..Grants::default() };
    let (token, _) = closed.issue(few, None);
    let (mut one, _) = closed.with(&token).await;
    one.open(1, &keys(1), &BOTH).await;
    let (mut beyond, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenRefused { reason: spent });
    assert_eq!(beyond.open(1, &keys(2), &BOTH).await, refused(spent));
    assert!(matches!(beyond.ended().await, Err(Ended::Idle)), "it counts for nobody");
}

#[tokio::test]
async fn a_list_that_can_not_be_read_leaves_the_one_of_before() {
    let closed = closed(Limits::default());
    let (token, _) = closed.issue(Grants::default(), None);
    std::fs::write(closed._dir.path().join("tokens.toml"), "?").unwrap();
    closed.holders.look(SystemTime::now());
    let (_, answer) = closed.with(&token).await;
    assert_eq!(answer, Answer::TokenTaken);
    assert!(Holders::open(closed.tokens.clone(), &Limits::default()).is_err());
    std::fs::remove_file(closed._dir.path().join("tokens.toml")).unwrap();
    closed.holders.look(SystemTime::now());
    let (_, answer) = closed.with(&token).await;
    assert_eq!(
        answer,
        Answer::TokenRefused { reason: Refusal::TokenInvalid },
        "no list: no tokens"
    );
}
