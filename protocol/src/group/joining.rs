//! What a group has to do with joining beside the admission itself: who serves which invite, whose
//! admission came to nothing, and whether a newcomer's view is more than its host's word.

use alloc::collections::BTreeSet;

use rand_core::CryptoRng;

use super::{AdmitError, Cx, Event, Group, GroupState, Output, Timer, Unadmitted, records::Key};
use crate::{
    ids::{InviteId, MemberId, Timestamp},
    invite::InviteRecord,
    membership::{AdmitMode, InviteState, Kind, Op},
};

/// How long before an admin who let somebody in for nothing begins a new topic, in milliseconds.
const RENEW_MS: u64 = 1_000;

impl Group {
    /// What is published of an invite that this node's member may serve.
    #[must_use]
    pub fn invite_record(&self, id: InviteId) -> Option<InviteRecord> {
        let invite = self.ops.resolve().invites.get(&id)?;
        self.serves(invite).then(|| invite.fields.clone())
    }

    /// Whether this joiner may be let in by this invite now, and whether a person is to be asked
    /// first. Who came by it already need not ask again.
    pub fn may_admit(
        &self,
        id: InviteId,
        joiner: &MemberId,
        now: Timestamp,
    ) -> Result<AdmitMode, AdmitError> {
        if self.came_by(joiner, id) {
            return Ok(AdmitMode::Auto);
        }
        let mode = self.usable_by(joiner, id, now)?.mode;
        if self.is_member(joiner) { Err(AdmitError::AlreadyMember) } else { Ok(mode) }
    }

    /// An invite by which this node's member may let this joiner in now: none that was made before
    /// the joiner left, was removed or was retired. Whoever holds its code, or an old letter, could
    /// bring the joiner's machine back with it.
    pub(super) fn usable_by(
        &self,
        joiner: &MemberId,
        id: InviteId,
        now: Timestamp,
    ) -> Result<&InviteState, AdmitError> {
        let invite = self.usable(id, now)?;
        let past = self.ops.past(&[invite.op]).map_err(|_| AdmitError::Unknown)?;
        let ended = self.ops.resolve().ended.values().filter(|ended| ended.member == *joiner);
        let mut gone = ended.flat_map(|ended| ended.removals.iter().chain(&ended.leaves));
        if gone.any(|op| !past.contains(op)) { Err(AdmitError::Used) } else { Ok(invite) }
    }

    /// How many admins are senior to this node's member: each is given a while to answer first.
    #[must_use]
    pub fn senior_admins(&self) -> usize {
        let admins = self.ops.resolve().admins();
        admins.iter().position(|admin| *admin == self.me).unwrap_or(admins.len())
    }

    /// Whether what this node knows of the group is more than the word of the admin who welcomed
    /// it: somebody else, or the group's log, has told what is new. An admin who was removed could
    /// have welcomed into a view of before; a founder can't have been.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.welcomed_by.is_none()
    }

    pub(super) fn serves(&self, invite: &InviteState) -> bool {
        let resolution = self.ops.resolve();
        self.state == GroupState::Active
            && (invite.creator == self.me || !invite.strict)
            && resolution.is_admin(&self.me)
            && resolution.is_admin(&invite.creator)
    }

    /// An invite by which this node's member may let somebody in now.
    pub(super) fn usable(&self, id: InviteId, now: Timestamp) -> Result<&InviteState, AdmitError> {
        let invite = self.ops.resolve().invites.get(&id).ok_or(AdmitError::Unknown)?;
        if invite.revoked {
            return Err(AdmitError::Revoked);
        }
        if invite.used >= invite.max_uses {
            return Err(AdmitError::Used);
        }
        if now > invite.expires {
            return Err(AdmitError::Expired);
        }
        if !self.serves(invite) {
            return Err(AdmitError::NotAllowed);
        }
        Ok(invite)
    }

    /// What became of somebody who is no member any more since these ops, and was not removed.
    pub(super) fn unadmitted(&self, member: &MemberId, new: &[Op]) -> Option<Event> {
        let resolution = self.ops.resolve();
        if new.iter().any(|op| op.author() == *member && op.body().kind == Kind::Leave) {
            return None;
        }
        let void = |op: &&Op| {
            op.subject() == Some(*member)
                && resolution.ended(&op.id()).is_some_and(|ended| ended.void)
        };
        // The last that was made of them is the one that has just ended.
        let admit = self.ops.iter().filter(void).max_by_key(|op| op.body().at)?;
        let Kind::Admit { invite, .. } = &admit.body().kind else { return None };
        let invite = invite.as_ref().and_then(|id| resolution.invites.get(id));
        let why = match invite {
            Some(invite) if invite.revoked => Unadmitted::Revoked,
            Some(invite)
                if invite.used >= invite.max_uses && resolution.is_admin(&admit.author()) =>
            {
                Unadmitted::Used
            }
            _ => Unadmitted::Admitter,
        };
        Some(Event::Unadmitted { member: *member, by: admit.author(), why })
    }

    /// Whoever let somebody in for nothing gave the topic away: it is made anew.
    pub(super) fn watch_unadmitted<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        before: &BTreeSet<MemberId>,
        new: &[Op],
    ) {
        let gone = before.iter().filter(|member| !self.is_member(member));
        let mine = gone
            .filter_map(|member| self.unadmitted(member, new))
            .any(|event| matches!(event, Event::Unadmitted { by, .. } if by == self.me));
        if mine {
            self.set_timer(Timer::Unadmitted, cx.now.plus_ms(RENEW_MS));
        }
    }

    /// What is due after that.
    pub(super) fn renew_after_unadmitted<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let cx = Cx { me: cx.me, now: cx.now, rng: &mut *cx.rng };
        // Who may not any more, or has no topic, leaves it to others.
        let _ = self.rotate(cx);
    }

    /// Takes a welcome as the word of one admin, if it isn't the founder's: a founder can't have
    /// been removed.
    pub(super) fn trust_welcome(&mut self, host: MemberId) {
        let founder =
            self.ops.resolve().members.get(&host).is_some_and(|standing| standing.founder);
        if !founder {
            self.welcomed_by = Some(host);
            self.fresh_until = Timestamp::default();
            self.dirty.mark(Key::WelcomedBy);
        }
    }

    /// Somebody told all that is new: a member, or the group's log.
    pub(super) fn confirm(&mut self, by: Option<MemberId>) {
        if self.welcomed_by.is_some_and(|host| by != Some(host)) {
            self.welcomed_by = None;
            self.dirty.mark(Key::WelcomedBy);
            self.out.push_back(Output::Event(Event::Confirmed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::{
        group::{InviteTerms, NotReady, world::World},
        invite::InviteSecret,
    };

    const SERVED_BY_ANY: fn(Timestamp) -> InviteTerms = |now| InviteTerms {
        max_uses: 1,
        expires: now.plus_ms(1_000_000),
        mode: AdmitMode::Auto,
        strict: false,
    };

    /// A founder, an admin whom she promoted, and people who are not in yet.
    fn two_admins(strangers: usize) -> World {
        let mut world = World::founded(2 + strangers, true, 7);
        world.join(0, 1);
        world.settle();
        let admin = world.id(1);
        world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
        world.settle();
        world
    }

    fn publish(world: &mut World, by: usize, terms: InviteTerms) -> InviteSecret {
        let secret = InviteSecret::generate(&mut world.rng);
        world.act(by, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
        world.settle();
        secret
    }

    fn group(world: &World, at: usize) -> &Group {
        world.people[at].group.as_ref().unwrap()
    }

    #[test]
    fn an_invite_is_served_by_its_creator_or_by_every_admin_as_it_says() {
        let mut world = two_admins(1);
        let terms = SERVED_BY_ANY(world.now);
        let strict = publish(&mut world, 0, InviteTerms { strict: true, ..terms });
        let open = publish(&mut world, 0, terms);
        let joiner = world.id(2);
        let now = world.now;
        let may = |at: usize, id: InviteId| group(&world, at).may_admit(id, &joiner, now);
        assert_eq!(may(0, strict.id()), Ok(AdmitMode::Auto));
        assert_eq!(may(1, strict.id()), Err(AdmitError::NotAllowed));
        assert!(group(&world, 1).invite_record(strict.id()).is_none());
        assert_eq!(may(1, open.id()), Ok(AdmitMode::Auto));
        assert_eq!(group(&world, 1).invite_record(open.id()), Some(open.record()));
        assert_eq!(world.admit(1, 2, &strict).unwrap_err(), AdmitError::NotAllowed);
        let welcome = world.admit(1, 2, &open).unwrap();
        world.welcome(1, 2, &welcome);
        world.settle();
        assert!(group(&world, 0).is_member(&joiner));
    }

    fn may_now(world: &World, at: usize, id: InviteId) -> Result<AdmitMode, AdmitError> {
        group(world, at).may_admit(id, &world.id(2), world.now)
    }

    #[test]
    fn an_invite_of_somebody_who_is_no_admin_any_more_is_served_by_nobody() {
        let mut world = two_admins(1);
        let terms = SERVED_BY_ANY(world.now);
        let secret = publish(&mut world, 1, terms);
        let admin = world.id(1);
        world.act(0, |group, cx| group.demote(cx, admin)).unwrap();
        world.settle();
        for at in [0, 1] {
            assert_eq!(may_now(&world, at, secret.id()), Err(AdmitError::NotAllowed));
        }
    }

    #[test]
    fn a_person_is_asked_where_the_invite_says_so() {
        let mut world = two_admins(1);
        let terms = InviteTerms { mode: AdmitMode::Ask, ..SERVED_BY_ANY(world.now) };
        let secret = publish(&mut world, 0, terms);
        assert_eq!(may_now(&world, 1, secret.id()), Ok(AdmitMode::Ask));
        let welcome = world.admit(1, 2, &secret).unwrap();
        world.welcome(1, 2, &welcome);
        // Who is in by it and lost the welcome is not asked about again.
        assert_eq!(may_now(&world, 1, secret.id()), Ok(AdmitMode::Auto));
    }

    fn told(world: &World, at: usize) -> Vec<Event> {
        let unadmitted = |event: &&Event| matches!(event, Event::Unadmitted { .. });
        world.people[at].events.iter().filter(unadmitted).cloned().collect()
    }

    #[test]
    fn of_two_who_redeem_a_single_use_at_once_by_two_admins_one_is_in_and_the_other_is_told() {
        let mut world = two_admins(2);
        let terms = SERVED_BY_ANY(world.now);
        let secret = publish(&mut world, 0, terms);
        // The two admins don't hear of each other.
        world.reachable = false;
        for (host, joiner) in [(0, 2), (1, 3)] {
            let welcome = world.admit(host, joiner, &secret).unwrap();
            world.welcome(host, joiner, &welcome);
        }
        assert_eq!([2, 3].map(|at| group(&world, at).state()), [GroupState::Active; 2]);
        let topics = |world: &World| group(world, 0).write_topics();
        let before = topics(&world);
        world.reachable = true;
        for _ in 0..20 {
            world.pass(1_000);
            world.settle();
        }
        // The founder is the senior one: whom she let in is in.
        let (winner, loser) = (world.id(2), world.id(3));
        for at in [0, 1, 2] {
            assert!(group(&world, at).is_member(&winner) && !group(&world, at).is_member(&loser));
        }
        assert_eq!(group(&world, 3).state(), GroupState::Removed);
        let event = Event::Unadmitted { member: loser, by: world.id(1), why: Unadmitted::Used };
        assert_eq!(told(&world, 3), core::slice::from_ref(&event));
        assert_eq!(told(&world, 1), [event]);
        // The loser was given the topic: there is another now.
        assert_ne!(topics(&world), before);
        assert_eq!(topics(&world), group(&world, 2).write_topics());
        // And may be let in again, by another invite.
        let secret = publish(&mut world, 0, terms);
        let welcome = world.admit(0, 3, &secret).unwrap();
        world.welcome(0, 3, &welcome);
        world.settle();
        assert!(group(&world, 2).is_member(&loser));
    }

    #[test]
    fn whom_an_admin_lets_in_after_its_removal_or_retirement_is_told_that_it_is_not_in() {
        for retired in [false, true] {
            let mut world = two_admins(2);
            world.join(0, 2);
            world.settle();
            // One host's machine does not hear that it is out.
            let (host, by, joiner) = if retired { (0, 1, 3) } else { (1, 0, 3) };
            let gone = world.id(host);
            world.people[host].reach = false;
            world.lose_relay(host);
            if retired {
                let key = world.people[host].me.recovery().unwrap().clone();
                world.act(by, |group, cx| group.retire(cx, &key)).unwrap();
            } else {
                world.act(by, |group, cx| group.remove(cx, gone)).unwrap();
            }
            world.settle();
            world.people[joiner].reach = false;
            world.join(host, joiner);
            world.link(host, joiner);
            world.settle();
            let state = |world: &World| group(world, joiner).state();
            assert_eq!(state(&world), GroupState::Active, "retired: {retired}");
            assert!(group(&world, joiner).is_member(&gone));
            // As soon as its log is read again, it knows, and says why.
            for at in [host, joiner] {
                world.people[at].reach = true;
            }
            for _ in 0..5 {
                world.pass(1_000);
                world.settle();
            }
            assert_eq!(state(&world), GroupState::Removed, "retired: {retired}");
            let member = world.id(joiner);
            let event = Event::Unadmitted { member, by: gone, why: Unadmitted::Admitter };
            assert_eq!(told(&world, joiner), [event], "retired: {retired}");
        }
    }

    #[test]
    fn who_leaves_is_not_said_to_be_unadmitted() {
        let mut world = two_admins(1);
        world.join(1, 2);
        world.settle();
        world.act(2, |group, cx| group.leave(cx)).unwrap();
        world.settle();
        assert_eq!(told(&world, 0), []);
    }

    #[test]
    fn a_newcomers_view_is_its_hosts_word_until_somebody_else_has_spoken() {
        let mut world = two_admins(2);
        world.reachable = false;
        world.join(1, 2);
        assert!(!group(&world, 2).is_confirmed());
        assert_eq!(group(&world, 2).ready(world.now), Err(NotReady::NotSynced));
        // Its host's channel lets it speak, and confirms nothing.
        world.link(1, 2);
        world.settle();
        assert_eq!(group(&world, 2).ready(world.now), Ok(()));
        assert!(!group(&world, 2).is_confirmed());
        world.restart(2);
        assert!(!group(&world, 2).is_confirmed());
        // Another member's does, once it has heard who this is.
        world.link(0, 1);
        world.settle();
        world.link(0, 2);
        world.settle();
        assert!(group(&world, 2).is_confirmed());
        assert!(world.people[2].events.contains(&Event::Confirmed));
        world.restart(2);
        assert!(group(&world, 2).is_confirmed());
    }

    #[test]
    fn the_groups_log_confirms_a_view_and_a_founder_needs_nobody_to() {
        let mut world = two_admins(2);
        world.join(1, 2);
        assert!(!group(&world, 2).is_confirmed());
        world.settle();
        assert!(group(&world, 2).is_confirmed());
        world.reachable = false;
        world.join(0, 3);
        assert!(group(&world, 3).is_confirmed());
        assert_eq!(group(&world, 3).ready(world.now), Ok(()));
    }
    /// The third comes by an invite that has more uses.
    fn by_an_open_invite() -> (World, InviteSecret) {
        let mut world = World::founded(3, true, 7);
        world.join(0, 1);
        world.settle();
        let terms = InviteTerms { max_uses: 5, ..SERVED_BY_ANY(world.now) };
        let secret = InviteSecret::generate(&mut world.rng);
        world.act(0, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
        let welcome = world.admit(0, 2, &secret).unwrap();
        world.welcome(0, 2, &welcome);
        world.settle();
        (world, secret)
    }

    #[test]
    fn an_old_request_brings_nobody_back_who_left_and_a_new_invite_does() {
        let (mut world, secret) = by_an_open_invite();
        world.act(2, |group, cx| group.leave(cx)).unwrap();
        world.settle();
        // Nothing by who left: the same card, proof and handshake once more.
        assert_eq!(world.admit(0, 2, &secret), Err(AdmitError::Used));
        world.settle();
        assert_eq!(group(&world, 2).state(), GroupState::Left);
        world.join(0, 2);
        assert_eq!(group(&world, 2).state(), GroupState::Active);
    }

    #[test]
    fn who_comes_back_by_an_admin_that_lacks_a_topic_asks_for_it() {
        let mut world = two_admins(1);
        world.join(0, 2);
        world.settle();
        world.act(2, |group, cx| group.leave(cx)).unwrap();
        while world.deliver() {}
        // The host does not hear of the founder's next topic, which stands above its own; who is out
        // follows the log of before.
        world.people[1].reach = false;
        world.lose_relay(1);
        let terms = SERVED_BY_ANY(world.now);
        publish(&mut world, 0, terms);
        world.join(1, 2);
        assert!(group(&world, 2).lacks_topics());
        world.people[1].reach = true;
        world.settle();
        world.say(2, "here I am again");
        world.settle();
        for reader in [0, 1] {
            assert_eq!(world.heard(reader), ["here I am again"], "{reader}");
        }
    }

    #[test]
    fn a_retired_machine_does_not_come_back_by_an_open_invite() {
        let (mut world, secret) = by_an_open_invite();
        let (lost, key) = (world.id(2), world.people[2].me.recovery().unwrap().clone());
        assert_eq!(world.act(0, |group, cx| group.retire(cx, &key)), Ok(lost));
        world.settle();
        assert_eq!(world.admit(0, 2, &secret), Err(AdmitError::Used));
        assert!(!group(&world, 1).is_member(&lost));
    }
}
