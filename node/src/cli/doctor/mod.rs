//! `wattle doctor`: what could be wrong, looked at one by one, each with what to do.

mod check;
mod machine;
mod relays;
mod running;

use node::{client::Client, config::Relays};

use self::check::Check;
use super::{
    Place, exit,
    exit::{Exit, Failure},
    given::relay_sources,
    passphrase::Lock,
    show,
};

/// Look at what could be wrong, and say what to do about it
///
/// The data directory and its database, the node, its relays by each way, members, clocks. Works without a
/// running node, too. Ends with 0 where nothing is broken, else with the exit code of the gravest fault.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle doctor", "wattle doctor --report", "wattle doctor relay.example.org"]))]
pub struct Doctor {
    /// Look at this relay alone: HOST, HOST:PORT or a multiaddr
    #[arg(value_name = "ADDR")]
    relay: Option<String>,
    /// Leave out names, keys, addresses and ids, to pass it on to whoever helps
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    lock: Lock,
}

impl Doctor {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let mut told = Told { place, is_report: self.report, checks: Vec::new() };
        let node = match Client::connect(&place.data_dir).await {
            Ok(client) => Ok((client.status().await?, client)),
            Err(error) => Err(error),
        };
        let sources = relay_sources(place);
        let chosen = sources.and_then(|sources| Relays::choose(&place.data_dir, &sources));
        // Where the settings can't be read, there may be one.
        let has_proxy = chosen.as_ref().map_or(true, |relays| relays.proxy.is_some())
            || node.as_ref().is_ok_and(|(status, _)| status.relay_proxy.is_some());
        if let Some(relay) = &self.relay {
            if has_proxy {
                let hint = "wattle status says whether relays are reached; --data-dir DIR names another place";
                let message = "relays are, or may be, reached by way of a proxy: this look would go around it";
                return Err(Failure::new(Exit::Refused, message, hint).into());
            }
            if !place.json {
                show::words("looking at the relay; what is silent takes 10 s");
            }
            let Some(checks) = relays::named(relay).await else {
                let hint = "name it by HOST, HOST:PORT or the address that it printed";
                return Err(Failure::new(Exit::Usage, "that is no relay's address", hint).into());
            };
            told.all(checks)?;
            return told.over();
        }
        // It asks nobody by itself: what it can't look at it says.
        let (dir, unlock) = (place.data_dir.clone(), self.lock.given(place).await?);
        told.all(tokio::task::spawn_blocking(move || machine::look(&dir, &unlock)).await?)?;
        if let Err(error) = &chosen {
            let check = Check::broken("settings", "they can't be read", Exit::Unexpected);
            told.all([check.detail(error.to_string())])?;
        }
        let known: Vec<Vec<String>> = match node {
            Ok((status, client)) => {
                told.all(running::open_files(&place.data_dir).await)?;
                told.all(running::look(&status))?;
                if !place.json && !status.paths.is_empty() {
                    show::words("asking members; who is silent takes 10 s");
                }
                told.all(running::members(&client, &status).await)?;
                status.relays.into_iter().map(|relay| relay.addresses).collect()
            }
            Err(error) => {
                let check = Check::broken("node", "it is not running", Exit::NotRunning);
                told.all([check.detail(error.to_string()).advice("wattle up starts it")])?;
                let addresses = chosen.map(|relays| relays.addresses).unwrap_or_default();
                addresses.into_iter().map(|address| vec![address]).collect()
            }
        };
        if has_proxy {
            let said =
                "relays are not looked at: that would go around the proxy that they are reached by";
            told.all([Check::unknown("relay", said).advice("wattle status says how they stand")])?;
            return told.over();
        }
        if !place.json && !known.is_empty() {
            show::words("looking at relays; what is silent takes 10 s");
        }
        told.all(relays::look(&known).await)?;
        told.over()
    }
}

/// What was said so far.
struct Told<'a> {
    place: &'a Place,
    is_report: bool,
    checks: Vec<Check>,
}

impl Told<'_> {
    fn all(&mut self, checks: impl IntoIterator<Item = Check>) -> anyhow::Result<()> {
        for check in checks {
            let check = if self.is_report { check.redacted() } else { check };
            match self.place.json {
                true => show::json(&check)?,
                false => check.lines().into_iter().try_for_each(show::data)?,
            }
            self.checks.push(check);
        }
        Ok(())
    }

    fn over(self) -> anyhow::Result<Exit> {
        let broken = self.checks.iter().filter(|check| check.is_broken()).count();
        if !self.place.json {
            match broken {
                0 => show::words("nothing is broken"),
                1 => show::words("1 thing is broken"),
                more => show::words(format_args!("{more} things are broken")),
            }
            if !self.is_report {
                show::next("to pass this on without names and addresses: wattle doctor --report");
            }
        }
        Ok(check::exit(&self.checks))
    }
}
