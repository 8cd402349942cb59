//! Inboxes: one relay log for each member and group, which its owner alone reads and trims, and to
//! which every member writes.
//!
//! > What is in an inbox is sealed to its owner and signed for its owner: nobody else opens it, and
//! > to nobody else does it count.
//!
//! An inbox lives 90 days; then its owner announces the next and follows the old one for 35 days
//! more. The announcement is a control statement, and is passed on as it was signed.
//! docs/spec/relay-log.md.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use minicbor::{Decode, Encode, bytes::ByteVec};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{
    Cx, EnvelopeError, Event, Group, GroupLog, LogRole, Output, Timer,
    control::Said,
    records::Key,
    seal,
    wire::{Control, Frame, HandOver, InboxAddress, Sealed, Statement},
};
use crate::{
    codec,
    envelope::{self, BodyKey, CONTROL, Header, HeaderKey},
    hash::{Label, kdf32},
    ids::{GroupId, LogId, MemberId, Timestamp},
    relay_log::LogKeys,
    sign::SigningSecret,
};

/// How long an inbox is written to, in milliseconds: 90 days.
const LIFE_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// How long it is followed after that: 35 days.
const LINGER_MS: u64 = 35 * 24 * 60 * 60 * 1000;
/// Own inboxes that are followed at once.
const OWN: usize = 4;
/// What stands for the topic of what was said in an inbox: none.
pub(super) const POSTED: [u8; 32] = [0; 32];
/// See [`Inboxes::parting`].
const PARTING: usize = 64;
/// Announcements in one frame.
const TOLD: usize = 128;

#[derive(Default)]
pub(super) struct Inboxes {
    /// This node's own, the newest last.
    own: Vec<Own>,
    /// The highest number under which this member was ever heard to announce one.
    heard: u64,
    /// The other members'.
    known: BTreeMap<MemberId, Known>,
    /// Inboxes of people who are no members, and to whom a last word is under way: of each the
    /// newest, oldest first.
    parting: VecDeque<(MemberId, LogId, InboxAddress)>,
    /// Topics from the inbox that wait for an older log to be read.
    pub handed: Vec<HandOver>,
    /// Topics handed to single members, for the simulator.
    #[cfg(any(test, feature = "sim"))]
    pub ear: Vec<super::account::HandedOut>,
}

/// An own inbox.
struct Own {
    record: OwnRecord,
    keys: LogKeys,
    envelope: Keys,
}

/// Another member's inbox.
struct Known {
    address: InboxAddress,
    log: LogId,
    /// The statement that announced it, as it was signed.
    control: Vec<u8>,
    /// The one before, to which something may still be under way.
    before: Option<(LogId, InboxAddress)>,
}

/// What hides an inbox's entries from the relay; every member has it.
struct Keys {
    header: HeaderKey,
    body: BodyKey,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct OwnRecord {
    #[cbor(n(0), with = "minicbor::bytes")]
    seed: [u8; 32],
    #[n(1)]
    number: u64,
    #[n(2)]
    born: Timestamp,
    /// When the next one was made.
    #[n(3)]
    replaced: Option<Timestamp>,
    /// The statement that announces it.
    #[cbor(n(4), with = "minicbor::bytes")]
    control: Vec<u8>,
    /// Whether that was published.
    #[n(5)]
    told: bool,
}

impl Drop for OwnRecord {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl Drop for InboxAddress {
    fn drop(&mut self) {
        self.write.zeroize();
    }
}

impl Keys {
    fn new(write: &[u8; 32], group: &GroupId) -> Self {
        Self {
            header: HeaderKey::new(kdf32(write, Label::TopicHeader, &[&group.0])),
            body: BodyKey::new(kdf32(write, Label::TopicControl, &[&group.0])),
        }
    }
}

impl OwnRecord {
    fn seeds(&self, group: &GroupId) -> [[u8; 32]; 3] {
        [Label::LogWrite, Label::LogRead, Label::LogTrim]
            .map(|label| kdf32(&self.seed, label, &[&group.0]))
    }

    fn open(self, group: &GroupId) -> Own {
        let [write, read, trim] = self.seeds(group);
        let envelope = Keys::new(&write, group);
        Own { keys: LogKeys::from_seeds(write, read, Some(trim)), envelope, record: self }
    }
}

impl Group {
    /// Says something to one member alone: sealed to it, in its inbox; over its channel too where
    /// one stands, and where its inbox is not known, under the group's topics. What is longer than
    /// an envelope carries is never said: each caller bounds it.
    #[expect(clippy::wrong_self_convention, reason = "it says something to an inbox")]
    pub(super) fn to_inbox<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        statement: &Statement,
    ) {
        let address = self.inboxes.known.get(&to).map(|known| known.address.clone());
        self.post(cx, to, address.as_ref(), statement);
    }

    /// Says something to one person alone, whose inbox is here, or else under the topics.
    pub(super) fn post<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        address: Option<&InboxAddress>,
        statement: &Statement,
    ) {
        let Some(sealed) = self.seal_statement(cx, to, statement) else { return };
        if self.peers.contains_key(&to) {
            self.frame(to, &Frame::Sealed(sealed.clone().into()));
        }
        match address {
            Some(address) => self.append_to(cx, address, &sealed),
            None => {
                let under = self.write_topics();
                self.publish_control(cx, &Statement::Sealed(Sealed { to, sealed }), &under);
            }
        }
    }

    /// Says something to one person alone under these topics.
    pub(super) fn say_sealed<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        statement: &Statement,
        under: &[[u8; 32]],
    ) {
        if let Some(sealed) = self.seal_statement(cx, to, statement) {
            self.publish_control(cx, &Statement::Sealed(Sealed { to, sealed }), under);
        }
    }

    /// Says something in a member's inbox and nowhere else; whether that is known, and it was said.
    pub(super) fn post_sealed<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        statement: &Statement,
    ) -> bool {
        let Some(known) = self.inboxes.known.get(&to) else { return false };
        let address = known.address.clone();
        let Some(sealed) = self.seal_statement(cx, to, statement) else { return false };
        self.append_to(cx, &address, &sealed);
        true
    }

    fn seal_statement<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        statement: &Statement,
    ) -> Option<Vec<u8>> {
        #[cfg(any(test, feature = "sim"))]
        self.hear_said(to, statement);
        let card = self.people.cards.get(&to)?.card();
        let (prekey, kem) = (self.people.prekey(card), card.kk.as_ref());
        let owner = seal::Owner { group: &self.id, member: to, prekey, kem };
        let control = Control::sign_to(&self.id, &to, statement, cx.me.identity());
        seal::seal(&owner, &Zeroizing::new(control), cx.rng)
    }

    /// Says something in a member's inbox that is signed for it and not sealed to its prekey: that
    /// may have been replaced long ago.
    pub(super) fn post_open<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        statement: &Statement,
    ) {
        let Some(known) = self.inboxes.known.get(&to) else { return };
        let address = known.address.clone();
        let control = Control::sign_to(&self.id, &to, statement, cx.me.identity());
        self.append_to(cx, &address, &control);
    }

    /// Says something in this node's own inbox, for a state of its own that comes back.
    pub(super) fn post_to_self<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, statement: &Statement) {
        let own = self.own_inbox_statement();
        let address = Control::from_bytes(&own).ok().and_then(|own| own.statement().ok());
        let Some(Statement::Inbox(address)) = address else { return };
        let card = cx.me.card().card();
        let owner = seal::Owner {
            group: &self.id,
            member: self.me,
            prekey: card.prekey,
            kem: card.kk.as_ref(),
        };
        let control = Control::sign_to(&self.id, &self.me, statement, cx.me.identity());
        if let Some(sealed) = seal::seal(&owner, &Zeroizing::new(control), cx.rng) {
            self.append_to(cx, &address, &sealed);
        }
    }

    fn append_to<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, to: &InboxAddress, bytes: &[u8]) {
        let Keys { header, body } = Keys::new(&to.write, &self.id);
        let at = Header { chain: CONTROL, index: 0 };
        if let Ok(envelope) = envelope::seal(at, &header, &body, bytes, cx.rng) {
            let logs = Vec::from([to.keys().id()]);
            self.out.push_back(Output::Publish { envelope, logs, message: None });
        }
    }

    /// The members whose inboxes are known.
    pub(super) fn known_inboxes(&self) -> impl Iterator<Item = MemberId> {
        self.inboxes.known.keys().copied()
    }

    /// The announcement of this node's newest inbox.
    pub(super) fn own_inbox_statement(&self) -> Vec<u8> {
        self.inboxes.own.last().map_or_else(Vec::new, |own| own.record.control.clone())
    }

    /// The inbox that somebody announces who is no member any more, for a last word.
    pub(super) fn parting_inbox(&mut self, from: MemberId, bytes: &[u8]) -> Option<InboxAddress> {
        let control = Control::from_bytes(bytes).ok()?;
        let Ok(Statement::Inbox(address)) = control.statement() else { return None };
        if control.from != from || control.verify(&self.id).is_err() {
            return None;
        }
        let parting = &mut self.inboxes.parting;
        parting.retain(|(who, ..)| *who != from);
        if parting.len() >= PARTING {
            parting.pop_front();
        }
        parting.push_back((from, address.keys().id(), address.clone()));
        Some(address)
    }

    /// The keys to append to another member's inbox, where this log is one.
    #[must_use]
    pub fn inbox(&self, log: &LogId) -> Option<LogKeys> {
        let mut parting = self.inboxes.parting.iter();
        let parting = parting.find(|(_, parting, _)| parting == log);
        parting.map(|(.., address)| address.keys()).or_else(|| {
            self.inboxes.known.values().find_map(|known| match &known.before {
                _ if known.log == *log => Some(known.address.keys()),
                Some((before, address)) if before == log => Some(address.keys()),
                _ => None,
            })
        })
    }

    /// Makes the next own inbox where that is due, announces it, forgets what is over.
    pub(super) fn tend_inboxes<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let newest = self.inboxes.own.last().map(|own| &own.record);
        let due = newest.is_none_or(|own| {
            cx.now.ms_since(own.born) >= LIFE_MS || own.number < self.inboxes.heard
        });
        if due {
            self.make_inbox(cx);
        }
        let before = self.inboxes.own.len();
        self.inboxes.own.retain(|own| {
            own.record.replaced.is_none_or(|replaced| cx.now.ms_since(replaced) < LINGER_MS)
        });
        if self.inboxes.own.len() != before {
            self.dirty.mark(Key::Inboxes);
            self.out.push_back(Output::Event(Event::Logs));
        }
        self.announce_inbox(cx);
        let ends = self.inboxes.own.iter().map(|own| match own.record.replaced {
            Some(replaced) => replaced.plus_ms(LINGER_MS),
            None => own.record.born.plus_ms(LIFE_MS),
        });
        if let Some(end) = ends.min() {
            self.set_timer(Timer::Inbox, end.max(cx.now.plus_ms(1_000)));
        }
    }

    pub(super) fn make_inbox<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let mut seed = [0; 32];
        cx.rng.fill_bytes(&mut seed);
        let last = self.inboxes.own.last().map_or(0, |own| own.record.number);
        let number = cx.now.0.max(last.max(self.inboxes.heard).saturating_add(1));
        let mut record = OwnRecord {
            seed,
            number,
            born: cx.now,
            replaced: None,
            control: Vec::new(),
            told: false,
        };
        seed.zeroize();
        let [write, read, trim] = record.seeds(&self.id);
        let public = |seed: &[u8; 32]| SigningSecret::from_seed(seed).public();
        let address = InboxAddress { number, write, read: public(&read), trim: public(&trim) };
        record.control = Control::sign(&self.id, &Statement::Inbox(address), cx.me.identity());
        for own in &mut self.inboxes.own {
            own.record.replaced.get_or_insert(cx.now);
        }
        self.inboxes.own.push(record.open(&self.id));
        if self.inboxes.own.len() > OWN {
            self.inboxes.own.remove(0);
        }
        self.dirty.mark(Key::Inboxes);
        self.out.push_back(Output::Event(Event::Logs));
    }

    fn announce_inbox<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let under = self.write_topics();
        // Who joins later has it from the Welcome.
        let alone = self.ops.resolve().members.len() <= 1;
        let Some(own) = self.inboxes.own.last_mut() else { return };
        if own.record.told || under.is_empty() {
            return;
        }
        own.record.told = true;
        let control = own.record.control.clone();
        self.dirty.mark(Key::Inboxes);
        if !alone {
            self.publish_signed(cx, &control, &under);
        }
    }

    /// Tells one member over its channel where this node's inbox is.
    pub(super) fn tell_inbox(&mut self, to: MemberId) {
        if let Some(own) = self.inboxes.own.last() {
            let control = own.record.control.clone().into();
            self.frame(to, &Frame::Inboxes(Vec::from([control])));
        }
    }

    /// The announcements of all members' inboxes that are known, this node's own included.
    pub(super) fn inbox_statements(&self) -> Vec<ByteVec> {
        let own = self.inboxes.own.last().map(|own| &own.record.control);
        let known = self.inboxes.known.values().map(|known| &known.control);
        own.into_iter().chain(known).map(|control| control.clone().into()).collect()
    }

    /// Takes announcements that somebody passed on.
    pub(super) fn take_inboxes(&mut self, now: Timestamp, controls: &[ByteVec]) {
        controls.iter().take(TOLD).for_each(|control| self.take_inbox(now, control));
    }

    /// Takes an announcement as its owner signed it; what is none is passed over.
    pub(super) fn take_inbox(&mut self, now: Timestamp, bytes: &[u8]) {
        let Ok(control) = Control::from_bytes(bytes) else { return };
        let Ok(Statement::Inbox(address)) = control.statement() else { return };
        let from = control.from;
        let known = self.inboxes.known.get(&from).map(|known| known.address.number);
        if known.is_some_and(|known| known >= address.number)
            || !self.is_member(&from)
            || control.verify(&self.id).is_err()
        {
            return;
        }
        if from == self.me {
            // Of a state that was lost here: the next one must count for more.
            let own = self.inboxes.own.last().map_or(0, |own| own.record.number);
            if own < address.number {
                self.inboxes.heard = self.inboxes.heard.max(address.number);
                self.set_timer(Timer::Inbox, now);
            }
            return;
        }
        let log = address.keys().id();
        let before = self.inboxes.known.remove(&from).map(|known| (known.log, known.address));
        let control = bytes.into();
        self.inboxes.known.insert(from, Known { address, log, control, before });
        self.dirty.mark(Key::Inbox(from));
    }

    /// An envelope came that is under no topic: perhaps it was in an own inbox.
    pub(super) fn take_posted<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        let own = self.inboxes.own.iter().rev();
        let keys = own.map(|own| &own.envelope);
        let sealed = keys
            .filter(|keys| envelope::peek(bytes, &keys.header).is_ok())
            .find_map(|keys| envelope::open(bytes, &keys.body).ok());
        self.take_sealed(cx, &sealed.ok_or(EnvelopeError::NotOurs)?)
    }

    /// Takes what somebody sealed to this member, or signed for it alone.
    pub(super) fn take_sealed<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        let opened = seal::open(&self.id, cx.me, bytes);
        let was_sealed = opened.is_some();
        let opened = opened.unwrap_or_else(|| Zeroizing::new(bytes.into()));
        let control = Control::from_bytes(&opened).map_err(|_| EnvelopeError::Forged)?;
        control.verify_to(&self.id, &self.me).map_err(|_| EnvelopeError::Forged)?;
        let Ok(statement) = control.statement() else { return Ok(()) };
        let from = control.from;
        let is_own = from == self.me && !matches!(statement, Statement::HandOver(_));
        if is_own || matches!(statement, Statement::Sealed(_)) {
            return Ok(());
        }
        if let Statement::ResyncReq(request) = &statement {
            self.take_resync_req(cx, from, request);
            return Ok(());
        }
        let judged_by_itself = matches!(statement, Statement::Ops(_) | Statement::Bundle(_));
        if !was_sealed || !judged_by_itself && !self.is_member(&from) {
            return Err(EnvelopeError::NotAMember);
        }
        self.take_statement(cx, Said { from, topic: POSTED }, statement);
        Ok(())
    }

    /// Whether a log is one of this node's own inboxes.
    #[must_use]
    pub fn is_own_inbox(&self, log: &LogId) -> bool {
        self.inboxes.own.iter().any(|own| own.keys.id() == *log)
    }

    /// This node's own inboxes, to be followed.
    pub(super) fn inbox_logs(&self) -> impl Iterator<Item = GroupLog> {
        let own = self.inboxes.own.iter();
        own.map(|own| GroupLog { keys: own.keys.clone(), role: LogRole::Inbox })
    }

    /// Forgets the inboxes of those who are no members.
    pub(super) fn forget_inboxes(&mut self) {
        let members = &self.ops.resolve().members;
        let known = self.inboxes.known.keys();
        let gone: Vec<_> = known.filter(|owner| !members.contains_key(owner)).copied().collect();
        for owner in gone {
            self.inboxes.known.remove(&owner);
            self.dirty.mark(Key::Inbox(owner));
        }
    }

    /// Forgets all inboxes: this node is no member any more.
    pub(super) fn close_inboxes(&mut self) {
        self.mark_inboxes();
        self.inboxes = Inboxes::default();
    }

    pub(super) fn mark_inboxes(&mut self) {
        self.dirty.mark(Key::Inboxes);
        self.dirty.mark(Key::HandedOver);
        self.inboxes.known.keys().for_each(|owner| self.dirty.mark(Key::Inbox(*owner)));
    }

    pub(super) fn own_inboxes_record(&self) -> Option<Vec<u8>> {
        let own: Vec<&OwnRecord> = self.inboxes.own.iter().map(|own| &own.record).collect();
        (!own.is_empty()).then(|| codec::encode(&own))
    }

    pub(super) fn inbox_record(&self, owner: &MemberId) -> Option<Vec<u8>> {
        self.inboxes.known.get(owner).map(|known| known.control.clone())
    }

    /// Takes up the stored record of the own inboxes.
    pub(super) fn load_own_inboxes(&mut self, bytes: &[u8]) -> Result<(), codec::Malformed> {
        let own: Vec<OwnRecord> = codec::decode(bytes)?;
        self.inboxes.own = own.into_iter().map(|own| own.open(&self.id)).collect();
        Ok(())
    }

    /// Takes up the stored announcement of another member's inbox.
    pub(super) fn load_inbox(
        &mut self,
        owner: MemberId,
        bytes: &[u8],
    ) -> Result<(), codec::Malformed> {
        let statement = Control::from_bytes(bytes)?.statement();
        let Ok(Statement::Inbox(address)) = statement else { return Err(codec::Malformed) };
        let log = address.keys().id();
        let control = bytes.into();
        self.inboxes.known.insert(owner, Known { address, log, control, before: None });
        Ok(())
    }
}

impl InboxAddress {
    fn keys(&self) -> LogKeys {
        LogKeys::write_only(self.write, self.read, self.trim)
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;
    use crate::{endpoint::Endpoint, sim::world::World};

    /// Announces an inbox with this number; its log.
    fn announce(world: &mut World, who: &Endpoint, number: u64) -> LogId {
        let write = [number as u8; 32];
        let public = SigningSecret::from_seed(&write).public();
        let address = InboxAddress { number, write, read: public, trim: public };
        world.act(0, |group, _| {
            let bytes = Control::sign(&group.id, &Statement::Inbox(address), who.identity());
            let found = group.parting_inbox(who.member(), &bytes).unwrap();
            found.keys().id()
        })
    }

    #[test]
    fn who_announces_many_inboxes_takes_nobody_elses_last_word() {
        let mut world = World::with(1, true);
        let people: Vec<Endpoint> = (0..=PARTING)
            .map(|_| Endpoint::generate("gone", vec![], &mut world.rng).unwrap())
            .collect();
        let first = announce(&mut world, &people[0], 200);
        let second = announce(&mut world, &people[1], 201);
        for number in 0..100 {
            announce(&mut world, &people[2], number);
        }
        let newest = announce(&mut world, &people[2], 202);
        let is_known = |world: &World, log| world.member(0).inbox(log).is_some();
        assert!([&first, &second, &newest].map(|log| is_known(&world, log)) == [true; 3]);
        assert_eq!(world.member(0).inboxes.parting.len(), 3);
        // When there are too many, the one goes that is there longest.
        for (who, number) in people[3..].iter().zip(100..) {
            announce(&mut world, who, number);
        }
        assert!([&first, &second, &newest].map(|log| is_known(&world, log)) == [false, true, true]);
    }
}
