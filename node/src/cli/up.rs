//! `wattle up`.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::Context;
use node::{
    api::{
        Api,
        socket::{self, BindError, Socket},
        types::{Ready, VERSION},
    },
    client::Client,
    config::{self, Relays},
    core::{InitError, OpenError},
    driver::{self, HostRelay, NodeConfig, Running, StartError},
    net::{
        Reach,
        relay::{Proxy, ProxySyntax},
    },
    store::{Reader, hex},
};
use sd_notify::NotifyState;
use tokio::{net::UnixListener, task::JoinHandle, time::timeout};

use super::{
    Place, args, exit,
    exit::{Exit, Failure},
    given::{Given, InForce},
    init,
    passphrase::Lock,
    progress, show,
    stop::{Attached, Stop},
};

/// Start the node here, in the foreground
///
/// Its first start makes an identity. Without a relay it runs one itself, so that machines which
/// reach this one need nothing else; a choice of relays is remembered for the next start. What is to hold at each start
/// stands in a settings file (`wattle config`). It prints
/// one line when it is ready, and ends on Ctrl-C or `wattle down`.
#[derive(clap::Args, Default)]
#[command(after_help = exit::help(&[
    "wattle up",
    "wattle up --relay /dns/relay.example.org/tcp/4407/p2p/12D3…",
    "wattle up --no-relay --listen 192.168.1.10:4408",
    "wattle up --lan-only",
    "wattle up --map-port",
]))]
pub struct Up {
    #[command(flatten)]
    given: Given,
    /// For tests: how far the clock goes ahead of the system's
    #[arg(long, hide = true, value_name = "SPAN", value_parser = args::duration)]
    clock_offset: Option<Duration>,
    #[command(flatten)]
    attached: Attached,
}

impl Up {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        driver::set_clock_ahead(self.clock_offset.unwrap_or_default());
        let stop = Stop::new(self.attached)?;
        if Client::connect(&place.data_dir).await.is_ok() {
            return Err(unbound(BindError::InUse, &place.data_dir));
        }
        let all = self.given.in_force(place)?;
        let mut told = pin!(stop.told());
        let node = tokio::select! {
            node = start(&all, &self.given.lock, place) => node?,
            () = &mut told => return Ok(Exit::Interrupted),
        };
        // The data directory is this process's own by now.
        let (listener, socket) = match socket::bind(&place.data_dir) {
            Ok(bound) => bound,
            Err(error) => return Err(unbound(error, &place.data_dir)),
        };
        let programs = all.programs.value.as_deref().map(socket::bind_programs).transpose();
        let programs = programs.map_err(|error| unbound(error, &place.data_dir))?;
        let ready = ready(&node, &socket);
        let mut up = Serving::new(node, listener, socket);
        if let Some((listener, socket)) = programs {
            up.serve_programs(listener, socket);
        }
        announce(&ready, all.name.value.as_deref(), place)?;
        tell_manager(NotifyState::Ready);
        let backlogs = tokio::spawn(backlogs(place.data_dir.clone()));
        let ended = up.until(told).await;
        backlogs.abort();
        ended
    }
}

async fn start(all: &InForce, lock: &Lock, place: &Place) -> anyhow::Result<Running> {
    let mut dir = DirBuilder::new();
    let made = dir.recursive(true).mode(0o700).create(&place.data_dir);
    made.with_context(|| format!("the data directory {}", place.data_dir.display()))?;
    let relays = all.relays.clone();
    let relay_proxy = proxy(&relays)?;
    if relay_proxy.is_some() && !relays.relay_only {
        show::words("members see this machine's addresses: --relay-only hides them");
    }
    if let Some(why) = why_unasked(&relays) {
        show::words(format_args!("the router is not asked for a port: {why}"));
    }
    let config = NodeConfig {
        data_dir: place.data_dir.clone(),
        unlock: lock.unlock(place).await?,
        name: all.name.value.clone().unwrap_or_else(config::default_name),
        listen: all.listen.value.clone(),
        direct: !relays.relay_only,
        relays: relays.addresses,
        host_relay: relays.host.then(HostRelay::default),
        relay_proxy,
        reach: if relays.lan_only { Reach::Local } else { Reach::Anywhere },
        mdns: !relays.relay_only && (all.mdns.value || relays.lan_only),
        map_port: relays.map_port,
    };
    let started = driver::start(config).await;
    let node = started.map_err(|error| refused(error, &place.data_dir))?;
    Relays::remember(&place.data_dir, &all.sources)?;
    Ok(node)
}

/// Why the router is not asked for a port, where it was to be: a port would show what these hide.
fn why_unasked(relays: &Relays) -> Option<&'static str> {
    match relays {
        Relays { map_port: false, .. } => None,
        Relays { lan_only: true, .. } => Some("this node speaks on local networks alone"),
        Relays { relay_only: true, .. } => Some("there are no direct connections"),
        Relays { proxy: Some(_), .. } => Some("relays are reached by a proxy"),
        Relays { .. } => None,
    }
}

/// The proxy that all relays are to be reached by.
fn proxy(relays: &Relays) -> anyhow::Result<Option<Proxy>> {
    let Some(text) = &relays.proxy else { return Ok(None) };
    let proxy: Proxy = text.parse().map_err(|error: ProxySyntax| {
        let hint = "give --relay-proxy socks5://IP:PORT, or --relay-proxy none for no proxy";
        Failure::new(Exit::Usage, error.to_string(), hint)
    })?;
    if relays.host {
        let hint = "give --relay ADDR, or --relay-proxy none for no proxy";
        let message = "a relay inside this node shows where it is: it does not go with a proxy";
        return Err(Failure::new(Exit::Usage, message, hint).into());
    }
    Ok(Some(proxy))
}

/// Shows how far it is with what was said while the node was away.
async fn backlogs(data_dir: PathBuf) {
    if let Ok(client) = Client::connect(&data_dir).await {
        // It ends with the node.
        drop(progress::follow(client).await);
    }
}

/// A node with its API.
struct Serving {
    node: Running,
    api: Api,
    served: JoinHandle<std::io::Result<()>>,
    reader: Reader,
    socket: Socket,
    programs: Option<(JoinHandle<std::io::Result<()>>, Socket)>,
}

impl Serving {
    fn new(node: Running, listener: UnixListener, socket: Socket) -> Self {
        let reader = node.reader.clone();
        let api = Api::new(node.handle.clone(), reader.clone(), node.files.clone());
        let served = tokio::spawn(api.clone().serve(listener));
        Self { node, served, api, reader, socket, programs: None }
    }

    /// Serves programs with tokens, too.
    fn serve_programs(&mut self, listener: UnixListener, socket: Socket) {
        let served = tokio::spawn(self.api.clone().serve_programs(listener));
        self.programs = Some((served, socket));
    }

    /// Serves until the process is told to end, then ends in order.
    async fn until(mut self, told: impl Future<Output = ()>) -> anyhow::Result<Exit> {
        let broken = tokio::select! {
            () = told => None,
            () = self.api.asked_down() => None,
            broken = self.node.wait() => Some(broken),
        };
        tell_manager(NotifyState::Stopping);
        let ended = match broken {
            Some(broken) => Err(broken),
            None => self.node.shutdown().await,
        };
        // The socket's file goes first: who waits for the end may start the next node at once.
        drop(self.socket);
        let programs = self.programs.map(|(served, _socket)| served);
        self.api.end();
        drop(timeout(LEAVE, self.served).await);
        if let Some(served) = programs {
            drop(timeout(LEAVE, served).await);
        }
        drop(tokio::task::spawn_blocking(move || self.reader.close()).await);
        ended.context("the node failed; start it again with: wattle up")?;
        show::words("the node has ended");
        Ok(Exit::Done)
    }
}

/// How long those who are being answered at the end may take.
const LEAVE: Duration = Duration::from_secs(10);

fn ready(node: &Running, socket: &Socket) -> Ready {
    let ready = node.ready.clone();
    Ready {
        v: VERSION,
        event: "ready".into(),
        member: hex(&ready.member.0),
        name: ready.name,
        api: socket.path().display().to_string(),
        peer: ready.peer,
        listen: ready.listen,
        relays: ready.relays,
    }
}

/// Tells a service manager, where one has started this: sd_notify(3). One that can't be told is no reason to end.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

fn announce(ready: &Ready, named: Option<&str>, place: &Place) -> anyhow::Result<()> {
    let name = show::safe(&ready.name);
    if named.is_some_and(|named| named != ready.name) {
        show::words(format_args!(
            "this node's name is {name} and stays so: `wattle name NEW` changes it"
        ));
    }
    if place.json {
        return show::json(ready);
    }
    show::data(format_args!("{name} is up (member {})", show::short(&ready.member)))?;
    for (title, addresses) in [("relay", &ready.relays), ("direct", &ready.listen)] {
        let first = addresses.first().map_or("none".into(), |address| show::safe(address));
        show::words(format_args!("{title:<6}  {first}"));
    }
    show::words("Ctrl-C ends it");
    show::next("in another terminal: wattle group create NAME, or wattle join");
    Ok(())
}

/// What to do about a node that does not start.
fn refused(error: StartError, data_dir: &Path) -> anyhow::Error {
    let exit = match &error {
        StartError::Store(error) | StartError::Open(OpenError::Store(error)) => {
            return init::locked_out(error, data_dir);
        }
        StartError::Relay { .. } | StartError::Listen { .. } => Exit::Usage,
        StartError::Init(InitError::Name(_)) => Exit::Usage,
        StartError::Open(_) => Exit::Integrity,
        _ => Exit::Unexpected,
    };
    let hint = match &error {
        StartError::Relay { .. } => "copy the address that the relay printed when it started",
        StartError::Listen { .. } => "an address is IP:PORT, such as 0.0.0.0:4408",
        StartError::Init(InitError::Name(_)) => "choose another with --name NAME",
        _ => "",
    };
    Failure::new(exit, error.to_string(), hint).into()
}

fn unbound(error: BindError, data_dir: &Path) -> anyhow::Error {
    match error {
        BindError::InUse => {
            let hint = format!("wattle down ends it; its data directory is {}", data_dir.display());
            Failure::new(Exit::Unexpected, error.to_string(), hint).into()
        }
        BindError::NoSocket(_) | BindError::Taken(_) => {
            let hint = "give --programs a path at which there is nothing";
            Failure::new(Exit::Usage, error.to_string(), hint).into()
        }
        BindError::Io(_) => anyhow::Error::new(error),
    }
}
