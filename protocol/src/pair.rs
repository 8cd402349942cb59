//! The one-way ratchet between two members under the slots of bundles.
//!
//! > Once a slot is opened, the key that opened it is gone: the recipient's prekey alone opens no
//! > earlier slot.
//!
//! Direction s → r has *epochs*. An epoch begins with an *init* slot, which the prekey alone opens,
//! and each bundle begins another until r has shown that it holds one ([`SendState::confirm`]);
//! from then on slots are *ratchet* slots under that epoch. Both directions are independent.
//! docs/spec/rotation.md.

#[cfg(test)]
mod lossy;

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    codec,
    hash::{Label, kdf16, kdf32},
    snapshot::SnapshotError,
};

/// Epochs that a sender keeps until one is confirmed.
pub const EPOCHS: usize = 4;
/// Epochs that a receiver keeps. More, because bundles may come in any order: older first contacts
/// that come late must not displace the epoch that was confirmed before them.
pub const RECEIVED: usize = 16;
/// Steps that a lost bundle may make the receiver skip.
pub const SKIP: u16 = 1024;
/// Keys of skipped steps kept.
pub const SKIPPED: usize = 64;

/// How first contacts with a recipient are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Under the recipient's prekey alone: it is not known to have an ML-KEM key.
    Classical,
    /// Under its prekey and its ML-KEM key. An epoch that began without is not used any more.
    Hybrid,
}

/// What a slot is sealed under.
pub struct Step {
    /// The epoch.
    pub epoch: u16,
    /// The step in it; 0 and meaningless in an init slot.
    pub counter: u16,
    /// The pre-shared key; all zeros in an init slot, where ML-KEM may give another.
    pub psk: Zeroizing<[u8; 32]>,
    /// Whether this is an init slot.
    pub init: bool,
}

/// A receiver without the key of that step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key for epoch {epoch}, step {counter}")]
pub struct NoKey {
    /// The epoch asked for.
    pub epoch: u16,
    /// The step asked for.
    pub counter: u16,
}

/// The sender's side of one direction.
#[derive(Clone, Default, Encode, Decode)]
#[cbor(array)]
pub struct SendState {
    /// The epoch that began last. Told by nothing that is computed, and kept because it is stored.
    #[n(0)]
    latest: u16,
    #[n(1)]
    confirmed: Option<Epoch>,
    #[n(2)]
    pending: Vec<Epoch>,
}

/// The receiver's side of one direction.
#[derive(Clone, Default, Encode, Decode)]
#[cbor(array)]
pub struct ReceiveState {
    /// The one used least recently comes first.
    #[n(0)]
    epochs: Vec<Known>,
    #[n(1)]
    skipped: Vec<Epoch>,
}

/// An epoch that the receiver holds, with what names its first key.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct Known {
    #[n(0)]
    at: Epoch,
    #[cbor(n(1), with = "minicbor::bytes")]
    tag: [u8; 16],
}

/// A key at a step of an epoch.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
struct Epoch {
    #[n(0)]
    epoch: u16,
    #[n(1)]
    counter: u16,
    #[cbor(n(2), with = "minicbor::bytes")]
    key: [u8; 32],
    /// At the sender, `Some(true)`: it began with ML-KEM.
    #[n(3)]
    hybrid: Option<bool>,
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Epoch {
    fn psk(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(kdf32(&self.key, Label::PairKey, &[]))
    }

    fn step(&self) -> Self {
        let key = kdf32(&self.key, Label::PairStep, &[]);
        Self { epoch: self.epoch, counter: self.counter.wrapping_add(1), key, hybrid: self.hybrid }
    }
}

impl SendState {
    /// Takes the next step: what the next slot is sealed under, where a first contact would be so
    /// and would begin an epoch of this number. The number is drawn anew each time: counted up, it
    /// would come again after a lost state, and a bundle from before it that comes late would take
    /// the newer epoch's place at the receiver.
    pub fn advance(&mut self, first: First, number: u16) -> Step {
        let goes_on = |epoch: &mut Epoch| {
            epoch.counter < u16::MAX && (first == First::Classical || epoch.hybrid == Some(true))
        };
        if let Some(epoch) = self.confirmed.take_if(goes_on) {
            let step =
                Step { epoch: epoch.epoch, counter: epoch.counter, psk: epoch.psk(), init: false };
            self.confirmed = Some(epoch.step());
            return step;
        }
        self.confirmed = None;
        self.latest = number;
        Step { epoch: number, counter: 0, psk: Zeroizing::new([0; 32]), init: true }
    }

    /// An init slot was sealed under `slot_key`: its epoch may be confirmed later.
    pub fn begin(&mut self, epoch: u16, slot_key: &[u8; 32], context: &[u8; 32], how: First) {
        self.pending.retain(|pending| pending.epoch != epoch);
        if self.pending.len() == EPOCHS {
            self.pending.remove(0);
        }
        let hybrid = (how == First::Hybrid).then_some(true);
        self.pending.push(Epoch { hybrid, ..first(epoch, slot_key, context) });
    }

    /// The other side has shown that it holds this epoch: ratchet slots follow. Whether anything
    /// changed.
    pub fn confirm(&mut self, epoch: u16) -> bool {
        let Some(at) = self.pending.iter().position(|pending| pending.epoch == epoch) else {
            return false;
        };
        self.confirmed = Some(self.pending.remove(at));
        self.pending.drain(..at);
        true
    }

    /// The other side could not open a slot: begin anew.
    pub fn reset(&mut self) {
        self.confirmed = None;
        self.pending.clear();
    }

    /// Whether it holds an epoch: what was reset does not.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_begun(&self) -> bool {
        self.confirmed.is_some() || !self.pending.is_empty()
    }

    /// Its secrets, to be stored.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(self))
    }

    /// Takes up what [`Self::save`] wrote.
    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        codec::decode(bytes).map_err(|_| SnapshotError::Damaged)
    }
}

impl ReceiveState {
    /// The key of a ratchet slot, and the state once that slot is opened.
    pub fn psk(&self, epoch: u16, counter: u16) -> Result<(Zeroizing<[u8; 32]>, Self), NoKey> {
        let mut next = self.clone();
        let skipped =
            next.skipped.iter().position(|kept| kept.epoch == epoch && kept.counter == counter);
        if let Some(at) = skipped {
            let kept = next.skipped.remove(at);
            return Ok((kept.psk(), next));
        }
        let no_key = NoKey { epoch, counter };
        let known = next.epochs.iter().position(|known| known.at.epoch == epoch).ok_or(no_key)?;
        let mut known = next.epochs.remove(known);
        if counter < known.at.counter || counter - known.at.counter > SKIP {
            return Err(no_key);
        }
        while known.at.counter < counter {
            let step = known.at.step();
            next.skipped.push(core::mem::replace(&mut known.at, step));
        }
        let psk = known.at.psk();
        known.at = known.at.step();
        next.epochs.push(known);
        let excess = next.skipped.len().saturating_sub(SKIPPED);
        next.skipped.drain(..excess);
        Ok((psk, next))
    }

    /// The state once an init slot under `slot_key` is opened. One that was opened before winds
    /// nothing back: whoever holds the prekey and an old bundle gets no used step again.
    #[must_use]
    pub fn begun(&self, epoch: u16, slot_key: &[u8; 32], context: &[u8; 32]) -> Self {
        let at = first(epoch, slot_key, context);
        let tag = kdf16(&at.key, Label::PairInit, &[]);
        let mut next = self.clone();
        if next.epochs.iter().any(|known| known.at.epoch == epoch && known.tag == tag) {
            return next;
        }
        next.forget(epoch);
        if next.epochs.len() >= RECEIVED {
            next.forget(next.epochs[0].at.epoch);
        }
        next.epochs.push(Known { at, tag });
        next
    }

    /// The steps that it has keys of, by epoch: whether those that follow come with it.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn steps(&self) -> impl Iterator<Item = (u16, u16, bool)> + '_ {
        let known = self.epochs.iter().map(|known| (known.at.epoch, known.at.counter, true));
        known.chain(self.skipped.iter().map(|kept| (kept.epoch, kept.counter, false)))
    }

    fn forget(&mut self, epoch: u16) {
        self.epochs.retain(|known| known.at.epoch != epoch);
        self.skipped.retain(|kept| kept.epoch != epoch);
    }

    /// Its secrets, to be stored.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(self))
    }

    /// Takes up what [`Self::save`] wrote.
    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        codec::decode(bytes).map_err(|_| SnapshotError::Damaged)
    }
}

fn first(epoch: u16, slot_key: &[u8; 32], context: &[u8; 32]) -> Epoch {
    let key = kdf32(slot_key, Label::PairInit, &[context]);
    Epoch { epoch, counter: 0, key, hybrid: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed() -> (SendState, ReceiveState) {
        let (mut send, receive) = (SendState::default(), ReceiveState::default());
        let step = send.advance(First::Classical, 1);
        assert!(step.init);
        send.begin(step.epoch, &[3; 32], &[4; 32], First::Classical);
        let receive = receive.begun(step.epoch, &[3; 32], &[4; 32]);
        assert!(send.confirm(step.epoch));
        (send, receive)
    }

    #[test]
    fn an_epoch_that_is_used_up_is_followed_by_another() {
        let (mut send, _) = confirmed();
        send.confirmed.as_mut().unwrap().counter = u16::MAX - 1;
        assert!(!send.advance(First::Classical, 7).init);
        assert!(send.advance(First::Classical, 7).init);
    }

    #[test]
    fn both_sides_step_alike() {
        let (mut send, mut receive) = confirmed();
        for _ in 0..5 {
            let step = send.advance(First::Classical, 7);
            assert!(!step.init);
            let (psk, next) = receive.psk(step.epoch, step.counter).unwrap();
            assert_eq!(psk, step.psk);
            receive = next;
        }
    }

    #[test]
    fn an_opened_step_is_gone() {
        let (mut send, receive) = confirmed();
        let step = send.advance(First::Classical, 7);
        let (_, receive) = receive.psk(step.epoch, step.counter).unwrap();
        assert!(receive.psk(step.epoch, step.counter).is_err());
    }

    #[test]
    fn lost_bundles_are_skipped_and_may_come_late() {
        let (mut send, receive) = confirmed();
        let (lost, next) = (send.advance(First::Classical, 7), send.advance(First::Classical, 7));
        let (_, receive) = receive.psk(next.epoch, next.counter).unwrap();
        let (psk, receive) = receive.psk(lost.epoch, lost.counter).unwrap();
        assert_eq!(psk, lost.psk);
        assert!(receive.psk(lost.epoch, lost.counter).is_err());
    }

    #[test]
    fn a_leap_is_refused_and_kept_keys_are_bounded() {
        let (_, receive) = confirmed();
        assert!(receive.psk(1, SKIP + 1).is_err());
        let (_, receive) = receive.psk(1, SKIP).unwrap();
        assert_eq!(receive.skipped.len(), SKIPPED);
    }

    #[test]
    fn a_leap_is_measured_from_the_last_step_that_came() {
        let (_, receive) = confirmed();
        let (_, receive) = receive.psk(1, SKIP).unwrap();
        let (_, receive) = receive.psk(1, 2 * SKIP + 1).unwrap();
        assert!(receive.psk(1, 3 * SKIP + 3).is_err());
    }

    #[test]
    fn until_confirmed_each_bundle_begins_another_epoch() {
        let mut send = SendState::default();
        for expected in 1..=6 {
            let step = send.advance(First::Classical, expected);
            assert!(step.init);
            assert_eq!(step.epoch, expected);
            send.begin(step.epoch, &[3; 32], &[4; 32], First::Classical);
        }
        assert!(!send.confirm(1), "the oldest are forgotten");
        assert!(send.confirm(5));
        assert!(!send.advance(First::Classical, 7).init);
        assert!(send.confirm(6), "a newer epoch may be confirmed later");
    }

    #[test]
    fn an_init_slot_seen_again_winds_nothing_back() {
        let (mut send, receive) = confirmed();
        let step = send.advance(First::Classical, 7);
        let (_, receive) = receive.psk(step.epoch, step.counter).unwrap();
        let again = receive.begun(step.epoch, &[3; 32], &[4; 32]);
        assert!(again.psk(step.epoch, step.counter).is_err());
        let next = send.advance(First::Classical, 7);
        assert_eq!(again.psk(next.epoch, next.counter).unwrap().0, next.psk);
    }

    #[test]
    fn another_first_contact_under_a_known_epoch_takes_its_place() {
        let (_, receive) = confirmed();
        let lost_its_state = receive.begun(1, &[8; 32], &[4; 32]);
        assert_ne!(lost_its_state.psk(1, 0).unwrap().0, receive.psk(1, 0).unwrap().0);
        assert_eq!(lost_its_state.epochs.len(), 1);
    }

    #[test]
    fn the_epoch_in_use_outlives_older_ones() {
        let mut receive = ReceiveState::default();
        for epoch in 1..=16 {
            receive = receive.begun(epoch, &[3; 32], &[4; 32]);
        }
        let (_, used) = receive.psk(1, 1).unwrap();
        let later = used.begun(17, &[3; 32], &[4; 32]);
        assert!(later.psk(1, 2).is_ok() && later.psk(1, 0).is_ok());
        assert!(later.psk(2, 0).is_err());
        assert_eq!(later.epochs.len(), RECEIVED);
    }

    #[test]
    fn bundles_from_before_the_confirmed_one_that_come_after_it_displace_nothing() {
        let (mut send, mut receive) = confirmed();
        for earlier in 2..=EPOCHS as u16 * 3 {
            receive = receive.begun(earlier, &[8; 32], &[4; 32]);
        }
        let step = send.advance(First::Classical, 99);
        assert_eq!(receive.psk(step.epoch, step.counter).unwrap().0, step.psk);
    }

    #[test]
    fn a_reset_begins_anew() {
        let (mut send, _) = confirmed();
        send.reset();
        let step = send.advance(First::Classical, 2);
        assert!(step.init);
        assert_eq!(step.epoch, 2);
    }

    #[test]
    fn a_first_contact_from_before_a_lost_state_that_comes_late_displaces_nothing() {
        let (_, receive) = confirmed();
        let mut send = SendState::default();
        let step = send.advance(First::Classical, 9);
        send.begin(step.epoch, &[8; 32], &[4; 32], First::Classical);
        let receive = receive.begun(step.epoch, &[8; 32], &[4; 32]);
        assert!(send.confirm(step.epoch));
        let receive = receive.begun(2, &[7; 32], &[4; 32]);
        let next = send.advance(First::Classical, 3);
        assert_eq!(receive.psk(next.epoch, next.counter).unwrap().0, next.psk);
    }

    #[test]
    fn of_two_epochs_under_one_number_the_later_is_confirmed() {
        let mut send = SendState::default();
        send.begin(5, &[3; 32], &[4; 32], First::Classical);
        send.begin(5, &[8; 32], &[4; 32], First::Classical);
        assert!(send.confirm(5));
        let receive = ReceiveState::default().begun(5, &[8; 32], &[4; 32]);
        let step = send.advance(First::Classical, 6);
        assert_eq!(receive.psk(step.epoch, step.counter).unwrap().0, step.psk);
    }

    #[test]
    fn stored_state_goes_on_where_it_was() {
        let (mut send, receive) = confirmed();
        send.advance(First::Classical, 7);
        let mut again = SendState::load(&send.save()).unwrap();
        let step = again.advance(First::Classical, 7);
        let receive = ReceiveState::load(&receive.save()).unwrap();
        assert_eq!(receive.psk(step.epoch, step.counter).unwrap().0, step.psk);
    }
}
