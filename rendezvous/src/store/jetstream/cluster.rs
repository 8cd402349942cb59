//! Reaching a cluster, making its streams, and reading them back.

use std::{collections::HashMap, env, io, path::Path, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{
        self, Context, context,
        stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use protocol::relay_log::EntryId;

use super::safety::{self, Danger, Unsafe};
use crate::{
    settings::cluster::{Allowance, Cluster},
    store::{Quota, StoreError, embedded::replica::Origin, new_generation},
};

/// How long a server may take to answer at the start.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a cluster is asked at the start that has no leader yet.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);
const API: Duration = Duration::from_secs(5);
/// Requests that wait for a connection.
const WAITING: usize = 64;
/// How much larger a stream may be than the entries that it keeps: it holds what was trimmed, too.
const SLACK: u64 = 2;
/// No stream is made smaller than this.
const STREAM_LEAST: u64 = 64 << 20;
/// In the environment: `USER:PASSWORD`.
const LOGIN: &str = "WATTLE_RENDEZVOUS_CLUSTER_LOGIN";

const LAYOUT: &str = "2";
const OUR_LAYOUT: &str = "wattle-layout";
const GENERATION: &str = "wattle-generation";
const SHARDS: &str = "wattle-shards";
const RELAY: &str = "wattle-relay";

/// JetStream's error: no room on the servers.
const NO_STORAGE: u64 = 10047;

/// Why a cluster can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No server answers.
    #[error("no NATS server of the cluster can be reached ({reason})")]
    Unreachable {
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
        let first = maker.stream(0, new_generation()?).await?;
        let generation = first.config.metadata.get(GENERATION);
        let generation = generation.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let generation = generation.ok_or_else(|| maker.other(0, "it has no generation"))?;
        let mut all = vec![first];
        for shard in 1..settings.shards {
            all.push(maker.stream(shard, generation).await?);
        }
        safety::of_streams(&all, settings).await?;
        let origin = Origin { generation, shards: settings.shards };
        Ok(Self { client, jet, settings: settings.clone(), origin })
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
            let mut tries = 0;
            all.push(loop {
                match stream.ends().await {
                    Ok(ends) => break ends,
                    Err(reason) if tries == TRIES => {
                        return Err(ClusterError::NoJetStream { reason });
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                tries += 1;
            });
        }
        Ok(all)
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

fn name(settings: &Cluster, shard: u8) -> String {
    format!("{}-{shard}", settings.name)
}

fn subject(settings: &Cluster, shard: u8) -> String {
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
    if set(&settings.ca) {
        std::fs::metadata(&settings.ca)?;
        options = options.add_root_certificates(settings.ca.clone()).require_tls(true);
    }
    if set(&settings.certificate) {
        let (certificate, key) = (settings.certificate.clone(), settings.key.clone());
        options = options.add_client_certificate(certificate, key).require_tls(true);
    }
    options
        .connect(settings.urls.as_slice())
        .await
        .map_err(|error| ClusterError::Unreachable { reason: error.to_string() })
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

/// Makes streams, or looks whether those that are there can be used.
struct Maker<'a> {
    jet: &'a Context,
    settings: &'a Cluster,
    relay: &'a str,
    quota: Quota,
}

impl Maker<'_> {
    async fn stream(&self, shard: u8, generation: u64) -> Result<Info, ClusterError> {
        let mut tries = 0;
        loop {
            let reason = match self.try_stream(shard, generation).await {
                Ok(Made::Stream(info)) => return self.checked(shard, generation, *info),
                Ok(Made::NotYet(reason)) => reason,
                Err(error) => return Err(error),
            };
            tries += 1;
            if tries == TRIES {
                return Err(ClusterError::NoJetStream { reason });
            }
            if tries == 4 {
                tracing::info!("waiting for the cluster to be ready");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_stream(&self, shard: u8, generation: u64) -> Result<Made, ClusterError> {
        let wanted = self.config(shard, generation);
        if let Ok(stream) = self.jet.get_stream(&wanted.name).await {
            let held = stream.cached_info();
            if held.config.max_bytes >= wanted.max_bytes {
                return Ok(Made::Stream(Box::new(held.clone())));
            }
            let larger = Config { max_bytes: wanted.max_bytes, ..held.config.clone() };
            return match self.jet.update_stream(larger).await {
                Ok(info) => Ok(Made::Stream(Box::new(info))),
                Err(error) => Ok(Made::NotYet(error.to_string())),
            };
        }
        match self.jet.create_stream(&wanted).await {
            Ok(stream) => Ok(Made::Stream(Box::new(stream.cached_info().clone()))),
            Err(error) => match error.kind() {
                context::CreateStreamErrorKind::JetStream(error) => self.refused(&error),
                _ => Ok(Made::NotYet(error.to_string())),
            },
        }
    }

    fn refused(&self, error: &jetstream::Error) -> Result<Made, ClusterError> {
        let code = error.error_code().0;
        if code == NO_STORAGE {
            let mib = self.stream_bytes() >> 20;
            return Err(ClusterError::NoRoom { streams: self.settings.shards, mib });
        }
        // Where another process was first, the next look finds its stream.
        Ok(Made::NotYet(error.to_string()))
    }

    /// Looks whether a stream is as it has to be.
    fn checked(&self, shard: u8, generation: u64, info: Info) -> Result<Info, ClusterError> {
        let held = &info.config;
        let said = |key: &str| held.metadata.get(key).map(String::as_str).unwrap_or_default();
        if said(RELAY) != self.relay {
            return Err(ClusterError::OtherRelay { name: self.settings.name.clone() });
        }
        let shards = self.settings.shards.to_string();
        let problems = [
            (said(OUR_LAYOUT) != LAYOUT, "another version of wattle-rendezvous made it"),
            (said(SHARDS) != shards, "it was made with another number of shards; set that one"),
            (
                shard > 0 && said(GENERATION) != format!("{generation:016x}"),
                "it is left from another time: delete it, or use another name",
            ),
            (held.storage != StorageType::File, "it is kept in memory"),
            (held.retention != RetentionPolicy::Limits, "its retention is not \"limits\""),
            (!held.max_age.is_zero(), "it has max_age: entries would be lost early"),
            (held.max_messages > 0, "it has max_msgs: entries would be lost early"),
            (held.max_messages_per_subject > 0, "it has max_msgs_per_subject"),
            (held.discard != DiscardPolicy::New, "it discards old messages"),
            (held.no_ack, "it acknowledges nothing"),
            (held.mirror.is_some() || held.sources.is_some(), "it mirrors another"),
            (held.subjects != [subject(self.settings, shard)], "it has another subject"),
        ];
        match problems.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, what)) => Err(self.other(shard, what)),
            None => Ok(info),
        }
    }

    fn other(&self, shard: u8, what: &'static str) -> ClusterError {
        ClusterError::OtherStream { stream: name(self.settings, shard), what }
    }

    fn stream_bytes(&self) -> u64 {
        let share = self.quota.total_bytes.saturating_mul(SLACK) / u64::from(self.settings.shards);
        share.max(STREAM_LEAST)
    }

    fn config(&self, shard: u8, generation: u64) -> Config {
        Config {
            name: name(self.settings, shard),
            description: Some("Sealed entries of a Wattle relay; leave it to the relay.".into()),
            subjects: vec![subject(self.settings, shard)],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: i64::try_from(self.stream_bytes()).unwrap_or(i64::MAX),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_age: Duration::ZERO,
            num_replicas: usize::from(self.settings.replicas),
            deny_delete: true,
            metadata: HashMap::from([
                (OUR_LAYOUT.into(), LAYOUT.into()),
                (GENERATION.into(), format!("{generation:016x}")),
                (SHARDS.into(), self.settings.shards.to_string()),
                (RELAY.into(), self.relay.into()),
            ]),
            ..Default::default()
        }
    }
}

/// What came of trying to make a stream.
enum Made {
    Stream(Box<Info>),
    NotYet(String),
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
