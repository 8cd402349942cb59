//! What a node is told at its start: by flags, the environment and the settings file, and who said it.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{ArgMatches, builder::FalseyValueParser, parser::ValueSource};
use node::config::{self, Origin, RelayFlags, RelaySources, Relays};

use super::{Place, args, passphrase::Lock};

/// Settings of a node that have a flag.
#[derive(clap::Args, Default)]
pub struct Given {
    /// Use this relay, by the address that it printed; may be repeated
    #[arg(long = "relay", value_name = "ADDR", value_parser = args::address)]
    relays: Vec<String>,
    /// Run a relay inside this node, beside others that are given
    #[arg(long)]
    host: bool,
    /// Neither use nor run a relay
    #[arg(long, conflicts_with_all = ["relays", "host"])]
    no_relay: bool,
    /// Speak on local networks alone: no relay, no address beyond them. Members are found there by
    /// themselves (--mdns). Remembered like a choice of relays
    #[arg(long, conflicts_with_all = ["relays", "host", "no_relay", "no_direct"])]
    lan_only: bool,
    /// Find members' nodes on the local networks, by multicast DNS. Others there see that Wattle runs on
    /// this machine, not whose it is
    #[arg(long, env = "WATTLE_MDNS", value_parser = FalseyValueParser::new(), conflicts_with = "no_direct")]
    mdns: bool,
    /// Listen for members here and nowhere else, IP:PORT or a multiaddr; may be repeated. Then nobody is met behind a
    /// NAT [default: everywhere, on the port of the last start]
    #[arg(long, value_name = "ADDR", env = "WATTLE_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// Reach relays by way of this SOCKS5 proxy alone, such as Tor's, socks5://127.0.0.1:9050: no QUIC, and names
    /// are resolved there (.onion too). Members still see this machine's addresses, unless --relay-only is given
    /// too. Both are remembered, until it is `none`
    #[arg(long, value_name = "URL|none", env = "WATTLE_RELAY_PROXY", conflicts_with_all = ["host", "lan_only"])]
    relay_proxy: Option<String>,
    /// Neither make nor take direct connections: members see no address of this machine
    #[arg(long, visible_alias = "relay-only")]
    no_direct: bool,
    /// Make and take direct connections again, where --relay-only is remembered with the proxy
    #[arg(long, conflicts_with = "no_direct")]
    direct: bool,
    /// Ask the router, in every network that this machine comes to, for a port that leads here from outside, by PCP,
    /// NAT-PMP or UPnP, for TCP and UDP. Others there can see that it was asked, and whoever tries the port from
    /// anywhere, that it is Wattle and under which PeerId. Remembered, until --no-map-port
    #[arg(long, conflicts_with_all = ["no_direct", "lan_only", "no_map_port"])]
    map_port: bool,
    /// Ask no router for a port any more; what one granted to a node that was killed is taken back
    #[arg(long)]
    no_map_port: bool,
    /// Let programs with tokens in by a socket of their own, made here: `wattle token new` makes tokens. Its mode is 0660:
    /// whoever is in the directory's group reaches it
    #[arg(long, value_name = "PATH", env = "WATTLE_PROGRAMS")]
    programs: Option<PathBuf>,
    /// The name that others see, at the first start [default: yours on this machine]
    #[arg(long, value_name = "NAME", env = "WATTLE_NAME")]
    name: Option<String>,
    #[command(flatten)]
    pub lock: Lock,
}

/// A setting, and who said it.
pub struct Found<T> {
    pub value: T,
    pub origin: Origin,
}

/// What holds for a start.
pub struct InForce {
    /// The name, where somebody said one.
    pub name: Found<Option<String>>,
    pub listen: Found<Vec<String>>,
    pub mdns: Found<bool>,
    pub programs: Found<Option<PathBuf>>,
    pub passphrase_file: Found<Option<PathBuf>>,
    pub relays: Relays,
    /// What `relays` was chosen from.
    pub sources: RelaySources,
}

/// Which arguments were given by flags, and which in the environment.
#[derive(Clone, Default)]
pub struct Typed(BTreeMap<String, Origin>);

impl Typed {
    /// Those of the command that was typed.
    pub fn of(matches: &ArgMatches) -> Self {
        let mut typed = BTreeMap::new();
        let mut matches = Some(matches);
        while let Some(here) = matches {
            for id in here.ids() {
                let origin = match here.value_source(id.as_str()) {
                    Some(ValueSource::CommandLine) => Origin::Flag,
                    Some(ValueSource::EnvVariable) => Origin::Environment,
                    _ => continue,
                };
                typed.insert(id.to_string(), origin);
            }
            matches = here.subcommand().map(|(_, below)| below);
        }
        Self(typed)
    }

    /// Who gave an argument, by its field's name, if anybody did.
    pub fn origin(&self, argument: &str) -> Option<Origin> {
        self.0.get(argument).copied()
    }
}

impl Given {
    /// What holds for a start in this place.
    pub fn in_force(&self, place: &Place) -> anyhow::Result<InForce> {
        let sources = RelaySources { flags: self.flags(place), ..relay_sources(place)? };
        let file = &place.settings;
        let typed = |argument| place.typed.origin(argument);
        let path = |argument, given: &Option<PathBuf>, file: &PathBuf| {
            let file = Some(file.clone()).filter(|path| !path.as_os_str().is_empty());
            first(typed(argument), given.clone(), file)
        };
        let listen = Some(self.listen.clone()).filter(|given| !given.is_empty());
        let of_file = Some(file.listen.clone()).filter(|file| !file.is_empty());
        let listen = first(typed("listen"), listen, of_file);
        let name = Some(file.name.clone()).filter(|name| !name.is_empty());
        let mdns = typed("mdns").map(|_| self.mdns);
        let mdns = first(typed("mdns"), mdns, file.mdns);
        Ok(InForce {
            name: first(typed("name"), self.name.clone(), name),
            listen: Found { value: listen.value.unwrap_or_default(), origin: listen.origin },
            mdns: Found { value: mdns.value.unwrap_or_default(), origin: mdns.origin },
            programs: path("programs", &self.programs, &file.programs),
            passphrase_file: path(
                "passphrase_file",
                &self.lock.passphrase_file,
                &file.passphrase_file,
            ),
            relays: Relays::choose(&place.data_dir, &sources)?,
            sources,
        })
    }

    /// What its flags say of relays.
    fn flags(&self, place: &Place) -> RelayFlags {
        let is_flag = place.typed.origin("relay_proxy") == Some(Origin::Flag);
        RelayFlags {
            addresses: self.relays.clone(),
            host: self.host,
            none: self.no_relay,
            lan_only: self.lan_only,
            proxy: self.relay_proxy.clone().filter(|_| is_flag),
            direct: (self.direct || self.no_direct).then_some(self.direct),
            map_port: (self.map_port || self.no_map_port).then_some(self.map_port),
        }
    }
}

/// What the environment and the settings file say of relays.
pub fn relay_sources(place: &Place) -> Result<RelaySources, config::ConfigError> {
    Ok(RelaySources {
        flags: RelayFlags::default(),
        environment: RelayFlags::of_environment()?,
        file: place.settings.relays(),
    })
}

fn first<T>(typed: Option<Origin>, given: Option<T>, file: Option<T>) -> Found<Option<T>> {
    match (given, file) {
        (Some(given), _) => Found { value: Some(given), origin: typed.unwrap_or(Origin::Flag) },
        (None, Some(file)) => Found { value: Some(file), origin: Origin::File },
        (None, None) => Found { value: None, origin: Origin::Default },
    }
}
