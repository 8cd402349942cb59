//! What a hostile member can make that an honest one never says, for the fuzzer.
//!
//! > Nothing here changes what a group does, and nothing here is built into a node.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{
    Cx, Group,
    wire::{Control, Frame, Welcome},
};
use crate::{
    chain::SendChain,
    codec,
    envelope::{self, CONTROL, Header, HeaderKey},
};

impl Group {
    /// An envelope that says any payload as a statement of any kind, signed by `cx.me`, under the
    /// newest topic. None where it is too long, or no topic is known.
    pub(crate) fn forge_control<R: CryptoRng>(
        &self,
        cx: Cx<'_, R>,
        kind: u8,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let control = Control::sign_as(&self.id, kind, payload.into(), cx.me.identity());
        let topic = self.topics.topic(self.topics.newest().first()?)?;
        let header = Header { chain: CONTROL, index: 0 };
        envelope::seal(header, &topic.header, &topic.control, &control, cx.rng).ok()
    }

    /// The key that hides headers under the newest topic.
    pub(crate) fn newest_header_key(&self) -> Option<HeaderKey> {
        let newest = self.topics.newest();
        Some(self.topics.topic(newest.first()?)?.header.clone())
    }

    /// This member's own chain as it stands, if it has one.
    pub(crate) fn own_chain(&self) -> Option<SendChain> {
        self.sending.chain.clone()
    }

    /// What a control envelope says: its kind and its payload.
    pub(crate) fn read_control(&self, bytes: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (topic, header) = self.topics.peek(bytes).filter(|(_, it)| it.chain == CONTROL)?;
        debug_assert_eq!(header.index, 0);
        let opened = envelope::open(bytes, &self.topics.topic(&topic)?.control).ok()?;
        Control::from_bytes(&opened).ok().map(|control| (control.kind, control.payload))
    }
}

/// Decodes bytes as everything that a group reads from others; says how many of them it was.
pub(crate) fn decode_all(bytes: &[u8]) -> usize {
    fn is<'b, T: minicbor::Decode<'b, ()> + minicbor::Encode<()>>(bytes: &'b [u8]) -> usize {
        codec::decode::<T>(bytes).map_or(0, |value| {
            assert_eq!(codec::encode(&value), bytes, "two encodings of one value");
            1
        })
    }
    let statements = (0..=u8::MAX)
        .filter(|kind| Control::unsigned(*kind, bytes.into()).statement().is_ok())
        .count();
    is::<Frame>(bytes) + is::<Welcome>(bytes) + is::<Control>(bytes) + statements
}
