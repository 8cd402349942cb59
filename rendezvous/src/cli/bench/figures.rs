//! What is told of a load, to programs and to people.

use std::{fmt::Write as _, time::Duration};

use bytesize::ByteSize;
use serde::Serialize;

use super::{histogram::Times, process::Look, siege::Siege, soak::Trend};

/// From which part on people are told that the machine was not all there.
pub(super) const STOLEN: f64 = 0.01;

/// All of it, as one line of JSON has it. What can't be known is null.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) v: u8,
    pub(super) version: &'static str,
    /// Whether the program was built without optimization: then figures compare with nothing.
    pub(super) debug: bool,
    pub(super) load: Load,
    /// How long it lasted, without what came before and after.
    pub(super) seconds: f64,
    pub(super) interrupted: bool,
    /// The part of this machine's time that its host gave to others during the load: times of such a run tell nothing.
    pub(super) stolen: Option<f64>,
    /// From dialling to the last of a client's logs being open and read.
    pub(super) connect: Option<Times>,
    pub(super) appends: Appends,
    pub(super) deliveries: Deliveries,
    /// From when an append was due to its acknowledgement.
    pub(super) ack: Option<Times>,
    /// From then to each follower.
    pub(super) delivery: Option<Times>,
    pub(super) wire: Option<Bytes>,
    pub(super) relay: Option<Cost>,
    pub(super) soak: Option<Trend>,
    pub(super) siege: Option<Siege>,
}

/// What was put on the relay.
#[derive(Clone, Serialize)]
pub(super) struct Load {
    /// "own", or "named".
    pub(super) relay: &'static str,
    pub(super) way: &'static str,
    /// "disk" or "memory", where it is known.
    pub(super) store: Option<&'static str>,
    pub(super) clients: u32,
    pub(super) logs: u32,
    pub(super) fan_out: u32,
    /// Entries per second that were wanted; 0: as many as there can be.
    pub(super) rate: u32,
    pub(super) bytes: usize,
    pub(super) idle: u32,
}

#[derive(Serialize)]
pub(super) struct Appends {
    pub(super) asked: u64,
    pub(super) acknowledged: u64,
    pub(super) per_s: f64,
    pub(super) refused: u64,
    pub(super) refusal: Option<String>,
    pub(super) unanswered: u64,
}

#[derive(Serialize)]
pub(super) struct Deliveries {
    pub(super) delivered: u64,
    pub(super) per_s: f64,
    /// Acknowledged, and not told to a follower whose connection stood.
    pub(super) lost: u64,
    /// The same, where its connection had ended.
    pub(super) cut_off: u64,
    pub(super) repeated: u64,
    /// Told, and never appended so.
    pub(super) strange: u64,
    pub(super) connections_lost: u64,
}

/// What went through the clients' sockets during the load, both ways.
#[derive(Serialize)]
pub(super) struct Bytes {
    pub(super) bytes: u64,
    pub(super) bytes_per_delivery: Option<f64>,
}

/// What it cost the relay.
#[derive(Serialize)]
pub(super) struct Cost {
    pub(super) cpu_s: f64,
    pub(super) cores: f64,
    /// All of its time, by what was appended and by what was delivered.
    pub(super) cpu_us_per_append: Option<f64>,
    pub(super) cpu_us_per_delivery: Option<f64>,
    pub(super) memory_before: u64,
    pub(super) memory_idle: u64,
    pub(super) memory_joined: u64,
    pub(super) memory_most: u64,
    pub(super) bytes_per_idle: Option<f64>,
    pub(super) bytes_per_client: Option<f64>,
    pub(super) files_before: Option<u64>,
    pub(super) files_most: Option<u64>,
}

/// How the relay was, from before anybody came to the end.
pub(super) struct Looks {
    pub(super) before: Look,
    pub(super) idle: Look,
    pub(super) joined: Look,
    pub(super) most: Look,
    pub(super) end: Look,
}

impl Looks {
    /// In their order, if there is each of them.
    pub(super) fn all([before, idle, joined, most, end]: [Option<Look>; 5]) -> Option<Self> {
        Some(Self { before: before?, idle: idle?, joined: joined?, most: most?, end: end? })
    }
}

impl Cost {
    pub(super) fn of(
        looks: &Looks,
        load: &Load,
        lasted: Duration,
        appends: u64,
        deliveries: u64,
    ) -> Self {
        let Looks { before, idle, joined, most, end } = looks;
        let cpu = end.cpu.saturating_sub(joined.cpu).as_secs_f64();
        let more = |to: &Look, from: &Look| to.memory as f64 - from.memory as f64;
        Self {
            cpu_s: cpu,
            cores: cpu / lasted.as_secs_f64().max(0.001),
            cpu_us_per_append: share(cpu * 1e6, appends),
            cpu_us_per_delivery: share(cpu * 1e6, deliveries),
            memory_before: before.memory,
            memory_idle: idle.memory,
            memory_joined: joined.memory,
            memory_most: most.memory,
            bytes_per_idle: share(more(idle, before), load.idle.into()),
            bytes_per_client: share(more(joined, idle), load.clients.into()),
            files_before: before.files,
            files_most: most.files,
        }
    }
}

/// What falls to each of them; `None` where there are none.
pub(super) fn share(all: f64, among: u64) -> Option<f64> {
    (among > 0).then(|| all / among as f64)
}

impl Figures {
    /// Whether everybody was told what was acknowledged, once and as it was.
    pub(super) fn is_whole(&self) -> bool {
        let it = &self.deliveries;
        it.lost == 0 && it.repeated == 0 && it.strange == 0
    }

    /// For people, in lines.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, said) in self.lines() {
            // Text takes all that is written.
            let _ = writeln!(text, "{name:<12} {said}");
        }
        text
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let Load { clients, logs, fan_out, bytes, idle, way, .. } = &self.load;
        let (appends, deliveries) = (&self.appends, &self.deliveries);
        let mut lines = vec![
            (
                "load",
                format!(
                    "{clients} clients over {way}, {idle} idle ones, {logs} logs with {fan_out} followers \
                 each, {bytes} B an entry, {:.1} s",
                    self.seconds
                ),
            ),
            ("connect", times(self.connect.as_ref())),
            (
                "appends",
                format!(
                    "{:.1} /s, {} acknowledged, {} refused{}, {} without an answer",
                    appends.per_s,
                    appends.acknowledged,
                    appends.refused,
                    appends.refusal.as_ref().map_or_else(String::new, |why| format!(" ({why})")),
                    appends.unanswered
                ),
            ),
            ("deliveries", format!("{:.1} /s, {} in all", deliveries.per_s, deliveries.delivered)),
            ("ack", times(self.ack.as_ref())),
            ("delivery", times(self.delivery.as_ref())),
        ];
        if let Some(part) = self.stolen.filter(|part| *part >= STOLEN) {
            let said = format!(
                "its host gave {:.0} % of its time to others: read no time from this run",
                part * 100.0
            );
            lines.insert(1, ("machine", said));
        }
        if let Some(wire) = &self.wire {
            let each = wire.bytes_per_delivery.map_or_else(String::new, |bytes| {
                format!(", {bytes:.0} B for each delivery, appends included")
            });
            lines.push(("wire", format!("{}{each}", size(wire.bytes))));
        }
        if let Some(cost) = &self.relay {
            lines.extend(cost.lines());
        }
        if let Some(trend) = &self.soak {
            lines.push(("soak", soak(trend)));
        }
        lines.extend(self.siege.iter().flat_map(Siege::lines));
        lines.push((
            "loss",
            format!(
                "{} lost, {} told twice, {} never appended; {} cut off with {} connections",
                deliveries.lost,
                deliveries.repeated,
                deliveries.strange,
                deliveries.cut_off,
                deliveries.connections_lost
            ),
        ));
        lines
    }
}

impl Cost {
    fn lines(&self) -> [(&'static str, String); 3] {
        let each = |share: Option<f64>, what: &str| {
            share.map_or_else(String::new, |us| format!(", {us:.0} µs for each {what}"))
        };
        let cpu = format!(
            "{:.2} s, {:.0} % of a core{}{}",
            self.cpu_s,
            self.cores * 100.0,
            each(self.cpu_us_per_append, "append"),
            each(self.cpu_us_per_delivery, "delivery")
        );
        let each = |share: Option<f64>, what: &str| {
            share.map_or_else(String::new, |bytes| {
                format!(", {:.1} KiB for each {what}", bytes / 1024.0)
            })
        };
        let memory = format!(
            "{} before, {} with the idle, {} with the clients, {} at most{}{}",
            size(self.memory_before),
            size(self.memory_idle),
            size(self.memory_joined),
            size(self.memory_most),
            each(self.bytes_per_idle, "idle one"),
            each(self.bytes_per_client, "client")
        );
        let count = |files: Option<u64>| files.map_or_else(|| "?".into(), |it| it.to_string());
        let files =
            format!("{} before, {} at most", count(self.files_before), count(self.files_most));
        [("processor", cpu), ("memory", memory), ("files", files)]
    }
}

fn soak(trend: &Trend) -> String {
    let files = trend.files_per_hour.map_or_else(String::new, |files| {
        let flat = if trend.files_flat == Some(true) { "flat" } else { "NOT FLAT" };
        format!(", files {flat} ({files:+.1} an hour)")
    });
    let verdict = match (trend.judged, trend.holds, trend.near) {
        (false, ..) => "too short to be judged",
        (true, true, false) => "holds",
        (true, true, true) => "holds, and a longer run could tell otherwise",
        (true, false, false) => "DOES NOT HOLD",
        (true, false, true) => "DOES NOT HOLD, and a longer run could tell otherwise",
    };
    format!(
        "memory {:+.2} ± {:.2} % an hour of at most {} %, {} to {}{files}; {} samples in {:.0} s: {verdict}",
        trend.memory_percent_per_hour,
        trend.memory_error_percent_per_hour,
        trend.slope_max,
        size(trend.memory_first),
        size(trend.memory_last),
        trend.samples,
        trend.span_s
    )
}

fn times(times: Option<&Times>) -> String {
    let Some(Times { count, p50_ms, p90_ms, p99_ms, max_ms }) = times else { return "-".into() };
    format!(
        "p50 {p50_ms:.2} ms  p90 {p90_ms:.2} ms  p99 {p99_ms:.2} ms  max {max_ms:.2} ms  (n={count})"
    )
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}
