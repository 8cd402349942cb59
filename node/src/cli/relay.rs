//! `wattle relay`.

use std::net::SocketAddr;

use node::api::types::VERSION;
use rendezvous::{Config, Relay as Running};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    show,
    stage::RelayReady,
    stop::{Attached, Stop},
};

/// Run a relay and nothing else, in the foreground
///
/// For a try, and for the demo: `wattle-rendezvous` is the relay for people who run one for others.
/// Its key and what it stores are in the data directory's folder `relay`.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle relay --listen 127.0.0.1:0"]), hide = true)]
pub struct Relay {
    /// Listen here, TCP and QUIC alike; may be repeated [default: port 4407 of every interface]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    attached: Attached,
}

impl Relay {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let stop = Stop::new(self.attached)?;
        let mut config = Config::durable(place.data_dir.join("relay"));
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        let mut relay = Running::start(config).await.map_err(|error| {
            let hint = "is another relay running? --listen and --data-dir name other places";
            Failure::new(Exit::Network, error.to_string(), hint)
        })?;
        let addresses = relay.addrs().iter().map(ToString::to_string).collect();
        let ready = RelayReady { v: VERSION, event: "ready".into(), addresses };
        if place.json {
            show::json(&ready)?;
        } else {
            ready.addresses.iter().try_for_each(show::data)?;
            show::next("on each machine: wattle up --relay ADDRESS");
        }
        tokio::select! {
            () = stop.told() => {}
            () = relay.ended() => anyhow::bail!("the relay failed; start it again"),
        }
        relay.stop().await;
        Ok(Exit::Done)
    }
}
