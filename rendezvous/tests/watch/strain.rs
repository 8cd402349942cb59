//! A relay whose memory or open files are nearly used up.

use std::{fs, time::Duration};

use protocol::relay_log::{Answer, LogKeys};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    http::{PATIENCE, get, metric},
    reload::Managed,
};

async fn refused(relay: &Managed, reason: &str) -> f64 {
    metric(relay.watch, &format!("refused_total{{reason=\"{reason}\"}}")).await.unwrap()
}

/// Waits until it has said this: what it does about it may be seen a moment before.
async fn says(relay: &Managed, words: &str) {
    let said = async {
        while !relay.log().contains(words) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("{words}: {}", relay.log()));
}

/// Waits until it answers somebody new.
async fn answers(relay: &Managed) {
    let turned = async { while !relay.answers().await {} };
    timeout(PATIENCE, turned).await.unwrap_or_else(|_| panic!("{}", relay.log()));
}

#[tokio::test(flavor = "multi_thread")]
async fn above_its_mark_of_memory_it_takes_nobody_new_and_serves_who_is_there() {
    let relay = Managed::start("");
    let mut client = relay.client().await;
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    client.open(1, &keys).await;
    assert!(metric(relay.watch, "memory_bytes").await > Some(f64::from(1 << 20)));

    relay.reload("limits.memory = \"1 MiB\"\n");
    assert_eq!(metric(relay.watch, "memory_mark_bytes").await, Some(f64::from(1 << 20)));
    for _ in 0..3 {
        assert!(!relay.answers().await);
    }
    let counted = async { while refused(&relay, "memory").await != 3.0 {} };
    timeout(PATIENCE, counted).await.unwrap();
    assert!(get(relay.watch, "/").await.body.contains("Memory nearly used up"));
    assert!(matches!(client.append(1, 7, 512).await, Answer::Appended { .. }));
    assert_eq!(get(relay.watch, "/healthz").await.status, 200);

    relay.reload("limits.memory = \"off\"\n");
    assert!(relay.answers().await);
    assert_eq!(metric(relay.watch, "memory_mark_bytes").await, Some(0.0));
    let log = relay.log();
    for words in ["memory is nearly used up", "there is memory again"] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn where_memory_stays_above_its_mark_some_connections_are_closed() {
    let relay = Managed::start("");
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(relay.client().await);
    }
    assert_eq!(metric(relay.watch, "connections").await, Some(12.0));
    // Less than it uses, also once it has given back what it can, and so much that twelve could be the cause.
    let used = metric(relay.watch, "memory_bytes").await.unwrap();
    relay.reload(&format!("limits.memory = \"{} KiB\"\n", (used / 1024.0 * 0.7).floor()));
    let closed = async { while refused(&relay, "shed").await == 0.0 {} };
    timeout(PATIENCE, closed).await.unwrap_or_else(|_| panic!("{}", relay.log()));
    let gone = async { while metric(relay.watch, "connections").await == Some(12.0) {} };
    timeout(PATIENCE, gone).await.unwrap();
    let log = relay.log();
    assert_eq!(log.matches("memory stays nearly used up").count(), 1, "{log}");
    relay.reload("limits.memory = \"off\"\n");
    answers(&relay).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn it_may_open_all_the_files_that_it_can_and_takes_nobody_new_above_nine_of_ten() {
    let less = ["sh", "-c", "ulimit -Sn 100 && ulimit -Hn 400 && exec \"$0\" \"$@\""];
    let relay =
        Managed::start_by(&less, "limits.handshakes = 999\nlimits.handshakes_per_address = 999\n");
    let limits = fs::read_to_string(format!("/proc/{}/limits", relay.process.0.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("400"), "{line}");
    assert_eq!(metric(relay.watch, "files_mark").await, Some(360.0));

    // A few more than the mark, and fewer than there may be: it is looked each second.
    let own = metric(relay.watch, "files_open").await.unwrap();
    let mut crowd: Vec<TcpStream> = Vec::new();
    let full = async {
        loop {
            // Who says nothing is sent away after 3 s: others come in their places.
            crowd.retain(|silent| silent.try_read(&mut [0]).is_err());
            while own + f64::from(u32::try_from(crowd.len()).unwrap()) < 372.0 {
                crowd.push(TcpStream::connect(relay.socket()).await.unwrap());
            }
            if !relay.answers().await {
                break;
            }
        }
    };
    timeout(PATIENCE, full).await.unwrap_or_else(|_| panic!("{}", relay.log()));
    let counted = async { while refused(&relay, "files").await == 0.0 {} };
    timeout(PATIENCE, counted).await.unwrap();
    assert_eq!(get(relay.watch, "/healthz").await.status, 200, "the rest is for the relay itself");
    drop(crowd);
    answers(&relay).await;
    says(&relay, "nearly as many files are open").await;
    says(&relay, "files can be opened again").await;
}
