//! `wattle ping`.

use std::time::Duration;

use node::api::types::{PingView, Via, Way, WayTried};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Place, exit, exit::Exit, show};

/// Ask whether a member's node answers, by each way that leads to it
///
/// Each address that the member told or was found at on the local network is dialled by itself; by way of the
/// relay, its node is asked in its inbox and answers in yours. Ends with exit code 4 where no way answers.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle ping @ben", "wattle ping ben --group tea --count 5"]))]
pub struct Ping {
    /// The member's name, with or without @, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    member: String,
    /// In which group, where the name alone is not enough
    #[arg(long, value_name = "GROUP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// How often
    #[arg(long, short = 'c', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
}

/// From one round to the next: a member answers once a second.
const ROUND: Duration = Duration::from_millis(1_500);
/// How often it is looked whether there is more.
const LOOK: Duration = Duration::from_millis(100);

impl Ping {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let mut last = None;
        for round in 0..self.count {
            let next = Instant::now() + ROUND;
            let mut view = client.ping(self.group.as_deref(), &self.member).await?;
            if round == 0 && !place.json {
                let (name, id) = (show::name(&view.member), show::short(&view.member.id));
                show::words(format_args!(
                    "asking {name} ({id}) by each way; those that are silent take 5 s, the relay 10 s"
                ));
            }
            let mut shown = 0;
            loop {
                for tried in view.ways.iter().skip(shown).filter(|_| !place.json) {
                    show::data(line(tried))?;
                }
                shown = view.ways.len();
                if view.done {
                    break;
                }
                sleep(LOOK).await;
                view = client.ping_state(&view.id).await?;
            }
            if place.json {
                show::json(&view)?;
            }
            last = Some(view);
            if round + 1 < self.count {
                sleep_until(next).await;
            }
        }
        let answers = last.as_ref().is_some_and(answers);
        if !answers && !place.json {
            show::next("wattle status says what each way waits for; wattle doctor looks at yours");
        }
        Ok(if answers { Exit::Done } else { Exit::Network })
    }
}

/// Whether any way led to an answer now.
fn answers(view: &PingView) -> bool {
    view.ways.iter().any(|tried| tried.way != Way::Channel && tried.latency_us.is_some())
}

fn line(tried: &WayTried) -> String {
    let way = match tried.way {
        Way::Channel => "channel",
        Way::Direct => "direct",
        Way::Relay => "relay",
    };
    let took = tried.latency_us.map_or_else(|| "-".into(), show::took);
    let address = tried.address.as_deref().map(|address| match tried.via {
        Some(Via::Mdns) => format!("{address}, found by mDNS"),
        _ => address.to_owned(),
    });
    let connected = tried.connected_us.map(|us| format!("connected in {}", show::took(us)));
    let standing = match (tried.way, tried.latency_us) {
        (Way::Channel, Some(_)) => Some("as it stands and was measured last".to_owned()),
        (Way::Channel, None) => Some("it stands, and was not measured yet".to_owned()),
        _ => None,
    };
    let clock = tried.ahead_ms.and_then(|ms| clock(ms, tried.latency_us.unwrap_or_default()));
    let reason = (!tried.reason.is_empty()).then(|| tried.reason.clone());
    let said = [address, connected, standing, clock, reason];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let line = format!("{way:<7}  {took:>8}  {}", show::safe(&said.join("; ")));
    line.trim_end().to_owned()
}

/// How the member's clock goes, where the answer can show it.
fn clock(ahead_ms: i64, took_us: u64) -> Option<String> {
    let apart = ahead_ms.unsigned_abs();
    let way = if ahead_ms < 0 { "behind" } else { "ahead" };
    (apart > took_us / 2_000 + 1_000)
        .then(|| format!("its clock is {} {way}", show::lasting(apart.div_ceil(1_000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(way: Way) -> WayTried {
        WayTried {
            way,
            address: None,
            via: None,
            latency_us: None,
            connected_us: None,
            ahead_ms: None,
            reason: String::new(),
        }
    }

    #[test]
    fn each_way_is_one_line() {
        let address = Some("/ip4/10.0.0.7/tcp/1".to_owned());
        let lines = [
            WayTried { address: address.clone(), latency_us: Some(450), ..tried(Way::Channel) },
            WayTried {
                address: address.clone(),
                via: Some(Via::Mdns),
                latency_us: Some(450),
                connected_us: Some(12_345),
                ..tried(Way::Direct)
            },
            WayTried { address, reason: "no answer\u{1b}".into(), ..tried(Way::Direct) },
            WayTried { latency_us: Some(40_000), ahead_ms: Some(900), ..tried(Way::Relay) },
            WayTried { latency_us: Some(40_000), ahead_ms: Some(-61_000), ..tried(Way::Relay) },
        ];
        assert_eq!(
            lines.map(|tried| line(&tried)),
            [
                "channel    0.4 ms  /ip4/10.0.0.7/tcp/1; as it stands and was measured last",
                "direct     0.4 ms  /ip4/10.0.0.7/tcp/1, found by mDNS; connected in 12 ms",
                "direct          -  /ip4/10.0.0.7/tcp/1; no answer\\u{1b}",
                "relay       40 ms",
                "relay       40 ms  its clock is 61 seconds behind",
            ]
        );
    }

    #[test]
    fn a_channel_that_stood_is_no_answer() {
        let member = node::api::types::MemberRef { id: String::new(), name: String::new() };
        let channel = WayTried { latency_us: Some(1), ..tried(Way::Channel) };
        let relay = WayTried { latency_us: Some(1), ..tried(Way::Relay) };
        let view = PingView { v: 1, id: "0".into(), member, done: true, ways: vec![channel] };
        assert!(!answers(&view));
        assert!(answers(&PingView { ways: vec![relay], ..view }));
    }
}
