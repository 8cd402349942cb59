//! A topic epoch's secret: where a group meets, and how its headers and control are hidden.
//!
//! > No content rests on it. Who holds it sees that the group talks, and reads its membership
//! > statements; what people say is under the sender chains.
//!
//! A new one is made on every removal, so that who was removed stops reading ops and cards too.
//! docs/spec/relay-log.md.

use core::fmt;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    envelope::{BodyKey, HeaderKey},
    hash::{Label, hash32, kdf32},
    ids::GroupId,
    relay_log::LogKeys,
};

/// The 32 secret bytes of a topic epoch.
#[derive(Clone)]
pub struct TopicSecret(Zeroizing<[u8; 32]>);

impl TopicSecret {
    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// Takes up stored or received bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be stored or sealed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The commitment that an op publishes; it names the epoch.
    #[must_use]
    pub fn commit(&self) -> [u8; 32] {
        hash32(Label::TopicCommit, &[self.0.as_ref()])
    }

    /// The key that hides the headers of this epoch's envelopes.
    #[must_use]
    pub fn header_key(&self, group: &GroupId) -> HeaderKey {
        HeaderKey::new(kdf32(self.0.as_ref(), Label::TopicHeader, &[&group.0]))
    }

    /// The key of this epoch's control envelopes.
    #[must_use]
    pub fn control_key(&self, group: &GroupId) -> BodyKey {
        BodyKey::new(kdf32(self.0.as_ref(), Label::TopicControl, &[&group.0]))
    }

    /// The capabilities of this epoch's relay log. Nobody can trim it.
    #[must_use]
    pub fn log_keys(&self, group: &GroupId) -> LogKeys {
        LogKeys::from_seeds(
            kdf32(self.0.as_ref(), Label::LogWrite, &[&group.0]),
            kdf32(self.0.as_ref(), Label::LogRead, &[&group.0]),
            None,
        )
    }
}

impl PartialEq for TopicSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for TopicSecret {}

impl fmt::Debug for TopicSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TopicSecret")
    }
}
