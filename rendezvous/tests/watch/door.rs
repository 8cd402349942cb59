//! Who may watch, and what nobody can do to a relay by its dashboard's port.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use protocol::relay_log::{Answer, LogKeys};
use rendezvous::{Config, Limits, Relay, StartError, WatchConfig, WatchError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{interval, timeout},
};

use crate::{
    HERE, TOKEN, client,
    http::{PATIENCE, get, get_with, metric, says},
    open, start, with_token,
};

const PAGES: [&str; 6] = ["/", "/live.json", "/state.json", "/live.js", "/look.css", "/metrics"];

async fn fails(watch: WatchConfig) -> WatchError {
    let listen = vec![HERE.into()];
    match Relay::start(Config { listen, watch, ..Config::live() }).await {
        Err(StartError::Watch(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_others_can_reach_it_a_token_is_needed_to_begin_with() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let listen = Some(listen.parse().unwrap());
        let watch = WatchConfig { listen, ..WatchConfig::default() };
        assert!(matches!(fails(watch.clone()).await, WatchError::NoToken(_)));
        let token = Some("short".into());
        assert!(matches!(fails(WatchConfig { token, ..watch }).await, WatchError::ShortToken));
    }
    let listen = Some("0.0.0.0:0".parse().unwrap());
    let (_relay, watch) = start(Limits::live(), WatchConfig { listen, ..with_token() }).await;
    let local = SocketAddr::from(([127, 0, 0, 1], watch.port()));
    assert_eq!(get(local, "/").await.status, 401);
    assert_eq!(get(local, "/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_token_reads_and_nobody_else() {
    let (_relay, watch) = start(Limits::live(), with_token()).await;
    // "who:" and the token, in base64.
    let basic = "Authorization: Basic d2hvOmEtdG9rZW4tZm9yLXRob3NlLXdoby13YXRjaA==\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let host = "Host: relay.example\r\nX-Forwarded-For: a\r\n";
    for path in PAGES {
        for given in [basic, &bearer] {
            let answer = get_with(watch, path, &format!("{host}{given}")).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        for given in
            ["", "Authorization: Bearer a-token-for-those-who-wait!\r\n", "Cookie: a=b\r\n"]
        {
            let answer = get_with(watch, path, &format!("{host}{given}")).await;
            assert_eq!(answer.status, 401, "{path} {given}");
            assert!(answer.head.contains("www-authenticate: basic "), "{}", answer.head);
            assert!(answer.body.starts_with("A token is needed"), "{}", answer.body);
        }
    }
    let asked = format!("/?token={TOKEN}");
    assert_eq!(get_with(watch, &asked, host).await.status, 401, "an address goes into logs");
    let health = get_with(watch, "/healthz", host).await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!(get_with(watch, "/else", host).await.status, 401, "not even what there is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_web_has_nobodys_browser_ask_by_another_name() {
    let (_relay, watch) = start(Limits::live(), open()).await;
    for path in PAGES {
        for host in ["Host: relay.example\r\n", "Host: 192.0.2.1:4408\r\n", "Host: \r\n"] {
            assert_eq!(get_with(watch, path, host).await.status, 403, "{path} {host}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let host = format!("Host: {host}:{}\r\n", watch.port());
            assert_eq!(get_with(watch, path, &host).await.status, 200, "{path} {host}");
        }
    }
    for line in ["Forwarded: for=a", "X-Forwarded-For: a", "X-Real-IP: a", "Via: 1.1 a"] {
        let passed_on = format!("Host: localhost\r\n{line}\r\n");
        let answer = get_with(watch, "/", &passed_on).await;
        assert_eq!(answer.status, 403, "{line}");
        assert!(answer.body.contains("set a token"), "{}", answer.body);
        assert_eq!(get_with(watch, "/healthz", &passed_on).await.status, 200);
    }
    let old = says(watch, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 403, "no name at all");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_read_and_nothing_else() {
    let (_relay, watch) = start(Limits::live(), open()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FROB"] {
        for path in ["/", "/metrics", "/healthz", "/else"] {
            let asked = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = says(watch, &asked).await;
            assert_eq!(answer.status, 405, "{asked}");
            assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
        }
    }
    let length = "Host: localhost\r\nContent-Length: 5\r\n";
    assert_eq!(get_with(watch, "/", length).await.status, 413);
    let chunked = "Host: localhost\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(get_with(watch, "/", chunked).await.status, 413);
    assert_eq!(get(watch, "/else").await.status, 404);
    assert_eq!(get(watch, "/../metrics").await.status, 404);

    let head = says(watch, "HEAD /look.css HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let whole = get(watch, "/look.css").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length = format!("content-length: {}", whole.body.len());
    assert!(head.head.contains(&length) && whole.head.contains(&length));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_a_browser_to_ask_nobody_else_and_to_keep_nothing() {
    let (_relay, watch) = start(Limits::live(), open()).await;
    for path in PAGES.into_iter().chain(["/healthz", "/else"]) {
        let head = get(watch, path).await.head;
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
            "connection: close",
        ] {
            assert!(head.lines().any(|it| it == line), "{line} is not in\n{head}");
        }
        assert!(!head.contains("access-control") && !head.contains("set-cookie"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_too_large_or_none_is_refused() {
    let (_relay, watch) = start(Limits::live(), open()).await;
    let long = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(6000));
    assert_eq!(get_with(watch, "/", &long).await.status, 200);
    let longer = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(9000));
    assert_eq!(get_with(watch, "/", &longer).await.status, 431);
    let many = "X: x\r\n".repeat(100);
    assert_eq!(get_with(watch, "/", &many).await.status, 431);
    assert_eq!(says(watch, "\x13/multistream/1.0.0\n\r\n\r\n").await.status, 400);
    assert_eq!(get(watch, "/healthz").await.status, 200);
}

/// Says so much, then nothing or a byte now and then, until the relay hangs up.
async fn stuck(watch: SocketAddr, start: &str, drips: bool) {
    let mut stream = TcpStream::connect(watch).await.unwrap();
    let mut heard = [0; 1024];
    if stream.write_all(start.as_bytes()).await.is_err() {
        return;
    }
    let mut drops = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            read = stream.read(&mut heard) => {
                if matches!(read, Ok(0) | Err(_)) { return }
            }
            _ = drops.tick(), if drips => {
                if stream.write_all(b"x").await.is_err() { return }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_stuck_connections_keep_no_client_waiting_and_go_by_themselves() {
    let (relay, watch) = start(Limits::live(), open()).await;
    let began = Instant::now();
    let mut stuck_ones = tokio::task::JoinSet::new();
    for number in 0..200_usize {
        let start = ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX-"][number % 3];
        // In the middle of "HTTP/1.1" another byte would be a wrong one.
        stuck_ones.spawn(stuck(watch, start, number % 3 != 1));
    }
    // For one too many another goes at once: 136 do, while 64 wait.
    for _ in 0..136 {
        timeout(PATIENCE, stuck_ones.join_next()).await.unwrap().unwrap().unwrap();
    }
    // On a machine so slow that the first went by themselves, fewer had to.
    let least = if began.elapsed() < Duration::from_secs(5) { 136.0 } else { 0.0 };
    assert_eq!(get(watch, "/healthz").await.status, 200, "who asks at once finds a place");
    let mut client = client(&relay).await;
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    client.open(1, &keys).await;
    for number in 0..20 {
        assert!(matches!(client.append(1, number, 512).await, Answer::Appended { .. }));
    }
    timeout(PATIENCE, async { while stuck_ones.join_next().await.is_some() {} }).await.unwrap();
    assert_eq!(get(watch, "/healthz").await.status, 200);
    // And one for whoever asked, if it was still there.
    let shed = metric(watch, "watch_shed_total").await.unwrap();
    assert!((least..=137.0).contains(&shed), "{shed}");
    assert_eq!(metric(watch, "appends_total").await, Some(20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_can_not_listen_the_relay_goes_on_only_if_nobody_asked_for_the_place() {
    let taken = TcpListener::bind(SocketAddr::from(HERE)).await.unwrap();
    let watch = WatchConfig { listen: Some(taken.local_addr().unwrap()), ..WatchConfig::default() };
    match fails(watch.clone()).await {
        WatchError::Bind { source, .. } => assert_eq!(source.kind(), io::ErrorKind::AddrInUse),
        other => panic!("{other:?}"),
    }
    let watch = WatchConfig { optional: true, ..watch };
    let listen = vec![HERE.into()];
    let relay = Relay::start(Config { listen, watch, ..Config::live() }).await.unwrap();
    assert_eq!(relay.watch(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_stopped_has_left_its_port() {
    // Of this address nobody else takes a port, in between.
    let here = if cfg!(target_os = "linux") { [127, 0, 0, 3] } else { [127, 0, 0, 1] };
    let listen = Some((here, 0).into());
    let (relay, watch) = start(Limits::live(), WatchConfig { listen, ..open() }).await;
    assert_eq!(get(watch, "/healthz").await.status, 200);
    relay.stop().await;
    TcpListener::bind(watch).await.unwrap();
}
