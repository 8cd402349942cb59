//! Small DAGs of ops, as plain numbers.

use alloc::vec::Vec;

use crate::{
    ids::{InviteId, MemberId, OpId},
    membership::{
        bits::Bits,
        node::{Act, Node},
    },
};

/// The most ops of one of these DAGs, the Genesis included.
pub(super) const MOST: usize = 12;

/// What an op does, to people by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Do {
    Genesis,
    Admit(u8),
    /// By the invite made by the op of this number.
    Redeem(u8, u8),
    Promote(u8),
    Remove(u8),
    Demote(u8),
    Leave,
    Refresh,
    Retire,
    /// Publishes invite 0, for so many uses.
    Invite(u8),
    Revoke,
    /// Sets the conduct: formed by any grant, valid by an admin's.
    Conduct,
    /// An op that is there, is followed by others, and does nothing.
    Inert,
}

/// One op.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Step {
    pub(super) height: u8,
    pub(super) author: u8,
    pub(super) past: u16,
    pub(super) cap: Option<u8>,
    pub(super) act: Do,
    /// Breaks ties, as an op's id does.
    pub(super) id: u8,
    /// Its place, from 1, among all ops by height and id.
    pub(super) order: u8,
}

/// Some ops, parents first, the Genesis at 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dag {
    steps: [Step; MOST],
    len: usize,
}

/// The most people in one of these DAGs.
pub(super) const PEOPLE: u8 = 4;

pub(super) const FOUNDER: u8 = 0;

const GENESIS: Step =
    Step { height: 0, author: FOUNDER, past: 0, cap: None, act: Do::Genesis, id: 0, order: 0 };

impl Dag {
    pub(super) fn new() -> Self {
        Self { steps: [GENESIS; MOST], len: 1 }
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps[self.len] = step;
        self.len += 1;
    }

    /// This DAG with some ops made inert.
    pub(super) fn without(&self, ops: u16) -> Self {
        let mut other = *self;
        (0..self.len).filter(|at| ops >> at & 1 == 1).for_each(|at| {
            other.steps[at].act = Do::Inert;
            other.steps[at].cap = None;
        });
        other
    }

    /// This DAG with its ops numbered in another order, parents still first; `order` gives their
    /// old numbers.
    pub(super) fn reordered(&self, order: &[usize]) -> Self {
        let new = |old: usize| order.iter().position(|at| *at == old).unwrap();
        let mut other = Self::new();
        for old in &order[1..] {
            let step = self.steps[*old];
            let past = (0..self.len)
                .filter(|at| step.past >> at & 1 == 1)
                .fold(0, |past, at| past | 1 << new(at));
            let cap = step.cap.map(|cap| u8::try_from(new(cap.into())).unwrap());
            let act = match step.act {
                Do::Redeem(who, at) => Do::Redeem(who, u8::try_from(new(at.into())).unwrap()),
                act => act,
            };
            other.push(Step { past, cap, act, ..step });
        }
        other
    }

    /// Every order of the ops in which parents come first.
    pub(super) fn orders(&self, begun: &mut Vec<usize>, orders: &mut Vec<Vec<usize>>) {
        if begun.len() == self.len {
            orders.push(begun.clone());
        }
        for at in 0..self.len {
            let done = begun.iter().fold(0_u16, |done, at| done | 1 << at);
            if done >> at & 1 == 0 && self.steps[at].past & !done == 0 {
                begun.push(at);
                self.orders(begun, orders);
                begun.pop();
            }
        }
    }

    /// The order that takes the greatest number it can at each step.
    pub(super) fn last_order(&self) -> Vec<usize> {
        let (mut order, mut done) = (Vec::new(), 0_u16);
        while let Some(at) =
            (0..self.len).rev().find(|at| done >> at & 1 == 0 && self.steps[*at].past & !done == 0)
        {
            order.push(at);
            done |= 1 << at;
        }
        order
    }

    /// Gives all ops but the Genesis ids in an order drawn from `random`, and their places.
    pub(super) fn shuffle_ids(&mut self, random: u64) {
        let mut left: Vec<u8> = (1..).take(self.len - 1).collect();
        let mut random = random;
        for step in &mut self.steps[1..self.len] {
            let drawn = usize::try_from(random % left.len() as u64).unwrap();
            random = random.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            step.id = left.swap_remove(drawn);
        }
        let all: Vec<(u8, u8)> = self.steps().iter().map(|step| (step.height, step.id)).collect();
        for step in &mut self.steps[..self.len] {
            let before = all.iter().filter(|other| **other < (step.height, step.id)).count();
            step.order = u8::try_from(before).unwrap();
        }
    }

    /// This DAG with two people changed for one another, in the numbering that
    /// [`Self::is_numbered`] asks for.
    pub(super) fn mirrored(&self, one: u8, two: u8) -> Self {
        let mut other = *self;
        other.steps[..self.len].iter_mut().for_each(|step| step.mirror(one, two));
        while let Some(at) = (1..self.len - 1).find(|at| !other.is_numbered(*at)) {
            other.swap(at);
        }
        other
    }

    /// Whether an op and the next are in order: by height; of one height the smaller first, but for
    /// sibling grants, whose tie the number itself breaks as an id does.
    pub(super) fn is_numbered(&self, at: usize) -> bool {
        let (step, next) = (&self.steps[at], &self.steps[at + 1]);
        let grant =
            |step: &Step| matches!(step.act, Do::Admit(_) | Do::Redeem(..) | Do::Promote(_));
        let siblings = grant(step) && grant(next) && step.cap == next.cap;
        step.height < next.height
            || step.height == next.height
                && (siblings || *step <= Step { id: step.id, order: step.order, ..*next })
    }

    fn swap(&mut self, at: usize) {
        self.steps.swap(at, at + 1);
        self.steps[at].number(at);
        self.steps[at + 1].number(at + 1);
        for step in &mut self.steps[at + 2..self.len] {
            let bits = step.past >> at & 3;
            step.past = step.past & !(3 << at) | (bits >> 1 | (bits & 1) << 1) << at;
            step.cap = step.cap.map(|cap| match usize::from(cap) {
                cap if cap == at => at as u8 + 1,
                cap if cap == at + 1 => at as u8,
                _ => cap,
            });
        }
    }

    /// Whether a set of ops holds the past of each.
    pub(super) fn is_closed(&self, ops: u16) -> bool {
        self.steps()
            .iter()
            .enumerate()
            .all(|(at, step)| ops >> at & 1 == 0 || step.past & !ops == 0)
    }

    /// The height of an op with this past.
    pub(super) fn height(&self, past: u16) -> u8 {
        let before = self.steps().iter().enumerate().filter(|(at, _)| past >> at & 1 == 1);
        before.map(|(_, step)| step.height + 1).max().unwrap_or(0)
    }

    pub(super) fn grants(&self, at: usize) -> Option<u8> {
        match self.steps[at].act {
            Do::Genesis => Some(FOUNDER),
            Do::Admit(who) | Do::Redeem(who, _) | Do::Promote(who) => Some(who),
            _ => None,
        }
    }

    pub(super) fn is_admin_grant(&self, at: usize) -> bool {
        matches!(self.steps[at].act, Do::Genesis | Do::Promote(_))
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        self.steps().iter().map(Step::node).collect()
    }
}

impl Step {
    /// Gives it the id and place of its number.
    pub(super) fn number(&mut self, number: usize) {
        self.id = u8::try_from(number).unwrap();
        self.order = self.id;
    }

    fn mirror(&mut self, one: u8, two: u8) {
        let other = |who: u8| match who {
            who if who == one => two,
            who if who == two => one,
            who => who,
        };
        self.author = other(self.author);
        self.act = match self.act {
            Do::Admit(who) => Do::Admit(other(who)),
            Do::Redeem(who, invite) => Do::Redeem(other(who), invite),
            Do::Promote(who) => Do::Promote(other(who)),
            Do::Remove(who) => Do::Remove(other(who)),
            Do::Demote(who) => Do::Demote(other(who)),
            act => act,
        };
    }

    pub(super) fn node(&self) -> Node {
        let mut past = Bits::default();
        (0..MOST).filter(|at| self.past >> at & 1 == 1).for_each(|at| past.insert(at));
        Node {
            id: OpId([self.id; 32]),
            author: person(self.author),
            height: u32::from(self.height),
            past,
            cap: self.cap.map(usize::from),
            act: self.act.act(),
        }
    }
}

impl Do {
    fn act(self) -> Act {
        let id = InviteId([0; 16]);
        match self {
            Self::Genesis => Act::Genesis,
            Self::Admit(who) => Act::Admit { member: person(who), invite: None },
            Self::Redeem(who, invite) => {
                Act::Admit { member: person(who), invite: Some(invite.into()) }
            }
            Self::Promote(who) => Act::Promote { member: person(who) },
            Self::Remove(who) => Act::Remove { member: person(who) },
            Self::Demote(who) => Act::Demote { member: person(who) },
            Self::Leave => Act::Leave,
            Self::Refresh => Act::Refresh,
            Self::Retire => Act::Retire,
            Self::Invite(max_uses) => Act::InviteCreate { id, max_uses: max_uses.into() },
            Self::Revoke => Act::InviteRevoke { id },
            Self::Conduct => Act::Conduct,
            Self::Inert => Act::Other,
        }
    }
}

fn person(number: u8) -> MemberId {
    MemberId([number; 32])
}
