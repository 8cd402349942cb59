//! `wattle-rendezvous token`: who may use a relay that is not open to all.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use rendezvous::{
    Access,
    settings::Settings,
    tokens::{Grants, Issued, Terms, Tokens, TokensError},
};
use serde_json::{Value, json};

use super::{given, owner::Entered};

/// Who may use a relay with access = "token".
#[derive(Args)]
pub(super) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a token, and print it this once.
    #[command(after_help = "Example: wattle-rendezvous token new --label ana --expires 90d")]
    New(New),
    /// Show the tokens: for whom, until when, and what was used today.
    List(List),
    /// Take a token back; what goes on under it ends within seconds.
    Revoke(Revoke),
}

/// Where the relay's data is.
#[derive(Args)]
struct Place {
    /// The settings file [default: the user's, else /etc/wattle-rendezvous/relay.toml, else none].
    #[arg(long, value_name = "FILE", env = "WATTLE_RENDEZVOUS_CONFIG")]
    config: Option<PathBuf>,
    /// Where the relay's key and store live [default: as in the settings, else the user's].
    #[arg(long, value_name = "DIR", env = "WATTLE_RENDEZVOUS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct New {
    /// For whom it is: shown to you alone.
    #[arg(long, value_name = "TEXT")]
    label: String,
    /// Bytes that may be appended in a day: 1GiB [default: as in the settings].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bytes_per_day: Option<u64>,
    /// Bytes that may be appended in a second, in the long run: 1MiB [default: as in the settings].
    #[arg(long, value_name = "SIZE", value_parser = small_size)]
    bytes_per_s: Option<u32>,
    /// Logs open at once [default: as in the settings].
    #[arg(long, value_name = "N")]
    logs: Option<u32>,
    /// Connections at once [default: as in the settings].
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// How long it holds: 90d [default: until it is revoked].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Revoke {
    /// Which, as `token list` names it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::New(asked) => asked.run(),
            Verb::List(asked) => asked.run(),
            Verb::Revoke(asked) => asked.run(),
        }
    }
}

/// A data directory that is used as its owner does, with its tokens.
struct Here {
    settings: Settings,
    dir: Entered,
    tokens: Tokens,
}

impl Place {
    fn enter(&self) -> anyhow::Result<Here> {
        let settings = given::of_place(self.config.clone(), self.data_dir.clone())?;
        let dir = match settings.data_dir.as_os_str().is_empty() {
            true => given::users_data()?,
            false => settings.data_dir.clone(),
        };
        let dir = Entered::of(dir)?;
        let tokens = Tokens::of(dir.path());
        Ok(Here { settings, dir, tokens })
    }
}

impl Here {
    fn ask<T>(
        &self,
        ask: impl FnOnce(&Tokens) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        ask(&self.tokens).map_err(|error| self.dir.of_tokens(error))
    }

    fn view(&self, token: &Issued) -> Value {
        view(token, &self.settings, &self.tokens)
    }
}

impl New {
    fn run(self) -> anyhow::Result<()> {
        let here = self.place.enter()?;
        let grants = Grants {
            bytes_per_day: self.bytes_per_day,
            bytes_per_s: self.bytes_per_s,
            logs: self.logs,
            connections: self.connections,
        };
        let terms = Terms { label: self.label, lasts: self.expires, grants };
        let (token, issued) = here.ask(|tokens| tokens.issue(terms, SystemTime::now()))?;
        let mut out = io::stdout().lock();
        if self.place.json {
            let token = token.to_text();
            let line = json!({"v": 1, "token": *token, "issued": here.view(&issued)});
            writeln!(out, "{line}")?;
            return Ok(out.flush()?);
        }
        writeln!(out, "{}", *token.to_text())?;
        out.flush()?;
        eprintln!(
            "Token {} for {}. It is shown this once: the relay keeps a hash of it. Pass it on as you \
             would a password, in a file:",
            issued.id, issued.label
        );
        eprintln!("  wattle group create NAME --relay-token-file FILE    (or WATTLE_RELAY_TOKEN)");
        eprintln!(
            "  wattle group policy GROUP --relay-token-file FILE   (for a group that is there)"
        );
        eprintln!("  wattle-rendezvous check ADDRESS --token-file FILE   (or WATTLE_RELAY_TOKEN)");
        eprintln!("Guests of the group need its invite code and nothing else.");
        let dir = here.dir.named(here.dir.path());
        eprintln!("It holds at the relay whose data directory is {} (--data-dir).", dir.display());
        if here.settings.access == Access::Open {
            eprintln!(
                "By these settings the relay is open to all. Tokens count where access = \"token\" is \
                 in its settings file (wattle-rendezvous init writes one)."
            );
        }
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let here = self.place.enter()?;
        let all = here.ask(Tokens::all)?;
        let mut out = io::stdout().lock();
        if self.place.json {
            let all: Vec<_> = all.iter().map(|it| here.view(it)).collect();
            writeln!(out, "{}", json!({"v": 1, "tokens": all}))?;
            return Ok(out.flush()?);
        }
        if all.is_empty() {
            eprintln!("There are no tokens. To make one: wattle-rendezvous token new --label NAME");
            return Ok(());
        }
        let (now, usage) = (SystemTime::now(), here.tokens.usage());
        writeln!(out, "{:<8}  {:<10}  {:<10}  {:>21}  LABEL", "ID", "MADE", "ENDS", "USED TODAY")?;
        for token in all {
            let ends = match token.expires {
                Some(_) if token.has_expired(now) => "has ended".into(),
                Some(end) => date(end),
                None => "never".into(),
            };
            let most = token.grants.or(&here.settings.limits).bytes_per_day;
            let used = format!("{} of {}", bytes(usage.of(&token.id, now)), bytes(most));
            let made = date(token.created);
            writeln!(out, "{:<8}  {made:<10}  {ends:<10}  {used:>21}  {}", token.id, token.label)?;
        }
        Ok(out.flush()?)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        let here = self.place.enter()?;
        let revoked = here.ask(|tokens| tokens.revoke(&self.id))?;
        if self.place.json {
            println!("{}", json!({"v": 1, "revoked": here.view(&revoked)}));
        } else {
            println!("{}", revoked.id);
            eprintln!(
                "The token for {} is revoked; a relay that runs ends what goes on under it within \
                 seconds.",
                revoked.label
            );
        }
        Ok(())
    }
}

fn view(token: &Issued, settings: &Settings, tokens: &Tokens) -> Value {
    let (now, granted) = (SystemTime::now(), token.grants.or(&settings.limits));
    json!({
        "id": token.id,
        "label": token.label,
        "created": time(token.created),
        "expires": token.expires.map(time),
        "expired": token.has_expired(now),
        "used_today": tokens.usage().of(&token.id, now),
        "bytes_per_day": granted.bytes_per_day,
        "bytes_per_s": granted.bytes_per_s,
        "logs": granted.logs,
        "connections": granted.connections,
    })
}

fn time(seconds: u64) -> String {
    // What was read from a file may lie beyond what can be written.
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(253_402_300_799)));
    at.map_or_else(String::new, |at| humantime::format_rfc3339_seconds(at).to_string())
}

fn date(seconds: u64) -> String {
    time(seconds).chars().take(10).collect()
}

fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>();
    size.map(|it| it.as_u64()).map_err(|_| "expected a size, such as 1GiB".into())
}

fn small_size(text: &str) -> Result<u32, String> {
    u32::try_from(size(text)?).map_err(|_| "this size is too large here".into())
}
