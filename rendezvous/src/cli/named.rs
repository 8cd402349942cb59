//! A relay that is named on the command line, and the token for it.

use std::{fs, io, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use libp2p::{Multiaddr, PeerId};
use protocol::relay_log::RelayToken;
use rendezvous::{config::BadAddress, probe::target};

/// Where a relay is, by each way, and its key if it was named.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) addrs: Vec<Multiaddr>,
    pub(super) key: Option<PeerId>,
}

/// What a relay with tokens asks for.
#[derive(Args)]
pub(super) struct Pass {
    /// The relay's token, in a file; - is standard input. WATTLE_RELAY_TOKEN may hold it in its place.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Pass {
    /// The token that is to be shown to the relay of this key, if it asks for one.
    pub(super) fn token(&self, key: Option<PeerId>) -> anyhow::Result<Option<RelayToken>> {
        let text = match (&self.token_file, std::env::var("WATTLE_RELAY_TOKEN")) {
            (Some(file), _) if file.as_os_str() == "-" => io::read_to_string(io::stdin())?,
            (Some(file), _) => fs::read_to_string(file)
                .with_context(|| format!("{} can't be read", file.display()))?,
            // Whoever answers at an address without a key gets none.
            (None, Ok(text)) if key.is_some() => text,
            (None, _) => return Ok(None),
        };
        let token = RelayToken::parse(&text)?;
        anyhow::ensure!(
            key.is_some() || self.token_file.is_none(),
            "a token is shown to the relay that it is for alone: name the relay with its key, as it \
             printed it (…/p2p/12D3…)"
        );
        Ok(Some(token))
    }
}

pub(super) fn parse(text: &str) -> Result<Target, BadAddress> {
    target(text).map(|(addrs, key)| Target { addrs, key })
}
