//! One recipient's place on a page: the chain's seed, sealed to its prekey and to what the pair has.
//!
//! ```text
//! slot  = type u8 ‖ prekey id4 ‖ epoch u16be ‖ counter u16be ‖ ct48                   57 bytes
//!  0 ratchet  psk = KDF32(k, "wt1 pair mk")
//!  1 init     psk = 32 zeros
//!  2 kem      psk = ML-KEM's shared secret; the ciphertext's hash is in the head
//!  3 inbox    as 2; the ciphertext is in no list: the sender told it to the recipient alone
//! K ‖ N = KDF64(psk, "wt1 slot key", DH(e, RP) ‖ E ‖ RP ‖ recipient ‖ ctx [‖ hash of the ciphertext])
//! ct    = AEAD(K, N, ad = ctx, seed)
//! hash  = H("wt1 slot kem", recipient ‖ ML-KEM ciphertext)
//! ```

use alloc::boxed::Box;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{OpenError, SLOT, decrypt, encrypt, first_half};
use crate::{
    endpoint::Endpoint,
    hash::{Label, hash32, kdf64},
    identity::Prekey,
    ids::{MemberId, PrekeyId},
    kem::{self, Shared},
    pair::{First, ReceiveState, SendState, Step},
};

/// An ML-KEM-768 ciphertext.
pub type Ciphertext = Box<[u8; kem::CIPHERTEXT]>;

/// What a slot is sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotType {
    /// 0: the pair's ratchet.
    Ratchet,
    /// 1: first contact, classical.
    Init,
    /// 2: first contact with ML-KEM; the head names the ciphertext.
    Kem,
    /// 3: first contact with ML-KEM; the ciphertext goes to the recipient alone.
    Inbox,
}

/// A slot, taken apart.
pub(super) struct Slot<'a> {
    pub kind: SlotType,
    pub prekey: PrekeyId,
    pub epoch: u16,
    pub counter: u16,
    pub sealed: &'a [u8],
}

/// What all slots of a bundle share, and for whom this one is.
pub(super) struct SlotContext<'a> {
    pub ephemeral: &'a [u8; 32],
    pub context: &'a [u8; 32],
    pub member: &'a MemberId,
}

/// A recipient's slot before the bundle's context is known.
pub(super) struct Prepared {
    prekey: Prekey,
    shared: x25519_dalek::SharedSecret,
    step: Step,
    pub kem: Option<(Ciphertext, Shared)>,
}

impl SlotType {
    pub(super) fn of(byte: u8) -> Result<Self, OpenError> {
        Ok(match byte {
            0 => Self::Ratchet,
            1 => Self::Init,
            2 => Self::Kem,
            3 => Self::Inbox,
            other => return Err(OpenError::Type(other)),
        })
    }
}

/// The hash by which a head names a recipient's ciphertext.
pub(super) fn kem_hash(member: &MemberId, ciphertext: &[u8; kem::CIPHERTEXT]) -> [u8; 32] {
    hash32(Label::SlotKem, &[&member.0, ciphertext])
}

impl<'a> Slot<'a> {
    pub fn read(slot: &'a [u8; SLOT]) -> Result<Self, OpenError> {
        Ok(Self {
            kind: SlotType::of(slot[0])?,
            prekey: PrekeyId([slot[1], slot[2], slot[3], slot[4]]),
            epoch: u16::from_be_bytes([slot[5], slot[6]]),
            counter: u16::from_be_bytes([slot[7], slot[8]]),
            sealed: &slot[9..],
        })
    }

    /// The seed, and the pair's state once it has been used.
    pub fn open(
        &self,
        to: &SlotContext<'_>,
        me: &Endpoint,
        secret: Option<&StaticSecret>,
        pair: &ReceiveState,
        kem: Option<&[u8; kem::CIPHERTEXT]>,
    ) -> Result<(Zeroizing<[u8; 32]>, ReceiveState), OpenError> {
        let secret = secret.or(me.prekey_secret(self.prekey)).ok_or(OpenError::NoKey)?;
        let shared = secret.diffie_hellman(&PublicKey::from(*to.ephemeral));
        if !shared.was_contributory() {
            return Err(OpenError::Forged);
        }
        let prekey = PublicKey::from(secret).to_bytes();
        let open = |psk: &[u8; 32], hash: &[u8]| {
            let keys = to.keys(psk, shared.as_bytes(), &prekey, hash);
            decrypt(&keys, to.context, self.sealed).map(|seed| (keys, seed))
        };
        let begun = |keys: &[u8; 64]| pair.begun(self.epoch, &first_half(keys), to.context);
        match self.kind {
            SlotType::Ratchet => {
                let (psk, next) =
                    pair.psk(self.epoch, self.counter).map_err(|_| OpenError::NoKey)?;
                let (_, seed) = open(&psk, &[]).ok_or(OpenError::Forged)?;
                Ok((seed, next))
            }
            SlotType::Init => {
                let (keys, seed) = open(&[0; 32], &[]).ok_or(OpenError::Forged)?;
                Ok((seed, begun(&keys)))
            }
            SlotType::Kem | SlotType::Inbox => {
                let kem = kem.ok_or(OpenError::Ciphertext)?;
                let hash = kem_hash(to.member, kem);
                // A secret for another key is no error of ML-KEM's: the AEAD tells which key it is.
                let opened = me.kem_secrets().find_map(|key| open(&key.decapsulate(kem), &hash));
                let (keys, seed) = opened.ok_or(OpenError::Forged)?;
                Ok((seed, begun(&keys)))
            }
        }
    }
}

impl SlotContext<'_> {
    pub(super) fn keys(
        &self,
        psk: &[u8; 32],
        shared: &[u8; 32],
        prekey: &[u8; 32],
        kem: &[u8],
    ) -> Zeroizing<[u8; 64]> {
        let parts: [&[u8]; 6] = [shared, self.ephemeral, prekey, &self.member.0, self.context, kem];
        Zeroizing::new(kdf64(psk, Label::SlotKey, &parts))
    }
}

impl Prepared {
    /// The pair's next step towards a prekey; `None` where that is no key. A first contact begins
    /// the epoch of this number.
    pub fn new(
        ephemeral: &StaticSecret,
        prekey: Prekey,
        first: First,
        epoch: u16,
        pair: &mut SendState,
    ) -> Option<Self> {
        let shared = ephemeral.diffie_hellman(&PublicKey::from(prekey.public));
        if !shared.was_contributory() {
            return None;
        }
        let step = pair.advance(first, epoch);
        Some(Self { prekey, shared, step, kem: None })
    }

    /// Whether this slot begins an epoch.
    pub fn is_first(&self) -> bool {
        self.step.init
    }

    /// The slot's bytes, and the epoch that it begins.
    pub fn seal(
        self,
        to: &SlotContext<'_>,
        seed: &[u8; 32],
        with_kem: SlotType,
        pair: &mut SendState,
    ) -> ([u8; SLOT], Option<u16>) {
        let Step { epoch, counter, psk, init } = self.step;
        let (kind, psk, hash, first) = match &self.kem {
            Some((ciphertext, shared)) => {
                let hash = Some(kem_hash(to.member, ciphertext));
                (with_kem, shared.clone(), hash, First::Hybrid)
            }
            None if init => (SlotType::Init, psk, None, First::Classical),
            None => (SlotType::Ratchet, psk, None, First::Classical),
        };
        let hash = hash.as_ref().map_or([].as_slice(), |hash| hash);
        let keys = to.keys(&psk, self.shared.as_bytes(), &self.prekey.public, hash);
        let mut slot = [0; SLOT];
        slot[0] = kind as u8;
        slot[1..5].copy_from_slice(&self.prekey.id.0);
        slot[5..7].copy_from_slice(&epoch.to_be_bytes());
        slot[7..9].copy_from_slice(&counter.to_be_bytes());
        slot[9..].copy_from_slice(&encrypt(&keys, to.context, seed));
        if init {
            pair.begin(epoch, &first_half(&keys), to.context, first);
        }
        (slot, init.then_some(epoch))
    }
}
