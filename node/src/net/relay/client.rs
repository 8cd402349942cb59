//! The loop around the ledger: connect, serve, wait, again.
//!
//! While the reader of reports is slow, nothing is read from the relay; commands are taken all the
//! same, so that a driver which waits for neither channel can't be locked out.

use std::{
    convert::Infallible,
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Sink, SinkExt as _, StreamExt as _, future::poll_fn};
use protocol::codec;
use tokio::sync::mpsc;

use super::{
    DownReason, RelayCommand, RelayKey, RelayPeer, RelayReport,
    backoff::Backoff,
    dial::{self, Greeting, Link},
    ledger::Ledger,
};

/// A connection that stood this long was a good one. What a relay says proves nothing: one that
/// answers and hangs up would be dialed without end.
const STABLE: Duration = Duration::from_secs(5);

/// How long a relay that has said that it ends may take to answer what it was asked.
const LEAVING: Duration = Duration::from_secs(10);

/// The client of one relay.
pub(super) struct Client {
    relay: RelayPeer,
    commands: mpsc::Receiver<RelayCommand>,
    reports: mpsc::Sender<(RelayKey, RelayReport)>,
    ledger: Ledger,
    backoff: Backoff,
}

/// Told to stop, or nobody is left to tell or to listen.
pub(super) struct Stopped;

impl Client {
    pub(super) fn new(
        relay: RelayPeer,
        commands: mpsc::Receiver<RelayCommand>,
        reports: mpsc::Sender<(RelayKey, RelayReport)>,
    ) -> Self {
        Self { relay, commands, reports, ledger: Ledger::default(), backoff: Backoff::default() }
    }

    /// Serves until told to stop.
    pub(super) async fn run(mut self) -> Result<Infallible, Stopped> {
        loop {
            let relay = self.relay.clone();
            let connected = self.meanwhile(dial::connect(&relay)).await?;
            let reason = match connected {
                Ok((link, greeting)) => self.serve(link, greeting).await?,
                Err(reason) => reason,
            };
            let retry_in = match self.ledger.leaving() {
                Some(span) if reason == DownReason::Leaving => self.backoff.within(span, random()),
                _ => self.backoff.next(random()),
            };
            self.ledger.down(reason, retry_in);
            self.pause(reason, retry_in).await?;
        }
    }

    /// Waits for so long; less, where the relay wants a token and there is one that it has not seen.
    async fn pause(&mut self, reason: DownReason, span: Duration) -> Result<(), Stopped> {
        let over = tokio::time::sleep(span);
        tokio::pin!(over);
        let is_shut_out = matches!(reason, DownReason::NoToken(_));
        while !(is_shut_out && self.ledger.has_new_token()) {
            tokio::select! {
                () = &mut over => return Ok(()),
                permit = self.reports.reserve(), if self.ledger.reports() > 0 => {
                    report(&mut self.ledger, permit, self.relay.peer_id)?;
                }
                command = self.commands.recv() => obey(&mut self.ledger, command)?,
            }
        }
        self.backoff.reset();
        Ok(())
    }

    /// Uses a connection until it is lost.
    async fn serve(&mut self, mut link: Link, greeting: Greeting) -> Result<DownReason, Stopped> {
        let since = Instant::now();
        self.ledger.connected(greeting);
        let Link { swarm, reader, writer } = &mut link;
        let mut request = None;
        let mut unflushed = false;
        let mut leaves_by = None;
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
                    report(&mut self.ledger, permit, self.relay.peer_id)?;
                }
                command = self.commands.recv() => obey(&mut self.ledger, command)?,
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
                    let answer = dial::answer(frame, DownReason::Lost);
                    let taken = answer.and_then(|it| self.ledger.answer(it, Instant::now()));
                    if let Err(reason) = taken {
                        break reason;
                    }
                }
                reason = dial::lost(swarm) => break reason,
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

    /// Awaits something while reports go out and commands come in.
    async fn meanwhile<T>(&mut self, task: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::pin!(task);
        loop {
            tokio::select! {
                output = &mut task => return Ok(output),
                permit = self.reports.reserve(), if self.ledger.reports() > 0 => {
                    report(&mut self.ledger, permit, self.relay.peer_id)?;
                }
                command = self.commands.recv() => obey(&mut self.ledger, command)?,
            }
        }
    }
}

type Permit<'a> = Result<mpsc::Permit<'a, (RelayKey, RelayReport)>, mpsc::error::SendError<()>>;

fn report(ledger: &mut Ledger, permit: Permit<'_>, relay: RelayKey) -> Result<(), Stopped> {
    let permit = permit.map_err(|_| Stopped)?;
    if let Some(report) = ledger.next_report() {
        permit.send((relay, report));
    }
    Ok(())
}

fn obey(ledger: &mut Ledger, command: Option<RelayCommand>) -> Result<(), Stopped> {
    match command {
        Some(RelayCommand::Plan(plan)) => ledger.plan(plan),
        Some(RelayCommand::FollowAnew { log, after }) => ledger.follow_anew(log, after),
        Some(RelayCommand::Append { log, tag, entry }) => ledger.append(log, tag, entry),
        Some(RelayCommand::Trim { log, cursor }) => ledger.trim(log, cursor),
        Some(RelayCommand::Stop) | None => return Err(Stopped),
    }
    Ok(())
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

fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}
