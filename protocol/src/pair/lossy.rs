//! Two members whose bundles are lost, come late, twice, and whose states are taken up again.

use std::{collections::BTreeSet, vec};

use proptest::prelude::*;

use super::*;

/// One direction: what a sender has, what its recipient has, and what is on the way.
#[derive(Default)]
struct Way {
    send: SendState,
    receive: ReceiveState,
    sent: Vec<Slot>,
    opened: BTreeSet<usize>,
    old: Option<(Vec<u8>, usize)>,
    /// Slots that the sender's state knows nothing of.
    forgotten: BTreeSet<usize>,
}

/// A slot, with what a bundle binds it to.
#[derive(Clone)]
struct Slot {
    epoch: u16,
    counter: u16,
    init: bool,
    psk: [u8; 32],
    context: [u8; 32],
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Send,
    /// The slot so far back is handed over, be it for the second time.
    Hand(usize),
    /// The recipient's word on the slot so far back arrives.
    Confirm(usize),
    Restart,
    Remember,
    /// The sender's state is an old one.
    RestoreSender,
    Nack,
}

impl Way {
    fn act(&mut self, act: Act) {
        match act {
            Act::Send => {
                // No number comes again, as it hardly does where they are drawn.
                let step = self.send.advance(First::Hybrid, self.sent.len() as u16);
                let mut context = [0; 32];
                context[..8].copy_from_slice(&(self.sent.len() as u64).to_be_bytes());
                let psk = *step.psk;
                if step.init {
                    self.send.begin(step.epoch, &context, &context, First::Hybrid);
                }
                let Step { epoch, counter, init, .. } = step;
                self.sent.push(Slot { epoch, counter, init, psk, context });
            }
            Act::Hand(back) => {
                if let Some(at) = self.sent.len().checked_sub(back + 1) {
                    self.hand(at);
                }
            }
            Act::Confirm(back) => {
                let at = self.sent.len().checked_sub(back + 1);
                let known = |at: &usize| self.opened.contains(at) && !self.forgotten.contains(at);
                if let Some(at) = at.filter(|at| known(at) && self.sent[*at].init) {
                    self.send.confirm(self.sent[at].epoch);
                }
            }
            Act::Restart => {
                self.send = SendState::load(&self.send.save()).unwrap();
                self.receive = ReceiveState::load(&self.receive.save()).unwrap();
            }
            Act::Remember => self.old = Some((self.send.save().to_vec(), self.sent.len())),
            Act::RestoreSender => {
                if let Some((send, sent)) = &self.old {
                    self.send = SendState::load(send).unwrap();
                    self.forgotten.extend(*sent..self.sent.len());
                }
            }
            Act::Nack => self.send.reset(),
        }
        assert!(self.receive.epochs.len() <= RECEIVED && self.receive.skipped.len() <= SKIPPED);
        assert!(self.send.pending.len() <= EPOCHS);
    }

    /// Whether the slot opens: with the key that it was sealed under, or not at all.
    fn hand(&mut self, at: usize) -> bool {
        let slot = self.sent[at].clone();
        if slot.init && self.opened.contains(&at) {
            // A bundle that was accepted is not judged again.
            return false;
        }
        if slot.init {
            // The prekey opens it; the context is what the slot's key is made of here.
            self.receive = self.receive.begun(slot.epoch, &slot.context, &slot.context);
            self.opened.insert(at);
            return true;
        }
        match self.receive.psk(slot.epoch, slot.counter) {
            Ok((psk, next)) if *psk == slot.psk => {
                assert!(self.opened.insert(at), "slot {at} opened twice");
                self.receive = next;
                true
            }
            // Another key: the AEAD would refuse, and nothing changes.
            Ok(_) | Err(_) => false,
        }
    }

    /// From here on nothing is lost: the pair comes to ratchet slots that open.
    fn recovers(&mut self) -> bool {
        self.send.reset();
        (0..3).all(|_| {
            self.act(Act::Send);
            let at = self.sent.len() - 1;
            let opened = self.hand(at);
            self.act(Act::Confirm(0));
            opened
        }) && !self.sent.last().unwrap().init
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => Just(Act::Send),
        6 => (0usize..8).prop_map(Act::Hand),
        3 => (0usize..8).prop_map(Act::Confirm),
        1 => Just(Act::Restart),
        1 => Just(Act::Remember),
        1 => Just(Act::RestoreSender),
        1 => Just(Act::Nack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_lost_or_comes_again_each_slot_opens_once_and_a_nack_heals_the_pair(
        there in prop::collection::vec(act(), 0..120),
        back in prop::collection::vec(act(), 0..120),
    ) {
        let (mut one, mut other) = (Way::default(), Way::default());
        for n in 0..there.len().max(back.len()) {
            there.get(n).into_iter().for_each(|act| one.act(*act));
            back.get(n).into_iter().for_each(|act| other.act(*act));
        }
        prop_assert!(one.recovers() && other.recovers());
    }

    #[test]
    fn without_a_restored_state_every_slot_that_comes_in_time_opens(
        order in prop::collection::vec(0usize..SKIPPED, 1..200),
    ) {
        let mut way = Way::default();
        way.act(Act::Send);
        prop_assert!(way.hand(0));
        way.act(Act::Confirm(0));
        (0..SKIPPED).for_each(|_| way.act(Act::Send));
        for at in order {
            let first = !way.opened.contains(&(at + 1));
            prop_assert_eq!(way.hand(at + 1), first);
        }
    }
}

#[test]
fn a_thousand_lost_bundles_are_skipped_and_one_more_is_not() {
    let run = |lost: usize| {
        let mut way = Way::default();
        way.act(Act::Send);
        way.hand(0);
        way.act(Act::Confirm(0));
        (0..=lost).for_each(|_| way.act(Act::Send));
        way.hand(lost + 1)
    };
    assert!(run(usize::from(SKIP)));
    assert!(!run(usize::from(SKIP) + 1));
    assert_eq!(vec![run(0), run(1)], [true, true]);
}
