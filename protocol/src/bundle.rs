//! The rotation: a signed bundle that seals a new chain's seed to each other member of a roster.
//!
//! ```text
//! Head    = CBOR [core bstr, page hashes bstr of 32·n, signature64]
//! core    = CBOR [1, group, sender, [op id…], roster32, E32, commit32, chain key32, prekey,
//!                 closing | null, topic box | null, incarnation8, audit head16]
//! ctx     = BLAKE2b-256("wt1 bundle ctx", core)            chain id = ctx[..16]
//! sig     = Ed25519(identity, "wt1/bundle\0" ‖ ctx ‖ H("wt1 bundle pages", page hashes))
//! commit  = KDF32(seed, "wt1 seed commit", group ‖ sender ‖ E)
//! tsbox   = AEAD(KDF64(seed, "wt1 ts box", topic commit), topic secret)
//! page    = slots in roster order, the sender left out, at most 512
//! slot    = type u8 ‖ prekey id4 ‖ epoch u16be ‖ counter u16be ‖ ct48                 57 bytes
//! K ‖ N   = KDF64(psk, "wt1 slot key", DH(e, RP) ‖ E ‖ RP ‖ recipient ‖ ctx);  ct = AEAD(K, N, ad = ctx, seed)
//! ```
//!
//! `ctx` commits to the sender's membership view, so each message signature, which covers `ctx`, is
//! a signature over that view too. The public commitment to the seed makes all recipients hold the
//! same chain, provably. docs/spec/rotation.md.

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

use crate::{
    chain::{ChainKey, ReceiveChain, SendChain},
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32, kdf32, kdf64},
    identity::Prekey,
    ids::{
        ChainId, GroupId, Incarnation, MemberId, MessageId, OpId, PrekeyId, RosterHash, Timestamp,
    },
    limits,
    pair::{ReceiveState, SendState},
    sign::{Context, Signature, SigningSecret, verify},
    topic::TopicSecret,
};

/// Slots on one page: a page and its frame fit one envelope.
pub const SLOTS_PER_PAGE: usize = 512;

const VERSION: u8 = 1;
const SLOT: usize = 57;
const RATCHET: u8 = 0;
const INIT: u8 = 1;

/// What a bundle's head says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Head {
    /// Always 1: classical slots.
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

#[derive(Clone, Copy, PartialEq, Eq)]
struct PageHash([u8; 32]);

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

/// A new chain: its bundle, and for each recipient the pair epoch of an init slot, to be confirmed.
pub struct Sealed {
    /// To be published.
    pub bundle: Bundle,
    /// To send with.
    pub chain: SendChain,
    /// Who got an init slot, with its epoch.
    pub inits: Vec<(MemberId, u16)>,
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
    let seed = random(rng);
    let ephemeral = StaticSecret::from(*random(rng));
    let public = PublicKey::from(&ephemeral).to_bytes();
    let signing = SigningSecret::generate(rng);
    let last = terms.closing.and_then(|closing| closing.last);
    let mut heads = terms.heads;
    heads.sort_unstable();
    heads.dedup();
    let head = Head {
        version: VERSION,
        group: terms.group,
        sender: me.member(),
        heads,
        roster: terms.roster,
        ephemeral: public,
        commit: commitment(&seed, &terms.group, &me.member(), &public),
        chain_key: signing.public(),
        prekey: me.prekey(),
        closing: terms.closing,
        topic: terms.topic.map(|topic| topic_box(&seed, topic)),
        incarnation: me.incarnation(),
        audit_head: terms.audit_head,
    };
    let core = codec::encode(&head);
    let context = hash32(Label::BundleContext, &[&core]);
    let mut inits = Vec::new();
    let mut slots = Vec::with_capacity(recipients.len() * SLOT);
    for recipient in recipients.iter_mut() {
        let to = SlotContext { ephemeral: &public, context: &context, member: &recipient.member };
        match slot(&to, &seed, &ephemeral, recipient.prekey, recipient.pair) {
            Some((slot, init)) => {
                slots.extend_from_slice(&slot);
                inits.extend(init.map(|epoch| (recipient.member, epoch)));
            }
            // A member whose prekey is no key gets bytes that nobody can open: its own doing.
            None => {
                let mut unusable = [0; SLOT];
                rng.fill_bytes(&mut unusable);
                unusable[0] = INIT;
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
    Sealed { bundle: Bundle { head, pages }, chain, inits }
}

/// Opens one's own slot: `position` is one's place among the recipients, `page` the page that
/// holds it. Whether the head's view is right is the caller's to check.
pub fn open(
    head: &SignedHead,
    page: &[u8],
    position: usize,
    me: &Endpoint,
    pair: &ReceiveState,
) -> Result<Opened, OpenError> {
    let (number, at) = (position / SLOTS_PER_PAGE, position % SLOTS_PER_PAGE * SLOT);
    if head.pages.get(number) != Some(&PageHash::of(page)) {
        return Err(OpenError::Page);
    }
    let slot: &[u8; SLOT] =
        page.get(at..at + SLOT).and_then(|slot| slot.try_into().ok()).ok_or(OpenError::Page)?;
    let (epoch, counter) =
        (u16::from_be_bytes([slot[5], slot[6]]), u16::from_be_bytes([slot[7], slot[8]]));
    let (psk, stepped) = match slot[0] {
        RATCHET => pair
            .psk(epoch, counter)
            .map(|(psk, next)| (psk, Some(next)))
            .map_err(|_| OpenError::NoKey)?,
        INIT => (Zeroizing::new([0; 32]), None),
        other => return Err(OpenError::Type(other)),
    };
    let prekey = PrekeyId([slot[1], slot[2], slot[3], slot[4]]);
    let secret = me.prekey_secret(prekey).ok_or(OpenError::NoKey)?;
    let shared = secret.diffie_hellman(&PublicKey::from(head.head.ephemeral));
    if !shared.was_contributory() {
        return Err(OpenError::Forged);
    }
    let to = SlotContext {
        ephemeral: &head.head.ephemeral,
        context: &head.context,
        member: &me.member(),
    };
    let keys = to.keys(&psk, shared.as_bytes(), &PublicKey::from(secret).to_bytes());
    let seed = decrypt(&keys, &head.context, &slot[9..]).ok_or(OpenError::Forged)?;
    let said = &head.head;
    let commit = commitment(&seed, &said.group, &said.sender, &said.ephemeral);
    if !bool::from(commit.ct_eq(&said.commit)) {
        return Err(OpenError::Forged);
    }
    let topic = match &said.topic {
        None => None,
        Some(sealed) => Some(open_topic(&seed, sealed).ok_or(OpenError::Forged)?),
    };
    let next = stepped.unwrap_or_else(|| pair.begun(epoch, &first_half(&keys), &head.context));
    let chain = ReceiveChain::new(&seed, head.context, said.chain_key);
    Ok(Opened { chain, pair: next, topic })
}

impl SignedHead {
    /// Reads and checks a head.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadHead> {
        let wire: HeadWire = codec::decode(bytes).map_err(|_| BadHead)?;
        let head: Head = codec::decode(&wire.core).map_err(|_| BadHead)?;
        let (hashes, rest) = wire.pages.as_chunks::<32>();
        let bounded = head.version == VERSION
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

impl PageHash {
    fn of(page: &[u8]) -> Self {
        Self(hash32(Label::BundlePage, &[page]))
    }

    fn join(pages: &[Self]) -> Vec<u8> {
        pages.iter().flat_map(|page| page.0).collect()
    }

    fn all(joined: &[u8]) -> [u8; 32] {
        hash32(Label::BundlePages, &[joined])
    }
}

struct SlotContext<'a> {
    ephemeral: &'a [u8; 32],
    context: &'a [u8; 32],
    member: &'a MemberId,
}

impl SlotContext<'_> {
    fn keys(&self, psk: &[u8; 32], shared: &[u8; 32], prekey: &[u8; 32]) -> Zeroizing<[u8; 64]> {
        let parts: [&[u8]; 5] = [shared, self.ephemeral, prekey, &self.member.0, self.context];
        Zeroizing::new(kdf64(psk, Label::SlotKey, &parts))
    }
}

fn slot(
    to: &SlotContext<'_>,
    seed: &[u8; 32],
    ephemeral: &StaticSecret,
    prekey: Prekey,
    pair: &mut SendState,
) -> Option<([u8; SLOT], Option<u16>)> {
    let shared = ephemeral.diffie_hellman(&PublicKey::from(prekey.public));
    if !shared.was_contributory() {
        return None;
    }
    let step = pair.advance();
    let keys = to.keys(&step.psk, shared.as_bytes(), &prekey.public);
    let mut slot = [0; SLOT];
    slot[0] = if step.init { INIT } else { RATCHET };
    slot[1..5].copy_from_slice(&prekey.id.0);
    slot[5..7].copy_from_slice(&step.epoch.to_be_bytes());
    slot[7..9].copy_from_slice(&step.counter.to_be_bytes());
    slot[9..].copy_from_slice(&encrypt(&keys, to.context, seed));
    if step.init {
        pair.begin(step.epoch, &first_half(&keys), to.context);
    }
    Some((slot, step.init.then_some(step.epoch)))
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

#[cfg(test)]
mod tests;
