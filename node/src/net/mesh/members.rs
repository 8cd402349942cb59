//! Channels with members: dialled, accepted, chosen between, ended.
//!
//! Both sides may open a channel at the same time. Of two, the one that the smaller MemberId opened
//! is kept; but a channel that has stood for a while gives way to a new one, because who opens a
//! second channel has lost the first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};
use protocol::{ids::MemberId, noise::Peer};
use tokio::{sync::oneshot, time::Instant};

use super::{
    ChannelEnd, DialFailure, MeshReport,
    dials::{Dial, Wanted},
    outers::On,
    run::Run,
};
use crate::net::{
    book::{Book, Whereabouts},
    channel::{self, ChannelEvent, Side},
    file::Files,
    queue,
};

/// A channel in its handshake.
pub(super) struct Shaking {
    side: Side,
    connection: ConnectionId,
    /// For whom it was dialled, on the opener's side.
    member: Option<MemberId>,
    outbound: queue::Sender,
    stop: oneshot::Sender<()>,
}

/// A channel that stands. Its task ends when this is dropped.
pub(super) struct Channel {
    task: u64,
    opener: MemberId,
    pub(super) connection: ConnectionId,
    since: Instant,
    outbound: queue::Sender,
    /// The streams on which files are fetched.
    pub(super) files: Files,
    _stop: oneshot::Sender<()>,
}

/// Channel streams on one connection, dead ones that are not yet noticed among them.
const STREAMS: u32 = 4;
/// A channel that has stood this long gives way to a new one.
const STALE: Duration = Duration::from_secs(10);

impl Run {
    pub(super) fn set_book(&mut self, book: Book) {
        self.dialer.set_book(&book, Instant::now());
        self.looks = true;
        let book = Arc::new(book);
        self.outers.set_book(&book);
        let before = self.swarm.behaviour_mut().gate.set_book(Arc::clone(&book));
        let mut gone = Vec::new();
        for (member, channel) in &self.channels {
            let known = self.connections.get(&channel.connection);
            if !known.is_some_and(|known| may_stand(&book, member, &known.peer, known.on)) {
                gone.push(*member);
            }
        }
        for member in gone {
            self.end(member, ChannelEnd::Removed);
        }
        let mut strange = Vec::new();
        for (id, connection) in &self.connections {
            let was_known = before.knows(&connection.peer) && !book.knows(&connection.peer);
            if was_known && self.channels_on(*id).is_empty() {
                strange.push(*id);
            }
        }
        for connection in strange {
            self.close(connection);
        }
    }

    /// Sends a frame; a member that takes none loses its channel.
    pub(super) fn send(&mut self, to: MemberId, frame: Vec<u8>) {
        if let Some(channel) = self.channels.get(&to)
            && channel.outbound.push(frame).is_err()
        {
            self.end(to, ChannelEnd::Slow);
        }
    }

    /// Tries all ways to a member: a connection that stands, or all addresses at once.
    pub(super) fn dial(&mut self, member: MemberId, whereabouts: Whereabouts) {
        let standing = self.connections.iter().find(|(_, known)| whereabouts.has(&known.peer));
        if let Some((id, connection)) = standing {
            let (id, peer) = (*id, connection.peer);
            self.dialer.trying(&member, 1);
            self.open(id, peer, Wanted::Channel(member));
            return;
        }
        let way = |(peer, addresses): (&PeerId, &Vec<Multiaddr>)| {
            self.way(Wanted::Channel(member), &whereabouts, *peer, addresses.clone())
        };
        let dials: Vec<Dial> = whereabouts.addresses.iter().filter_map(way).collect();
        self.dialer.trying(&member, dials.len());
        if dials.is_empty() {
            return self.way_failed(&member, DialFailure::Unreachable);
        }
        dials.into_iter().for_each(|dial| self.start_dial(dial));
    }

    pub(super) fn way_failed(&mut self, member: &MemberId, reason: DialFailure) {
        if let Some(gave_up) = self.dialer.failed(member, reason, Instant::now()) {
            self.report(MeshReport::DialFailed {
                member: gave_up.member,
                reason: gave_up.reason,
                retry_in: gave_up.retry_in,
            });
        }
    }

    /// A stream for a channel is open, or can't be.
    pub(super) fn on_channel_stream(
        &mut self,
        connection: ConnectionId,
        member: MemberId,
        stream: Option<Stream>,
    ) {
        let stream = stream.filter(|_| !self.channels.contains_key(&member));
        let begun =
            stream.and_then(|stream| self.begin(connection, stream, Side::Opener, Some(member)));
        if begun.is_none() {
            // Whatever is wrong with this connection, the next try makes another.
            self.close_if_unused(connection);
            self.way_failed(&member, DialFailure::Refused);
        }
    }

    /// A peer opened a stream for a channel.
    pub(super) fn accept_channel(&mut self, connection: ConnectionId, stream: Stream) {
        if self.begin(connection, stream, Side::Accepter, None).is_none() {
            self.close_if_strange(connection);
        }
    }

    pub(super) fn close_if_unused(&mut self, id: ConnectionId) {
        let is_wanted = self.tickets.values().any(|(on, _)| *on == id);
        let idles = self.connections.get(&id).is_some_and(|connection| connection.streams == 0);
        if idles && !is_wanted {
            self.close(id);
        }
    }

    pub(super) fn close_if_strange(&mut self, id: ConnectionId) {
        let book = self.swarm.behaviour().gate.book();
        if !self.connections.get(&id).is_some_and(|connection| book.knows(&connection.peer)) {
            self.close(id);
        }
    }

    fn begin(
        &mut self,
        connection: ConnectionId,
        stream: Stream,
        side: Side,
        member: Option<MemberId>,
    ) -> Option<()> {
        let known = self.connections.get_mut(&connection)?;
        let mut allowed = self.swarm.behaviour().gate.book().members_of(&known.peer);
        // Who says that another's PeerId is its own has others open this, and must not be met by that one.
        allowed.retain(|other| member.is_none_or(|member| *other == member));
        if allowed.is_empty() || known.streams >= STREAMS {
            return None;
        }
        known.streams += 1;
        let beat = Arc::clone(&known.beat);
        let (outbound, taken) = queue::queue();
        let (stop, stopped) = oneshot::channel();
        let task = self.number();
        let local = self.local();
        self.tasks.insert(task, connection);
        self.shaking.insert(task, Shaking { side, connection, member, outbound, stop });
        tokio::spawn(channel::run(channel::Opening {
            task,
            stream,
            side,
            local,
            allowed,
            outbound: taken,
            beat,
            stop: stopped,
            reports: self.reports.clone(),
            events: self.channel_events.clone(),
        }));
        Some(())
    }

    pub(super) fn on_channel(&mut self, event: ChannelEvent) {
        self.touched = true;
        match event {
            ChannelEvent::Proven { task, peer, go } => self.on_proven(task, *peer, go),
            ChannelEvent::Ended { task, end } => self.on_ended(task, end),
        }
    }

    /// Both sides are who they say: take the channel, or drop `go` and so refuse it.
    fn on_proven(&mut self, task: u64, peer: Peer, go: oneshot::Sender<()>) {
        let Some(shaking) = self.shaking.get(&task) else { return };
        let (id, side) = (shaking.connection, shaking.side);
        let Some(connection) = self.connections.get(&id) else { return };
        let book = self.swarm.behaviour().gate.book();
        if !book.is_of(&peer.member, &connection.peer) || !self.is_wanted(side, &peer.member) {
            return;
        }
        let (address, via) = (connection.address.clone(), connection.via);
        let latency = connection.latency;
        let Some(shaking) = self.shaking.remove(&task) else { return };
        if self.channels.contains_key(&peer.member) {
            self.end(peer.member, ChannelEnd::Replaced);
        }
        let now = Instant::now();
        self.dialer.up(&peer.member, now);
        self.looks = true;
        let channel = Channel {
            task,
            opener: self.opener(side, peer.member),
            connection: id,
            since: now,
            outbound: shaking.outbound,
            files: Files::new(),
            _stop: shaking.stop,
        };
        self.channels.insert(peer.member, channel);
        let member = peer.member;
        self.report_and_go(MeshReport::ChannelUp { peer: Box::new(peer), address, via }, go);
        if let Some(took) = latency {
            self.report(MeshReport::Latency { member, took });
        }
    }

    /// Of two channels with one member, whether to take the new one.
    fn is_wanted(&self, side: Side, member: &MemberId) -> bool {
        let me = self.local.endpoint.member();
        let opener = self.opener(side, *member);
        match self.channels.get(member) {
            Some(old) => {
                old.opener == opener || old.since.elapsed() >= STALE || opener < old.opener
            }
            None => side == Side::Opener || *member < me || !self.is_opening(member),
        }
    }

    fn opener(&self, side: Side, member: MemberId) -> MemberId {
        match side {
            Side::Opener => self.local.endpoint.member(),
            Side::Accepter => member,
        }
    }

    /// Whether this node is about to have a channel of its own with the member, on a connection
    /// that stands.
    fn is_opening(&self, member: &MemberId) -> bool {
        self.shaking.values().any(|shaking| shaking.member == Some(*member))
            || self.tickets.values().any(|(_, wanted)| *wanted == Wanted::Channel(*member))
    }

    fn on_ended(&mut self, task: u64, end: ChannelEnd) {
        if let Some(connection) = self.tasks.remove(&task) {
            self.release(connection);
        }
        if let Some(Shaking { member, connection, .. }) = self.shaking.remove(&task) {
            if let Some(member) = member {
                let reason = match end {
                    ChannelEnd::Slow => DialFailure::TimedOut,
                    ChannelEnd::Broken => DialFailure::WrongPeer,
                    _ => DialFailure::Refused,
                };
                self.way_failed(&member, reason);
            }
            self.close_if_strange(connection);
            return;
        }
        let of = |channels: &BTreeMap<MemberId, Channel>| {
            channels.iter().find(|(_, channel)| channel.task == task).map(|(member, _)| *member)
        };
        if let Some(member) = of(&self.channels) {
            self.end(member, end);
        }
    }

    /// With whom channels stand on this connection.
    pub(super) fn channels_on(&self, id: ConnectionId) -> Vec<MemberId> {
        let here = self.channels.iter().filter(|(_, channel)| channel.connection == id);
        here.map(|(member, _)| *member).collect()
    }

    /// Ends a channel that stands; dropping it stops its task.
    pub(super) fn end(&mut self, member: MemberId, reason: ChannelEnd) {
        if self.channels.remove(&member).is_some() {
            (self.touched, self.looks) = (true, true);
            self.dialer.down(&member, Instant::now());
            self.report(MeshReport::ChannelDown { member, reason });
        }
    }
}

/// Whether a channel that stands may go on. Who is there has been proven: on an outer swarm that is enough, for as
/// long as it is a member. The swarm has another name now and then, by what relays say none for a while, and anybody
/// can say that a name is its own.
fn may_stand(book: &Book, member: &MemberId, peer: &PeerId, on: On) -> bool {
    match on {
        On::Main => book.is_of(member, peer),
        On::Outer(_) => book.members().contains_key(member),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::BookEntry;

    const ADA: MemberId = MemberId([1; 32]);
    const BEN: MemberId = MemberId([2; 32]);

    fn entry(member: MemberId, card: PeerId, outer: Option<PeerId>) -> BookEntry {
        let name = |peer| format!("/p2p/{peer}").parse::<Multiaddr>().unwrap().to_vec();
        let addresses = outer.map(name).into_iter().collect();
        BookEntry { member, peers: vec![card.to_bytes()], addresses }
    }

    #[test]
    fn what_relays_and_other_members_say_ends_no_channel_and_a_removal_does() {
        let [card, outer, next, other] = std::array::from_fn(|_| PeerId::random());
        let stands = |entries, peer, on| may_stand(&Book::new(entries), &ADA, &peer, on);
        let on = On::Outer(1);
        // It tells another name, or none, or that its NAT changes ports now.
        for told in [Some(outer), Some(next), None] {
            assert!(stands(vec![entry(ADA, card, told)], outer, on), "{told:?}");
        }
        assert!(!stands(vec![entry(BEN, other, None)], outer, on), "no member any more");
        for adas in [Some(next), None] {
            let bens = vec![entry(ADA, card, adas), entry(BEN, other, Some(outer))];
            assert!(stands(bens, outer, on), "whoever else says that it is its own");
        }
        // On the main swarm the card says who may stay.
        assert!(stands(vec![entry(ADA, card, None)], card, On::Main));
        assert!(!stands(vec![entry(ADA, next, None)], card, On::Main));
    }
}
