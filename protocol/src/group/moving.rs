//! Moving on to another group (docs/spec/membership.md).
//!
//! An admin founds a group with the same people, tells each of them its Welcome in pages sealed in the
//! chains of the old one, and says there by a Migrate that it goes on as the new one. Whose pages are
//! whole, and whose Migrate counts, is followed: by itself where the mover is the most senior admin,
//! else when this node's person says so.
//!
//! > Whoever has moved sends nothing more in the old group, and goes on to read it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::{Class, Cx, Event, Group, GroupState, Output, VerbError, records::Key};
use crate::{
    codec,
    ids::{GroupId, MemberId, OpId},
    limits::WELCOME_BYTES,
    membership::{Body, Conduct, Kind, Op},
    sign::Signature,
};

/// The kind of messages that carry a part of a Welcome.
pub const MOVE: u8 = 6;
/// Bytes of a Welcome in one message.
const PART: usize = 28_000;
/// Parts of a Welcome.
const PARTS: u16 = WELCOME_BYTES.div_ceil(PART) as u16;
/// Movers whose Welcomes are kept.
const MOVERS: usize = 4;

/// Where the group has gone, or may go.
#[derive(Default)]
pub(super) struct Moving {
    /// What each mover has told of a Welcome.
    pub told: BTreeMap<MemberId, Told>,
    /// The group that this node has moved to.
    pub gone: Option<GroupId>,
    /// The moves that were looked at.
    asked: BTreeSet<OpId>,
}

/// Parts of one Welcome, which holds the secrets of the new group's topics.
pub(super) struct Told {
    to: GroupId,
    of: u16,
    pub parts: BTreeMap<u16, Zeroizing<Vec<u8>>>,
}

/// One part, as a message's payload and as a record.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Part {
    #[n(0)]
    to: GroupId,
    #[n(1)]
    number: u16,
    #[n(2)]
    of: u16,
    #[cbor(n(3), with = "minicbor::bytes")]
    bytes: Vec<u8>,
}

/// A group that this one goes on as, by the word of one of its admins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Successor {
    /// The new group.
    pub to: GroupId,
    /// Who made it, and is its founder.
    pub by: MemberId,
    /// Whether all is here that is needed to follow.
    pub whole: bool,
}

/// Where this node has moved.
#[derive(Clone, PartialEq, Eq)]
pub struct Moved {
    /// The new group.
    pub to: GroupId,
    /// The Welcome to it and its author, for [`Group::join`]; none where this node made the group, or
    /// has taken it up.
    pub welcome: Option<(Zeroizing<Vec<u8>>, MemberId)>,
}

impl fmt::Debug for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.welcome.as_ref().map(|(_, by)| by);
        f.debug_struct("Moved").field("to", &self.to).field("by", &by).finish_non_exhaustive()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Told {
    fn is_whole(&self) -> bool {
        self.parts.len() == usize::from(self.of)
    }

    fn welcome(&self) -> Zeroizing<Vec<u8>> {
        // In one piece from the first on: nothing of it stays behind where it grew.
        let bytes = self.parts.values().map(|part| part.len()).sum();
        let mut welcome = Zeroizing::new(Vec::with_capacity(bytes));
        self.parts.values().for_each(|part| welcome.extend_from_slice(part));
        welcome
    }

    pub fn part(&self, number: u16) -> Option<Part> {
        let bytes = self.parts.get(&number)?.to_vec();
        Some(Part { to: self.to, number, of: self.of, bytes })
    }
}

impl Part {
    fn is_bounded(&self) -> bool {
        self.number < self.of && self.of <= PARTS && self.bytes.len() <= PART
    }
}

impl Moving {
    /// Takes a part up; answers whether it is new, and which records of another move of the same
    /// mover go.
    pub fn take(&mut self, from: MemberId, mut part: Part) -> (bool, Vec<u16>) {
        let mut gone = Vec::new();
        if let Some(told) = self.told.get(&from)
            && (told.to, told.of) != (part.to, part.of)
        {
            gone.extend(told.parts.keys());
            self.told.remove(&from);
        }
        if !self.told.contains_key(&from) && self.told.len() >= MOVERS {
            return (false, gone);
        }
        let empty = Told { to: part.to, of: part.of, parts: BTreeMap::new() };
        let told = self.told.entry(from).or_insert(empty);
        let bytes = Zeroizing::new(core::mem::take(&mut part.bytes));
        (told.parts.insert(part.number, bytes).is_none(), gone)
    }
}

impl Group {
    /// Founds a group with the name and relays of this one and its members, those of `without` left
    /// out: a founder of this node's member, the admins promoted in their order. It is nothing to
    /// anybody before [`Self::migrate`].
    pub fn successor<R: CryptoRng>(
        &self,
        cx: Cx<'_, R>,
        without: &[MemberId],
    ) -> Result<Self, VerbError> {
        self.check_active()?;
        if !self.ops.resolve().is_admin(&self.me) {
            return Err(VerbError::NotAnAdmin);
        }
        let Cx { me, now, rng } = cx;
        let policy = self.policy().clone();
        let mut new =
            Self::create(Cx { me, now, rng }, policy).map_err(|_| VerbError::BadPolicy)?;
        let genesis = OpId(new.id.0);
        let (mut last, mut seq) = (genesis, 1);
        let mut add = |kind| {
            let body = Body {
                group: Some(new.id),
                author: self.me,
                seq,
                deps: Vec::from([last]),
                cap: Some(genesis),
                at: now,
                kind,
                incarnation: Some(me.incarnation()),
            };
            let op = Op::sign(body, me.identity());
            (last, seq) = (op.id(), seq + 1);
            new.ops.insert(op).map(|_| ()).map_err(|_| VerbError::Full)
        };
        for member in self.members() {
            if member.id == self.me || without.contains(&member.id) {
                continue;
            }
            add(Kind::Admit {
                card: member.card.as_bytes().into(),
                invite: None,
                proof: Signature([0; 64]),
                handshake: [0; 32],
                use_no: 0,
            })?;
            if member.role != super::Role::Member {
                add(Kind::Promote { member: member.id })?;
            }
            new.people.take_card(member.card);
        }
        let conduct = *self.conduct();
        if conduct != Conduct::default() {
            add(conduct.kind())?;
        }
        new.conducted = conduct;
        new.mark_all();
        Ok(new)
    }

    /// Says that this group goes on as `to`, which [`Self::successor`] made, and sends nothing more.
    pub fn migrate<R: CryptoRng>(&mut self, cx: Cx<'_, R>, to: &Self) -> Result<(), VerbError> {
        let Cx { me, now, rng } = cx;
        self.check_active()?;
        self.ready(now)?;
        if !self.ops.resolve().is_admin(&self.me) {
            return Err(VerbError::NotAnAdmin);
        }
        let kind = Kind::Migrate { to: to.id };
        self.ops.next(self.me, kind.clone(), now).map_err(|_| VerbError::Full)?;
        let welcome = to.welcome().ok_or(VerbError::Full)?;
        let of = welcome.len().div_ceil(PART) as u16;
        for (number, bytes) in (0..).zip(welcome.chunks(PART)) {
            let part = Part { to: to.id, number, of, bytes: bytes.into() };
            let part = Zeroizing::new(codec::encode(&part));
            // It is ready, and each part fits.
            self.send(Cx { me, now, rng }, MOVE, &part).map_err(|_| VerbError::NoTopic)?;
        }
        self.act(&mut Cx { me, now, rng }, kind)?;
        self.go(to.id);
        Ok(())
    }

    /// Follows an admin to the group that this one goes on as. The node then takes up
    /// [`Self::moved`].
    pub fn follow_to(&mut self, to: GroupId) -> Result<(), VerbError> {
        let known = self.successors().into_iter().find(|known| known.to == to && known.whole);
        let known = known.ok_or(VerbError::NoSuchMove)?;
        self.go(known.to);
        self.told_of(known, true);
        Ok(())
    }

    /// The groups that this one goes on as, by the admins' words: by the most senior first.
    #[must_use]
    pub fn successors(&self) -> Vec<Successor> {
        let moves = self.ops.resolve().moves.iter();
        moves
            .map(|it| {
                let told = self.moving.told.get(&it.by);
                let whole = told.is_some_and(|told| told.to == it.to && told.is_whole());
                Successor { to: it.to, by: it.by, whole: whole || it.by == self.me }
            })
            .collect()
    }

    /// The group that this node has moved to; with the Welcome and its author, until
    /// [`Self::settled`] is called, where somebody else made it.
    #[must_use]
    pub fn moved(&self) -> Option<Moved> {
        let to = self.moving.gone?;
        let told = self.moving.told.iter().find(|(_, told)| told.to == to && told.is_whole());
        Some(Moved { to, welcome: told.map(|(by, told)| (told.welcome(), *by)) })
    }

    /// The new group is taken up: the Welcomes for it are needed no more.
    pub fn settled(&mut self) {
        let told = core::mem::take(&mut self.moving.told);
        for (by, told) in told {
            told.parts.keys().for_each(|number| self.dirty.mark(Key::Part(by, *number)));
        }
    }

    /// A part of a Welcome came in a message.
    pub(super) fn take_part<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: MemberId,
        class: &Class,
        payload: &[u8],
    ) {
        let Ok(part) = codec::decode::<Part>(payload) else { return };
        let by_admin = self.ops.resolve().is_admin(&from) && *class != Class::PostCut;
        if !by_admin || !part.is_bounded() || self.moving.gone.is_some() {
            return;
        }
        let number = part.number;
        let (new, gone) = self.moving.take(from, part);
        if !gone.is_empty() {
            self.moving.asked.clear();
        }
        gone.into_iter().for_each(|number| self.dirty.mark(Key::Part(from, number)));
        if new {
            self.dirty.mark(Key::Part(from, number));
            self.watch_moves(cx);
        }
    }

    /// Follows the most senior admin; tells people of the others' moves.
    pub(super) fn watch_moves<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if self.state != GroupState::Active || self.moving.gone.is_some() {
            return;
        }
        let first = self.ops.resolve().admins().first().copied();
        for successor in self.successors() {
            let told = self.moving.told.get(&successor.by).filter(|_| successor.whole);
            let Some(welcome) = told.map(Told::welcome) else { continue };
            let mut moves = self.ops.resolve().moves.iter();
            let op =
                moves.find(|it| it.to == successor.to && it.by == successor.by).map(|it| it.op);
            // Once is enough: to read a Welcome is much work.
            if !op.is_some_and(|op| self.moving.asked.insert(op)) {
                continue;
            }
            let here = Cx { me: cx.me, now: cx.now, rng: &mut *cx.rng };
            // One that does not hold, or is of another group, is no move.
            let holds = Self::join(here, &welcome, successor.by, |_| None);
            if !holds.is_ok_and(|group| group.id == successor.to) {
                continue;
            }
            if Some(successor.by) == first {
                self.go(successor.to);
                self.told_of(successor, true);
                return;
            }
            self.told_of(successor, false);
        }
    }

    fn go(&mut self, to: GroupId) {
        self.moving.gone = Some(to);
        self.dirty.mark(Key::Gone);
    }

    fn told_of(&mut self, successor: Successor, followed: bool) {
        let Successor { to, by, .. } = successor;
        self.out.push_back(Output::Event(Event::Moved { to, by, followed }));
    }
}
