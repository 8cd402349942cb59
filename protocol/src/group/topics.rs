//! The topic secrets that this node holds: the current ones, and old ones under which envelopes may
//! still come.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    envelope::{BodyKey, Header, HeaderKey, peek},
    ids::{GroupId, LogId, Timestamp},
    topic::TopicSecret,
};

/// Topics kept; the oldest that is not current, and whose log was read, goes first.
const KEPT: usize = 16;
/// Topics kept at most, their logs read or not.
const KEPT_UNREAD: usize = 64;
/// How long a topic is kept after its end, in milliseconds: 35 days.
const KEPT_MS: u64 = 35 * 24 * 60 * 60 * 1000;

#[derive(Default)]
pub(super) struct KnownTopics(BTreeMap<[u8; 32], Topic>);

pub(super) struct Topic {
    secret: TopicSecret,
    pub learnt: Timestamp,
    /// When another one was seen to follow it.
    ended: Option<Timestamp>,
    /// Whether all that a relay had of its log was read in this run.
    read: bool,
    pub header: HeaderKey,
    pub control: BodyKey,
    pub log: LogId,
}

impl Topic {
    /// Whether all that a relay had of its log was read in this run.
    pub fn is_read(&self) -> bool {
        self.read
    }
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
            ended: None,
            read: false,
        };
        self.0.insert(commit, topic);
        true
    }

    /// Takes a stored one up.
    pub fn load(
        &mut self,
        group: &GroupId,
        secret: TopicSecret,
        learnt: Timestamp,
        ended: Option<Timestamp>,
    ) {
        let commit = secret.commit();
        self.learn(group, secret, learnt);
        if let Some(topic) = self.0.get_mut(&commit) {
            topic.ended = ended;
        }
    }

    /// A member has said that a topic is in use; whether that is kept.
    pub fn confirm(&mut self, commit: &[u8; 32], now: Timestamp) -> bool {
        let Some(topic) = self.0.get_mut(commit).filter(|topic| topic.learnt < now) else {
            return false;
        };
        topic.learnt = now;
        true
    }

    /// Takes those for learnt now that a clock has set in the future; answers which.
    pub fn not_after(&mut self, now: Timestamp) -> Vec<[u8; 32]> {
        let early = self.0.iter_mut().filter(|(_, topic)| topic.learnt > now);
        early
            .map(|(commit, topic)| {
                topic.learnt = now;
                *commit
            })
            .collect()
    }

    /// All that a relay had of a log was read.
    pub fn mark_read(&mut self, log: &LogId) {
        self.0.values_mut().filter(|topic| topic.log == *log).for_each(|topic| topic.read = true);
    }

    pub fn topic(&self, commit: &[u8; 32]) -> Option<&Topic> {
        self.0.get(commit)
    }

    /// What is to be stored: the secret, when it was learnt, when it ended.
    pub fn record(
        &self,
        commit: &[u8; 32],
    ) -> Option<(&TopicSecret, Timestamp, Option<Timestamp>)> {
        self.0.get(commit).map(|topic| (&topic.secret, topic.learnt, topic.ended))
    }

    pub fn secret(&self, commit: &[u8; 32]) -> Option<&TopicSecret> {
        self.0.get(commit).map(|topic| &topic.secret)
    }

    /// The commitments of all that are known.
    pub fn commits(&self) -> impl Iterator<Item = [u8; 32]> {
        self.0.keys().copied()
    }

    /// The topic that hides this envelope's header, and the header.
    pub fn peek(&self, bytes: &[u8]) -> Option<([u8; 32], Header)> {
        let mut newest_first: Vec<_> = self.0.iter().collect();
        newest_first.sort_by_key(|(_, topic)| core::cmp::Reverse(topic.learnt));
        newest_first.into_iter().find_map(|(commit, topic)| {
            peek(bytes, &topic.header).ok().map(|header| (*commit, header))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The topic learnt last.
    pub fn newest(&self) -> Vec<[u8; 32]> {
        let newest = self.0.iter().max_by_key(|(_, topic)| topic.learnt);
        newest.map(|(commit, _)| *commit).into_iter().collect()
    }

    /// Notes which topics have ended, and forgets those that have for long, or are too many: `order`
    /// are the known ones in the order of their ops, `current` those that no other follows. What was
    /// not read yet is kept longer, for who was away reads one log after the other. Answers which
    /// ones have changed.
    pub fn prune(
        &mut self,
        order: &[[u8; 32]],
        current: &[[u8; 32]],
        now: Timestamp,
    ) -> Vec<[u8; 32]> {
        let excess = self.0.len().saturating_sub(KEPT);
        let most = self.0.len().saturating_sub(KEPT_UNREAD);
        let mut changed = Vec::new();
        let mut at = 0;
        for commit in order {
            let Some(topic) = self.0.get_mut(commit) else { continue };
            let is_over = !current.contains(commit);
            if is_over != topic.ended.is_some() {
                topic.ended = is_over.then_some(now);
                changed.push(*commit);
            }
            let Some(ended) = topic.ended else { continue };
            if now.ms_since(ended) > KEPT_MS || at < most || at < excess && topic.read {
                self.0.remove(commit);
                changed.push(*commit);
            }
            at += 1;
        }
        changed
    }
}
