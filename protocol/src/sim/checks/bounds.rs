//! I17 and I18: what is kept and said has bounds, and one encoding.

use alloc::format;

use super::{MINUTE, Sim, delivery::is_without_ciphertext};
use crate::{
    bundle::SignedHead,
    group::Keys,
    identity::SignedCard,
    ids::{MemberId, Timestamp},
    limits,
    membership::Op,
    sim::{facts::other_encodings, invariant::Invariant, rules::Rule},
};

/// Frames that go one way on a channel in an hour to even out what both know: a summary and an end every
/// five minutes, and some of what the other one does not take up. Each envelope goes once more at most.
const EVENING_OUT: usize = 36;

impl Sim {
    /// I17: nothing is kept for ever that is of no use.
    pub(super) fn check_bounds(&mut self, members: &[usize]) {
        self.check_held(members, true);
        for at in members {
            let group = self.world.member(*at);
            let parked = group.parked_chains();
            // Who is not in a chain's roster has its head alone.
            let has = |other: &usize, chain| {
                let keys = self.world.member(*other).chain(chain).map(|it| it.2);
                keys.is_some_and(|keys| keys != Keys::NotForMe)
            };
            let people = &self.world.people;
            let known = parked.iter().any(|chain| {
                members.iter().any(|it| has(it, chain))
                    && !is_without_ciphertext(people, members, chain, &self.world.id(*at))
            });
            let gaps = group.known_gaps();
            let kept = gaps.iter().find(|(chain, index)| {
                // Who joined anew hands on nothing of before: its node knows no more of those chains
                // than their heads.
                let hands_on = |other: &&usize| has(other, chain);
                members.iter().filter(hands_on).any(|other| {
                    let mut archive = self.world.people[*other].archive.iter();
                    archive.any(|(c, i, _)| (c, i) == (chain, index))
                })
            });
            let calm = self.is_calm();
            let watch = &mut self.world.watch;
            watch.check(Invariant::Bounds, parked.len() <= limits::PARKED, || {
                format!("{at} has parked {}", parked.len())
            });
            if calm {
                watch.check(Invariant::Bounds, !known, || {
                    format!("{at} has parked what somebody has the keys for")
                });
                watch.check(Invariant::Gaps, kept.is_none(), || {
                    format!("{at} lacks {kept:?}, which somebody has")
                });
            }
        }
    }

    /// I17: no bundle is held or wanted for ever. A ciphertext is waited for an hour by each who hears
    /// of the bundle, and who hears of it by one that has given up begins then.
    fn check_held(&mut self, members: &[usize], may_wait: bool) {
        let truth = self.truth();
        let calm = self.is_calm();
        for at in members.iter().filter(|_| calm) {
            let group = self.world.member(*at);
            // Bundles of whoever is no member, or has left unheard, may name ops that nobody has any more.
            let active = |id: &MemberId| members.contains(&self.world.at(id));
            let then = if may_wait {
                self.world.people[*at].clock(self.world.now)
            } else {
                Timestamp(u64::MAX)
            };
            let (held, wanted) =
                group.open_bundles(|id| truth.resolve().is_member(id) && active(id), then);
            self.world.watch.check(Invariant::Bounds, held == 0 && wanted == 0, || {
                format!("{at} holds {held} bundles and wants {wanted}")
            });
        }
    }

    /// I17: with nothing to say, next to nothing is said.
    pub(super) fn check_quiet(&mut self, members: &[usize]) {
        // What nobody has is asked for, and a ciphertext that does not come waited for, an hour long;
        // whoever gives up tells of the chain, and then others wait.
        self.world.pass(130 * MINUTE);
        let (published, framed) = (self.world.published, self.world.framed);
        for _ in 0..6 {
            for at in self.active() {
                self.world.idles(at);
            }
            self.world.pass(10 * MINUTE);
        }
        self.check_held(members, false);
        let channels = self.world.links.len() * 2;
        let (published, framed) = (self.world.published - published, self.world.framed - framed);
        let quiet =
            published <= self.expected_words() && framed <= channels * (EVENING_OUT + published);
        self.world.watch.check(Invariant::Bounds, quiet, || {
            format!("{published} envelopes and {framed} frames in an hour without a reason")
        });
    }

    /// Envelopes that may be published in an hour in which nobody says anything.
    fn expected_words(&self) -> usize {
        // Of a hostile sender's slots that don't open it is told ever more rarely.
        let hostile = self.world.people.iter().filter(|person| person.hostile).count();
        self.active().len() * (2 + hostile)
    }

    /// I18: no op, card or bundle has a second encoding.
    pub(super) fn check_encodings(&mut self) {
        let canonical = self.world.watch.keeps(Rule::CanonicalBytes);
        let truth = self.truth();
        for op in truth.iter().take(8) {
            let bytes = op.as_bytes();
            let same = Op::from_bytes(bytes).is_ok_and(|it| it.as_bytes() == bytes);
            let refused = other_encodings(bytes).iter().all(|it| Op::from_bytes(it).is_err());
            let watch = &mut self.world.watch;
            watch.check(Invariant::Codec, same && refused && canonical, || {
                format!("a second encoding of {:?}", op.id())
            });
        }
        for at in self.active() {
            let card = self.world.people[at].me.card().as_bytes();
            let refused =
                other_encodings(card).iter().all(|it| SignedCard::from_bytes(it).is_err());
            let heads = self.world.member(at).chain_ids().take(2).filter_map(|chain| {
                let (head, ..) = self.world.member(at).chain(&chain)?;
                Some(other_encodings(head.as_bytes()))
            });
            let heads_refused = heads.flatten().all(|it| SignedHead::from_bytes(&it).is_err());
            self.world.watch.check(Invariant::Codec, refused && heads_refused, || {
                format!("a second encoding of {at}'s card or bundle")
            });
        }
    }
}
