//! Clients that mean no good, beside the honest ones of a load.
//!
//! > They come from an address of their own, ::1: what a relay grants one address is theirs to use up, and
//! > nobody else's.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum;
use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::{
    limits::LOG_REQUEST_MAX,
    relay_log::{Answer, LogKeys, Request, Role},
};
use rendezvous::client::LogClient;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{client::Place, crowd};

/// What they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Attack {
    /// Begin a handshake, and don't finish it
    Handshakes,
    /// Send a byte each second
    Slow,
    /// Send what means nothing
    Noise,
    /// Finish the handshake, and send frames that mean nothing or are longer than any may be
    Frames,
    /// Follow the logs of the load, and never read
    Stuck,
    /// Append to logs of their own
    Appends,
    /// Open logs that they know nothing of, by proofs that prove nothing
    Guesses,
}

/// How many of each kind.
#[derive(Clone, Copy)]
pub(super) struct Strength {
    /// That stand at once: slow and stuck ones, and those that append or guess.
    pub(super) standing: u32,
    /// That are begun in a second: the others. And of all that stand, what they append or guess in one.
    pub(super) per_s: u32,
}

impl Strength {
    /// How long each of those that stand waits between two things that it asks for.
    fn between(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.standing) / f64::from(self.per_s.max(1)))
    }
}

/// What the attackers of all kinds know.
pub(super) struct Target {
    pub(super) strength: Strength,
    pub(super) place: Place,
    pub(super) logs: Vec<LogKeys>,
    pub(super) noise: Vec<u8>,
}

/// All of them, until their end.
pub(super) struct Attackers {
    tasks: JoinSet<()>,
    tried: Arc<AtomicU64>,
}

/// Attackers of one kind that are under way at once, of those that come and go.
pub(super) const AT_ONCE: u32 = 1000;

/// How long it takes until all stand.
const ARRIVAL: Duration = Duration::from_secs(10);

/// How long one holds on.
const HOLD: Duration = Duration::from_secs(1);

/// Logs that a stuck one follows.
const STUCK_LOGS: usize = 8;

/// Bytes of an entry of a flood.
const FLOOD: usize = 4096;

/// What a libp2p dialer says first.
const FIRST_WORDS: &[u8] = b"\x13/multistream/1.0.0\n";

impl Attackers {
    pub(super) fn start(attacks: &[Attack], target: &Arc<Target>) -> Self {
        let strength = target.strength;
        let tried = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for attack in attacks.iter().copied() {
            let (target, tried) = (Arc::clone(target), Arc::clone(&tried));
            match attack {
                Attack::Slow | Attack::Stuck | Attack::Appends | Attack::Guesses => {
                    tasks.spawn(stand(attack, strength.standing, target, tried))
                }
                Attack::Handshakes | Attack::Noise | Attack::Frames => {
                    tasks.spawn(come(attack, strength.per_s, target, tried))
                }
            };
        }
        Self { tasks, tried }
    }

    /// Ends them; answers how many connections were tried.
    pub(super) async fn end(mut self) -> u64 {
        self.tasks.shutdown().await;
        self.tried.load(Ordering::Relaxed)
    }
}

/// So many at once, each for as long as it is let, and again. They come one after another: what a rush
/// of handshakes costs is another question.
async fn stand(attack: Attack, count: u32, target: Arc<Target>, tried: Arc<AtomicU64>) {
    let mut all = JoinSet::new();
    for _ in 0..count {
        sleep(ARRIVAL / count).await;
        let (target, tried) = (Arc::clone(&target), Arc::clone(&tried));
        all.spawn(async move {
            loop {
                tried.fetch_add(1, Ordering::Relaxed);
                target.attack(attack, 0).await;
                sleep(HOLD).await;
            }
        });
    }
    while all.join_next().await.is_some() {}
}

/// So many a second, where the machine can.
async fn come(attack: Attack, per_s: u32, target: Arc<Target>, tried: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(10);
    let room = Arc::new(Semaphore::new(AT_ONCE as usize));
    let mut all = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut owed = 0.0;
    for number in 0_usize.. {
        while owed < 1.0 {
            ticks.tick().await;
            owed += f64::from(per_s) * TICK.as_secs_f64();
        }
        owed -= 1.0;
        while all.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (target, tried) = (Arc::clone(&target), Arc::clone(&tried));
        all.spawn(async move {
            tried.fetch_add(1, Ordering::Relaxed);
            target.attack(attack, number).await;
            drop(place);
        });
    }
}

impl Target {
    /// Attacks once. What the relay makes of it is not asked: what fails has failed for the attacker.
    async fn attack(&self, attack: Attack, number: usize) {
        let _ = match attack {
            Attack::Handshakes => self.begin().await,
            Attack::Slow => self.dawdle().await,
            Attack::Noise => self.babble(number).await,
            Attack::Frames => self.misspeak(number).await,
            Attack::Stuck => self.stick().await,
            Attack::Appends => self.flood().await,
            Attack::Guesses => self.guess().await,
        };
    }

    async fn begin(&self) -> anyhow::Result<()> {
        let mut socket = self.socket().await?;
        socket.write_all(FIRST_WORDS).await?;
        self.hold(&mut socket).await
    }

    async fn dawdle(&self) -> anyhow::Result<()> {
        let mut socket = self.socket().await?;
        for byte in FIRST_WORDS.iter().cycle() {
            socket.write_all(&[*byte]).await?;
            sleep(HOLD).await;
        }
        Ok(())
    }

    async fn babble(&self, number: usize) -> anyhow::Result<()> {
        let mut socket = self.socket().await?;
        let at = number % 4096;
        socket.write_all(&self.noise[at..at + 4096]).await?;
        self.hold(&mut socket).await
    }

    /// Holds a connection until it is hung up on.
    async fn hold(&self, socket: &mut TcpStream) -> anyhow::Result<()> {
        let hears = async {
            while socket.read(&mut [0; 64]).await? > 0 {}
            io::Result::Ok(())
        };
        Ok(timeout(HOLD, hears).await??)
    }

    async fn misspeak(&self, number: usize) -> anyhow::Result<()> {
        let mut client = LogClient::connect(&self.place.addr, &self.place.wire).await?;
        let at = number % 4096;
        let frame = match number % 2 {
            0 => self.noise[at..at + 600].to_vec(),
            _ => vec![0; LOG_REQUEST_MAX + 1],
        };
        client.asking().say(frame).await?;
        // Until it is hung up on.
        timeout(HOLD, client.next()).await??;
        Ok(())
    }

    async fn stick(&self) -> anyhow::Result<()> {
        let mut client = LogClient::connect(&self.place.addr, &self.place.wire).await?;
        for (handle, keys) in (0..).zip(self.logs.iter().take(STUCK_LOGS)) {
            client.asking().open(handle, keys).await?;
            client.asking().follow(handle, None).await?;
        }
        std::future::pending().await
    }

    /// Appends entries, each another one, as long as the relay listens; whatever it answers. What is
    /// late is made up for.
    async fn flood(&self) -> anyhow::Result<()> {
        let mut client = LogClient::connect(&self.place.addr, &self.place.wire).await?;
        client.asking().open(0, &crowd::keys()?).await?;
        let (mut asking, mut answers) = client.split();
        let hears = async {
            loop {
                answers.next().await?;
            }
        };
        let mut turns = interval(self.strength.between());
        let appends = async {
            for req in 1.. {
                turns.tick().await;
                let mut entry = self.noise[..FLOOD].to_vec();
                entry[..4].copy_from_slice(&u32::to_be_bytes(req));
                asking.append(req, 0, entry).await?;
            }
            Ok(())
        };
        tokio::select! {
            ended = hears => ended,
            ended = appends => ended,
        }
    }

    /// Names logs, and shows proofs for others: until it is hung up on. What it hears tells it nothing.
    async fn guess(&self) -> anyhow::Result<()> {
        let mut client = LogClient::connect(&self.place.addr, &self.place.wire).await?;
        let mut turns = interval(self.strength.between());
        for handle in 0.. {
            turns.tick().await;
            let (wanted, own) = (crowd::keys()?, crowd::keys()?);
            let proofs =
                vec![own.prove(Role::Read, client.asking().challenge()).context("a proof")?];
            client
                .asking()
                .ask(&Request::Open { handle, publics: wanted.publics(), proofs })
                .await?;
            let answer = client.next().await?;
            anyhow::ensure!(matches!(answer, Answer::OpenRefused { .. }), "a log was opened");
        }
        Ok(())
    }

    async fn socket(&self) -> anyhow::Result<TcpStream> {
        let to = socket_addr(&self.place.addr).context("no port of TCP")?;
        let socket = TcpSocket::new_v6()?;
        // Nothing stays of it: ports would run out.
        socket.set_zero_linger()?;
        Ok(timeout(HOLD, socket.connect(to)).await??)
    }
}

/// Where attackers find a relay: an address that is theirs alone to come from.
pub(super) fn theirs(addrs: &[Multiaddr]) -> Option<Multiaddr> {
    addrs.iter().find(|addr| socket_addr(addr).is_some()).cloned()
}

fn socket_addr(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip6(ip), Protocol::Tcp(port)) => Some((ip, port).into()),
        _ => None,
    }
}
