//! What a relay that runs takes over when its settings are read again, and what needs a restart.
//!
//! > A limit of one connection is granted when it begins, and stays; a limit of all holds from the next
//! > connection, log or entry on. What settings decide before anything is served needs a restart.

use toml::{Table, Value};

use super::{Settings, find, names};

/// What differs between settings by which a relay runs and those that were read again.
#[derive(Clone, PartialEq, Debug)]
pub struct Changes {
    /// By which it can go from now on: the old ones, with what can be taken over of the new.
    pub settings: Settings,
    /// The keys that are taken over.
    pub taken: Vec<String>,
    /// The keys that need a restart.
    pub waiting: Vec<String>,
}

/// What can be taken over.
const TAKEN: &[&str] = &[
    "external",
    "watch.token_file",
    "limits.connections",
    "limits.handshakes",
    "limits.handshakes_per_address",
    "limits.memory",
    "limits.files",
    "limits.connections_per_peer",
    "limits.connections_per_address",
    "limits.logs",
    "limits.appends_waiting",
    "limits.requests_per_s",
    "limits.requests_burst",
    "limits.bytes_per_s",
    "limits.bytes_burst",
    "limits.address_bytes",
    "limits.address_time",
    "limits.address_delivered_per_s",
    "limits.address_delivered_burst",
    "limits.token_bytes_per_day",
    "limits.token_bytes_per_s",
    "limits.token_logs",
    "limits.token_connections",
    "limits.ttl",
    "limits.quota.log_entries",
    "limits.quota.log_bytes",
    "limits.quota.total_bytes",
];

impl Settings {
    /// What differs in those that were read again, for a store of the same kind.
    #[must_use]
    pub fn changes(&self, read: &Self) -> Changes {
        let (mut now, read) = (self.table(), read.table());
        let (mut taken, mut waiting) = (Vec::new(), Vec::new());
        for name in names(&now, "") {
            let (table, key) = name.rsplit_once('.').unwrap_or(("", &name));
            let (Some(old), Some(new)) = (find(&now, table, key), find(&read, table, key)) else {
                continue;
            };
            if old.is_table() || old == new {
                continue;
            }
            if self.can_take(&name) {
                put(&mut now, &name, new.clone());
                taken.push(name);
            } else {
                waiting.push(name);
            }
        }
        // Each value is one of its key, in one of the two.
        let settings = now.try_into().unwrap_or_else(|_| self.clone());
        Changes { settings, taken, waiting }
    }

    fn can_take(&self, key: &str) -> bool {
        // The streams of a cluster are as large as they were when the relay started.
        let is_clusters = self.cluster.is_set() && key.starts_with("limits.quota.");
        TAKEN.contains(&key) && !is_clusters
    }
}

fn put(all: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(all.insert(name.to_owned(), value)),
        Some((table, rest)) => {
            if let Some(Value::Table(inner)) = all.get_mut(table) {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::config::Storage;

    fn shipped() -> Settings {
        Settings::shipped(Storage::Durable)
    }

    #[test]
    fn what_can_be_taken_over_is_and_the_rest_is_named() {
        let mut read = shipped();
        read.limits.ttl = Duration::from_hours(1);
        read.limits.quota.log_bytes = 1 << 20;
        read.limits.reads = 3;
        read.listen = Vec::new();
        read.external = vec!["relay.example:1".into()];
        read.watch.listen = String::new();
        let changes = shipped().changes(&read);
        let names = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let all = |keys: &[String]| keys.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(
            all(&changes.taken),
            names(&["external", "limits.ttl", "limits.quota.log_bytes"])
        );
        assert_eq!(all(&changes.waiting), names(&["limits.reads", "listen", "watch.listen"]));
        let mut expected = shipped();
        expected.external = read.external.clone();
        expected.limits.ttl = read.limits.ttl;
        expected.limits.quota.log_bytes = 1 << 20;
        assert_eq!(changes.settings, expected);
        let again = changes.settings.changes(&read);
        assert!(again.taken.is_empty() && again.waiting.len() == 3, "what waits is named again");
    }

    #[test]
    fn nothing_differs_from_itself() {
        let Changes { settings, taken, waiting } = shipped().changes(&shipped());
        assert!(settings == shipped() && taken.is_empty() && waiting.is_empty());
    }

    #[test]
    fn the_quota_of_a_cluster_needs_a_restart() {
        let mut running = shipped();
        running.cluster.urls = vec!["nats://relay.example".into()];
        let mut read = running.clone();
        read.limits.quota.total_bytes = 1;
        let changes = running.changes(&read);
        assert_eq!(changes.waiting, ["limits.quota.total_bytes"]);
        assert_eq!(changes.settings, running);
    }

    #[test]
    fn each_key_that_is_taken_over_is_one() {
        let known = names(&shipped().table(), "");
        assert!(TAKEN.iter().all(|key| known.iter().any(|it| it == key)));
    }
}
