//! Members as nodes: who has a channel, where each may be dialled, and how each is reached.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    codec,
    group::Group,
    ids::{GroupId, MemberId, Timestamp},
    noise::Peer,
};

use super::{
    Core, Effect,
    membership::is_active,
    outlook::Outlook,
    step::ChannelFrame,
    why::{self, Failure},
    withheld::Teller,
};
use crate::{
    api::types::{Lan, MemberPath, MemberRef, Path, PortMap, Via, What},
    net::{BookEntry, Reach, address},
    store::{StoreError, rfc3339},
};

/// The members' nodes, as this one knows them.
#[derive(Default)]
pub(super) struct Peers {
    /// Channels that stand.
    channels: BTreeMap<MemberId, Channel>,
    /// Why the last dial failed, and when the next is due.
    failures: BTreeMap<MemberId, Failure>,
    /// The path last told of each member, and since when it stands.
    told: BTreeMap<MemberId, Told>,
    /// The book last told.
    book: Vec<BookEntry>,
    /// Where members are looked for on the local networks: this machine's own addresses there, and why
    /// not elsewhere.
    lan: (Vec<String>, String),
    /// How it stands with the router's port that is to lead here.
    port_map: PortMap,
    /// Where this node can be met: where it listens, and the router's port that leads there.
    pub(super) listening: Vec<String>,
    /// How this machine looks from outside.
    pub(super) outlook: Outlook,
    /// Addresses of members that were learned from an invite's code.
    pub(super) hints: BTreeMap<MemberId, Vec<Vec<u8>>>,
}

impl Peers {
    /// Whether a channel with a member stands.
    pub(super) fn has_channel(&self, member: &MemberId) -> bool {
        self.channels.contains_key(member)
    }
}

struct Told {
    path: Path,
    /// Whether it stayed on local networks.
    lan: bool,
    since: Timestamp,
}

struct Channel {
    address: String,
    via: Via,
    since: Timestamp,
    /// The static key that was proven, and until when it is certified.
    certified: Option<([u8; 32], Timestamp)>,
}

impl Core {
    /// A channel to a member stands. It takes the place of one that stood before.
    pub fn on_channel_up(
        &mut self,
        peer: &Peer,
        address: String,
        via: Via,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.unwire(peer.member, now)?;
        self.peers.failures.remove(&peer.member);
        let channel = Channel { address, via, since: now, certified: peer.certified };
        self.peers.channels.insert(peer.member, channel);
        self.latencies.forget(&peer.member);
        self.after.members = true;
        self.finish(now);
        Ok(())
    }

    /// A member's channel is gone.
    pub fn on_channel_down(
        &mut self,
        member: MemberId,
        reason: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.peers.channels.remove(&member);
        self.latencies.forget(&member);
        self.peers.failures.insert(member, Failure { reason, retry: now, times: 0 });
        self.after.members = true;
        let result = self.unwire(member, now);
        self.finish(now);
        result
    }

    /// The keys of a member's channel were replaced so often since this was told last.
    pub fn on_rekeyed(
        &mut self,
        member: MemberId,
        times: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let wired = self.wired.iter().filter(|(_, it)| *it == member);
        let groups: Vec<GroupId> = wired.map(|(id, _)| *id).collect();
        let result = groups.into_iter().try_for_each(|id| {
            self.step(id, now, |group, step| {
                group.on_rekey(step.cx(), member, times);
                Ok::<_, StoreError>(())
            })
        });
        self.finish(now);
        result
    }

    /// Where members are looked for on the local networks now: this machine's addresses there, and why not
    /// elsewhere, in words.
    pub fn on_lan(&mut self, networks: Vec<String>, trouble: String) {
        self.peers.lan = (networks, trouble);
    }

    /// How it stands with the router's port that is to lead here, and all addresses at which this node can be
    /// met now.
    pub fn on_port_map(
        &mut self,
        map: PortMap,
        addresses: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.peers.port_map = map;
        if addresses == self.peers.listening {
            return Ok(());
        }
        self.on_listening(addresses, now)
    }

    /// How it stands with the router's port, where one is asked for.
    pub(super) fn port_map_status(&self) -> Option<PortMap> {
        self.options.map_port.then(|| self.peers.port_map.clone())
    }

    /// How this node looks for members on the local networks, where it does.
    pub(super) fn lan_status(&self) -> Option<Lan> {
        let (networks, problem) = self.peers.lan.clone();
        let only = self.options.reach == Reach::Local;
        (self.options.direct && self.options.mdns).then_some(Lan { only, networks, problem })
    }

    /// A member could not be dialled; it is tried again in `retry_in_ms`.
    pub fn on_dial_failed(
        &mut self,
        member: MemberId,
        reason: String,
        retry_in_ms: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let times = self.peers.failures.get(&member).map_or(0, |before| before.times);
        let (retry, times) = (now.plus_ms(retry_in_ms), times.saturating_add(1));
        self.peers.failures.insert(member, Failure { reason, retry, times });
        Ok(())
    }

    /// A frame came on a member's channel. What is no frame, or of no common group, is dropped.
    pub fn on_channel_frame(
        &mut self,
        member: MemberId,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Ok(ChannelFrame { group: id, frame }) = codec::decode(frame) else { return Ok(()) };
        if !self.wired.contains(&(id, member)) {
            tracing::debug!(%member, "a frame for no common group");
            return Ok(());
        }
        self.teller = Some(Teller::Member(member));
        let result = self.step(id, now, |group, step| {
            if let Err(error) = group.on_frame(step.cx(), member, &frame) {
                tracing::debug!(%member, %error, "a frame was not taken");
            }
            Ok(())
        });
        self.teller = None;
        self.finish(now);
        result
    }

    /// All addresses at which this node listens now: multiaddrs with its PeerId.
    pub fn on_listening(
        &mut self,
        addresses: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.peers.listening = addresses;
        let active = self.groups.values().filter(|group| is_active(group)).map(Group::id);
        self.after.present.extend(active);
        self.finish(now);
        Ok(())
    }

    /// Tells the members of these groups where this node is.
    pub(super) fn present(&mut self, groups: &[GroupId], now: Timestamp) -> Result<(), StoreError> {
        if !self.options.direct || self.peers.listening.is_empty() {
            return Ok(());
        }
        for id in groups.iter().copied().collect::<BTreeSet<_>>() {
            let Some(group) = self.groups.get(&id).filter(|group| is_active(group)) else {
                continue;
            };
            // Of many the first ones are told.
            let outside = self.peers.outlook.told_to(group);
            let all = outside.iter().chain(&self.peers.listening);
            let addresses: Vec<Vec<u8>> = all.filter_map(|text| address::to_bytes(text)).collect();
            self.step(id, now, |group, step| {
                group.present(step.cx(), addresses);
                Ok::<_, StoreError>(())
            })?;
            self.peers.outlook.told.insert(id, outside);
        }
        Ok(())
    }

    /// The book last told.
    #[cfg(test)]
    pub(crate) fn book(&self) -> &[BookEntry] {
        &self.peers.book
    }

    /// Makes channels known to the groups that each now belongs to, and the book to the network.
    pub(super) fn meet(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let me = self.me.member();
        let mut book: BTreeMap<MemberId, BookEntry> = BTreeMap::new();
        let mut wired = BTreeSet::new();
        let mut told = Vec::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            for member in group.members().into_iter().filter(|member| member.id != me) {
                if self.peers.channels.contains_key(&member.id) {
                    wired.insert((group.id(), member.id));
                }
                let entry = book.entry(member.id).or_insert_with(|| BookEntry {
                    member: member.id,
                    peers: Vec::new(),
                    addresses: self.peers.hints.get(&member.id).cloned().unwrap_or_default(),
                });
                let nodes = &member.card.card().nodes;
                add(&mut entry.peers, nodes.iter().map(|node| node.to_vec()));
                told.push((member.told, member.id, member.addresses));
            }
        }
        // What it said last comes first: a group may not have heard for long.
        told.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        for (_, member, addresses) in told {
            if let Some(entry) = book.get_mut(&member) {
                add(&mut entry.addresses, addresses.into_iter());
            }
        }
        let mut book: Vec<BookEntry> = book.into_values().collect();
        self.tell_paths(&book, now)?;
        self.listen(&mut book, &mut wired);
        if self.options.direct && book != self.peers.book {
            self.peers.book.clone_from(&book);
            self.effects.push_back(Effect::Book(book));
        }
        for (id, member) in self.wired.difference(&wired).copied().collect::<Vec<_>>() {
            self.channel_down(id, member, now)?;
        }
        for (id, member) in wired {
            if self.wired.insert((id, member)) {
                let certified = self.peers.channels.get(&member).and_then(|it| it.certified);
                self.step(id, now, |group, step| {
                    group.on_channel_up(step.cx(), member);
                    if let Some((key, until)) = certified {
                        group.on_certificate(step.cx(), member, key, until);
                    }
                    Ok::<_, StoreError>(())
                })?;
                // What was said before is in no log that the member could read.
                if !self.groups.get(&id).is_some_and(|group| self.has_relay(group)) {
                    self.after.present.push(id);
                }
            }
        }
        Ok(())
    }

    /// Lets in the members of groups that this node is out of: one may know that it is not. They
    /// aren't dialled.
    fn listen(&self, book: &mut Vec<BookEntry>, wired: &mut BTreeSet<(GroupId, MemberId)>) {
        let me = self.me.member();
        for group in self.groups.values().filter(|group| group.listens()) {
            for member in group.members().into_iter().filter(|member| member.id != me) {
                if self.peers.channels.contains_key(&member.id) {
                    wired.insert((group.id(), member.id));
                }
                if book.iter().all(|entry| entry.member != member.id) {
                    let nodes = &member.card.card().nodes;
                    let peers = nodes.iter().map(|node| node.to_vec()).collect();
                    book.push(BookEntry { member: member.id, peers, addresses: Vec::new() });
                }
            }
        }
    }

    /// The best path to a member that stands, where these are [`Self::by_relay`].
    pub(super) fn path_of(&self, member: &MemberId, by_relay: &BTreeSet<MemberId>) -> Path {
        self.path_by(member, by_relay.contains(member))
    }

    /// The best path to a member that stands, where it is known whether a relay leads there.
    pub(super) fn path_by(&self, member: &MemberId, by_relay: bool) -> Path {
        match self.peers.channels.contains_key(member) {
            true => Path::Direct,
            false if by_relay => Path::Relay,
            false => Path::None,
        }
    }

    /// The members of all groups that have a relay now: found once for all of them, because there
    /// may be many groups.
    pub(super) fn by_relay(&self) -> BTreeSet<MemberId> {
        self.groups
            .values()
            .filter(|group| is_active(group) && self.has_relay(group))
            .flat_map(|group| group.members().into_iter().map(|member| member.id))
            .collect()
    }

    /// How every member met in any group is reached.
    pub(super) fn paths(&self, now: Timestamp) -> Vec<MemberPath> {
        let mut people = BTreeMap::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            for member in group.members() {
                people.insert(member.id, member.card.card().name.clone());
            }
        }
        people.remove(&self.me.member());
        let (by_relay, relays) = (self.by_relay(), self.relay_latencies());
        people
            .into_iter()
            .map(|(member, name)| {
                let path = self.path_of(&member, &by_relay);
                let shown = self.member_path(member, name, path, now);
                match path {
                    Path::Relay => MemberPath { latency_us: relays.get(&member).copied(), ..shown },
                    _ => shown,
                }
            })
            .collect()
    }

    /// The channel with a member as a path, if one stands.
    pub(super) fn channel_path(&self, member: MemberId, now: Timestamp) -> Option<MemberPath> {
        let stands = self.peers.has_channel(&member);
        stands.then(|| self.member_path(member, String::new(), Path::Direct, now))
    }

    pub(super) fn member_path(
        &self,
        member: MemberId,
        name: String,
        path: Path,
        now: Timestamp,
    ) -> MemberPath {
        let channel = self.peers.channels.get(&member);
        let since = match (channel, self.peers.told.get(&member)) {
            (Some(channel), _) => Some(channel.since),
            (None, Some(told)) if told.path == path && path != Path::None => Some(told.since),
            _ => None,
        };
        let direct = || self.why_not_direct(&member, now);
        MemberPath {
            verified: self.trust.mark_of(&member).is_some(),
            other_key: self.trust.is_unseen(&member),
            member: MemberRef { id: member.to_string(), name },
            path,
            address: channel.map(|channel| channel.address.clone()),
            via: channel.map(|channel| channel.via),
            latency_us: channel.and_then(|_| self.latencies.of_member(&member)),
            lan: self.is_on_lan(&member),
            reason: match path {
                Path::Direct => String::new(),
                Path::Relay => direct(),
                Path::None => {
                    let reasons =
                        [Some(self.why_no_relay(&member)), Some(direct()), self.why_not_found()];
                    reasons.into_iter().flatten().collect::<Vec<_>>().join("; ")
                }
            },
            since: since.map(rfc3339),
        }
    }

    /// Whether a member's channel stays on local networks.
    fn is_on_lan(&self, member: &MemberId) -> bool {
        let channel = self.peers.channels.get(member);
        channel.is_some_and(|channel| address::is_local(&channel.address))
    }

    fn why_not_direct(&self, member: &MemberId, now: Timestamp) -> String {
        if !self.options.direct {
            return "direct connections are turned off here".into();
        }
        let known = self.peers.book.iter().find(|entry| entry.member == *member);
        let Some(entry) = known.filter(|entry| !entry.addresses.is_empty()) else {
            return "no address of it is known yet".into();
        };
        let failure = self.peers.failures.get(member);
        let (here, six) = (self.here(member), self.has_six());
        why::not_direct(&why::Facts { failure, member: entry, here, six }, now)
    }

    fn why_no_relay(&self, member: &MemberId) -> String {
        if self.options.reach == Reach::Local {
            return "this node is for local networks only (--lan-only)".into();
        }
        let with_relay = self.groups.values().filter(|group| is_active(group)).any(|group| {
            !group.policy().relays.is_empty()
                && group.members().iter().any(|other| other.id == *member)
        });
        if with_relay {
            "no relay is connected".into()
        } else {
            "no common group has a relay".into()
        }
    }

    /// Why nobody is found on the local networks, and what to look at, where they are looked for there.
    fn why_not_found(&self) -> Option<String> {
        let Lan { networks, problem, .. } = self.lan_status()?;
        Some(match (networks.is_empty(), problem.is_empty()) {
            (true, true) => "this machine is on no local network".into(),
            (true, false) => format!("nobody can be looked for on the local network: {problem}"),
            (false, _) => format!(
                "it does not answer on the local network of {}: is it up and on the same network, and \
                 does that let multicast through? Guest networks often don't",
                networks.join(", ")
            ),
        })
    }

    /// Tells the paths that have changed.
    fn tell_paths(&mut self, book: &[BookEntry], now: Timestamp) -> Result<(), StoreError> {
        let mut changed = Vec::new();
        let by_relay = self.by_relay();
        for entry in book {
            let path = self.path_of(&entry.member, &by_relay);
            let lan = self.is_on_lan(&entry.member);
            let told = self.peers.told.get(&entry.member);
            if told.map_or(path != Path::None, |told| (told.path, told.lan) != (path, lan)) {
                changed.push((entry.member, Told { path, lan, since: now }));
            }
        }
        let known: BTreeSet<MemberId> = book.iter().map(|entry| entry.member).collect();
        self.peers.told.retain(|member, _| known.contains(member));
        if changed.is_empty() {
            return Ok(());
        }
        let members: BTreeSet<String> = changed.iter().map(|(id, _)| id.to_string()).collect();
        self.peers.told.extend(changed);
        let mut told = self.paths(now);
        told.retain(|path| members.contains(&path.member.id));
        // Events are kept, and what was found on a network is nobody's business later.
        for path in told.iter_mut().filter(|path| path.via == Some(Via::Mdns)) {
            path.address = None;
        }
        self.record(now, |step| {
            told.into_iter().try_for_each(|path| step.emit(None, What::Path { path }))
        })
    }

    fn unwire(&mut self, member: MemberId, now: Timestamp) -> Result<(), StoreError> {
        let groups: Vec<GroupId> =
            self.wired.iter().filter(|(_, wired)| *wired == member).map(|(id, _)| *id).collect();
        groups.into_iter().try_for_each(|id| self.channel_down(id, member, now))
    }

    fn channel_down(
        &mut self,
        id: GroupId,
        member: MemberId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.wired.remove(&(id, member));
        if !self.groups.contains_key(&id) {
            return Ok(());
        }
        self.step(id, now, |group, step| {
            group.on_channel_down(step.cx(), member);
            Ok(())
        })
    }
}

pub(super) fn add<T: PartialEq>(known: &mut Vec<T>, more: impl Iterator<Item = T>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}
