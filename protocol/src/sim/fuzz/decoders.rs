//! Decoders on their own: what they take encodes to the same bytes again.

use core::str;

use minicbor::{Decode, Encode};

use super::{Choices, Stage, members};
use crate::{
    bundle::{BadHead, SignedHead},
    chain::{Content, ReceiveChain},
    codec,
    endpoint::Endpoint,
    evidence::Notice,
    group::probe,
    identity::SignedCard,
    invite::{InviteCode, InviteSecret},
    membership::Op,
    pair::{ReceiveState, SendState},
    recovery::RecoveryKey,
    relay_log::{Answer, Cursor, Request},
    said::Said,
};

/// Everything that is read from others or from the disk.
pub fn decoders(_: &Stage, bytes: &[u8]) {
    probe::decode_all(bytes);
    is::<Content>(bytes);
    if let Some((kind, payload)) = bytes.split_first()
        && let Some(said) = Said::read(*kind, payload)
    {
        assert_eq!((said.kind(), &said.payload()[..]), (*kind, payload));
    }
    if let Ok(card) = SignedCard::from_bytes(bytes) {
        assert_eq!(card.as_bytes(), bytes);
    }
    if let Ok(op) = Op::from_bytes(bytes) {
        assert_eq!(op.as_bytes(), bytes);
    }
    if let Ok(head) = SignedHead::from_bytes(bytes) {
        assert_eq!(head.as_bytes(), bytes);
        assert!(!head.has_page(0, &[], usize::MAX));
    } else {
        let _: Option<BadHead> = SignedHead::from_bytes(bytes).err();
    }
    if let Ok(notice) = Notice::from_bytes(bytes) {
        assert_eq!(notice.to_bytes(), bytes);
    }
    if let Ok(state) = SendState::load(bytes) {
        assert_eq!(*state.save(), bytes);
    }
    if let Ok(state) = ReceiveState::load(bytes) {
        assert_eq!(*state.save(), bytes);
    }
    if let Ok(chain) = ReceiveChain::load(bytes) {
        assert!(ReceiveChain::load(&chain.save()).is_ok());
        assert!(!chain.has(u32::MAX) && chain.missing().all(|index| !chain.has(index)));
    }
    let mut rng = members::rng();
    if let Ok(me) = Endpoint::load(bytes, &mut rng) {
        assert!(Endpoint::load(&me.save(), &mut rng).is_ok());
    }
}

/// A relay's frames, both ways.
pub fn relay(_: &Stage, bytes: &[u8]) {
    is::<Request>(bytes);
    is::<Answer>(bytes);
    if let Some(cursor) = Cursor::from_bytes(bytes) {
        assert_eq!(cursor.to_bytes(), bytes);
    }
}

/// What people paste: invite codes and recovery codes.
pub fn codes(_: &Stage, bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(code) = InviteCode::parse(text)
            && let Ok(again) = code.to_text()
        {
            assert!(InviteCode::parse(&again) == Ok(code));
        }
        if let Ok(key) = RecoveryKey::from_code(text) {
            assert!(RecoveryKey::from_code(&key.code()).is_ok());
        }
    }
    // A code that any bytes make, so that the checksum is no obstacle.
    let mut choices = Choices(bytes);
    let mut addresses = || {
        let count = choices.below(4);
        (0..count).map(|_| choices.some().into()).collect()
    };
    let code = InviteCode {
        relays: addresses(),
        direct: addresses(),
        group_prefix: [7; 20],
        secret: InviteSecret([9; 16]),
        tokens: alloc::vec::Vec::new(),
        expires: None,
    };
    if let Ok(text) = code.to_text() {
        assert!(InviteCode::parse(&text) == Ok(code));
    }
}

/// A stored group of which one record is other than it was, or is not there.
pub fn stored(stage: &Stage, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let scene = stage.scene(choices.byte());
    let mut records = scene.records().clone();
    let at = choices.below(records.len());
    let Some(key) = records.keys().nth(at).cloned() else { return };
    match choices.below(3) {
        0 => drop(records.remove(&key)),
        1 => drop(records.insert(key, choices.rest().into())),
        _ => {
            let value = records.get_mut(&key).unwrap();
            let at = choices.number() as usize % value.len().max(1);
            let put = choices.rest();
            let end = value.len().min(at + put.len());
            value[at..end].copy_from_slice(&put[..end - at]);
        }
    }
    if let Ok(mut group) = scene.load(records) {
        let _ = (group.members(), group.invites(), group.fingerprint(), group.logs());
        let all = group.all_records();
        assert!(scene.load(all).is_ok(), "what was taken up is stored so that it can be");
    }
}

fn is<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        assert_eq!(codec::encode(&value), bytes);
    }
}
