//! Watching a relay: a page to read, `/metrics` for Prometheus, and `/healthz`.
//!
//! ```text
//! socket ──▶ door (so many, so long) ──▶ answers (who may ask, for what) ──▶ figures ──▶ page
//!                                                                              ▲
//!                                     counts (as it happens), history (an hour)┘
//! ```
//!
//! > All of it is read-only and says numbers: no address but the relay's own, no PeerId of others, no
//! > log. On loopback it is open to this machine; elsewhere it wants a token.

mod answers;
mod counts;
mod door;
mod figures;
mod history;
mod page;
mod why;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use answers::{Answers, Shown};
use history::History;

pub(crate) use counts::{Counted, Counts};
pub(crate) use why::Why;

/// The shortest token that is taken: long enough that nobody guesses it.
pub const TOKEN_MIN: usize = 16;

/// Where to watch from, and by which token.
#[derive(Clone, Default)]
pub struct WatchConfig {
    /// Where to listen. `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What who asks must know, at least 16 bytes. Needed where `listen` is not on loopback.
    pub token: Option<String>,
    /// Whether the relay goes on where it can't listen there.
    pub optional: bool,
}

impl std::fmt::Debug for WatchConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl WatchConfig {
    /// Whether nobody can read it who shouldn't.
    pub fn check(&self) -> Result<(), WatchError> {
        let Some(addr) = self.listen else { return Ok(()) };
        match &self.token {
            Some(token) if token.len() < TOKEN_MIN => Err(WatchError::ShortToken),
            None if !addr.ip().to_canonical().is_loopback() => Err(WatchError::NoToken(addr)),
            _ => Ok(()),
        }
    }
}

/// Why a relay can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Anybody could read it.
    #[error("the dashboard is to listen on {0}, which others can reach, and has no token")]
    NoToken(SocketAddr),
    /// Anybody could guess it.
    #[error("the dashboard's token is too short: at least {TOKEN_MIN} characters")]
    ShortToken,
    /// The address can't be listened on.
    #[error("the dashboard can't listen on {addr}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What changes only when the settings are read again.
pub(crate) struct Facts {
    /// The relay's addresses, the one that others use first.
    pub addrs: Vec<String>,
    /// Whether entries are in memory only.
    pub live: bool,
    /// How long they are kept.
    pub ttl: Duration,
    /// What who asks must know.
    pub token: Option<String>,
}

/// By which a dashboard that is served is given other facts.
pub(crate) struct Signboard(watch::Sender<Arc<Shown>>);

impl Signboard {
    /// Shows these from now on.
    pub(crate) fn show(&self, facts: Facts) {
        self.0.send_replace(Arc::new(Shown::of(facts)));
    }
}

/// A place from which a relay will be watched: it listens, and nobody is answered yet.
pub(crate) struct Lookout {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Lookout {
    /// Listens where it is to be. `None`: nowhere.
    pub(crate) async fn open(config: WatchConfig) -> Result<Option<Self>, WatchError> {
        config.check()?;
        let WatchConfig { listen: Some(addr), optional, .. } = config else { return Ok(None) };
        let bind = |source| WatchError::Bind { addr, source };
        let listener = match TcpListener::bind(addr).await {
            Ok(listener) => listener,
            Err(error) if optional => {
                tracing::warn!(port = addr.port(), %error, "there is no dashboard");
                return Ok(None);
            }
            Err(error) => return Err(bind(error)),
        };
        let addr = listener.local_addr().map_err(bind)?;
        Ok(Some(Self { listener, addr }))
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `ended`; the tasks end when they are dropped.
    pub(crate) fn serve(
        self,
        facts: Facts,
        counts: Arc<Counts>,
        ended: CancellationToken,
    ) -> (JoinSet<()>, Signboard) {
        let (signboard, shown) = watch::channel(Arc::new(Shown::of(facts)));
        let history = Arc::new(History::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(history::keep(Arc::clone(&history), Arc::clone(&counts)));
        let answers = Answers::new(shown, Arc::clone(&counts), history, Instant::now());
        tasks.spawn(door::serve(self.listener, Arc::new(answers), counts, ended));
        (tasks, Signboard(signboard))
    }
}
