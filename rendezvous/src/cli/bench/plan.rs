//! Who writes to which logs, who follows them, and when what is due.

use std::time::Duration;

use protocol::limits::BUCKETS;

/// A load, before anything is connected.
pub(super) struct Plan {
    /// Entries per second of all clients; 0: as fast as they are acknowledged.
    rate: u32,
    /// Bytes of an entry.
    bytes: usize,
    /// Logs by the client that writes to them.
    written: Vec<Vec<u32>>,
    /// Logs by the client that follows them.
    followed: Vec<Vec<u32>>,
}

impl Plan {
    /// Each client writes, in turns, to logs of its own while there are as many; otherwise several share
    /// one. A log's followers are `fan_out` of the clients, the next ones for the next log.
    pub(super) fn new(clients: u32, logs: u32, fan_out: u32, rate: u32, bytes: usize) -> Self {
        let written = (0..clients).map(|client| {
            if client < logs {
                (client..logs).step_by(clients as usize).collect()
            } else {
                vec![client % logs]
            }
        });
        let mut followed = vec![Vec::new(); clients as usize];
        for log in 0..logs {
            for one in 0..fan_out {
                let client =
                    (u64::from(log) * u64::from(fan_out) + u64::from(one)) % u64::from(clients);
                followed[client as usize].push(log);
            }
        }
        Self { rate, bytes, written: written.collect(), followed }
    }

    /// The logs to which a client writes, in turns.
    pub(super) fn written(&self, client: u32) -> &[u32] {
        &self.written[client as usize]
    }

    /// The logs that a client follows.
    pub(super) fn followed(&self, client: u32) -> &[u32] {
        &self.followed[client as usize]
    }

    pub(super) fn clients(&self) -> u32 {
        self.written.len() as u32
    }

    /// Appends of one client without an answer: a relay takes 64, and 1024 of all.
    pub(super) fn window(&self) -> usize {
        (1000 / self.written.len().max(1)).clamp(1, 32)
    }

    /// How many logs the client with the most has open.
    pub(super) fn most_logs(&self) -> usize {
        let open = |client| self.logs(client).len();
        (0..self.clients()).map(open).max().unwrap_or_default()
    }

    /// The logs that a client has open, each once.
    pub(super) fn logs(&self, client: u32) -> Vec<u32> {
        let mut logs = [self.written(client), self.followed(client)].concat();
        logs.sort_unstable();
        logs.dedup();
        logs
    }

    /// When a client's turn is due, after the start; `None`: as soon as it can.
    pub(super) fn due(&self, client: u32, turn: u32) -> Option<Duration> {
        let place = u64::from(turn) * u64::from(self.clients()) + u64::from(client);
        let seconds = place as f64 / f64::from(self.rate);
        (self.rate > 0).then(|| Duration::from_secs_f64(seconds))
    }

    /// Which log a client's turn is for, and the how manieth entry of this client it is there.
    pub(super) fn place(&self, client: u32, turn: u32) -> (u32, u32) {
        let logs = self.written(client);
        let count = logs.len() as u32;
        (logs[(turn % count) as usize], turn / count)
    }
}

/// What an entry says of itself; the rest of it is noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// Who wrote it.
    pub(super) client: u32,
    /// As the how manieth.
    pub(super) turn: u32,
    /// When, in nanoseconds since the tool began: its clients are all in one process, with one clock.
    pub(super) begun: u64,
}

impl Mark {
    const LEN: usize = 16;

    pub(super) fn read(entry: &[u8]) -> Option<Self> {
        let (mark, _) = entry.split_first_chunk::<{ Self::LEN }>()?;
        let number = u128::from_be_bytes(*mark);
        Some(Self {
            client: (number >> 96) as u32,
            turn: (number >> 64) as u32,
            begun: number as u64,
        })
    }

    /// The entry: its mark, and noise that nobody could make smaller.
    pub(super) fn entry(self, plan: &Plan, noise: &[u8]) -> Vec<u8> {
        let number =
            u128::from(self.client) << 96 | u128::from(self.turn) << 64 | u128::from(self.begun);
        let mut entry = noise[..plan.bytes.min(noise.len())].to_vec();
        entry[..Self::LEN].copy_from_slice(&number.to_be_bytes());
        entry
    }
}

/// Reads an entry's size.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| BUCKETS.contains(size));
    size.ok_or_else(|| {
        let sizes: Vec<_> = BUCKETS.iter().map(ToString::to_string).collect();
        format!("an entry has one of these sizes: {}", sizes.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_a_writer_and_as_many_followers_as_are_wanted() {
        for (clients, logs, fan_out) in [(1, 1, 0), (5, 3, 5), (3, 8, 2), (7, 7, 1), (50, 10, 5)] {
            let plan = Plan::new(clients, logs, fan_out, 0, 512);
            for log in 0..logs {
                let of = |has: fn(&Plan, u32) -> &[u32]| {
                    (0..clients).filter(|it| has(&plan, *it).contains(&log)).count()
                };
                assert!(of(Plan::written) > 0, "{clients} {logs}");
                assert_eq!(of(Plan::followed), fan_out as usize, "{clients} {logs}");
            }
            assert!((0..clients).all(|client| !plan.written(client).is_empty()));
        }
    }

    #[test]
    fn turns_come_at_the_rate_of_all_together_and_go_round_the_logs() {
        let plan = Plan::new(2, 6, 1, 100, 512);
        let due = |client, turn| plan.due(client, turn).unwrap();
        assert_eq!(due(0, 0), Duration::ZERO);
        assert_eq!(due(1, 0), Duration::from_millis(10));
        assert_eq!(due(0, 50), Duration::from_secs(1));
        assert_eq!([0, 1, 2, 3].map(|turn| plan.place(1, turn)), [(1, 0), (3, 0), (5, 0), (1, 1)]);
        assert_eq!(Plan::new(2, 6, 1, 0, 512).due(1, 9), None);
    }

    #[test]
    fn an_entry_says_what_it_is() {
        let plan = Plan::new(1, 1, 1, 0, 512);
        let mark = Mark { client: 7, turn: u32::MAX, begun: u64::MAX - 1 };
        let entry = mark.entry(&plan, &[9; 512]);
        assert_eq!((entry.len(), Mark::read(&entry)), (512, Some(mark)));
        assert_eq!(Mark::read(&entry[..15]), None);
    }

    #[test]
    fn only_what_a_relay_takes_is_a_size() {
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("4095").is_err() && size("").is_err());
    }
}
