//! The work: one to many as fast as all follow, one to one each millisecond, and thousands that rest.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    process::Server,
    system::{Reader as _, System, Writer as _},
};

/// Connections that are being made at once.
const AT_ONCE: usize = 32;

/// How long a server is left in peace before it is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// How long nothing may come before what is missing counts as lost.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(Args)]
pub struct Work {
    /// Readers of the one topic that is written to.
    #[arg(long, default_value_t = 100)]
    readers: u32,
    /// Messages to them.
    #[arg(long, default_value_t = 3000)]
    messages: u32,
    /// Messages on their way to the slowest reader.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// Messages from one to one, one each millisecond.
    #[arg(long, default_value_t = 3000)]
    timed: u32,
    /// Clients that are connected, follow a topic, and rest; 0: not measured.
    #[arg(long, default_value_t = 0)]
    idle: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 512)]
    bytes: usize,
}

/// What one system did in one round.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    /// Microseconds of the server's processor time for a delivery, one to many.
    pub cpu: f64,
    /// Deliveries per second, one to many.
    pub per_s: f64,
    /// Deliveries that did not come.
    pub lost: f64,
    /// Microseconds from one to one: the median, and what 99 of 100 take at most.
    pub p50: f64,
    pub p99: f64,
    /// KiB of the server's memory for a client that rests.
    pub idle: f64,
    /// Microseconds of the server's processor time for a client to connect and follow.
    pub connect: f64,
}

impl Work {
    /// Has a system do all of it.
    pub async fn done_by<S: System>(&self, system: &S) -> anyhow::Result<Figures> {
        let mut figures = Figures::default();
        let dir = || tempfile::Builder::new().prefix("peers-").tempdir();
        self.fan_out(system, dir()?.path(), &mut figures).await?;
        self.one_to_one(system, dir()?.path(), &mut figures).await?;
        if self.idle > 0 {
            self.rest(system, dir()?.path(), &mut figures).await?;
        }
        Ok(figures)
    }

    async fn fan_out<S: System>(
        &self,
        system: &S,
        dir: &Path,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let server = system.start(dir).await?;
        let readers = readers(system, &server, self.readers, |_| 0).await?;
        let mut writer = system.writer(&server, 0, &readers).await?;
        let window = Arc::new(Window::new(self.window, self.readers));
        let mut reading = JoinSet::new();
        for mut reader in readers {
            let window = Arc::clone(&window);
            let messages = self.messages;
            reading.spawn(async move {
                for _ in 0..messages {
                    let message = reader.read().await?;
                    window.came(number(&message)?);
                }
                // It is dropped only when all are done: a connection that ends costs, too.
                Ok::<_, anyhow::Error>(reader)
            });
        }
        let (before, start) = (server.look()?, Instant::now());
        for turn in 0..self.messages {
            window.room().await;
            writer.write(self.message(turn, start)).await?;
        }
        window.drained(u64::from(self.messages) * u64::from(self.readers)).await;
        let (took, after) = (window.last().duration_since(start), server.look()?);
        let came = window.came.load(Ordering::Relaxed);
        let expected = u64::from(self.messages) * u64::from(self.readers);
        figures.lost = (expected - came) as f64;
        figures.cpu = (after.cpu - before.cpu).as_secs_f64() * 1e6 / came as f64;
        figures.per_s = came as f64 / took.as_secs_f64();
        Ok(())
    }

    async fn one_to_one<S: System>(
        &self,
        system: &S,
        dir: &Path,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let server = system.start(dir).await?;
        let mut readers = readers(system, &server, 1, |_| 0).await?;
        let mut writer = system.writer(&server, 0, &readers).await?;
        let start = Instant::now();
        let timed = self.timed;
        let Some(mut reader) = readers.pop() else { anyhow::bail!("no reader") };
        let reading = tokio::spawn(async move {
            let mut times = Histogram::<u64>::new(3)?;
            // The first ones find nothing warm.
            for turn in 0..timed {
                let message = timeout(SILENCE, reader.read()).await??;
                let now = start.elapsed().as_nanos() as u64;
                if turn >= timed / 10 {
                    times.record(now.saturating_sub(begun(&message)?))?;
                }
            }
            Ok::<_, anyhow::Error>(times)
        });
        let mut millisecond = interval(Duration::from_millis(1));
        millisecond.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0..timed {
            millisecond.tick().await;
            writer.write(self.message(turn, start)).await?;
        }
        let times = reading.await??;
        figures.p50 = times.value_at_quantile(0.5) as f64 / 1e3;
        figures.p99 = times.value_at_quantile(0.99) as f64 / 1e3;
        Ok(())
    }

    async fn rest<S: System>(
        &self,
        system: &S,
        dir: &Path,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let server = system.start(dir).await?;
        // What a server allocates once for all is none of theirs.
        let first = readers(system, &server, 10, |one| one).await?;
        sleep(SETTLE).await;
        let before = server.look()?;
        let resting = readers(system, &server, self.idle, |one| one + 10).await?;
        let connected = server.look()?;
        sleep(SETTLE * 3).await;
        let after = server.look()?;
        let each = |all: f64| all / f64::from(self.idle);
        figures.idle = each(after.memory.saturating_sub(before.memory) as f64 / 1024.0);
        figures.connect = each((connected.cpu - before.cpu).as_secs_f64() * 1e6);
        drop((first, resting));
        Ok(())
    }

    /// A message that says which it is and when it was begun.
    fn message(&self, turn: u32, start: Instant) -> Bytes {
        let mut message = BytesMut::with_capacity(self.bytes);
        message.put_u64(turn.into());
        message.put_u64(start.elapsed().as_nanos() as u64);
        message.resize(self.bytes.max(16), 0x5a);
        message.freeze()
    }
}

/// Messages on their way: as many as the slowest reader may lag behind.
struct Window {
    room: Semaphore,
    missing: Vec<AtomicU64>,
    readers: u64,
    came: AtomicU64,
    last: Mutex<Instant>,
}

impl Window {
    fn new(size: u32, readers: u32) -> Self {
        let missing = (0..size).map(|_| AtomicU64::new(readers.into())).collect();
        Self {
            room: Semaphore::new(size as usize),
            missing,
            readers: readers.into(),
            came: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
        }
    }

    /// A reader was told a message.
    fn came(&self, number: u64) {
        self.came.fetch_add(1, Ordering::Relaxed);
        let place = number as usize % self.missing.len();
        if self.missing[place].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.missing[place].store(self.readers, Ordering::Release);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.room.add_permits(1);
        }
    }

    /// Waits for room; where nothing comes any more, what is missing is lost and no reason to wait.
    async fn room(&self) {
        if let Ok(Ok(permit)) = timeout(SILENCE, self.room.acquire()).await {
            permit.forget();
        }
    }

    async fn drained(&self, expected: u64) {
        let mut before = (0, Instant::now());
        loop {
            let came = self.came.load(Ordering::Relaxed);
            if came >= expected || came == before.0 && before.1.elapsed() > SILENCE {
                return;
            }
            if came != before.0 {
                before = (came, Instant::now());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn readers<S: System>(
    system: &S,
    server: &Server,
    count: u32,
    topic: impl Fn(u32) -> u32,
) -> anyhow::Result<Vec<S::Reader>> {
    let connecting = (0..count).map(|one| system.reader(server, topic(one)));
    stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await
}

fn number(message: &[u8]) -> anyhow::Result<u64> {
    word(message, 0)
}

fn begun(message: &[u8]) -> anyhow::Result<u64> {
    word(message, 8)
}

fn word(message: &[u8], at: usize) -> anyhow::Result<u64> {
    let bytes = message.get(at..at + 8).and_then(|it| it.try_into().ok());
    Ok(u64::from_be_bytes(bytes.ok_or_else(|| anyhow::anyhow!("a short message"))?))
}
