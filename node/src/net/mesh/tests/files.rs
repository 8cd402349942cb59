//! Streams for files: with whom a channel stands, and for as long as it does.

use protocol::limits::{FILE_ANSWER_MAX, FILE_REQUEST_MAX};

use super::*;
use crate::net::{FileEnd, FileReader, FileStream, FileWriter, file::STREAMS};

type Ends = (FileReader, FileWriter);

async fn open(a: &Node, with: MemberId) -> Option<FileStream> {
    let (answer, answered) = oneshot::channel();
    a.tell(MeshCommand::FileOpen { member: with, answer }).await;
    timeout(PATIENCE, answered).await.unwrap().ok()
}

/// A stream that A opens with B: A's end and B's.
async fn stream(a: &Node, b: &mut Node) -> (Ends, Ends) {
    let opened = open(a, b.member()).await.expect("a stream");
    assert_eq!(opened.member(), b.member());
    let mut ours = opened.split();
    ours.1.write(b"which file").await.unwrap();
    let fetcher = timeout(PATIENCE, b.fetchers.recv()).await.unwrap().unwrap();
    assert_eq!(fetcher.member(), a.member());
    let mut theirs = fetcher.split();
    assert_eq!(theirs.0.read(FileEnd::Giver).await.unwrap(), b"which file");
    (ours, theirs)
}

async fn ends(reader: &mut FileReader) {
    let read = timeout(PATIENCE, reader.read(FileEnd::Fetcher)).await.unwrap();
    assert_eq!(read, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_channel_fetches_over_streams_of_its_connection_both_ways() {
    for keep in [is_quic, |a: &Multiaddr| !is_quic(a)] {
        let (mut a, mut b) = (node(1).await, node(2).await);
        connect(&mut a, &mut b, keep).await;
        let chunk = vec![7; FILE_ANSWER_MAX];
        let (mut ours, mut theirs) = stream(&a, &mut b).await;
        for _ in 0..20 {
            theirs.1.write(&chunk).await.unwrap();
            assert_eq!(ours.0.read(FileEnd::Fetcher).await.unwrap(), chunk);
        }
        assert!(theirs.1.write(&vec![7; FILE_ANSWER_MAX + 1]).await.is_err());
        theirs.1.close().await;
        ends(&mut ours.0).await;
        // And the other way round: who was called has files, too.
        let (_ours, _theirs) = stream(&b, &mut a).await;
        // The channel has stood all the while.
        a.send(&b, b"still here").await;
        b.receives(&a, b"still here").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_more_than_a_request_may_have_is_not_heard() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    let (mut ours, mut theirs) = stream(&a, &mut b).await;
    ours.1.write(&[7; FILE_REQUEST_MAX + 1]).await.unwrap();
    assert_eq!(theirs.0.read(FileEnd::Giver).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_member_any_more_loses_its_streams() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    let (mut ours, mut theirs) = stream(&a, &mut b).await;
    b.book(vec![]).await;
    assert_eq!(timeout(PATIENCE, theirs.0.read(FileEnd::Giver)).await.unwrap(), None);
    assert!(theirs.1.write(b"a chunk").await.is_err());
    drop(theirs);
    ends(&mut ours.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_channel_there_is_no_stream() {
    let (a, b) = (node(1).await, node(2).await);
    assert!(open(&a, b.member()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_an_end_to_the_streams_of_one_channel() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    let mut open_ones = Vec::new();
    for _ in 0..STREAMS {
        open_ones.push(stream(&a, &mut b).await);
    }
    assert!(open(&a, b.member()).await.is_none());
    let _other_way = stream(&b, &mut a).await;
    open_ones.pop();
    assert!(open(&a, b.member()).await.is_some());
}
