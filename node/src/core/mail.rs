//! The carriers of joins: an invite's mailbox at a relay, or a direct stream. The same sealed
//! frames go over both.

use std::collections::BTreeMap;

use protocol::{
    ids::{InviteId, LogId, Timestamp},
    join::mailbox::{self, Direction, MailFrame},
};

use super::{Core, Effect, receive::TRANSIENT, relays::Owner};
use crate::{
    net::{mesh::INBOUND, relay::RelayKey},
    store::StoreError,
};

/// What carries a join's frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Carrier {
    /// The invite's mailbox at a relay.
    Relay(RelayKey, LogId),
    /// A stream from node to node.
    Stream(u64),
}

/// The streams of joins that are open, and the names of those to come.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<u64, Bound>,
    next: u64,
    next_tag: u64,
}

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// It came in; the first frame will tell, and until this instant.
    Unknown(Timestamp),
    /// It came in for an invite of this node.
    Invite(InviteId),
    /// This node dialled it.
    Join(InviteId),
}

/// Streams that others may have open at once.
const INBOUND_MAX: usize = 64;

/// How long a stranger may stay silent.
const SILENCE_MS: u64 = 10_000;

impl Core {
    /// A join's stream is open: one that was dialled, or one that came in.
    pub fn on_join_open(&mut self, stream: u64, now: Timestamp) -> Result<(), StoreError> {
        let result = match self.streams.open.get(&stream) {
            Some(Bound::Join(id)) => self.join_stream_open(*id, stream, now),
            Some(_) => Ok(()),
            None => {
                let inbound = self.streams.open.keys().filter(|id| **id >= INBOUND).count();
                if stream < INBOUND || inbound >= INBOUND_MAX {
                    self.effects.push_back(Effect::JoinClose { stream });
                } else {
                    let until = now.plus_ms(SILENCE_MS);
                    self.streams.open.insert(stream, Bound::Unknown(until));
                }
                Ok(())
            }
        };
        self.finish(now);
        result
    }

    /// A frame came on a join's stream.
    pub fn on_join_frame(
        &mut self,
        stream: u64,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let carrier = Carrier::Stream(stream);
        let result = match self.streams.open.get(&stream).copied() {
            None => Ok(()),
            Some(Bound::Join(id)) => self.mail(Owner::Join(id), carrier, frame, now),
            Some(Bound::Invite(id)) => self.mail(Owner::Invite(id), carrier, frame, now),
            Some(Bound::Unknown(_)) => match self.hosted.whose(frame) {
                Some(id) => {
                    self.streams.open.insert(stream, Bound::Invite(id));
                    self.mail(Owner::Invite(id), carrier, frame, now)
                }
                None => {
                    self.close_stream(stream);
                    Ok(())
                }
            },
        };
        self.finish(now);
        result
    }

    /// A join's stream is gone, or could not be opened.
    pub fn on_join_closed(&mut self, stream: u64, now: Timestamp) -> Result<(), StoreError> {
        if let Some(Bound::Join(id)) = self.streams.open.remove(&stream) {
            self.join_stream_closed(id, stream, now);
        }
        self.finish(now);
        Ok(())
    }

    /// Takes a sealed frame of a join; what isn't one is passed over.
    pub(super) fn mail(
        &mut self,
        owner: Owner,
        carrier: Carrier,
        entry: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = match owner {
            Owner::Group(_) => None,
            Owner::Invite(id) => self.hosted.seal_key(id),
            Owner::Join(id) => self.joining.seal_key(id),
        };
        let Some(frame) = key.and_then(|key| mailbox::open(&key, entry)) else { return Ok(()) };
        match (owner, frame.direction) {
            (Owner::Invite(id), Direction::FromJoiner | Direction::Request) => {
                self.host_frame(id, carrier, frame, now)
            }
            (Owner::Join(id), Direction::FromHost) => self.join_frame(id, frame, now),
            (Owner::Join(id), Direction::Letter) => self.join_letter(id, &frame, now),
            _ => Ok(()),
        }
    }

    /// Sends a frame of a join. It is lost with its carrier; whoever waits for it begins again.
    pub(super) fn post(&mut self, carrier: Carrier, seal_key: &[u8; 32], frame: &MailFrame) {
        let entry = match mailbox::seal(seal_key, frame, &mut self.rng) {
            Ok(entry) => entry,
            Err(error) => return tracing::warn!(%error, "a frame of a join does not fit"),
        };
        self.effects.push_back(match carrier {
            Carrier::Relay(relay, log) => {
                let tag = self.streams.transient();
                Effect::Append { relay, log, tag, entry: entry.into() }
            }
            Carrier::Stream(stream) => Effect::JoinSend { stream, frame: entry },
        });
    }

    /// Opens a stream for a join; gives its name.
    pub(super) fn dial_join(&mut self, id: InviteId, addresses: Vec<Vec<u8>>) -> u64 {
        let stream = self.streams.next;
        self.streams.next += 1;
        self.streams.open.insert(stream, Bound::Join(id));
        self.effects.push_back(Effect::JoinDial { stream, addresses });
        stream
    }

    pub(super) fn close_stream(&mut self, stream: u64) {
        if self.streams.open.remove(&stream).is_some() {
            self.effects.push_back(Effect::JoinClose { stream });
        }
    }

    /// Closes the streams of strangers who say nothing.
    pub(super) fn close_silent(&mut self, now: Timestamp) {
        let silent = |bound: &Bound| matches!(bound, Bound::Unknown(until) if *until <= now);
        let late: Vec<u64> = self
            .streams
            .open
            .iter()
            .filter(|(_, bound)| silent(bound))
            .map(|(stream, _)| *stream)
            .collect();
        late.into_iter().for_each(|stream| self.close_stream(stream));
    }
}

impl Streams {
    /// The tag of an append that is in no outbox.
    pub(super) fn transient(&mut self) -> u64 {
        let tag = TRANSIENT | self.next_tag;
        self.next_tag += 1;
        tag
    }

    /// When a silent stranger's time is over.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.open
            .values()
            .filter_map(|bound| match bound {
                Bound::Unknown(until) => Some(*until),
                _ => None,
            })
            .min()
    }
}
