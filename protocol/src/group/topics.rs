//! The topic secrets that this node holds: the current ones, and old ones under which envelopes may
//! still come.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    envelope::{BodyKey, Header, HeaderKey, peek},
    ids::{GroupId, LogId, Timestamp},
    relay_log::LogKeys,
    topic::TopicSecret,
};

/// Topics kept; the oldest that is not current goes first.
const KEPT: usize = 16;
/// How long an old topic is kept, in milliseconds: 35 days.
const KEPT_MS: u64 = 35 * 24 * 60 * 60 * 1000;

#[derive(Default)]
pub(super) struct KnownTopics(BTreeMap<[u8; 32], Topic>);

pub(super) struct Topic {
    secret: TopicSecret,
    learnt: Timestamp,
    pub header: HeaderKey,
    pub control: BodyKey,
    pub log: LogId,
}

impl KnownTopics {
    /// Takes a secret up; answers whether it is new.
    pub fn learn(&mut self, group: &GroupId, secret: TopicSecret, now: Timestamp) -> bool {
        let commit = secret.commit();
        if self.0.contains_key(&commit) {
            return false;
        }
        let topic = Topic {
            header: secret.header_key(group),
            control: secret.control_key(group),
            log: secret.log_keys(group).id(),
            secret,
            learnt: now,
        };
        self.0.insert(commit, topic);
        true
    }

    pub fn topic(&self, commit: &[u8; 32]) -> Option<&Topic> {
        self.0.get(commit)
    }

    pub fn record(&self, commit: &[u8; 32]) -> Option<(&TopicSecret, Timestamp)> {
        self.0.get(commit).map(|topic| (&topic.secret, topic.learnt))
    }

    pub fn secret(&self, commit: &[u8; 32]) -> Option<&TopicSecret> {
        self.0.get(commit).map(|topic| &topic.secret)
    }

    pub fn log_keys(&self, group: &GroupId) -> impl Iterator<Item = ([u8; 32], LogKeys)> {
        self.0.iter().map(|(commit, topic)| (*commit, topic.secret.log_keys(group)))
    }

    /// The topic that hides this envelope's header, and the header.
    pub fn peek(&self, bytes: &[u8]) -> Option<([u8; 32], Header)> {
        let mut newest_first: Vec<_> = self.0.iter().collect();
        newest_first.sort_by_key(|(_, topic)| core::cmp::Reverse(topic.learnt));
        newest_first.into_iter().find_map(|(commit, topic)| {
            peek(bytes, &topic.header).ok().map(|header| (*commit, header))
        })
    }

    /// The topic learnt last.
    pub fn newest(&self) -> Vec<[u8; 32]> {
        let newest = self.0.iter().max_by_key(|(_, topic)| topic.learnt);
        newest.map(|(commit, _)| *commit).into_iter().collect()
    }

    /// Forgets what is neither current nor young; answers what it forgot.
    pub fn prune(&mut self, current: &[[u8; 32]], now: Timestamp) -> Vec<[u8; 32]> {
        let mut old: Vec<_> = self
            .0
            .iter()
            .filter(|(commit, _)| !current.contains(commit))
            .map(|(commit, topic)| (topic.learnt, *commit))
            .collect();
        old.sort_unstable();
        let excess = self.0.len().saturating_sub(KEPT);
        let forgotten: Vec<_> = old
            .into_iter()
            .enumerate()
            .filter(|(at, (learnt, _))| *at < excess || now.ms_since(*learnt) > KEPT_MS)
            .map(|(_, (_, commit))| commit)
            .collect();
        for commit in &forgotten {
            self.0.remove(commit);
        }
        forgotten
    }

    pub fn clear(&mut self) -> Vec<[u8; 32]> {
        core::mem::take(&mut self.0).into_keys().collect()
    }
}
