//! What must hold once everything has come to rest.

mod bounds;
mod delivery;
mod membership;
mod secrets;
mod snapshots;

use alloc::{collections::BTreeSet, vec::Vec};

use super::{invariant::Failure, play::Sim};
use crate::{group::GroupState, membership::OpSet};

const MINUTE: u64 = 60_000;

impl Sim {
    /// Puts everything right, lets time pass, and checks all that can be checked.
    pub fn conclude(&mut self) -> Result<(), Failure> {
        self.put_right();
        let members = self.members();
        // Those whom a state let in that is gone tell of it once; a relay that then lost it all was the
        // only one to know.
        let forgot = self.world.watch.counts.happened.contains_key("relay forgot");
        let strange = !self.is_calm() && !self.are_acquainted(&members);
        if forgot && (strange || self.are_all_out(&members)) {
            return self.verdict();
        }
        let pieces = self.pieces(&members);
        pieces.iter().for_each(|piece| self.check_convergence(piece));
        self.check_shuffled();
        self.check_second_reading();
        self.verdict()?;
        self.check_probes();
        self.verdict()?;
        if pieces.len() > 1 || !self.world.relay && !self.are_acquainted(&members) {
            return self.verdict();
        }
        self.check_delivery(&members);
        self.check_reports();
        self.verdict()?;
        self.world.take_stock();
        self.check_bounds(&members);
        self.verdict()?;
        self.world.put_right = true;
        self.check_liveness(&members);
        self.verdict()?;
        self.check_quiet(&members);
        self.verdict()?;
        self.check_accusations();
        self.check_encodings();
        self.verdict()?;
        self.check_shadows();
        self.check_audits();
        self.verdict()?;
        if self.world.thorough {
            self.check_forward_secrecy(&members);
            self.verdict()?;
            self.check_healing(&members);
            self.verdict()?;
        }
        self.world.take_stock();
        self.world.check_disks();
        self.verdict()
    }

    /// Everybody is online, all lines stand, the relay serves, copies are off, and time passes.
    fn put_right(&mut self) {
        let copies = (0..self.world.people.len())
            .filter(|at| self.world.people[*at].copy_of.is_some())
            .filter(|at| self.world.people[*at].group.is_some());
        for copy in copies.collect::<Vec<_>>() {
            self.end_copy(copy);
        }
        self.world.reachable = true;
        for person in &mut self.world.people {
            person.reach = true;
            person.online = person.copy_of.is_none();
        }
        let present = self.present();
        for a in &present {
            for b in present.iter().filter(|b| a < b) {
                if self.world.is_linked(*a, *b) {
                    self.world.cut(*a, *b);
                }
                self.world.link(*a, *b);
            }
        }
        self.world.pass(70 * MINUTE);
    }

    /// Who is a member, as those who are agree.
    pub(super) fn members(&self) -> Vec<usize> {
        let truth = self.truth();
        let active = self.active().into_iter();
        active.filter(|at| truth.resolve().is_member(&self.world.id(*at))).collect()
    }

    /// Whether each takes each of the others for a member. Without a relay, whoever is gone may have
    /// been the only one to know of both.
    fn are_acquainted(&self, members: &[usize]) -> bool {
        members.iter().all(|at| {
            let group = self.world.member(*at);
            members.iter().all(|other| group.is_member(&self.world.id(*other)))
        })
    }

    /// Whether all of them are out by what somebody signed who has left: nobody is a member any more,
    /// and whoever was one can't hear of it from a relay that forgot.
    fn are_all_out(&self, members: &[usize]) -> bool {
        let told = self.all_told();
        !members.iter().any(|at| told.resolve().is_member(&self.world.id(*at)))
    }

    /// The members, apart where they can't hear each other: those of a piece take nobody else who is
    /// left for a member, and nobody else has any topic of theirs. Whoever let them in has gone before
    /// it heard of the others, and all whom it had told them of with it.
    fn pieces(&self, members: &[usize]) -> Vec<Vec<usize>> {
        let topics = |at: usize| self.world.member(at).topic_commits();
        let mut apart: Vec<Vec<usize>> = Vec::new();
        for at in members {
            let hears = |piece: &Vec<usize>| {
                piece.iter().any(|other| !topics(*other).is_disjoint(&topics(*at)))
            };
            let (near, mut far): (Vec<_>, Vec<_>) = apart.into_iter().partition(hears);
            far.push(near.into_iter().flatten().chain([*at]).collect());
            apart = far;
        }
        let forlorn = |piece: &Vec<usize>| {
            let others: Vec<_> = members.iter().filter(|at| !piece.contains(at)).collect();
            let known = |at: &usize| {
                let group = self.world.member(*at);
                others.iter().any(|other| group.is_member(&self.world.id(**other)))
            };
            !piece.iter().any(known)
        };
        let (mut pieces, rest): (Vec<_>, Vec<_>) = apart.into_iter().partition(forlorn);
        let rest: Vec<usize> = rest.into_iter().flatten().collect();
        if !rest.is_empty() {
            pieces.push(rest);
        }
        pieces
    }

    /// All ops that anybody who takes itself for a member knows.
    pub(super) fn truth(&self) -> OpSet {
        self.ops_of(self.active())
    }

    /// All ops that anybody honest knows, who has gone since also.
    pub(super) fn all_told(&self) -> OpSet {
        self.ops_of(self.present().into_iter().filter(|at| !self.world.people[*at].hostile))
    }

    pub(super) fn ops_of(&self, people: impl IntoIterator<Item = usize>) -> OpSet {
        let genesis = self.world.member(0).op_set().iter().next().unwrap().clone();
        let mut truth = OpSet::new(genesis).unwrap();
        for at in people {
            for op in self.world.member(at).op_set().iter() {
                // All of it fits.
                let _ = truth.insert(op.clone());
            }
        }
        truth
    }

    /// Whether nobody has been set back, copied or hostile.
    pub(super) fn is_calm(&self) -> bool {
        self.world.people.iter().all(|person| !person.shaken && !person.hostile)
    }

    /// Who was removed, and kept what it had.
    pub(super) fn removed(&self) -> BTreeSet<usize> {
        let present = self.present().into_iter();
        present.filter(|at| self.world.member(*at).state() == GroupState::Removed).collect()
    }
}
