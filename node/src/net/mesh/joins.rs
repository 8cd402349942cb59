//! Join streams: dialled for an invite code, or opened by whoever holds one of ours.

use std::sync::Arc;

use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};
use tokio::sync::oneshot;

use super::{
    INBOUND, MeshReport,
    dials::{Dial, Wanted},
    run::Run,
};
use crate::net::{
    book::{self, ADDRESSES},
    gate::Joins,
    join::{self, FRAMES_FROM_STRANGERS},
    queue,
};

/// A join stream, from the dial to its task's end.
pub(super) struct Join {
    /// Where it runs, once it is open.
    pub(super) connection: Option<ConnectionId>,
    /// None once the caller has closed it.
    outbound: Option<queue::Sender>,
    /// Ways that are still being tried.
    pub(super) ways: usize,
}

/// Streams that others opened, at one time.
const STREAMS: usize = 64;
/// Of these on one connection.
const PER_CONNECTION: u32 = 2;

impl Run {
    pub(super) fn join_dial(&mut self, number: u64, addresses: Vec<Vec<u8>>) {
        let mut ways = ways(addresses);
        for (peer, addresses) in &mut ways {
            addresses.retain(|address| self.reach.allows(address));
            self.seek_inviter(*peer, number, addresses);
        }
        ways.retain(|(_, addresses)| !addresses.is_empty());
        if ways.is_empty() || number >= INBOUND || self.joins.contains_key(&number) {
            return self.report(MeshReport::JoinClosed { stream: number });
        }
        let join = Join { connection: None, outbound: None, ways: ways.len() };
        self.joins.insert(number, join);
        for (peer, addresses) in ways {
            let standing = self.connections.iter().find(|(_, c)| c.peer == peer).map(|(id, _)| *id);
            match standing {
                Some(id) => self.open(id, peer, Wanted::Join(number)),
                None => self.start_dial(Dial::join(number, peer, addresses)),
            }
        }
    }

    /// One way to a join's inviter is closed.
    pub(super) fn join_lost(&mut self, number: u64) {
        let Some(join) = self.joins.get_mut(&number) else { return };
        join.ways = join.ways.saturating_sub(1);
        if join.ways == 0 && join.connection.is_none() {
            self.joins.remove(&number);
            self.inviter_missed(number);
            self.report(MeshReport::JoinClosed { stream: number });
        }
    }

    /// A stream for a join is open, or can't be.
    pub(super) fn on_join_stream(
        &mut self,
        connection: ConnectionId,
        number: u64,
        stream: Option<Stream>,
    ) {
        // Given up meanwhile, or open by another way already.
        let waits = self.joins.get(&number).is_some_and(|join| join.connection.is_none());
        match stream {
            Some(stream) if waits => {
                self.inviter_reached(number);
                self.begin_join(connection, number, stream, u32::MAX);
            }
            _ => {
                self.close_if_strange(connection);
                self.join_lost(number);
            }
        }
    }

    /// A peer opened a stream to redeem an invite.
    pub(super) fn accept_join(&mut self, connection: ConnectionId, stream: Stream) {
        let inbound = self.joins.range(INBOUND..).count();
        let here = self.joins.values().filter(|join| join.connection == Some(connection)).count();
        let open = self.swarm.behaviour().gate.joins() == Joins::Open;
        if !open || inbound >= STREAMS || here >= PER_CONNECTION as usize {
            return self.close_if_strange(connection);
        }
        let number = INBOUND + self.number();
        self.begin_join(connection, number, stream, FRAMES_FROM_STRANGERS);
    }

    fn begin_join(&mut self, id: ConnectionId, number: u64, stream: Stream, frames: u32) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return self.join_lost(number);
        };
        connection.streams += 1;
        let beat = Arc::clone(&connection.beat);
        let (outbound, taken) = queue::queue();
        let (go, gone) = oneshot::channel();
        let join = Join { connection: Some(id), outbound: Some(outbound), ways: 0 };
        self.joins.insert(number, join);
        tokio::spawn(join::run(join::Opening {
            number,
            stream,
            frames,
            outbound: taken,
            beat,
            go: gone,
            reports: self.reports.clone(),
            ended: self.join_events.clone(),
        }));
        self.report_and_go(MeshReport::JoinOpened { stream: number }, go);
    }

    pub(super) fn join_send(&mut self, number: u64, frame: Vec<u8>) {
        let Some(join) = self.joins.get_mut(&number) else { return };
        if let Some(outbound) = &join.outbound
            && outbound.push(frame).is_err()
        {
            join.outbound = None;
        }
    }

    /// Nothing more is sent: what was sent is written, and the stream closed.
    pub(super) fn join_close(&mut self, number: u64) {
        let Some(join) = self.joins.get_mut(&number) else { return };
        join.outbound = None;
        if join.connection.is_none() {
            self.joins.remove(&number);
        }
    }

    pub(super) fn on_join_ended(&mut self, number: u64) {
        self.touched = true;
        let Some(join) = self.joins.remove(&number) else { return };
        if let Some(connection) = join.connection {
            self.release(connection);
        }
        self.report(MeshReport::JoinClosed { stream: number });
    }
}

/// The addresses of each PeerId, the first named first.
fn ways(addresses: Vec<Vec<u8>>) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut ways: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    for bytes in addresses.into_iter().take(ADDRESSES) {
        let Ok(address) = Multiaddr::try_from(bytes) else { continue };
        let (address, Some(peer)) = book::split(address) else { continue };
        match ways.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, known)) => known.push(address),
            None => ways.push((peer, vec![address])),
        }
    }
    ways
}
