//! I15, I16 and I20: what a stolen disk gives, and what a node's own log holds.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::{MINUTE, Sim};
use crate::{
    audit::Verifier,
    endpoint::Endpoint,
    group::Group,
    ids::ChainId,
    sim::{
        invariant::Invariant,
        rules::{Rule, topics},
        world::Records,
    },
};

/// Hours until every prekey is replaced.
const PREKEY_HOURS: u64 = 25;
/// Kinds of records that tell which chains were read, and how.
const OF_CHAINS: [u8; 10] = [7, 8, 9, 10, 12, 14, 16, 17, 30, 37];
/// The slot that a ratchet opens, by its first byte.
const RATCHET: u8 = 0;

impl Sim {
    /// Whose disk is stolen: an honest member's that was never set back.
    fn victim(&mut self, members: &[usize]) -> Option<usize> {
        let people = &self.world.people;
        let sound = |at: &&usize| !people[**at].shaken && !people[**at].hostile;
        let sound: Vec<usize> = members.iter().filter(sound).copied().collect();
        let nth = self.world.below(sound.len());
        sound.get(nth).copied()
    }

    /// I15: a disk with all that was ever on the wire opens no message that was read before, but
    /// what a slot of first contact gives whose prekey is still kept.
    pub(super) fn check_forward_secrecy(&mut self, members: &[usize]) {
        let Some(at) = self.victim(members) else { return };
        let (me, mut records, _) = self.world.disk(at);
        if !self.world.watch.keeps(Rule::ForgetUsedKeys) {
            let old = self.world.people[at].overwritten.clone();
            records.extend(
                old.into_iter().filter(|(key, _)| self.world.people[at].records.contains_key(key)),
            );
        }
        let me = Endpoint::load(&me, &mut self.world.rng).unwrap();
        let read: BTreeSet<String> = self.world.heard(at).into_iter().collect();
        let (heard, _) = self.try_records(&me, records.clone());
        for text in &read {
            self.world.watch.check(Invariant::ForwardSecrecy, !heard.contains(text), || {
                format!("{at}'s disk opens {text:?}, which it had read")
            });
        }
        // As if it knew of no chain.
        records.retain(|key, _| !OF_CHAINS.contains(&key[0]));
        let (heard, _) = self.try_records(&me, records);
        let id = self.world.id(at);
        for text in heard.intersection(&read) {
            let chain = self.world.said.get(text).map(|said| said.chain);
            let slot = chain.and_then(|chain| self.world.member(at).slot_type(&chain, &id));
            // Who was out for a while has begun the epochs of its pairs once more.
            let out = chain.is_some_and(|chain| self.world.was_out_since(at, &chain));
            let again = slot == Some(RATCHET) && !out;
            self.world.watch.check(Invariant::ForwardSecrecy, !again, || {
                format!("{at}'s disk opens a ratchet slot again, and with it {text:?}")
            });
        }
    }

    /// I16: a disk with all that is on the wire opens nothing once both sides have rotated with new
    /// prekeys, not even with the topics of after.
    pub(super) fn check_healing(&mut self, members: &[usize]) {
        let Some(at) = self.victim(members).filter(|_| members.len() > 1) else { return };
        let (me, mut records, _) = self.world.disk(at);
        let stolen: Vec<_> = members.iter().map(|it| self.world.people[*it].me.prekey()).collect();
        // Where a clock went back, a key counts as younger than it is, by a day at most.
        let wrong = members.iter().any(|member| self.world.people[*member].skew < 0);
        for _ in 0..if wrong { 2 * PREKEY_HOURS } else { PREKEY_HOURS } {
            self.world.pass(60 * MINUTE);
            self.renew(members);
        }
        for (member, stolen) in members.iter().zip(stolen) {
            let person = &self.world.people[*member];
            let renewed = person.me.prekey() != stolen;
            self.world.watch.check(Invariant::Healing, renewed, || {
                format!("{member} has the prekey of before")
            });
            let place = person.clock(self.world.now).0.to_be_bytes().to_vec();
            self.world.act(*member, |group, cx| group.present(cx, alloc::vec![place]));
        }
        self.world.pass(10 * MINUTE);
        for member in members {
            // Whoever may not rotate makes a new chain, a day later.
            let _ = self.world.attempt(*member, Group::rotate);
            self.world.pass(MINUTE);
        }
        self.world.pass(10 * MINUTE);
        let texts: Vec<Option<String>> = members.iter().map(|member| self.say(*member)).collect();
        self.world.pass(10 * MINUTE);
        records.extend(topics(&self.world.people[at].records));
        let me = Endpoint::load(&me, &mut self.world.rng).unwrap();
        let (heard, _) = self.try_records(&me, records);
        for text in texts.into_iter().flatten() {
            self.world.watch.check(Invariant::Healing, !heard.contains(&text), || {
                format!("{at}'s old disk opens {text:?}, though all have rotated")
            });
        }
    }

    /// What each node does hourly.
    fn renew(&mut self, members: &[usize]) {
        if self.world.watch.keeps(Rule::ReplacePrekeys) {
            for member in members {
                let person = &mut self.world.people[*member];
                let now = person.clock(self.world.now);
                person.me.renew(now, &mut self.world.rng);
            }
        }
    }

    /// I20: each log of an honest node holds, with all heads that its bundles tell of.
    pub(super) fn check_audits(&mut self) {
        for at in self.present() {
            let person = &self.world.people[at];
            if person.shaken || person.hostile || person.copy_of.is_some() {
                continue;
            }
            let id = self.world.id(at);
            let group = self.world.member(at).id();
            let mut anchors = Vec::new();
            for other in self.present() {
                let known = self.world.member(other);
                let chains: Vec<ChainId> = known.chain_ids().collect();
                let heads = chains.iter().filter_map(|chain| Some(known.chain(chain)?.0.head()));
                let own = heads.filter(|head| head.sender == id);
                anchors.extend(own.map(|head| (head.audit_head, self.world.now)));
            }
            let mut log = person.audit.clone();
            if !self.world.watch.keeps(Rule::AppendToAudit) {
                let middle = log.len() / 2;
                log.remove(middle);
            }
            let mut verifier = Verifier::new(group, id, anchors);
            let entries = log.iter().try_for_each(|entry| verifier.push(entry).map(|_| ()));
            let result = entries.and_then(|()| verifier.finish().map(|_| ()));
            self.world.watch.check(Invariant::Audit, result.is_ok(), || {
                format!("{at}'s audit log does not hold: {result:?}")
            });
        }
    }

    /// What these records open of all envelopes, and the topics that they come to know.
    pub(super) fn try_records(
        &mut self,
        me: &Endpoint,
        records: Records,
    ) -> (BTreeSet<String>, BTreeSet<[u8; 32]>) {
        self.world.watch.happened("old databases tried");
        let everything = self.everything();
        let now = self.world.now;
        let mut group = Group::load(me, records, now).unwrap();
        let heard = super::secrets::heard(&mut group, me, now, &mut self.world.rng, &everything);
        (heard, group.topic_commits())
    }
}
