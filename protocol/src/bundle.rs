//! The rotation: a signed bundle that seals a new chain's seed to each other member of a roster.
//!
//! ```text
//! Head    = CBOR [core bstr, page hashes bstr of 32·n, signature64]
//! core    = CBOR [1 | 2, group, sender, [op id…], roster32, E32, commit32, chain key32, prekey,
//!                 closing | null, topic box | null, incarnation8, audit head16,
//!                 ciphertexts' hashes bstr of 32·k | left out]
//! ctx     = BLAKE2b-256("wt1 bundle ctx", core)            chain id = ctx[..16]
//! sig     = Ed25519(identity, "wt1/bundle\0" ‖ ctx ‖ H("wt1 bundle pages", page hashes))
//! commit  = KDF32(seed, "wt1 seed commit", group ‖ sender ‖ E)
//! tsbox   = AEAD(KDF64(seed, "wt1 ts box", topic commit), topic secret)
//! page    = slots in roster order, the sender left out, at most 512
//! slot    = 57 bytes, see [`slot`]
//! ```
//!
//! `ctx` commits to the sender's membership view, so each message signature, which covers `ctx`, is
//! a signature over that view too. The public commitment to the seed makes all recipients hold the
//! same chain, provably. docs/spec/rotation.md.

mod page;
mod slot;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use self::page::PageHash;
pub use self::slot::{Ciphertext, SlotType};
use self::slot::{Prepared, Slot, SlotContext, kem_hash};
use crate::{
    chain::{ChainKey, ReceiveChain, SendChain},
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32, kdf32, kdf64},
    identity::Prekey,
    ids::{
        ChainId, GroupId, Incarnation, MemberId, MessageId, OpId, PrekeyId, RosterHash, Timestamp,
    },
    kem::{self, KemPublic},
    limits,
    pair::{First, ReceiveState, SendState},
    sign::{Context, Signature, SigningSecret, verify},
    topic::TopicSecret,
};

/// Slots on one page: a page and its frame fit one envelope.
pub const SLOTS_PER_PAGE: usize = 512;

/// First contacts with ML-KEM whose ciphertexts the head names. Where there are more, each goes to
/// its recipient alone.
pub const CIPHERTEXTS: usize = 64;

const CLASSICAL: u8 = 1;
const HYBRID: u8 = 2;
const SLOT: usize = 57;

/// What a bundle's head says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Head {
    /// 1: slots of types 0 and 1 alone. 2: some are of type 2 or 3.
    #[n(0)]
    pub version: u8,
    /// The group.
    #[n(1)]
    pub group: GroupId,
    /// Whose chain.
    #[n(2)]
    pub sender: MemberId,
    /// The heads of the ops that the sender knew, sorted.
    #[n(3)]
    pub heads: Vec<OpId>,
    /// What those ops resolve to.
    #[n(4)]
    pub roster: RosterHash,
    /// The ephemeral X25519 public key, shared by all slots.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub ephemeral: [u8; 32],
    /// The commitment to the seed.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub commit: [u8; 32],
    /// The Ed25519 key that signs the chain's messages.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub chain_key: [u8; 32],
    /// The sender's own recipient prekey.
    #[n(8)]
    pub prekey: Prekey,
    /// How the sender's chain before this one ended.
    #[n(9)]
    pub closing: Option<Closing>,
    /// A topic secret, handed over under the seed.
    #[n(10)]
    pub topic: Option<TopicBox>,
    /// The run of the sender's process.
    #[n(11)]
    pub incarnation: Incarnation,
    /// The head of the sender's audit log; zeros where it keeps none.
    #[cbor(n(12), with = "minicbor::bytes")]
    pub audit_head: [u8; 16],
    /// The hashes of the ML-KEM ciphertexts of the slots of type 2, in their order: 32 bytes each,
    /// one to [`CIPHERTEXTS`]. `None` where there are none.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub ciphertexts: Option<Vec<u8>>,
}

/// How a chain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Closing {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// How many messages it carried.
    #[n(1)]
    pub count: u32,
    /// The last of them, or of the chains before.
    #[n(2)]
    pub last: Option<MessageId>,
}

/// A topic secret under a bundle's seed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct TopicBox {
    /// Which topic: its commitment.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub commit: [u8; 32],
    /// The sealed secret, 48 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct HeadWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    core: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pages: Vec<u8>,
    #[n(2)]
    signature: Signature,
}

/// A head whose signature holds, with the bytes that it came in.
#[derive(Clone)]
pub struct SignedHead {
    head: Head,
    context: [u8; 32],
    pages: Vec<PageHash>,
    bytes: Vec<u8>,
}

/// A whole bundle.
#[derive(Clone)]
pub struct Bundle {
    /// The signed head.
    pub head: SignedHead,
    /// All pages.
    pub pages: Vec<Vec<u8>>,
}

/// Bytes that are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a signed bundle head")]
pub struct BadHead;

/// A slot that was not opened. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The page is not one of this bundle, or is cut.
    #[error("not a page of this bundle")]
    Page,
    /// A slot type that this version does not know.
    #[error("slot type {0} is not supported")]
    Type(u8),
    /// The slot's ML-KEM ciphertext was not given, or is another than the head names.
    #[error("the slot's ML-KEM ciphertext is lacking")]
    Ciphertext,
    /// This node has not the prekey or the ratchet key that the slot asks for.
    #[error("no key for this slot")]
    NoKey,
    /// The slot, the seed's commitment or the topic box does not hold.
    #[error("the slot does not open")]
    Forged,
}

/// One to whom a seed is sealed.
pub struct Recipient<'a> {
    /// Who.
    pub member: MemberId,
    /// Its newest known prekey.
    pub prekey: Prekey,
    /// Its newest known ML-KEM key: where there is one, a first contact is never sealed without.
    pub kk: Option<&'a KemPublic>,
    /// The ratchet towards it.
    pub pair: &'a mut SendState,
}

/// What a new chain is made from.
pub struct Terms<'a> {
    /// The group.
    pub group: GroupId,
    /// The heads of the sender's ops, in any order, at most [`limits::OP_DEPS`].
    pub heads: Vec<OpId>,
    /// What they resolve to.
    pub roster: RosterHash,
    /// How the chain before ended.
    pub closing: Option<Closing>,
    /// A topic secret to hand over.
    pub topic: Option<&'a TopicSecret>,
    /// The head of the sender's audit log.
    pub audit_head: [u8; 16],
    /// The time.
    pub now: Timestamp,
}

/// What a slot gave.
pub struct Opened {
    /// The sender's chain.
    pub chain: ReceiveChain,
    /// The ratchet from that sender, advanced.
    pub pair: ReceiveState,
    /// The topic secret that was handed over.
    pub topic: Option<TopicSecret>,
}

/// A new chain: its bundle, and for each recipient the pair epoch of a first contact, to be confirmed.
pub struct Sealed {
    /// To be published.
    pub bundle: Bundle,
    /// To send with.
    pub chain: SendChain,
    /// Who got a slot of type 1, 2 or 3, with its epoch.
    pub inits: Vec<(MemberId, u16)>,
    /// The ML-KEM ciphertexts, to be published beside the bundle where its head names them, and
    /// otherwise to be told to each recipient alone.
    pub ciphertexts: Vec<(MemberId, Ciphertext)>,
}

/// The id of the chain with this context.
#[must_use]
pub fn chain_id(context: &[u8; 32]) -> ChainId {
    let mut id = [0; 16];
    id.copy_from_slice(&context[..16]);
    ChainId(id)
}

/// How many pages a bundle to `recipients` members has. A bundle to nobody has none.
#[must_use]
pub fn pages(recipients: usize) -> usize {
    recipients.div_ceil(SLOTS_PER_PAGE)
}

/// Makes a new chain and seals its seed to each recipient, in the order given: roster order, the
/// sender left out. Seed and ephemeral key are gone when this returns.
pub fn seal(
    me: &Endpoint,
    terms: Terms<'_>,
    recipients: &mut [Recipient<'_>],
    rng: &mut impl CryptoRng,
) -> Sealed {
    seal_with(me, terms, me.prekey(), recipients, rng)
}

/// The same, with another prekey than the one on the sender's card.
pub(crate) fn seal_with(
    me: &Endpoint,
    terms: Terms<'_>,
    prekey: Prekey,
    recipients: &mut [Recipient<'_>],
    rng: &mut impl CryptoRng,
) -> Sealed {
    let seed = random(rng);
    let ephemeral = StaticSecret::from(*random(rng));
    let public = PublicKey::from(&ephemeral).to_bytes();
    // As random as the ephemeral key, which no other bundle has.
    let epoch = u16::from_be_bytes([public[0], public[1]]);
    let signing = SigningSecret::generate(rng);
    let last = terms.closing.and_then(|closing| closing.last);
    let mut heads = terms.heads;
    heads.sort_unstable();
    heads.dedup();
    let mut prepared: Vec<Option<Prepared>> =
        recipients.iter_mut().map(|to| prepare(&ephemeral, epoch, to, rng)).collect();
    let kems = recipients.iter().zip(&prepared).filter_map(|(recipient, slot)| {
        let (ciphertext, _) = slot.as_ref()?.kem.as_ref()?;
        Some((recipient.member, ciphertext.clone()))
    });
    let ciphertexts: Vec<(MemberId, Ciphertext)> = kems.collect();
    let named = (1..=CIPHERTEXTS).contains(&ciphertexts.len());
    let hashes = ciphertexts.iter().flat_map(|(member, ciphertext)| kem_hash(member, ciphertext));
    let head = Head {
        version: if ciphertexts.is_empty() { CLASSICAL } else { HYBRID },
        group: terms.group,
        sender: me.member(),
        heads,
        roster: terms.roster,
        ephemeral: public,
        commit: commitment(&seed, &terms.group, &me.member(), &public),
        chain_key: signing.public(),
        prekey,
        closing: terms.closing,
        topic: terms.topic.map(|topic| topic_box(&seed, topic)),
        incarnation: me.incarnation(),
        audit_head: terms.audit_head,
        ciphertexts: named.then(|| hashes.collect()),
    };
    let core = codec::encode(&head);
    let context = hash32(Label::BundleContext, &[&core]);
    let kem = if named { SlotType::Kem } else { SlotType::Inbox };
    let mut inits = Vec::new();
    let mut slots = Vec::with_capacity(recipients.len() * SLOT);
    for (recipient, prepared) in recipients.iter_mut().zip(&mut prepared) {
        let to = SlotContext { ephemeral: &public, context: &context, member: &recipient.member };
        match prepared.take() {
            Some(prepared) => {
                let (slot, init) = prepared.seal(&to, &seed, kem, recipient.pair);
                slots.extend_from_slice(&slot);
                inits.extend(init.map(|epoch| (recipient.member, epoch)));
            }
            // A member whose prekey is no key gets bytes that nobody can open: its own doing.
            None => {
                let mut unusable = [0; SLOT];
                rng.fill_bytes(&mut unusable);
                unusable[0] = SlotType::Init as u8;
                slots.extend_from_slice(&unusable);
            }
        }
    }
    let pages: Vec<Vec<u8>> = slots.chunks(SLOTS_PER_PAGE * SLOT).map(Vec::from).collect();
    let hashes: Vec<_> = pages.iter().map(|page| PageHash::of(page)).collect();
    let joined = PageHash::join(&hashes);
    let signature = me.identity().sign(Context::Bundle, &[&context, &PageHash::all(&joined)]);
    let bytes = codec::encode(&HeadWire { core, pages: joined, signature });
    let chain = SendChain {
        context,
        signing,
        key: ChainKey::first(&seed, &context),
        count: 0,
        last,
        roster: terms.roster,
        born: terms.now,
    };
    let head = SignedHead { head, context, pages: hashes, bytes };
    Sealed { bundle: Bundle { head, pages }, chain, inits, ciphertexts }
}

/// The type of the slot at `position` among the recipients.
pub fn slot_type(page: &[u8], position: usize) -> Result<SlotType, OpenError> {
    slot_at(page, position).and_then(|slot| SlotType::of(slot[0]))
}

/// Opens one's own slot: `position` is one's place among the recipients, `page` the page that
/// holds it, `ciphertext` what is known of one's ML-KEM ciphertext. Whether the head's view is
/// right is the caller's to check.
pub fn open(
    head: &SignedHead,
    page: &[u8],
    position: usize,
    me: &Endpoint,
    pair: &ReceiveState,
    ciphertext: Option<&[u8; kem::CIPHERTEXT]>,
) -> Result<Opened, OpenError> {
    open_with(head, page, position, me, None, pair, ciphertext)
}

/// The prekey to which the slot at `position` is sealed.
pub(crate) fn slot_prekey(page: &[u8], position: usize) -> Result<PrekeyId, OpenError> {
    Slot::read(slot_at(page, position)?).map(|slot| slot.prekey)
}

/// The same, with the secret that the slot asks for where it is none of the endpoint's.
pub(crate) fn open_with(
    head: &SignedHead,
    page: &[u8],
    position: usize,
    me: &Endpoint,
    secret: Option<&StaticSecret>,
    pair: &ReceiveState,
    ciphertext: Option<&[u8; kem::CIPHERTEXT]>,
) -> Result<Opened, OpenError> {
    if head.pages.get(position / SLOTS_PER_PAGE) != Some(&PageHash::of(page)) {
        return Err(OpenError::Page);
    }
    let slot = Slot::read(slot_at(page, position)?)?;
    let said = &head.head;
    let fits = match slot.kind {
        SlotType::Ratchet | SlotType::Init => true,
        SlotType::Kem => said.ciphertexts.is_some(),
        SlotType::Inbox => said.version == HYBRID && said.ciphertexts.is_none(),
    };
    if !fits {
        return Err(OpenError::Type(slot.kind as u8));
    }
    let member = me.member();
    let ciphertext = ciphertext.filter(|ciphertext| match slot.kind {
        SlotType::Kem => head.names(&member, ciphertext),
        SlotType::Ratchet | SlotType::Init | SlotType::Inbox => true,
    });
    let to = SlotContext { ephemeral: &said.ephemeral, context: &head.context, member: &member };
    let (seed, pair) = slot.open(&to, me, secret, pair, ciphertext)?;
    let commit = commitment(&seed, &said.group, &said.sender, &said.ephemeral);
    if !bool::from(commit.ct_eq(&said.commit)) {
        return Err(OpenError::Forged);
    }
    let topic = match &said.topic {
        None => None,
        Some(sealed) => Some(open_topic(&seed, sealed).ok_or(OpenError::Forged)?),
    };
    let chain = ReceiveChain::new(&seed, head.context, said.chain_key);
    Ok(Opened { chain, pair, topic })
}

fn slot_at(page: &[u8], position: usize) -> Result<&[u8; SLOT], OpenError> {
    let at = position % SLOTS_PER_PAGE * SLOT;
    page.get(at..at + SLOT).and_then(|slot| slot.try_into().ok()).ok_or(OpenError::Page)
}

/// The pair's next step towards a recipient, and for a first contact what ML-KEM gives.
fn prepare(
    ephemeral: &StaticSecret,
    epoch: u16,
    to: &mut Recipient<'_>,
    rng: &mut impl CryptoRng,
) -> Option<Prepared> {
    let first = if to.kk.is_some() { First::Hybrid } else { First::Classical };
    let mut prepared = Prepared::new(ephemeral, to.prekey, first, epoch, to.pair)?;
    if prepared.is_first() {
        prepared.kem = to.kk.map(|kk| kk.encapsulate(rng));
    }
    Some(prepared)
}

impl SignedHead {
    /// Reads and checks a head.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadHead> {
        let wire: HeadWire = codec::decode(bytes).map_err(|_| BadHead)?;
        let head: Head = codec::decode(&wire.core).map_err(|_| BadHead)?;
        let (hashes, rest) = wire.pages.as_chunks::<32>();
        let hashes_fit = match (&head.ciphertexts, head.version) {
            (None, CLASSICAL | HYBRID) => true,
            (Some(hashes), HYBRID) => {
                hashes.len() % 32 == 0 && (1..=CIPHERTEXTS).contains(&(hashes.len() / 32))
            }
            _ => false,
        };
        let bounded = hashes_fit
            && head.heads.len() <= limits::OP_DEPS
            && head.heads.is_sorted_by(|a, b| a < b)
            && rest.is_empty()
            && hashes.len() <= pages(limits::MEMBERS);
        if !bounded {
            return Err(BadHead);
        }
        let context = hash32(Label::BundleContext, &[&wire.core]);
        let signed: [&[u8]; 2] = [&context, &PageHash::all(&wire.pages)];
        verify(&head.sender.0, Context::Bundle, &signed, &wire.signature).map_err(|_| BadHead)?;
        let pages = hashes.iter().copied().map(PageHash).collect();
        Ok(Self { head, context, pages, bytes: bytes.into() })
    }

    /// What it says.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The chain that it makes.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        chain_id(&self.context)
    }

    /// What its chain's messages are signed under.
    pub(crate) fn context(&self) -> &[u8; 32] {
        &self.context
    }

    /// A hash of the hashes of its pages.
    pub(crate) fn pages_hash(&self) -> [u8; 32] {
        PageHash::all(&PageHash::join(&self.pages))
    }

    /// How many pages it names.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Which page these bytes are, if they are one of this bundle.
    #[must_use]
    pub fn page_number(&self, page: &[u8]) -> Option<usize> {
        let hash = PageHash::of(page);
        self.pages.iter().position(|known| *known == hash)
    }

    /// Whether this is the ML-KEM ciphertext that the head names for that recipient.
    #[must_use]
    pub fn names(&self, member: &MemberId, ciphertext: &[u8; kem::CIPHERTEXT]) -> bool {
        let hash = kem_hash(member, ciphertext);
        let hashes = self.head.ciphertexts.as_ref();
        hashes.is_some_and(|hashes| hashes.chunks_exact(32).any(|named| named == hash))
    }

    /// Whether `page` is this bundle's page of that number, and it has room for exactly the slots
    /// of a roster with this many others: a sender can't hide one more recipient on it.
    #[must_use]
    pub fn has_page(&self, number: usize, page: &[u8], recipients: usize) -> bool {
        let before = number.saturating_mul(SLOTS_PER_PAGE);
        let slots = recipients.saturating_sub(before).min(SLOTS_PER_PAGE);
        self.pages.len() == pages(recipients)
            && self.pages.get(number) == Some(&PageHash::of(page))
            && page.len() == slots * SLOT
    }

    /// The signed bytes, as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn commitment(
    seed: &[u8; 32],
    group: &GroupId,
    sender: &MemberId,
    ephemeral: &[u8; 32],
) -> [u8; 32] {
    kdf32(seed, Label::SeedCommit, &[&group.0, &sender.0, ephemeral])
}

fn topic_box(seed: &[u8; 32], topic: &TopicSecret) -> TopicBox {
    let commit = topic.commit();
    let keys = Zeroizing::new(kdf64(seed, Label::TopicBox, &[&commit]));
    TopicBox { commit, sealed: encrypt(&keys, &commit, topic.as_bytes()) }
}

fn open_topic(seed: &[u8; 32], sealed: &TopicBox) -> Option<TopicSecret> {
    let keys = Zeroizing::new(kdf64(seed, Label::TopicBox, &[&sealed.commit]));
    let topic = TopicSecret::from_bytes(*decrypt(&keys, &sealed.commit, &sealed.sealed)?);
    (topic.commit() == sealed.commit).then_some(topic)
}

fn encrypt(keys: &[u8; 64], aad: &[u8; 32], secret: &[u8; 32]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "fails only beyond 256 GiB")]
    cipher(keys)
        .encrypt(&nonce(keys).into(), Payload { msg: secret, aad })
        .expect("32 bytes are short")
}

fn decrypt(keys: &[u8; 64], aad: &[u8; 32], sealed: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let opened = cipher(keys).decrypt(&nonce(keys).into(), Payload { msg: sealed, aad }).ok()?;
    let opened = Zeroizing::new(opened);
    opened.as_slice().try_into().ok().map(Zeroizing::new)
}

fn cipher(keys: &[u8; 64]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new((&*first_half(keys)).into())
}

fn first_half(keys: &[u8; 64]) -> Zeroizing<[u8; 32]> {
    let mut half = Zeroizing::new([0; 32]);
    half.copy_from_slice(&keys[..32]);
    half
}

fn nonce(keys: &[u8; 64]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&keys[32..44]);
    nonce
}

fn random(rng: &mut impl CryptoRng) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(bytes.as_mut());
    bytes
}

#[cfg(any(test, feature = "sim"))]
mod malice;
#[cfg(any(test, feature = "sim"))]
pub(crate) use self::malice::mixed;
