//! First contacts with ML-KEM: which slot is good enough, and the ciphertexts beside the bundles.
//!
//! > A slot of type 1 is refused where an op that its sender had by its bundle's heads carries a
//! > card of this member with an ML-KEM key: nobody is sealed to with less than is known of them.
//!
//! A ciphertext travels apart from its page. Whoever gets one checks it against the bundle's signed
//! head and keeps it for its recipient, who waits for it as for a missing page. Those that no head
//! names (slots of type 3) are believed of the bundle's sender alone. docs/spec/rotation.md.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use rand_core::CryptoRng;

use super::{
    Cx, Group, Timer,
    people::card_in,
    reads::RECEIPTS_MS,
    receiving::Entry,
    records::Key,
    wire::{Data, Frame, KemEntry, KemWire, Statement},
};
use crate::{
    bundle::{self, Ciphertext, OpenError, Opened, SignedHead, SlotType},
    endpoint::Endpoint,
    ids::{ChainId, MemberId, OpId, Timestamp},
    kem::CIPHERTEXT,
    pair::ReceiveState,
};

/// Ciphertexts in one statement.
const PER_STATEMENT: usize = 28;
/// Ciphertexts kept for others, of all chains: 4.5 MB.
const KEPT: usize = 4096;
/// Ciphertexts kept whose bundle has not come.
const EARLY: usize = 256;

/// The ciphertexts that are known.
#[derive(Default)]
pub(super) struct Ciphertexts {
    known: BTreeMap<ChainId, BTreeMap<MemberId, Ciphertext>>,
    early: Vec<Early>,
}

/// A ciphertext that nothing was checked of yet.
struct Early {
    chain: ChainId,
    from: MemberId,
    member: MemberId,
    ciphertext: Ciphertext,
}

impl Ciphertexts {
    pub fn of(&self, chain: &ChainId, member: &MemberId) -> Option<&[u8; CIPHERTEXT]> {
        self.known.get(chain)?.get(member).map(|ciphertext| &**ciphertext)
    }

    /// Those of a chain, for one recipient or for all, in parts that each fit an envelope.
    pub fn wires(&self, chain: &ChainId, only: Option<&MemberId>) -> Vec<KemWire> {
        let known = self.known.get(chain).into_iter().flatten();
        let entries: Vec<KemEntry> = known
            .filter(|(member, _)| only.is_none_or(|only| only == *member))
            .map(|(member, ciphertext)| KemEntry::new(*member, ciphertext))
            .collect();
        entries
            .chunks(PER_STATEMENT)
            .map(|part| KemWire { chain: *chain, entries: part.into() })
            .collect()
    }

    #[cfg(any(test, feature = "sim"))]
    pub fn chains(&self) -> impl Iterator<Item = &ChainId> {
        self.known.keys()
    }

    /// As they are stored: all of one chain.
    pub fn record(&self, chain: &ChainId) -> Option<KemWire> {
        let known = self.known.get(chain)?;
        let entries = known.iter().map(|(member, kem)| KemEntry::new(*member, kem)).collect();
        Some(KemWire { chain: *chain, entries })
    }

    /// Takes up what was stored.
    pub fn load(&mut self, record: KemWire) {
        let chain = self.known.entry(record.chain).or_default();
        chain.extend(record.entries.into_iter().filter_map(KemEntry::take));
    }

    pub fn forget(&mut self, chain: &ChainId) -> bool {
        self.known.remove(chain).is_some()
    }

    /// Forgets one that its recipient needs no more; answers whether it was here.
    pub fn forget_of(&mut self, chain: &ChainId, member: &MemberId) -> bool {
        let Some(known) = self.known.get_mut(chain) else { return false };
        let was = known.remove(member).is_some();
        if known.is_empty() {
            self.known.remove(chain);
        }
        was
    }

    /// Forgets those of all chains but these; answers of which there were some.
    pub fn take_chains(&mut self, but: &BTreeMap<ChainId, Entry>) -> Vec<ChainId> {
        self.early.clear();
        let gone = self.known.extract_if(.., |chain, _| !but.contains_key(chain));
        gone.map(|(chain, _)| chain).collect()
    }

    fn keep_early(&mut self, early: Early) {
        if self.early.len() >= EARLY {
            self.early.remove(0);
        }
        self.early.push(early);
    }

    /// Forgets the oldest of whoever has most, while there are too many; answers whose.
    fn evict(&mut self, chains: &BTreeMap<ChainId, Entry>) -> Vec<ChainId> {
        let mut gone = Vec::new();
        while self.known.values().map(BTreeMap::len).sum::<usize>() > KEPT {
            let mut of = BTreeMap::new();
            for (chain, known) in &self.known {
                let entry = chains.get(chain);
                let sender = entry.map(|entry| entry.head.head().sender);
                let oldest = (entry.map(|entry| entry.at), *chain);
                let (count, first) = of.entry(sender).or_insert((0, oldest));
                *count += known.len();
                *first = oldest.min(*first);
            }
            let most = of.into_values().max_by_key(|(count, _)| *count);
            let Some((_, (_, chain))) = most else { break };
            self.known.remove(&chain);
            gone.push(chain);
        }
        gone
    }
}

impl Group {
    /// Tells the ciphertexts of an own bundle: beside it where its head names them, and otherwise
    /// to each recipient alone.
    pub(super) fn tell_ciphertexts<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        head: &SignedHead,
        ciphertexts: Vec<(MemberId, Ciphertext)>,
        under: &[[u8; 32]],
    ) {
        if ciphertexts.is_empty() {
            return;
        }
        let chain = head.chain();
        let to: Vec<MemberId> = ciphertexts.iter().map(|(member, _)| *member).collect();
        self.slots.known.insert(chain, ciphertexts.into_iter().collect());
        self.dirty.mark(Key::Ciphertexts(chain));
        self.evict_ciphertexts();
        if head.head().ciphertexts.is_some() {
            for wire in self.slots.wires(&chain, None) {
                self.publish_control(cx, &Statement::Kem(wire), under);
            }
            return;
        }
        for member in to {
            for wire in self.slots.wires(&chain, Some(&member)) {
                self.to_inbox(cx, member, &Statement::Kem(wire));
            }
        }
    }

    /// Sends on a channel what is known of a chain's ciphertexts: one recipient's, or all.
    pub(super) fn send_ciphertexts(
        &mut self,
        to: MemberId,
        chain: &ChainId,
        only: Option<&MemberId>,
    ) {
        for wire in self.slots.wires(chain, only) {
            let kems = Some(Vec::from([wire]));
            self.reply(to, &Frame::Data(Data { kems, ..Data::default() }));
        }
    }

    /// Ciphertexts came: said by `from`, or handed on by it.
    pub(super) fn take_ciphertexts<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: MemberId,
        wire: KemWire,
    ) {
        let chain = wire.chain;
        for (member, ciphertext) in wire.entries.into_iter().filter_map(KemEntry::take) {
            self.answers.remove(&super::answering::Asked::Kem(chain, member));
            self.take_ciphertext(Early { chain, from, member, ciphertext });
        }
        self.evict_ciphertexts();
        if self.slots.of(&chain, &self.me).is_some() {
            self.judge_bundle(cx, chain);
        }
    }

    /// Takes up what came before the bundle of this chain.
    pub(super) fn take_early(&mut self, chain: &ChainId) {
        let (early, later) = core::mem::take(&mut self.slots.early)
            .into_iter()
            .partition::<Vec<_>, _>(|early| early.chain == *chain);
        self.slots.early = later;
        early.into_iter().for_each(|early| self.take_ciphertext(early));
    }

    /// The head of a chain whose bundle has come, be it opened or not.
    fn head_of(&self, chain: &ChainId) -> Option<&SignedHead> {
        let accepted = self.receiving.chains.get(chain).map(|entry| &entry.head);
        accepted.or_else(|| self.receiving.held.get(chain).map(|held| &held.head))
    }

    /// Whether a statement needs no member who says it: ops and bundles are signed, and ciphertexts
    /// are named by the head.
    pub(super) fn stands_alone(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Ops(_) | Statement::Bundle(_) => true,
            Statement::Kem(kem) => self.head_of(&kem.chain).is_some(),
            _ => false,
        }
    }

    fn take_ciphertext(&mut self, early: Early) {
        let chain = early.chain;
        let accepted = self.receiving.chains.contains_key(&chain);
        let Some(head) = self.head_of(&chain) else {
            self.slots.keep_early(early);
            return;
        };
        let named = head.names(&early.member, &early.ciphertext);
        let alone = head.head().version == 2
            && head.head().ciphertexts.is_none()
            && early.member == self.me
            && early.from == head.head().sender;
        // What is open here is not needed any more.
        let needed = early.member != self.me || !accepted;
        if (named || alone) && needed {
            self.slots.known.entry(chain).or_default().insert(early.member, early.ciphertext);
            self.dirty.mark(Key::Ciphertexts(chain));
        }
    }

    fn evict_ciphertexts(&mut self) {
        for chain in self.slots.evict(&self.receiving.chains) {
            self.dirty.mark(Key::Ciphertexts(chain));
        }
    }

    /// A recipient has shown that it opened its slot of this chain.
    pub(super) fn forget_ciphertext(&mut self, chain: &ChainId, member: &MemberId) {
        if self.slots.forget_of(chain, member) {
            self.dirty.mark(Key::Ciphertexts(*chain));
        }
    }

    pub(super) fn forget_ciphertexts(&mut self, chain: &ChainId) {
        if self.slots.forget(chain) {
            self.dirty.mark(Key::Ciphertexts(*chain));
        }
    }

    /// Opens this member's slot, with what is known of its ciphertext.
    pub(super) fn open_slot(
        &self,
        me: &Endpoint,
        head: &SignedHead,
        page: &[u8],
        position: usize,
    ) -> Result<Opened, OpenError> {
        if self.is_too_weak(bundle::slot_type(page, position)?, &head.head().heads) {
            return Err(OpenError::NoKey);
        }
        let before = ReceiveState::default();
        let pair = self.receiving.pairs.get(&head.head().sender).unwrap_or(&before);
        let ciphertext = self.slots.of(&head.chain(), &self.me);
        let secret = self.turn_secret(page, position);
        bundle::open_with(head, page, position, me, secret, pair, ciphertext)
    }

    /// A first contact opened: its sender is told, be there a message to tell of or not, so that
    /// ratchet slots follow.
    pub(super) fn confirm_first(
        &mut self,
        now: Timestamp,
        chain: ChainId,
        slot: Result<SlotType, OpenError>,
    ) {
        if slot != Ok(SlotType::Ratchet) {
            self.receipts.entry(chain).or_default();
            self.set_timer(Timer::Receipts, now.plus_ms(RECEIPTS_MS));
            self.dirty.mark(Key::Receipts);
        }
    }

    /// Whether a sender with these heads knew an ML-KEM key of this member: one is on a card in an
    /// op behind them. (Newer cards are no ops; whether a sender had those cannot be told.)
    pub(super) fn is_too_weak(&self, slot: SlotType, heads: &[OpId]) -> bool {
        if slot != SlotType::Init {
            return false;
        }
        let later = self.ops.not_in_past(heads);
        self.ops.iter().filter(|op| !later.contains(&op.id())).filter_map(card_in).any(|card| {
            let card = card.card();
            card.member == self.me && card.kk.is_some()
        })
    }
}

impl KemEntry {
    fn new(member: MemberId, ciphertext: &[u8; CIPHERTEXT]) -> Self {
        Self { member, ciphertext: ciphertext.as_slice().into() }
    }

    /// `None` where it is no ciphertext.
    fn take(self) -> Option<(MemberId, Ciphertext)> {
        let ciphertext: Box<[u8; CIPHERTEXT]> =
            self.ciphertext.into_boxed_slice().try_into().ok()?;
        Some((self.member, ciphertext))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::{
        super::{Alarm, ChainState, Event, nacks::Waits, wire::BundleWire, world::World},
        *,
    };
    use crate::{bundle::Recipient, pair::SendState};

    /// A bundle of 0 to the two others, as first contacts, that nobody was told; and 1's ciphertext.
    fn untold(world: &World, first: bool) -> (BundleWire, ChainId, Option<KemWire>) {
        let person = &world.people[0];
        let group = person.group.as_ref().unwrap();
        let roster = group.ops.resolve().roster(group.id);
        let others: Vec<MemberId> =
            roster.members().iter().filter(|it| **it != group.me).copied().collect();
        let mut pairs = vec![SendState::default(), SendState::default()];
        let mut recipients: Vec<_> = others
            .iter()
            .zip(&mut pairs)
            .map(|(member, pair)| {
                let card = group.people.cards[member].card();
                let kk = card.kk.as_ref().filter(|_| first);
                Recipient { member: *member, prekey: card.prekey, kk, pair }
            })
            .collect();
        let terms = bundle::Terms {
            group: group.id,
            heads: group.ops.heads(),
            roster: roster.hash(),
            closing: None,
            topic: None,
            audit_head: [0; 16],
            now: world.now,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let sealed = bundle::seal(&person.me, terms, &mut recipients, &mut rng);
        let (head, chain) = (sealed.bundle.head.as_bytes().into(), sealed.bundle.head.chain());
        let pages = sealed.bundle.pages.into_iter().map(Into::into).collect();
        let one = sealed.ciphertexts.into_iter().find(|(member, _)| *member == world.id(1));
        let kem =
            one.map(|(member, kem)| KemWire { chain, entries: vec![KemEntry::new(member, &kem)] });
        (BundleWire { head, pages }, chain, kem)
    }

    #[test]
    fn a_recipient_waits_for_its_ciphertext_and_takes_no_other() {
        let mut world = World::with(3, true);
        let (wire, chain, kem) = untold(&world, true);
        let (kem, two) = (kem.unwrap(), world.id(2));
        world.act(1, |group, mut cx| group.take_bundle(&mut cx, wire));
        let waits = |world: &World| {
            world.people[1].group.as_ref().unwrap().receiving.held.get(&chain).map(|it| it.waits)
        };
        assert!(matches!(waits(&world), Some(Waits::Since(_))), "it has not failed");
        let mut forged = kem.clone();
        forged.entries[0].ciphertext[7] ^= 1;
        world.act(1, |group, mut cx| group.take_ciphertexts(&mut cx, two, forged));
        assert!(waits(&world).is_some(), "a wrong one changes nothing");
        world.act(1, |group, mut cx| group.take_ciphertexts(&mut cx, two, kem));
        let group = world.people[1].group.as_ref().unwrap();
        assert!(matches!(group.receiving.chains[&chain].state, ChainState::Open(_)));
    }

    #[test]
    fn a_ciphertext_that_comes_before_its_bundle_is_kept() {
        let mut world = World::with(3, true);
        let (wire, chain, kem) = untold(&world, true);
        let zero = world.id(0);
        world.act(1, |group, mut cx| group.take_ciphertexts(&mut cx, zero, kem.unwrap()));
        world.act(1, |group, mut cx| group.take_bundle(&mut cx, wire));
        let group = world.people[1].group.as_ref().unwrap();
        assert!(matches!(group.receiving.chains[&chain].state, ChainState::Open(_)));
    }

    #[test]
    fn a_first_contact_without_ml_kem_is_refused_where_the_sender_knew_the_key() {
        let mut world = World::with(3, true);
        let (wire, chain, kem) = untold(&world, false);
        assert!(kem.is_none());
        world.act(1, |group, mut cx| group.take_bundle(&mut cx, wire));
        let group = world.people[1].group.as_ref().unwrap();
        assert!(matches!(group.receiving.chains[&chain].state, ChainState::Failed));
        let told = |event: &Event| matches!(event, Event::Alarm(Alarm::SlotFailed(who)) if *who == world.id(0));
        assert!(world.people[1].events.iter().any(told));
    }

    #[test]
    fn after_first_contact_no_bundle_carries_a_ciphertext() {
        let mut world = World::with(3, true);
        for at in 0..3 {
            world.say(at, "hello");
        }
        world.settle();
        world.pass(5_000);
        for at in 0..3 {
            world.act(at, |group, cx| group.rotate(cx)).unwrap();
        }
        world.settle();
        for person in &world.people {
            let group = person.group.as_ref().unwrap();
            let chain = group.sending.chain.as_ref().unwrap().id();
            let head = group.receiving.chains[&chain].head.head();
            assert_eq!((head.version, &head.ciphertexts), (1, &None));
        }
    }

    #[test]
    fn what_waits_too_long_is_told_and_ends() {
        let mut world = World::with(3, true);
        let (wire, chain, _) = untold(&world, true);
        world.act(1, |group, mut cx| group.take_bundle(&mut cx, wire));
        world.pass(2 * 60_000);
        let group = world.people[1].group.as_ref().unwrap();
        let held = group.receiving.held.get(&chain).map(|held| held.waits);
        assert!(matches!(held, Some(Waits::Long(_))));
        world.pass(61 * 60_000);
        let group = world.people[1].group.as_ref().unwrap();
        assert!(matches!(group.receiving.chains[&chain].state, ChainState::Failed));
    }

    #[test]
    fn a_newcomer_among_many_sends_its_ciphertexts_to_their_inboxes() {
        let n = crate::bundle::CIPHERTEXTS + 3;
        let mut world = World::with(n, true);
        world.say(n - 1, "hello, all of you");
        world.settle();
        let group = world.people[n - 1].group.as_ref().unwrap();
        let chain = group.sending.chain.as_ref().unwrap().id();
        let head = group.receiving.chains[&chain].head.head();
        assert_eq!((head.version, &head.ciphertexts), (2, &None));
        let open = |at: &usize| {
            let group = world.people[*at].group.as_ref().unwrap();
            let entry = group.receiving.chains.get(&chain);
            entry.is_some_and(|entry| matches!(entry.state, ChainState::Open(_)))
        };
        assert_eq!((0..n - 1).filter(open).count(), n - 1);
    }
}
