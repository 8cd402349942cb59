//! Who is at the other end of a channel: a Noise static key, certified by an identity.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    endpoint::Endpoint,
    identity::SignedCard,
    ids::{MemberId, Timestamp},
    sign::{Context, Signature, verify},
};

/// A Noise static key with its certificate by the identity. Wiped on drop; it is never stored, so
/// its life is at most that of the process and 30 days.
pub struct NoiseKey {
    secret: StaticSecret,
    not_after: Timestamp,
    certificate: Signature,
}

/// Whom a channel is with: proven, not claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The identity.
    pub member: MemberId,
    /// The card that it showed. Of the cards of one identity the highest `seq` wins, so this need
    /// not be the newest.
    pub card: SignedCard,
    /// The static key that the channel proved, and until when it is certified; none in letters.
    pub certified: Option<([u8; 32], Timestamp)>,
}

/// Why what a peer says of itself was refused. For the log; the peer is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentError {
    /// No ident, or with a card that doesn't hold.
    #[error("not an ident")]
    Malformed,
    /// The certificate isn't of this static key by this identity.
    #[error("the certificate doesn't hold for this channel")]
    Certificate,
    /// The certificate ended more than 35 days ago.
    #[error("the certificate ended {} ms ago", .ago_ms)]
    Expired {
        /// Milliseconds since it ended.
        ago_ms: u64,
    },
}

/// What travels in msg2 and msg3.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Ident {
    #[cbor(n(0), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[n(1)]
    not_after: Timestamp,
    #[n(2)]
    certificate: Signature,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How long a key is certified for.
const LIFE_MS: u64 = 30 * DAY_MS;

/// How long after its end a certificate is still taken: a wrong clock on either side must not lock
/// anybody out, and a key leaves memory with its process anyway.
const GRACE_MS: u64 = 35 * DAY_MS;

impl NoiseKey {
    /// Makes a key and certifies it for 30 days.
    pub fn generate(me: &Endpoint, now: Timestamp, rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        let secret = StaticSecret::from(*secret);
        let not_after = now.plus_ms(LIFE_MS);
        let public = PublicKey::from(&secret);
        let certificate =
            me.identity().sign(Context::NoiseKey, &[public.as_bytes(), &not_after.0.to_be_bytes()]);
        Self { secret, not_after, certificate }
    }

    /// When its certificate ends: make another before that.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    pub(super) fn ident(&self, me: &Endpoint) -> Ident {
        Ident {
            card: me.card().as_bytes().into(),
            not_after: self.not_after,
            certificate: self.certificate,
        }
    }
}

impl Ident {
    /// Checks it against the static key that Noise authenticated.
    pub(super) fn verify(&self, remote: &[u8], now: Timestamp) -> Result<Peer, IdentError> {
        let card = SignedCard::from_bytes(&self.card).map_err(|_| IdentError::Malformed)?;
        let member = card.card().member;
        verify(
            &member.0,
            Context::NoiseKey,
            &[remote, &self.not_after.0.to_be_bytes()],
            &self.certificate,
        )
        .map_err(|_| IdentError::Certificate)?;
        if self.not_after.plus_ms(GRACE_MS) < now {
            return Err(IdentError::Expired { ago_ms: now.ms_since(self.not_after) });
        }
        let key = remote.try_into().map_err(|_| IdentError::Malformed)?;
        Ok(Peer { member, card, certified: Some((key, self.not_after)) })
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn setup() -> (Endpoint, NoiseKey, [u8; 32], ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let me = Endpoint::generate("Ada", Vec::new(), &mut rng).unwrap();
        let key = NoiseKey::generate(&me, NOW, &mut rng);
        let public = PublicKey::from(&key.secret).to_bytes();
        (me, key, public, rng)
    }

    #[test]
    fn a_certificate_holds_for_its_own_key_alone() {
        let (me, key, public, mut rng) = setup();
        let other = NoiseKey::generate(&me, NOW, &mut rng);
        let peer = key.ident(&me).verify(&public, NOW).unwrap();
        assert_eq!((peer.member, &peer.card), (me.member(), me.card()));
        assert_eq!(peer.certified, Some((public, key.not_after())));
        assert_eq!(other.ident(&me).verify(&public, NOW), Err(IdentError::Certificate));
        let longer = Ident { not_after: NOW.plus_ms(2 * LIFE_MS), ..key.ident(&me) };
        assert_eq!(longer.verify(&public, NOW), Err(IdentError::Certificate));
    }

    #[test]
    fn a_certificate_does_not_hold_for_another_identity() {
        let (me, key, public, mut rng) = setup();
        let thief = Endpoint::generate("Eve", Vec::new(), &mut rng).unwrap();
        assert_eq!(key.ident(&thief).verify(&public, NOW), Err(IdentError::Certificate));
        let cardless = Ident { card: Vec::new(), ..key.ident(&me) };
        assert_eq!(cardless.verify(&public, NOW), Err(IdentError::Malformed));
    }

    #[test]
    fn a_clock_that_is_a_month_off_locks_nobody_out() {
        let (me, key, public, _) = setup();
        let end = NOW.plus_ms(LIFE_MS + GRACE_MS);
        assert!(key.ident(&me).verify(&public, Timestamp(0)).is_ok());
        assert!(key.ident(&me).verify(&public, end).is_ok());
        assert_eq!(
            key.ident(&me).verify(&public, end.plus_ms(1)),
            Err(IdentError::Expired { ago_ms: GRACE_MS + 1 })
        );
    }
}
