//! A server's process: started, looked at in /proc, ended.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::TcpStream, time::sleep};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs; it ends with this.
pub struct Server {
    child: Child,
    /// Where it is.
    pub addr: SocketAddr,
}

/// What it took so far.
#[derive(Clone, Copy)]
pub struct Look {
    /// Time of processors.
    pub cpu: Duration,
    /// Bytes of memory that is nobody else's.
    pub memory: u64,
}

impl Server {
    /// Starts it and waits until it takes connections.
    pub async fn start(command: &mut Command, addr: SocketAddr) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let server = Self { child, addr };
        let start = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            anyhow::ensure!(start.elapsed() < PATIENCE, "{command:?} does not start");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// Looks at it.
    pub fn look(&self) -> anyhow::Result<Look> {
        let of = |what| fs::read_to_string(format!("/proc/{}/{what}", self.child.id()));
        let stat = of("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|it| it.parse::<u64>().ok())
            .sum();
        let status = of("status")?;
        let memory =
            status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
        let kib: u64 = memory.trim().trim_end_matches(" kB").parse()?;
        let hertz = rustix::param::clock_ticks_per_second();
        let cpu = Duration::from_secs_f64(ticks as f64 / hertz as f64);
        Ok(Look { cpu, memory: kib << 10 })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine that nobody uses now.
pub fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Thousands of clients are thousands of files, also for the servers started from here.
pub fn open_all_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
