//! What those who come from one address can take from others.

use std::time::Instant;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

impl World {
    /// Reads all of a log from an address, on a stream of its own; answers how many entries.
    async fn read_from(&self, from: IpAddr, keys: &LogKeys) -> usize {
        let mut client = self.client_from(Some(from), 1 << 20).await;
        client.open(1, keys, &[Role::Read]).await;
        client.send(Request::Follow { handle: 1, after: None }).await;
        let mut count = 0;
        loop {
            match client.next().await {
                Answer::Entries { entries, .. } => count += entries.len(),
                Answer::CaughtUp { .. } => return count,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_an_address_reads_is_paced_on_all_its_streams_and_all_of_it_comes() {
    let world = world(Limits {
        address_delivered_per_s: 1 << 20,
        address_delivered_burst: 128 << 10,
        ..Limits::default()
    });
    world.fill(&keys(1), 20);
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(world.read_from(HERE, &keys(1)).await, 20);
    }
    // But for what is free after a rest, and the last page: nothing waits behind that.
    let least = Duration::from_secs(1) * (40 - 4 - 2) / 32;
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}
