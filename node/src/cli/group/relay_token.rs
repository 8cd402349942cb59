//! The token of a relay's operator: from a file, standard input or the environment, and whether the
//! relay takes it.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use node::{
    api::types::{GiveToken, GroupRelay, GroupSummary, RelayState},
    client::Client,
};
use protocol::relay_log::{self, TokenError};
use zeroize::Zeroizing;

use crate::cli::{
    exit::{Exit, Failure},
    show,
};

/// A token for one of a group's relays.
#[derive(clap::Args)]
pub struct RelayToken {
    /// Read the relay's token, as its operator has passed it on, from this file; `-`: standard input
    #[arg(long = "relay-token-file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which relay it is for, where the group has several or --relay names them: an address of it, or
    /// its PeerId
    #[arg(long = "relay-token-for", value_name = "RELAY")]
    relay: Option<String>,
}

/// Where a token may stand.
const VARIABLE: &str = "WATTLE_RELAY_TOKEN";

/// The most that is read of one, in bytes, with whatever stands around it.
const TOKEN_MAX: u64 = 4 * 1024;

/// How long a relay is given to say whether it takes a token.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may refuse it at first: it notices within seconds that its operator has made one.
const NOTICE: Duration = Duration::from_secs(6);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl RelayToken {
    /// The token in the file that was named.
    pub async fn given(self) -> anyhow::Result<Option<GiveToken>> {
        let Some(file) = self.file else {
            if self.relay.is_none() {
                return Ok(None);
            }
            let hint = "give it with --relay-token-file FILE, or - for standard input";
            return Err(Failure::new(Exit::Usage, "no relay's token was given", hint).into());
        };
        // One with a typing error is a secret, too.
        let is_token = |text: &str| {
            !matches!(relay_log::RelayToken::parse(text), Err(relay_log::TokenError::NotAToken))
        };
        if file.to_str().is_some_and(is_token) {
            return Err(Failure::new(
                Exit::Usage,
                "a token is a secret, and an argument is no place for one: it stands in the shell's \
                 history and in the list of processes",
                "write it to a file and name that, or - and pass it on standard input",
            )
            .into());
        }
        let text = tokio::task::spawn_blocking(move || {
            if file.as_os_str() == "-" {
                return read(io::stdin()).context("reading the token from standard input");
            }
            File::open(&file)
                .and_then(read)
                .with_context(|| format!("reading the token from {}", file.display()))
        })
        .await??;
        well_formed(&text, self.relay).map(Some)
    }

    /// The same, or else the token in the environment. That was set for this node's own relay, and is
    /// shown to none of these, unless it is said for which it is.
    pub async fn given_or_of_environment(
        self,
        named: &[String],
    ) -> anyhow::Result<Option<GiveToken>> {
        if self.file.is_none()
            && let Ok(text) = std::env::var(VARIABLE)
        {
            let text = Zeroizing::new(text);
            if named.is_empty() || self.relay.is_some() {
                return well_formed(&text, self.relay).map(Some);
            }
            show::words(format_args!(
                "the token in {VARIABLE} is for this node's own relay, and the group does not have it"
            ));
            show::words("for a relay that --relay names: --relay-token-for RELAY");
            return Ok(None);
        }
        self.given().await
    }
}

/// Waits until a group's relay has said how it stands with the token that it was given, a while at most.
/// One that does not take it is an error that says what to do.
pub async fn settled(client: &Client, group: &str, given: &GiveToken) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let relays = client.group(group).await?.summary.relay_states;
        let meant = relays.iter().find(|relay| is_meant(relay, given.relay.as_deref()));
        match meant {
            Some(relay) if relay.state == RelayState::Up => {
                show::words(match relay.wants_token {
                    true => "the relay takes the token",
                    false => "this relay asks for no token",
                });
                return Ok(());
            }
            Some(relay) if !relay.hint.is_empty() && start.elapsed() >= NOTICE => {
                let (words, hint) = (closed(relay), show::safe(&relay.hint));
                return Err(Failure::new(Exit::Refused, words, hint).into());
            }
            _ if start.elapsed() >= PATIENCE => {
                show::words("the relay has not answered yet; the node goes on asking");
                show::words("how it stands: wattle status");
                return Ok(());
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a token is for this relay of a group. The node has seen to it that it is for one of them.
fn is_meant(relay: &GroupRelay, asked: Option<&str>) -> bool {
    asked.is_none_or(|asked| asked.rsplit('/').next() == Some(relay.peer.as_str()))
}

/// Says that a relay wants a token and does not take the group's, where that is known already.
pub fn warn(group: &GroupSummary) {
    for relay in group.relay_states.iter().filter(|relay| !relay.hint.is_empty()) {
        show::words(closed(relay));
        show::words(show::safe(&relay.hint));
    }
}

fn closed(relay: &GroupRelay) -> String {
    format!("{} ({})", show::safe(&relay.reason), show::safe(&relay.address))
}

fn read(input: impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(TOKEN_MAX).read_to_end(&mut bytes)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

fn well_formed(text: &str, relay: Option<String>) -> anyhow::Result<GiveToken> {
    let Err(error) = relay_log::RelayToken::parse(text) else {
        return Ok(GiveToken { token: text.into(), relay });
    };
    let hint = match error {
        TokenError::NotAToken if text.trim().is_empty() => {
            let hint = "ask the relay's operator for one: wattle-rendezvous token new makes it";
            return Err(Failure::new(Exit::Usage, "no relay's token was given", hint).into());
        }
        TokenError::NotAToken => "give the line that `wattle-rendezvous token new` printed",
        TokenError::Newer { .. } => "update this program",
        _ => "copy it again from where it came, rather than typing it",
    };
    Err(Failure::new(Exit::Usage, error.to_string(), hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_relay_that_is_named_by_any_address_or_by_its_id() {
        let relay = GroupRelay {
            address: "/ip4/127.0.0.1/tcp/1/p2p/12D3x".into(),
            state: RelayState::Up,
            reason: String::new(),
            hint: String::new(),
            peer: "12D3x".into(),
            wants_token: true,
        };
        for (asked, meant) in [
            (None, true),
            (Some("12D3x"), true),
            (Some("/dns/relay.example.org/tcp/4407/p2p/12D3x"), true),
            (Some("/ip4/127.0.0.1/tcp/1/p2p/12D3y"), false),
            (Some("2D3x"), false),
        ] {
            assert_eq!(is_meant(&relay, asked), meant, "{asked:?}");
        }
    }

    #[test]
    fn a_damaged_token_is_told_apart_and_never_repeated() {
        let good = "wtt1qysjzgfpyysjzgfpyysjzgfpyyss8q4g98";
        assert_eq!(well_formed(good, None).unwrap().token, good);
        let typed = good.replace('4', "5");
        let all = [typed.as_str(), &good[..30], "wattle1qqq", " \n"];
        let said = all.map(|text| {
            let said = well_formed(text, None).unwrap_err().to_string();
            assert!(text.trim().is_empty() || !said.contains(text), "{said}");
            said
        });
        assert!(said[0].contains("mistyped") && said[3].contains("no relay's token was given"));
    }
}
