//! Reaching a cluster, and what is asked of each of its streams.

use std::{env, error::Error as _, io, path::Path, time::Duration};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event,
    connection::State,
    jetstream::{Context, context},
    rustls::{Error as TlsError, crypto::ring},
};
use bytes::Bytes;
use protocol::relay_log::EntryId;

use super::{
    safety::{self, Danger, Unsafe},
    streams::Maker,
};
use crate::{
    settings::cluster::{Allowance, Cluster},
    store::{Quota, StoreError, embedded::replica::Origin},
};

/// How long a server may take to answer at the start.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a cluster is asked at the start that has no leader yet.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);
const API: Duration = Duration::from_secs(5);
/// Requests that wait for a connection.
const WAITING: usize = 64;
/// In the environment: `USER:PASSWORD`.
const LOGIN: &str = "WATTLE_RENDEZVOUS_CLUSTER_LOGIN";

/// Why a cluster can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No server answers.
    #[error("no NATS server of the cluster can be reached ({reason})")]
    Unreachable {
        /// In the words of the client.
        reason: String,
    },
    /// A certificate is not trusted, by this relay or by them, or can't be used.
    #[error("TLS with the NATS servers fails ({reason})")]
    Tls {
        /// In the words of the client.
        reason: String,
    },
    /// It has no JetStream, or no leader for it.
    #[error("the NATS servers have no JetStream that works ({reason})")]
    NoJetStream {
        /// In the words of the server.
        reason: String,
    },
    /// A file with a secret, a certificate or the index can't be read or written.
    #[error("a file for the cluster can't be used")]
    File(#[from] io::Error),
    /// The file or the variable with the login has no `USER:PASSWORD`.
    #[error("the cluster's login is no USER:PASSWORD")]
    Login,
    /// The servers could lose what they have acknowledged.
    #[error("the cluster is not safe: {0}")]
    Unsafe(#[from] Unsafe),
    /// The servers have no room for the streams.
    #[error("the NATS servers have no room for {streams} streams of {mib} MiB")]
    NoRoom {
        /// How many.
        streams: u8,
        /// Of which size each.
        mib: u64,
    },
    /// The streams are another relay's: its key is another.
    #[error("the streams {name}-… belong to a relay with another key")]
    OtherRelay {
        /// Their prefix.
        name: String,
    },
    /// A stream is set up otherwise than the relay needs it.
    #[error("the stream {stream} is not as the relay needs it: {what}")]
    OtherStream {
        /// Which.
        stream: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A stream is gone that was there.
    #[error("the cluster has lost the stream {stream}, and with it what it had acknowledged")]
    Lost {
        /// Which.
        stream: String,
    },
    /// The cluster's log ends before what this relay has read of it.
    #[error(
        "the cluster has lost what it had acknowledged: shard {shard} ends at {ends}, and was read to {seen}"
    )]
    WentBack {
        /// Which.
        shard: usize,
        /// Where it ends.
        ends: u64,
        /// What was read of it.
        seen: u64,
    },
    /// The index on this machine.
    #[error(transparent)]
    Index(#[from] StoreError),
}

/// A cluster whose streams are there.
#[derive(Clone)]
pub(super) struct Reached {
    client: Client,
    jet: Context,
    settings: Cluster,
    /// What tells this relay's streams from another's.
    relay: String,
    quota: Quota,
    origin: Origin,
}

/// One stream.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) client: Client,
    pub(super) jet: Context,
    pub(super) name: String,
    pub(super) subject: String,
}

/// Where a stream begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
}

impl Reached {
    /// Connects, checks that the servers are safe, and makes the streams if there are none.
    pub(super) async fn connect(
        settings: &Cluster,
        quota: Quota,
        relay: &[u8],
    ) -> Result<Self, ClusterError> {
        let client = connect(settings).await?;
        let jet = context::ContextBuilder::new().timeout(API).build(client.clone());
        safety::before_streams(&client.server_info().version, settings).await?;
        let relay: String =
            EntryId::of(relay).0[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let maker = Maker { jet: &jet, settings, relay: &relay, quota };
        let (generation, all) = maker.streams().await?;
        safety::of_streams(&maker, all, settings).await?;
        let origin = Origin { generation, shards: settings.shards };
        Ok(Self { client, jet, settings: settings.clone(), relay, quota, origin })
    }

    pub(super) fn maker(&self) -> Maker<'_> {
        let Self { jet, settings, relay, quota, .. } = self;
        Maker { jet, settings, relay, quota: *quota }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn settings(&self) -> &Cluster {
        &self.settings
    }

    pub(super) fn stream(&self, shard: u8) -> Stream {
        Stream {
            client: self.client.clone(),
            jet: self.jet.clone(),
            name: name(&self.settings, shard),
            subject: subject(&self.settings, shard),
        }
    }

    /// Where each stream begins and ends.
    pub(super) async fn ends(&self) -> Result<Vec<Ends>, ClusterError> {
        let mut all = Vec::new();
        for shard in 0..self.origin.shards {
            let stream = self.stream(shard);
            let mut patience = Patience::default();
            all.push(loop {
                match stream.ends().await {
                    Ok(ends) => break ends,
                    Err(reason) => patience.wait(reason).await?,
                }
            });
        }
        Ok(all)
    }
}

/// How often the cluster was asked that has no answer yet.
#[derive(Default)]
pub(super) struct Patience(u32);

impl Patience {
    /// Waits until it may be asked again; fails with the reason after so often.
    pub(super) async fn wait(&mut self, reason: String) -> Result<(), ClusterError> {
        self.0 += 1;
        if self.0 == TRIES {
            return Err(ClusterError::NoJetStream { reason });
        }
        if self.0 == 4 {
            tracing::info!("waiting for the cluster to be ready");
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

impl Stream {
    pub(super) async fn ends(&self) -> Result<Ends, String> {
        let stream = self.jet.get_stream(&self.name).await.map_err(|error| error.to_string())?;
        let info = stream.cached_info();
        let max_bytes = u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX);
        let state = &info.state;
        Ok(Ends {
            first: state.first_sequence,
            last: state.last_sequence,
            bytes: state.bytes,
            max_bytes,
        })
    }

    /// Whether it says where it ends.
    pub(super) async fn answers(&self) -> bool {
        // What is sent without a connection would wait in a queue.
        self.client.connection_state() == State::Connected
            && tokio::time::timeout(API, self.ends()).await.is_ok_and(|ends| ends.is_ok())
    }

    /// The message at a place, if its leader gives it.
    pub(super) async fn message(&self, at: u64) -> Option<Bytes> {
        let stream = self.jet.get_stream_no_info(&self.name).await.ok()?;
        stream.get_raw_message(at).await.ok().map(|message| message.payload)
    }

    /// Deletes what stands before a place.
    pub(super) async fn purge(&self, before: u64) -> bool {
        let Ok(stream) = self.jet.get_stream_no_info(&self.name).await else { return false };
        stream.purge().sequence(before).await.is_ok_and(|purged| purged.success)
    }
}

pub(super) fn name(settings: &Cluster, shard: u8) -> String {
    format!("{}-{shard}", settings.name)
}

pub(super) fn subject(settings: &Cluster, shard: u8) -> String {
    format!("{}.log.{shard}", settings.name)
}

async fn connect(settings: &Cluster) -> Result<Client, ClusterError> {
    let set = |path: &Path| !path.as_os_str().is_empty();
    let mut options = ConnectOptions::new()
        .name("wattle-rendezvous")
        .connection_timeout(CONNECT)
        .request_timeout(Some(API))
        .client_capacity(WAITING)
        .event_callback(|event| async move { say(&event) })
        .ping_interval(Duration::from_secs(2))
        .reconnect_delay_callback(|tries| {
            Duration::from_millis(
                u64::try_from(tries).unwrap_or(u64::MAX).saturating_mul(50).min(1000),
            )
        });
    if set(&settings.credentials) {
        options = options.credentials_file(&settings.credentials).await?;
    }
    if let Some((user, password)) = login(settings)? {
        options = options.user_and_password(user, password);
    }
    for path in [&settings.ca, &settings.certificate, &settings.key] {
        if set(path) {
            std::fs::File::open(path)?;
        }
    }
    if set(&settings.ca) {
        options = options.add_root_certificates(settings.ca.clone()).require_tls(true);
    }
    if set(&settings.certificate) {
        let (certificate, key) = (settings.certificate.clone(), settings.key.clone());
        options = options.add_client_certificate(certificate, key).require_tls(true);
    }
    // libp2p brings another source of ciphers: TLS would panic for want of a choice. One that was made stays.
    let _ = ring::default_provider().install_default();
    options.connect(settings.urls.as_slice()).await.map_err(|error| unreached(&error))
}

/// Why no server takes this relay: for a certificate's sake or another.
fn unreached(error: &ConnectError) -> ClusterError {
    let reason = error.to_string();
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_of_tls = cause.and_then(io::Error::get_ref).is_some_and(|it| it.is::<TlsError>());
    match error.kind() {
        ConnectErrorKind::Tls => ClusterError::Tls { reason },
        _ if is_of_tls => ClusterError::Tls { reason },
        _ => ClusterError::Unreachable { reason },
    }
}

/// Says when the cluster is lost and found.
fn say(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to a server of the cluster"),
        Event::Disconnected => {
            tracing::warn!("lost the server of the cluster; looking for another")
        }
        Event::LameDuckMode => tracing::info!("a server of the cluster is about to end"),
        _ => {}
    }
}

fn login(settings: &Cluster) -> Result<Option<(String, String)>, ClusterError> {
    let text = match env::var(LOGIN) {
        Ok(text) => text,
        Err(_) if settings.login_file.as_os_str().is_empty() => return Ok(None),
        Err(_) => std::fs::read_to_string(&settings.login_file)?,
    };
    let first = text.lines().next().unwrap_or_default();
    let (user, password) = first.split_once(':').ok_or(ClusterError::Login)?;
    Ok(Some((user.to_owned(), password.to_owned())))
}

/// Whether this is taken though it isn't safe; says so loudly.
pub(super) fn taken(
    settings: &Cluster,
    what: Allowance,
    danger: Danger,
) -> Result<(), ClusterError> {
    if !settings.allows(what) {
        return Err(Unsafe { danger, allow: what }.into());
    }
    tracing::warn!(%danger, allowed = what.name(), "THE CLUSTER IS NOT SAFE, and is used all the same");
    Ok(())
}
