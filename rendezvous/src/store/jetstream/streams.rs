//! A cluster's streams: made once, all of them, and looked at whether they can be used.
//!
//! ```text
//! none ── the first is made, with a generation ──▶ some ── the others ──▶ all ── the mark ──▶ whole
//! ```
//!
//! > Nothing is appended before the first stream has the mark that all were made. So one that is missing
//! > then is lost, with what was acknowledged: it is not made anew, empty, for that would give numbers
//! > twice. The same is so where others are there and the first, which was made before them, is not.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    self, Context, context,
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};

use super::{
    cluster::{ClusterError, Patience, name, subject},
    safety,
};
use crate::{
    settings::cluster::Cluster,
    store::{Quota, new_generation},
};

/// How much larger a stream may be than the entries that it keeps: it holds what was trimmed, too.
const SLACK: u64 = 2;
/// No stream is made smaller than this.
const STREAM_LEAST: u64 = 64 << 20;
/// How often it is looked for a stream before it counts as lost: another process may be making them.
const LOOKS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

const LAYOUT: &str = "2";
const OUR_LAYOUT: &str = "wattle-layout";
const GENERATION: &str = "wattle-generation";
const SHARDS: &str = "wattle-shards";
const RELAY: &str = "wattle-relay";
/// Of the first stream alone, once all are there.
const WHOLE: &str = "wattle-whole";

/// JetStream's error: no room on the servers.
const NO_STORAGE: u64 = 10047;
/// There is no such stream.
const NOT_FOUND: u64 = 10059;

/// Makes streams, or looks whether those that are there can be used.
pub(super) struct Maker<'a> {
    pub(super) jet: &'a Context,
    pub(super) settings: &'a Cluster,
    pub(super) relay: &'a str,
    pub(super) quota: Quota,
}

impl Maker<'_> {
    /// The generation, and the streams in order; made if they never were.
    pub(super) async fn streams(&self) -> Result<(u64, Vec<Info>), ClusterError> {
        let mut held = self.held().await?.into_iter();
        let first = match held.next().flatten() {
            Some(first) => first,
            None => self.make(0, new_generation()?).await?,
        };
        self.check(0, None, &first)?;
        let generation = first.config.metadata.get(GENERATION);
        let generation = generation.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let generation = generation.ok_or_else(|| self.other(0, "it has no generation"))?;
        let mut all = vec![self.enlarged(first).await?];
        for (shard, info) in (1..self.settings.shards).zip(held) {
            let info = match info {
                Some(info) => info,
                None => self.make(shard, generation).await?,
            };
            self.check(shard, Some(generation), &info)?;
            all.push(self.enlarged(info).await?);
        }
        if let Some(first) = all.first_mut().filter(|first| !is_whole(first)) {
            let mut config = first.config.clone();
            config.metadata.insert(WHOLE.into(), "yes".into());
            *first = self.update(config).await?;
        }
        Ok((generation, all))
    }

    /// The streams as they are now, of those that are there.
    pub(super) async fn again(&self) -> Result<Vec<Info>, ClusterError> {
        let mut all = Vec::new();
        for shard in 0..self.settings.shards {
            all.extend(self.look(shard).await?);
        }
        Ok(all)
    }

    /// The streams that are there. Where one is not that was: an error.
    async fn held(&self) -> Result<Vec<Option<Info>>, ClusterError> {
        let mut looks = 0;
        loop {
            let mut held = Vec::new();
            // The first one last: it is there before any other, and has the mark when all are.
            for shard in (0..self.settings.shards).rev() {
                held.push(self.look(shard).await?);
            }
            held.reverse();
            if let Some(Some(first)) = held.first() {
                self.check(0, None, first)?;
            }
            let Some(shard) = lost(&held) else { return Ok(held) };
            looks += 1;
            if looks == LOOKS {
                return Err(ClusterError::Lost { stream: name(self.settings, shard) });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is wrong with the streams that answer now, where it is not allowed.
    pub(super) async fn problems(&self, generation: u64) -> Vec<String> {
        let mut problems = Vec::new();
        for shard in 0..self.settings.shards {
            let mut asked = self.ask(shard).await;
            if let Ok(None) = asked {
                // A new leader may not know it yet.
                tokio::time::sleep(PAUSE).await;
                asked = self.ask(shard).await;
            }
            let problem = match asked {
                Ok(Some(info)) => match self.check(shard, Some(generation), &info) {
                    Ok(()) => safety::copies(&info, self.settings).map(|few| few.to_string()),
                    Err(problem) => Some(problem.to_string()),
                },
                Ok(None) => {
                    let stream = name(self.settings, shard);
                    Some(ClusterError::Lost { stream }.to_string())
                }
                // Whoever doesn't answer says nothing.
                Err(_) => None,
            };
            problems.extend(problem);
        }
        problems
    }

    /// A stream, or that there is none.
    async fn look(&self, shard: u8) -> Result<Option<Info>, ClusterError> {
        let mut patience = Patience::default();
        loop {
            match self.ask(shard).await {
                Ok(stream) => return Ok(stream),
                Err(reason) => patience.wait(reason).await?,
            }
        }
    }

    /// A stream, or that there is none; an error where nobody knows.
    async fn ask(&self, shard: u8) -> Result<Option<Info>, String> {
        let error = match self.jet.get_stream(name(self.settings, shard)).await {
            Ok(stream) => return Ok(Some(stream.cached_info().clone())),
            Err(error) => error,
        };
        match error.kind() {
            context::GetStreamErrorKind::JetStream(error) if error.error_code().0 == NOT_FOUND => {
                Ok(None)
            }
            _ => Err(error.to_string()),
        }
    }

    async fn make(&self, shard: u8, generation: u64) -> Result<Info, ClusterError> {
        let wanted = self.config(shard, generation);
        let mut patience = Patience::default();
        loop {
            let reason = match self.jet.create_stream(&wanted).await {
                Ok(stream) => return Ok(stream.cached_info().clone()),
                Err(error) => self.not_yet(&error)?,
            };
            // Another process may have been first.
            if let Some(info) = self.look(shard).await? {
                return Ok(info);
            }
            patience.wait(reason).await?;
        }
    }

    /// A stream that has room for what the settings say now.
    async fn enlarged(&self, info: Info) -> Result<Info, ClusterError> {
        let max_bytes = i64::try_from(self.stream_bytes()).unwrap_or(i64::MAX);
        if info.config.max_bytes >= max_bytes {
            return Ok(info);
        }
        self.update(Config { max_bytes, ..info.config }).await
    }

    async fn update(&self, config: Config) -> Result<Info, ClusterError> {
        let mut patience = Patience::default();
        loop {
            match self.jet.update_stream(&config).await {
                Ok(info) => return Ok(info),
                Err(error) => patience.wait(self.not_yet(&error)?).await?,
            }
        }
    }

    /// Why the servers did not do it yet; an error where they never will.
    fn not_yet(&self, error: &context::CreateStreamError) -> Result<String, ClusterError> {
        match error.kind() {
            context::CreateStreamErrorKind::JetStream(error) if has_no_room(&error) => {
                let mib = self.stream_bytes() >> 20;
                Err(ClusterError::NoRoom { streams: self.settings.shards, mib })
            }
            _ => Ok(error.to_string()),
        }
    }

    /// Looks whether a stream is as it has to be, and of this generation where that is known.
    fn check(&self, shard: u8, generation: Option<u64>, info: &Info) -> Result<(), ClusterError> {
        let held = &info.config;
        let said = |key: &str| held.metadata.get(key).map(String::as_str).unwrap_or_default();
        if said(RELAY) != self.relay {
            return Err(ClusterError::OtherRelay { name: self.settings.name.clone() });
        }
        let shards = self.settings.shards.to_string();
        let is_other = generation.is_some_and(|it| said(GENERATION) != format!("{it:016x}"));
        let problems = [
            (said(OUR_LAYOUT) != LAYOUT, "another version of wattle-rendezvous made it"),
            (said(SHARDS) != shards, "it was made with another number of shards; set that one"),
            (
                shard == 0 && is_other,
                "it was made anew, in another generation, since the relay began",
            ),
            (is_other, "it is left from another time: delete it, or use another name"),
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
        let problem = problems.into_iter().find(|(is_so, _)| *is_so);
        problem.map_or(Ok(()), |(_, what)| Err(self.other(shard, what)))
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

fn is_whole(first: &Info) -> bool {
    first.config.metadata.contains_key(WHOLE)
}

/// The first stream that is not there and was.
fn lost(held: &[Option<Info>]) -> Option<u8> {
    let (shard, _) = (0_u8..).zip(held).find(|(_, info)| info.is_none())?;
    let was_there = match held.first()? {
        Some(first) => is_whole(first),
        None => held.iter().any(Option::is_some),
    };
    was_there.then_some(shard)
}

fn has_no_room(error: &jetstream::Error) -> bool {
    error.error_code().0 == NO_STORAGE
}
