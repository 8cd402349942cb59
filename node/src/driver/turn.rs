//! The loop that owns the core: one input at a time, then what the core wants of the network.
//!
//! > An input that the store can't keep ends the node: what was told to the core was told once.
//!
//! It runs on the core's own thread, in a runtime of its own that has a clock and nothing else; the
//! network's tasks run where the node was started.

use std::{collections::VecDeque, time::Duration};

use protocol::ids::Timestamp;
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Stopped, addresses::Addresses, handle::Call, now, ran_ms, relays::Relays};
use crate::{
    api::types::{self, Event},
    core::{Core, Effect},
    net::{
        change::{self, Change},
        mapping::Standing,
        mesh::{Mesh, MeshCommand, MeshReport, Seen, Via},
        relay::{ClientId, RelayCommand, RelayPeer, RelayReport},
    },
    store::StoreError,
};

/// The core with everything that it hears from and speaks to.
pub(super) struct Turn {
    core: Core,
    calls: mpsc::Receiver<Call>,
    mesh: Option<Mesh>,
    addresses: Addresses,
    relays: Relays,
    relay_reports: mpsc::Receiver<(ClientId, RelayReport)>,
    /// Reports that came while a relay's client was waited for.
    early: VecDeque<(ClientId, RelayReport)>,
    changes: mpsc::Receiver<Change>,
    /// Relays that are connected since: they can tell how this machine looks from outside.
    looks: Vec<RelayPeer>,
    woken: watch::Sender<u64>,
    live: broadcast::Sender<Event>,
    listening: watch::Sender<Vec<String>>,
    stop: CancellationToken,
    /// The time of the last input.
    last: Timestamp,
}

enum Input {
    Call(Call),
    Mesh(MeshReport),
    Relay(ClientId, RelayReport),
    Change(Change),
    Router(Standing),
    Due,
    Stop,
}

/// Inputs taken before the network is looked after.
const BATCH: usize = 64;
/// It is looked after at once where so much waits for it, in bytes: one channel's queue.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Reports of relays that may wait here while a client of one takes no commands.
const EARLY: usize = 256;
/// Deadlines are looked at this often at least: the clock may be set.
const NAP: Duration = Duration::from_secs(30);
/// A clock that goes back by less is not worth a word.
const SET_BACK_MS: u64 = 10_000;
/// How long the network has to take leave.
const LEAVE: Duration = Duration::from_secs(2);

impl Turn {
    pub(super) fn new(
        core: Core,
        calls: mpsc::Receiver<Call>,
        (mesh, addresses): (Option<Mesh>, Addresses),
        relays: (Relays, mpsc::Receiver<(ClientId, RelayReport)>),
        (woken, live): (watch::Sender<u64>, broadcast::Sender<Event>),
        listening: watch::Sender<Vec<String>>,
        stop: CancellationToken,
    ) -> Self {
        let (relays, relay_reports) = relays;
        let (early, changes, last) = (VecDeque::new(), change::spawn(now), now());
        Self {
            core,
            calls,
            mesh,
            addresses,
            relays,
            relay_reports,
            early,
            changes,
            looks: Vec::new(),
            woken,
            live,
            listening,
            stop,
            last,
        }
    }

    /// Turns until it is stopped, or something that the node can't do without is gone.
    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        let end = self.turn().await;
        self.leave().await;
        end
    }

    async fn turn(&mut self) -> Result<(), Stopped> {
        loop {
            self.carry_out().await?;
            match self.next().await? {
                Input::Stop => return Ok(()),
                Input::Change(change) => self.on_change(change).await?,
                input => self.take(input)?,
            }
            for _ in 1..BATCH {
                if self.core.waiting_bytes() > BATCH_BYTES {
                    break;
                }
                match self.waiting() {
                    Some(input) => self.take(input)?,
                    None => break,
                }
            }
        }
    }

    /// Waits for the next input.
    async fn next(&mut self) -> Result<Input, Stopped> {
        if let Some((client, report)) = self.early.pop_front() {
            return Ok(Input::Relay(client, report));
        }
        let due = match self.core.deadline() {
            Some(deadline) => Duration::from_millis(deadline.ms_since(now())).min(NAP),
            None => NAP,
        };
        let mesh = async {
            match &mut self.mesh {
                Some(mesh) => tokio::select! {
                    report = mesh.reports.recv() => report,
                    _ = &mut mesh.task => None,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Ok(Input::Stop),
            () = self.relays.died() => Err(Stopped::Relay),
            report = mesh => report.map(Input::Mesh).ok_or(Stopped::Mesh),
            Some((client, report)) = self.relay_reports.recv() => Ok(Input::Relay(client, report)),
            Some(call) = self.calls.recv() => Ok(Input::Call(call)),
            Some(change) = self.changes.recv() => Ok(Input::Change(change)),
            standing = self.addresses.standing() => Ok(Input::Router(standing)),
            () = sleep(due) => Ok(Input::Due),
        }
    }

    /// An input that is there already.
    fn waiting(&mut self) -> Option<Input> {
        if let Ok(call) = self.calls.try_recv() {
            return Some(Input::Call(call));
        }
        if let Some(Ok(report)) = self.mesh.as_mut().map(|mesh| mesh.reports.try_recv()) {
            return Some(Input::Mesh(report));
        }
        let (client, report) =
            self.early.pop_front().or_else(|| self.relay_reports.try_recv().ok())?;
        Some(Input::Relay(client, report))
    }

    /// Tells the core one thing.
    fn take(&mut self, input: Input) -> Result<(), StoreError> {
        let now = now();
        self.core.on_time(now, ran_ms());
        if self.last.ms_since(now) > SET_BACK_MS {
            tracing::warn!("the clock was set back");
            self.core.on_clock_set_back(now);
        }
        self.last = now;
        match input {
            Input::Call(call) => {
                call(&mut self.core, now);
                Ok(())
            }
            Input::Mesh(report) => self.take_mesh(report, now),
            Input::Relay(client, _) if !self.relays.is_client(&client) => Ok(()),
            Input::Relay(ClientId { relay, .. }, report) => {
                if self.relays.note(&relay, &report) {
                    self.looks.extend(self.relays.peer(&relay));
                }
                self.core.on_relay(&relay, report, now)
            }
            Input::Router(standing) => {
                let (map, addresses) = self.addresses.stands(standing);
                self.core.on_port_map(map, addresses, now)
            }
            Input::Change(_) | Input::Due | Input::Stop => Ok(()),
        }?;
        match self.core.deadline() {
            Some(deadline) if deadline <= now => self.core.on_deadline(now),
            _ => Ok(()),
        }
    }

    /// The machine's network is another: whoever waits is to wait no longer.
    async fn on_change(&mut self, change: Change) -> Result<(), Stopped> {
        tracing::info!(slept = change.slept, "the network has changed: everybody is tried anew");
        for client in self.relays.clients() {
            self.tell_relay(client, RelayCommand::Changed).await;
        }
        self.addresses.network_changed();
        self.tell_mesh(MeshCommand::Changed(change)).await?;
        for relay in self.relays.connected() {
            self.tell_mesh(MeshCommand::Look(relay)).await?;
        }
        Ok(self.take(Input::Due)?)
    }

    fn take_mesh(&mut self, report: MeshReport, now: Timestamp) -> Result<(), StoreError> {
        let core = &mut self.core;
        match report {
            MeshReport::Listening(addresses) => {
                let own = addresses.iter().map(ToString::to_string).collect();
                self.listening.send_replace(own);
                core.on_listening(self.addresses.listens(addresses), now)
            }
            MeshReport::Outside { name, seen, six } => {
                self.addresses.outside(seen.values().map(|seen| seen.outside.ip).collect());
                let seen = seen.into_iter().map(|(relay, seen)| (relay, outside(&seen)));
                let six = six.iter().map(ToString::to_string).collect();
                core.on_outside(name.map(|name| name.to_string()), seen.collect(), six, now)
            }
            MeshReport::ChannelUp { peer, address, via } => {
                core.on_channel_up(&peer, address.to_string(), known(via), now)
            }
            MeshReport::ChannelDown { member, reason } => {
                core.on_channel_down(member, reason.to_string(), now)
            }
            MeshReport::Latency { member, took } => {
                core.on_latency(member, took);
                Ok(())
            }
            MeshReport::Frame { member, frame } => core.on_channel_frame(member, &frame, now),
            MeshReport::Rekeyed { member, times } => core.on_rekeyed(member, times, now),
            MeshReport::DialFailed { member, reason, retry_in } => {
                let retry_in = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                core.on_dial_failed(member, reason.to_string(), retry_in, now)
            }
            MeshReport::Lan { networks, trouble } => {
                let networks = networks.iter().map(ToString::to_string).collect();
                core.on_lan(networks, trouble.map(|it| it.to_string()).unwrap_or_default());
                Ok(())
            }
            MeshReport::Probed { ticket, address, via, outcome } => {
                let outcome = outcome.map_err(|reason| reason.to_string());
                core.on_probed(ticket, address.to_string(), known(via), outcome);
                Ok(())
            }
            MeshReport::ProbesOver { ticket, end } => {
                core.on_probes_over(ticket, end);
                Ok(())
            }
            MeshReport::JoinOpened { stream } => core.on_join_open(stream, now),
            MeshReport::JoinFrame { stream, frame } => core.on_join_frame(stream, &frame, now),
            MeshReport::JoinClosed { stream } => core.on_join_closed(stream, now),
        }
    }

    /// Does what the core wants of the network.
    async fn carry_out(&mut self) -> Result<(), Stopped> {
        for relay in std::mem::take(&mut self.looks) {
            self.tell_mesh(MeshCommand::Look(relay)).await?;
        }
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::RelayPlan(peer, plan) => {
                    let client = self.relays.wanted(peer);
                    self.tell_relay(client, RelayCommand::Plan(plan)).await;
                }
                Effect::FollowAnew { relay, log, after } => {
                    if let Some(client) = self.relays.client(&relay) {
                        self.tell_relay(client, RelayCommand::FollowAnew { log, after }).await;
                    }
                }
                Effect::RelayDrop(relay) => {
                    self.relays.drop_client(&relay);
                    self.tell_mesh(MeshCommand::Unlook(relay)).await?;
                }
                Effect::Append { relay, log, tag, entry } => {
                    if let Some(client) = self.relays.client(&relay) {
                        self.tell_relay(client, RelayCommand::Append { log, tag, entry }).await;
                    }
                }
                Effect::Trim { relay, log, cursor } => {
                    if let Some(client) = self.relays.client(&relay) {
                        self.tell_relay(client, RelayCommand::Trim { log, cursor }).await;
                    }
                }
                Effect::Book(entries) => self.tell_mesh(MeshCommand::Book(entries)).await?,
                Effect::Channel { to, frame } => {
                    self.tell_mesh(MeshCommand::Channel { to, frame }).await?;
                }
                Effect::Probe { ticket, member } => {
                    self.tell_mesh(MeshCommand::Probe { ticket, member }).await?;
                }
                Effect::JoinDial { stream, .. } if self.mesh.is_none() => {
                    self.core.on_join_closed(stream, now())?;
                }
                Effect::JoinDial { stream, addresses } => {
                    self.tell_mesh(MeshCommand::JoinDial { stream, addresses }).await?;
                }
                Effect::JoinSend { stream, frame } => {
                    self.tell_mesh(MeshCommand::JoinSend { stream, frame }).await?;
                }
                Effect::JoinClose { stream } => {
                    self.tell_mesh(MeshCommand::JoinClose { stream }).await?;
                }
                Effect::OpenForJoins(open) => {
                    self.tell_mesh(MeshCommand::OpenForJoins(open)).await?;
                }
                Effect::Live(event) => {
                    // Nobody may be listening.
                    let _ = self.live.send(*event);
                }
                Effect::Woken(seq) => {
                    self.woken.send_replace(seq);
                }
            }
        }
        Ok(())
    }

    /// The swarm always takes commands, so this waits for it and nothing else.
    async fn tell_mesh(&mut self, command: MeshCommand) -> Result<(), Stopped> {
        match &self.mesh {
            Some(mesh) => mesh.commands.send(command).await.map_err(|_| Stopped::Mesh),
            None => Ok(()),
        }
    }

    /// A client may itself wait until its reports are taken, so they are taken meanwhile. One that
    /// has died shows in [`Relays::died`].
    async fn tell_relay(&mut self, client: mpsc::Sender<RelayCommand>, command: RelayCommand) {
        loop {
            tokio::select! {
                biased;
                permit = client.reserve() => {
                    if let Ok(permit) = permit {
                        permit.send(command);
                    }
                    return;
                }
                Some(report) = self.relay_reports.recv(), if self.early.len() < EARLY => {
                    self.early.push_back(report);
                }
            }
        }
    }

    /// Ends the network's tasks, so that the others know at once.
    async fn leave(self) {
        let Self { core, mesh, addresses, relays, relay_reports, .. } = self;
        drop(relay_reports);
        let left = async {
            let router = addresses.end();
            let others = async {
                if let Some(Mesh { commands, reports, task }) = mesh {
                    drop((commands, reports));
                    let _ = task.await;
                }
                relays.end().await;
            };
            tokio::join!(router, others);
        };
        let _ = timeout(LEAVE, left).await;
        drop(core);
    }
}

/// How this machine looks from outside, and where members meet it there.
fn outside(seen: &Seen) -> (types::Outside, Option<String>) {
    let nat = match (seen.is_behind_nat, seen.outside.keeps_ports) {
        (false, _) => types::Nat::None,
        (true, true) => types::Nat::KeepsPorts,
        (true, false) => types::Nat::ChangesPorts,
    };
    let address = seen.outside.ip.to_string();
    (types::Outside { address, nat }, seen.met.as_ref().map(ToString::to_string))
}

fn known(via: Via) -> types::Via {
    match via {
        Via::Called => types::Via::Called,
        Via::Told => types::Via::Told,
        Via::Found => types::Via::Mdns,
    }
}
