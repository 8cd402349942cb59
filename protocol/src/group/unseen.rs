//! A newcomer whose admission nobody but its host has told of, and perhaps not even that one knows now.
//!
//! > Who was let in waits to see its admission on the group's log, or a bundle that another than its host
//! > has sealed to it. Where neither comes, its host was offline, or was set back since: it posts the host's ops up to its admission,
//! > and the topics that it was given, to the inboxes of its host and a few others.
//!
//! What it posts are ops, which are judged by themselves, and then topics by a member. docs/spec/sync.md.

use alloc::vec::Vec;

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{Cx, Group, Timer, control::parts, records::Key, wire::Statement};
use crate::{
    codec,
    ids::{MemberId, OpId, Timestamp},
    membership::Op,
};

/// When it is posted, in milliseconds from when a relay was reached: what is seldom needed comes late.
const POSTED_MS: [u64; 2] = [60_000, 10 * 60_000];
/// Members to whom it is posted, the host first.
const TOLD: usize = 8;

/// Whether the own admission was seen; how far it is posted, in this run.
#[derive(Default)]
pub(super) struct Unseen {
    /// The admission, until it was.
    grant: Option<OpId>,
    since: Option<Timestamp>,
    posted: usize,
}

impl Group {
    /// Begins to wait: this node's member was let in.
    pub(super) fn await_admission(&mut self) {
        let standing = self.ops.resolve().members.get(&self.me);
        self.unseen = Unseen { grant: standing.map(|it| it.grant), ..Unseen::default() };
        self.dirty.mark(Key::Unseen);
    }

    /// Ops stand on a log of the group: who reads it knows of them.
    pub(super) fn see_on_log(&mut self, by: MemberId, ops: &[ByteVec]) {
        let Some(grant) = self.unseen.grant.filter(|_| by != self.me) else { return };
        let mut ops = ops.iter().filter_map(|op| Op::from_bytes(op).ok());
        if ops.any(|op| op.id() == grant) {
            self.be_seen();
        }
    }

    /// A member has sealed to this node's. Of the host that says little: its state may be lost yet.
    pub(super) fn see_by_bundle(&mut self, sender: MemberId) {
        let host = self.unseen.grant.and_then(|grant| self.ops.op(&grant)).map(Op::author);
        if host != Some(sender) {
            self.be_seen();
        }
    }

    /// It was, or does not matter any more.
    pub(super) fn be_seen(&mut self) {
        if self.unseen.grant.is_some() {
            self.unseen = Unseen::default();
            self.dirty.mark(Key::Unseen);
        }
    }

    /// All of the log of the moment was read.
    pub(super) fn watch_unseen(&mut self, now: Timestamp) {
        if let (Some(_), Some(wait)) = (self.unseen.grant, POSTED_MS.get(self.unseen.posted)) {
            let since = *self.unseen.since.get_or_insert(now);
            self.set_timer(Timer::Unseen, since.plus_ms(*wait));
        }
    }

    /// Posts what let this node's member in.
    pub(super) fn post_admission<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let Some(grant) = self.unseen.grant.filter(|_| self.relays_up) else { return };
        let Some(host) = self.ops.op(&grant).map(Op::author) else { return };
        self.unseen.posted += 1;
        self.watch_unseen(cx.now);
        let members = &self.ops.resolve().members;
        let mut others: Vec<_> = members
            .iter()
            .filter(|(member, _)| **member != self.me && self.may_know_topics(member))
            .map(|(member, standing)| (*member != host, standing.rank, *member))
            .collect();
        others.sort_unstable();
        let others: Vec<MemberId> = others.into_iter().take(TOLD).map(|(_, _, it)| it).collect();
        let ops = self.admission();
        for member in others {
            for ops in parts(ops.clone()) {
                self.to_inbox(cx, member, &Statement::Ops(ops));
            }
            for topic in self.topics_of(&member) {
                self.to_inbox(cx, member, &Statement::HandOver(topic));
            }
        }
    }

    pub(super) fn unseen_record(&self) -> Option<Vec<u8>> {
        self.unseen.grant.as_ref().map(codec::encode)
    }

    pub(super) fn load_unseen(&mut self, grant: OpId) {
        self.unseen = Unseen { grant: Some(grant), ..Unseen::default() };
    }
}
