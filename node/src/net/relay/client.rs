//! The loop around the ledger: connect, serve, wait, again.
//!
//! While the reader of reports is slow, nothing is read from the relay; commands are taken all the
//! same, so that a driver which waits for neither channel can't be locked out.

use std::{
    convert::Infallible,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    FutureExt as _, Sink, SinkExt as _, StreamExt as _,
    future::{BoxFuture, poll_fn},
};
use libp2p::Swarm;
use protocol::codec;
use tokio::sync::mpsc;

use super::{
    ClientId, DownReason, Proxy, RelayCommand, RelayPeer, RelayReport,
    backoff::Backoff,
    dial::{self, Behaviour, Greeting, Link, News},
    ledger::Ledger,
};
use crate::net::change::SPREAD;

/// A connection that stood this long was a good one. What a relay says proves nothing: one that
/// answers and hangs up would be dialed without end.
const STABLE: Duration = Duration::from_secs(5);

/// So long an attempt by way of a proxy elsewhere goes on, whatever happens to the network.
const PROXY_PATIENCE: Duration = Duration::from_secs(20);

/// How long a relay that has said that it ends may take to answer what it was asked.
const LEAVING: Duration = Duration::from_secs(10);

/// The client of one relay.
pub(super) struct Client {
    relay: RelayPeer,
    id: ClientId,
    proxy: Option<Proxy>,
    commands: mpsc::Receiver<RelayCommand>,
    reports: mpsc::Sender<(ClientId, RelayReport)>,
    ledger: Ledger,
    backoff: Backoff,
}

/// Told to stop, or nobody is left to tell or to listen.
pub(super) struct Stopped;

impl Client {
    pub(super) fn new(
        relay: RelayPeer,
        number: u64,
        proxy: Option<Proxy>,
        commands: mpsc::Receiver<RelayCommand>,
        reports: mpsc::Sender<(ClientId, RelayReport)>,
    ) -> Self {
        let (ledger, backoff) = (Ledger::default(), Backoff::default());
        let id = ClientId { relay: relay.peer_id, number };
        Self { relay, id, proxy, commands, reports, ledger, backoff }
    }

    /// Serves until told to stop.
    pub(super) async fn run(mut self) -> Result<Infallible, Stopped> {
        loop {
            let relay = self.relay.clone();
            let connecting = dial::connect(&relay, self.proxy);
            let reason = match self.meanwhile(connecting).await? {
                Some(Ok((link, greeting))) => self.serve(link, greeting).await?,
                Some(Err(reason)) => reason,
                None => {
                    self.backoff.reset();
                    self.pause(DownReason::Lost, soon()).await?;
                    continue;
                }
            };
            let retry_in = match self.ledger.leaving() {
                Some(span) if reason == DownReason::Leaving => self.backoff.within(span, random()),
                _ => self.backoff.next(random()),
            };
            self.ledger.down(reason, retry_in);
            self.pause(reason, retry_in).await?;
        }
    }

    /// Waits for so long; less, where the relay wants a token and there is one that it has not seen, or where
    /// the network is another than that on which the last attempt was made.
    async fn pause(&mut self, reason: DownReason, span: Duration) -> Result<(), Stopped> {
        let over = tokio::time::sleep(span);
        tokio::pin!(over);
        let is_shut_out = matches!(reason, DownReason::NoToken(_));
        while !(is_shut_out && self.ledger.has_new_token()) {
            tokio::select! {
                () = &mut over => return Ok(()),
                permit = self.reports.reserve(), if self.ledger.reports() > 0 => {
                    report(&mut self.ledger, permit, self.id)?;
                }
                command = self.commands.recv() => {
                    if obey(&mut self.ledger, command)? == Told::Changed {
                        self.backoff.reset();
                        let soon = tokio::time::Instant::now() + soon();
                        let at = over.deadline().min(soon);
                        over.as_mut().reset(at);
                    }
                }
            }
        }
        self.backoff.reset();
        Ok(())
    }

    /// Uses a connection until it is lost.
    async fn serve(&mut self, mut link: Link, greeting: Greeting) -> Result<DownReason, Stopped> {
        let since = Instant::now();
        self.ledger.connected(greeting);
        let Link { swarm, reader, writer, latency } = &mut link;
        if let Some(took) = latency.take() {
            self.ledger.timed(took);
        }
        let mut request = None;
        let mut unflushed = false;
        let mut leaves_by = None;
        let mut sign: Option<Sign> = None;
        let reason = loop {
            let now = Instant::now();
            if request.is_none() {
                request = self.ledger.next_request(now);
            }
            if request.is_none()
                && let Some(fault) = self.ledger.shut_out()
            {
                break DownReason::NoToken(fault);
            }
            if self.ledger.leaving().is_some() && leaves_by.is_none() {
                leaves_by = Some(now + LEAVING);
            }
            if leaves_by.is_some_and(|by| by <= now) {
                break DownReason::Lost;
            }
            let has_report = self.ledger.reports() > 0;
            tokio::select! {
                permit = self.reports.reserve(), if has_report => {
                    report(&mut self.ledger, permit, self.id)?;
                }
                command = self.commands.recv() => {
                    if obey(&mut self.ledger, command)? == Told::Changed {
                        match &mut sign {
                            Some(sign) => sign.is_stale = true,
                            None => sign = Some(Sign::ask(swarm, &self.relay, self.proxy)),
                        }
                    }
                }
                shows = poll_fn(|cx| sign.as_mut().map_or(Poll::Pending, |sign| sign.poll(cx))) => {
                    sign = match shows {
                        Shows::Life => None,
                        Shows::Little => Some(Sign::ask(swarm, &self.relay, self.proxy)),
                        Shows::Nothing => break DownReason::Lost,
                    }
                }
                written = write(writer, request.is_some()), if request.is_some() || unflushed => {
                    let sent = written.and_then(|()| {
                        unflushed = request.is_some();
                        request.take().map_or(Ok(()), |request| {
                            writer.start_send_unpin(Bytes::from(codec::encode(&request)))
                        })
                    });
                    if sent.is_err() {
                        break DownReason::Lost;
                    }
                }
                frame = reader.next(), if !has_report => {
                    if let (Some(sign), Some(Ok(_))) = (&mut sign, &frame) {
                        sign.is_heard = true;
                    }
                    let answer = dial::answer(frame, DownReason::Lost);
                    let taken = answer.and_then(|it| self.ledger.answer(it, Instant::now()));
                    if let Err(reason) = taken {
                        break reason;
                    }
                }
                news = dial::news(swarm) => match news {
                    News::Lost(reason) => break reason,
                    News::Latency(took) => {
                        if let Some(sign) = &mut sign {
                            sign.is_heard = true;
                        }
                        self.ledger.timed(took);
                    }
                },
                () = wait(leaves_by.or(self.ledger.deadline(now))) => {}
            }
        };
        if reason == DownReason::Misbehaved {
            self.backoff.raise();
            return Ok(reason);
        }
        let was_good = since.elapsed() >= STABLE;
        if was_good {
            self.backoff.reset();
        }
        // One that says hello and that it leaves, again and again, gets no more than one that is lost.
        Ok(if leaves_by.is_some() && was_good { DownReason::Leaving } else { reason })
    }

    /// Awaits something while reports go out and commands come in; none where the network changes meanwhile.
    async fn meanwhile<T>(&mut self, task: impl Future<Output = T>) -> Result<Option<T>, Stopped> {
        let since = Instant::now();
        tokio::pin!(task);
        loop {
            tokio::select! {
                output = &mut task => return Ok(Some(output)),
                permit = self.reports.reserve(), if self.ledger.reports() > 0 => {
                    report(&mut self.ledger, permit, self.id)?;
                }
                command = self.commands.recv() => {
                    let is_changed = obey(&mut self.ledger, command)? == Told::Changed;
                    if is_changed && self.gives_up(since.elapsed()) {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Client {
    /// Whether an attempt that has lasted so long is no longer worth waiting for when the network changes. A proxy
    /// on this machine makes its own way meanwhile; one elsewhere is given time for that, however often it does.
    fn gives_up(&self, lasted: Duration) -> bool {
        match self.proxy {
            None => true,
            Some(proxy) => !proxy.is_here() && lasted >= PROXY_PATIENCE,
        }
    }
}

type Permit<'a> = Result<mpsc::Permit<'a, (ClientId, RelayReport)>, mpsc::error::SendError<()>>;

fn report(ledger: &mut Ledger, permit: Permit<'_>, by: ClientId) -> Result<(), Stopped> {
    let permit = permit.map_err(|_| Stopped)?;
    if let Some(report) = ledger.next_report() {
        permit.send((by, report));
    }
    Ok(())
}

/// Asked of the relay after a change of the network: does the connection carry anything still?
struct Sign {
    answer: BoxFuture<'static, bool>,
    /// Something else came meanwhile. On a slow line the answer waits behind all else; but what came may have been on
    /// its way since before the change.
    is_heard: bool,
    /// The network has changed again since.
    is_stale: bool,
}

/// What is known when a sign was given, or its time is up.
enum Shows {
    Life,
    /// To be asked once more.
    Little,
    Nothing,
}

impl Sign {
    fn ask(swarm: &Swarm<Behaviour>, relay: &RelayPeer, proxy: Option<Proxy>) -> Self {
        let answer = dial::sign(swarm, relay.peer_id, proxy).boxed();
        Self { answer, is_heard: false, is_stale: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Shows> {
        self.answer.poll_unpin(cx).map(|is_given| match (is_given, self) {
            (true, Self { is_stale: false, .. }) => Shows::Life,
            (true, _) | (false, Self { is_heard: true, .. }) => Shows::Little,
            (false, _) => Shows::Nothing,
        })
    }
}

/// What a command was about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Logs,
    Changed,
}

fn obey(ledger: &mut Ledger, command: Option<RelayCommand>) -> Result<Told, Stopped> {
    match command {
        Some(RelayCommand::Plan(plan)) => ledger.plan(plan),
        Some(RelayCommand::FollowAnew { log, after }) => ledger.follow_anew(log, after),
        Some(RelayCommand::Append { log, tag, entry }) => ledger.append(log, tag, entry),
        Some(RelayCommand::Trim { log, cursor }) => ledger.trim(log, cursor),
        Some(RelayCommand::Changed) => return Ok(Told::Changed),
        Some(RelayCommand::Stop) | None => return Err(Stopped),
    }
    Ok(Told::Logs)
}

/// Waits until a frame can be taken, or, if there is none, until all are flushed.
async fn write<S: Sink<Bytes, Error = io::Error> + Unpin>(
    sink: &mut S,
    has_more: bool,
) -> io::Result<()> {
    poll_fn(|cx| if has_more { sink.poll_ready_unpin(cx) } else { sink.poll_flush_unpin(cx) }).await
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// When to try again after a change: at once, but not in step with everybody to whom it happened, too.
fn soon() -> Duration {
    SPREAD.mul_f64(f64::from(random()) / f64::from(u32::MAX))
}

fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::relay::RelayKey;

    /// Long enough for a machine that is busy; nothing waits this long when all is well.
    const PATIENCE: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_hours(1);

    fn client() -> (Client, mpsc::Sender<RelayCommand>) {
        let relay = RelayPeer { peer_id: RelayKey::random(), addrs: Vec::new() };
        let (commands, taken) = mpsc::channel(1);
        let (reports, given) = mpsc::channel(1);
        std::mem::forget(given);
        (Client::new(relay, 0, None, taken, reports), commands)
    }

    #[tokio::test]
    async fn a_wait_ends_where_the_network_changes_and_the_next_is_a_short_one() {
        let (mut client, commands) = client();
        client.backoff.raise();
        commands.send(RelayCommand::Changed).await.ok().unwrap();
        let waited = client.pause(DownReason::Unreachable, LONG);
        assert!(tokio::time::timeout(PATIENCE, waited).await.unwrap().is_ok());
        assert!(client.backoff.next(u32::MAX) < SPREAD);
    }

    #[tokio::test]
    async fn what_was_begun_on_the_network_as_it_was_is_given_up() {
        let (mut client, commands) = client();
        commands.send(RelayCommand::Changed).await.ok().unwrap();
        let begun = client.meanwhile(std::future::pending::<()>());
        assert!(matches!(tokio::time::timeout(PATIENCE, begun).await.unwrap(), Ok(None)));
    }

    #[tokio::test]
    async fn what_a_proxy_has_begun_goes_on_however_often_the_network_changes() {
        let (mut client, commands) = client();
        client.proxy = Some("socks5://127.0.0.1:9050".parse().unwrap());
        let begun = async {
            for _ in 0..9 {
                commands.send(RelayCommand::Changed).await.ok().unwrap();
            }
            "made"
        };
        assert!(matches!(client.meanwhile(begun).await, Ok(Some("made"))));
        assert!(!client.gives_up(LONG));
        client.proxy = Some("socks5://10.0.0.1:9050".parse().unwrap());
        assert!(!client.gives_up(Duration::from_secs(10)) && client.gives_up(LONG));
    }
}
