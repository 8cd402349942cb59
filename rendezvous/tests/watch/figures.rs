//! What is shown is what has happened.

use protocol::{
    codec,
    limits::ENVELOPE_MAX,
    relay_log::{Answer, Cursor, LogKeys, Refusal, Request, Role},
};
use rendezvous::Limits;
use tokio::time::{Instant, timeout};

use crate::{
    client, http,
    http::{PATIENCE, get, metric},
    open, start,
};

fn keys(seed: u8) -> LogKeys {
    LogKeys::from_seeds([seed; 32], [seed + 1; 32], None)
}

/// What stands in the page's element of this name.
fn at<'a>(page: &'a str, id: &str) -> &'a str {
    let after = page.split_once(&format!("id=\"{id}\"")).unwrap().1;
    after.split_once('>').unwrap().1.split_once('<').unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_the_metrics_and_the_json_say_what_clients_have_done() {
    let (relay, watch) = start(Limits::live(), open()).await;
    let mut client = client(&relay).await;
    assert_eq!(client.open(1, &keys(1)).await, Answer::Opened { handle: 1 });
    assert_eq!(client.open(2, &keys(3)).await, Answer::Opened { handle: 2 });
    for number in 0..7 {
        let answer = client.append(1, number, 512).await;
        assert!(matches!(answer, Answer::Appended { .. }), "{answer:?}");
    }
    assert_eq!(client.read(1).await, 7);
    // What is stored is looked at after the answers, and noted last of all in bytes.
    let noted = async { while metric(watch, "stored_bytes").await != Some(3584.0) {} };
    timeout(PATIENCE, noted).await.unwrap();

    let page = get(watch, "/").await.body;
    for (id, figure) in [
        ("connections", "1"),
        ("clients", "1"),
        ("logs", "2"),
        ("appends", "7"),
        ("deliveries", "7"),
        ("circuits", "0"),
        ("stored_entries", "7"),
        ("stored", "3.5 KiB"),
        ("quota", "256.0 MiB"),
        ("refused", "0"),
        ("takes", "It takes new entries."),
        ("cluster", "One relay, no cluster."),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(at(&page, id), figure, "{id}");
    }
    for addr in relay.addrs() {
        assert!(page.contains(&format!("<code>{addr}</code>")), "{addr}");
    }
    assert!(page.contains("in memory only, for 2 minutes") && page.contains("QR code"));

    for (name, value) in [
        ("connections", 1.0),
        ("connections_made_total", 1.0),
        ("clients", 1.0),
        ("logs_open", 2.0),
        ("appends_total", 7.0),
        ("append_bytes_total", 3584.0),
        ("deliveries_total", 7.0),
        ("delivery_bytes_total", 3584.0),
        ("deliveries_paced_total", 0.0),
        ("stored_entries", 7.0),
        ("stored_bytes", 3584.0),
        ("store_writable", 1.0),
    ] {
        assert_eq!(metric(watch, name).await, Some(value), "{name}");
    }
    let commits = metric(watch, "commit_duration_seconds_count").await.unwrap();
    assert!((1.0..=7.0).contains(&commits), "{commits}");

    let state = get(watch, "/state.json").await.body;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!((&state["v"], &state["appends"]), (&1.into(), &7.into()));
    assert!(state["refused"].as_array().unwrap().iter().all(|it| it["times"] == 0));

    drop(client);
    // Its session lets go of its logs first.
    let gone = async { while metric(watch, "clients").await != Some(0.0) {} };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(metric(watch, "logs_open").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_counted_by_its_reason_and_by_no_other() {
    let mut limits = Limits { logs: 1, ..Limits::live() };
    limits.quota.log_entries = 2;
    limits.quota.log_bytes = 1 << 20;
    let (relay, watch) = start(limits, open()).await;
    let mut client = client(&relay).await;
    let refused = |answer: Answer| match answer {
        Answer::AppendRefused { reason, .. }
        | Answer::OpenRefused { reason, .. }
        | Answer::TrimRefused { reason, .. }
        | Answer::FollowRefused { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    // A proof of another log's key.
    let proofs = vec![client.proof(&keys(9), Role::Write)];
    let open = Request::Open { handle: 1, publics: keys(1).publics(), proofs };
    assert_eq!(refused(client.ask(open).await), Refusal::BadProof);
    client.open(1, &keys(1)).await;
    assert_eq!(refused(client.open(2, &keys(3)).await), Refusal::TooManyLogs);
    assert_eq!(refused(client.append(1, 0, 513).await), Refusal::NotBucket);
    assert_eq!(refused(client.append(7, 0, 512).await), Refusal::NoSuchHandle);
    let follow = Request::Follow { handle: 7, after: None };
    assert_eq!(refused(client.ask(follow).await), Refusal::NoSuchHandle);
    let cursor = Cursor { generation: 1, seq: 1 };
    let trim = Request::Trim { req: 1, handle: 1, cursor };
    assert_eq!(refused(client.ask(trim).await), Refusal::BadProof);
    for number in 0..2 {
        assert!(matches!(client.append(1, number, 512).await, Answer::Appended { .. }));
    }
    for number in 2..5 {
        assert_eq!(refused(client.append(1, number, 512).await), Refusal::LogFull);
    }
    // No request at all ends the stream.
    client.send(vec![0xff; 9]).await;
    assert_eq!(client.next().await, None);

    let times =
        async |reason: &str| metric(watch, &format!("refused_total{{reason=\"{reason}\"}}")).await;
    let counted = async { while times("protocol").await != Some(1.0) {} };
    timeout(PATIENCE, counted).await.unwrap();
    for (reason, expected) in
        [("capability", 4.0), ("logs", 1.0), ("size", 1.0), ("log_full", 3.0), ("too_fast", 0.0)]
    {
        assert_eq!(times(reason).await, Some(expected), "{reason}");
    }
    let page = get(watch, "/").await.body;
    assert_eq!((at(&page, "refused"), at(&page, "refused_log_full")), ("10", "3"));
    assert_eq!(metric(watch, "appends_total").await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_more_is_unhealthy_until_it_does() {
    let mut limits = Limits::live();
    limits.ttl = std::time::Duration::from_secs(1);
    limits.quota.total_bytes = ENVELOPE_MAX as u64 + 512;
    let (relay, watch) = start(limits, open()).await;
    assert_eq!(get(watch, "/healthz").await.body, "ok\n");
    let mut client = client(&relay).await;
    client.open(1, &keys(1)).await;
    for number in 0..2 {
        assert!(matches!(client.append(1, number, 512).await, Answer::Appended { .. }));
    }
    let began = Instant::now();
    let noted = async {
        while metric(watch, "stored_bytes").await != Some(1024.0)
            && metric(watch, "expired_entries_total").await == Some(0.0)
        {}
    };
    timeout(PATIENCE, noted).await.unwrap();
    let (health, page) = (get(watch, "/healthz").await, get(watch, "/").await.body);
    // On a machine so slow that they have expired by now, there is nothing to see.
    if began.elapsed().as_millis() < 500
        && metric(watch, "expired_entries_total").await == Some(0.0)
    {
        assert_eq!((health.status, health.body.as_str()), (503, "the store takes no more\n"));
        assert!(at(&page, "takes").contains("quota"), "{page}");
    }
    let well = async {
        while get(watch, "/healthz").await.status != 200 {}
        // It takes again as soon as the first of the two is gone.
        while metric(watch, "expired_entries_total").await != Some(2.0) {}
    };
    timeout(PATIENCE, well).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_of_the_page_finds_what_it_asks_for() {
    let (_relay, watch) = start(Limits::live(), open()).await;
    let page = get(watch, "/").await.body;
    let links = page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1));
    let links = links.map(|rest| rest.split_once('"').unwrap().0);
    let mut found = 0;
    for link in links {
        assert_eq!(http::get(watch, &format!("/{link}")).await.status, 200, "{link}");
        found += 1;
    }
    assert_eq!(found, 4);
    let script = http::get(watch, "/live.js").await;
    assert!(
        script.head.contains("content-type: text/javascript")
            && script.body.contains("\"live.json\"")
    );
    let live: serde_json::Value =
        serde_json::from_str(&get(watch, "/live.json").await.body).unwrap();
    assert_eq!(live["connections"], "0");
    assert!(codec::decode::<Answer>(live.to_string().as_bytes()).is_err());
}
