//! An identity in a backup: the keys that name it, and none that opens anything.
//!
//! > A backup holds no prekey and no ML-KEM key: what was sealed to the lost machine stays closed, and
//! > whoever restores the backup makes keys of its own, under a card that no lost one can equal.
//!
//! ```text
//! CBOR [1, identity seed32, card, recovery seed32 | null]
//! ```

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{Endpoint, LoadError, PrekeySecret, keys::Ring, stored};
use crate::{codec, kem::KemSecret, recovery::RecoveryKey};

#[derive(Encode, Decode)]
#[cbor(array)]
struct Kept {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    recovery: Option<[u8; 32]>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.recovery.zeroize();
    }
}

const VERSION: u8 = 1;

/// How far a restored card's `seq` is above that of the backup, at least: more than a lost machine
/// can have signed since. As much again is by chance, so that two who restore one backup differ.
const LEAP: u64 = 1 << 24;

impl Endpoint {
    /// What of it may be in a backup, to be stored encrypted: identity, card and recovery key.
    #[must_use]
    pub fn backup(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&Kept {
            version: VERSION,
            identity: *self.identity.seed(),
            card: self.card.as_bytes().into(),
            recovery: self.recovery.as_ref().map(|recovery| *recovery.seed()),
        }))
    }

    /// Reads what [`Self::backup`] wrote, and makes new prekeys and a new card.
    pub fn restore(bytes: &[u8], rng: &mut impl CryptoRng) -> Result<Self, LoadError> {
        match bytes.first_chunk::<2>() {
            Some([0x80..=0x97, version]) if (VERSION + 1..24).contains(version) => {
                return Err(LoadError::Newer);
            }
            _ => {}
        }
        let kept: Kept = codec::decode(bytes).map_err(|_| LoadError::Damaged)?;
        if kept.version != VERSION {
            return Err(LoadError::Damaged);
        }
        let (identity, card) = stored::identity(&kept.identity, &kept.card)?;
        let recovery = kept.recovery.as_ref().map(RecoveryKey::from_seed);
        let seq = card.card().seq.saturating_add(LEAP + rng.next_u64() % LEAP);
        let secret = PrekeySecret::generate(seq, rng);
        let prekey = secret.public();
        let mut endpoint = Self {
            identity,
            card,
            prekeys: Ring::new(secret),
            kems: Ring::new(KemSecret::generate(rng)),
            recovery,
            incarnation: super::incarnation(rng),
        };
        endpoint.issue(seq, |card| card.prekey = prekey);
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_restored_identity_has_no_key_of_the_lost_machine_and_a_card_of_its_own() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let lost = Endpoint::generate("ana", vec![vec![1; 38]], &mut rng).unwrap();
        let backup = lost.backup();
        let secret = lost.prekey_secret(lost.prekey().id).unwrap().to_bytes();
        assert!(!backup.windows(32).any(|part| part == secret));
        let once = Endpoint::restore(&backup, &mut rng).unwrap();
        let again = Endpoint::restore(&backup, &mut rng).unwrap();
        for restored in [&once, &again] {
            assert_eq!(restored.member(), lost.member());
            assert_eq!(restored.identity().seed(), lost.identity().seed());
            let (card, before) = (restored.card().card(), lost.card().card());
            assert_eq!((&card.name, &card.nodes), (&before.name, &before.nodes));
            assert_eq!(card.recovery, before.recovery);
            assert_ne!((card.prekey, &card.kk), (before.prekey, &before.kk));
            assert!(card.seq >= before.seq + LEAP);
            assert!(restored.prekey_secret(lost.prekey().id).is_none());
            assert_eq!(restored.recovery().is_some(), lost.recovery().is_some());
            // It is stored as any other.
            assert!(Endpoint::load(&restored.save(), &mut rng).is_ok());
        }
        assert_ne!(once.card().card().seq, again.card().card().seq);
    }

    #[test]
    fn a_forgotten_recovery_key_is_not_in_a_backup() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut lost = Endpoint::generate("ana", vec![], &mut rng).unwrap();
        lost.forget_recovery();
        let restored = Endpoint::restore(&lost.backup(), &mut rng).unwrap();
        assert!(restored.recovery().is_none());
        assert_eq!(restored.card().card().recovery, lost.card().card().recovery);
    }

    #[test]
    fn newer_and_damaged_backups_of_an_identity_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let backup = Endpoint::generate("ana", vec![], &mut rng).unwrap().backup();
        let mut newer = backup.clone();
        newer[1] = VERSION + 1;
        assert_eq!(Endpoint::restore(&newer, &mut rng).err(), Some(LoadError::Newer));
        for at in 0..backup.len() {
            assert!(Endpoint::restore(&backup[..at], &mut rng).is_err(), "{at}");
        }
    }
}
