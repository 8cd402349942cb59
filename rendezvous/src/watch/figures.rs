//! What a relay shows of itself at one moment: for programs as JSON, for people by the page.

use std::time::Instant;

use serde::Serialize;

use super::{
    counts::{Counts, Trouble},
    history::{History, Hour},
    why::Why,
};

/// All figures. Their JSON is a promise to programs, numbered by `v`.
#[derive(Serialize)]
pub(super) struct Figures {
    pub v: u8,
    pub version: &'static str,
    pub uptime_s: u64,
    pub takes_entries: bool,
    #[serde(skip)]
    pub trouble: Option<Trouble>,
    pub addresses: Vec<String>,
    pub cluster: String,
    pub connections: i64,
    pub clients: i64,
    pub logs: i64,
    pub circuits: u64,
    pub appends: u64,
    pub deliveries: u64,
    /// In one second, in the last ten.
    pub appends_per_s: f64,
    pub deliveries_per_s: f64,
    pub stored_entries: i64,
    pub stored_bytes: i64,
    pub quota_bytes: i64,
    pub refused: Vec<Refused>,
    pub hour: Hour,
}

/// How often something was refused.
#[derive(Serialize)]
pub(super) struct Refused {
    pub reason: &'static str,
    pub times: u64,
}

impl Figures {
    /// As they are now.
    pub(super) fn of(
        counts: &Counts,
        history: &History,
        started: Instant,
        addrs: &[String],
    ) -> Self {
        let refused = |why: &Why| Refused { reason: why.label(), times: counts.refusals(*why) };
        let trouble = counts.trouble();
        let hour = history.hour();
        let (stored_entries, stored_bytes) = counts.usage();
        Self {
            v: 1,
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: started.elapsed().as_secs(),
            takes_entries: trouble.is_none(),
            trouble,
            addresses: addrs.to_vec(),
            cluster: counts.cluster(),
            connections: counts.connections.get(),
            clients: counts.clients.get(),
            logs: counts.logs.get(),
            circuits: counts.circuits.get(),
            appends: counts.appends.get(),
            deliveries: counts.deliveries.get(),
            appends_per_s: hour.appends.back().copied().unwrap_or_default(),
            deliveries_per_s: hour.deliveries.back().copied().unwrap_or_default(),
            stored_entries,
            stored_bytes,
            quota_bytes: counts.quota_bytes.get(),
            refused: Why::ALL.iter().map(refused).collect(),
            hour,
        }
    }
}
