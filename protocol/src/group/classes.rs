//! How late or doubtful messages are (docs/spec/consistency.md).
//!
//! > The class of a message is a function of the ops, its chain's head and its index, so that it is
//! > the same on every node that has the same ops. Where ops change it, what was delivered is classed
//! > anew.
//!
//! A chain's messages fall into two parts: those below the cut of its sender's removal, and those
//! from there on. So a node keeps one [`Classes`] for each chain, and none for a message.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{ChainState, Class, Cx, Event, Group, Output, Timer, receiving::Entry, records::Key};
use crate::{
    bundle::SignedHead,
    ids::{ChainId, MemberId, OpId, Timestamp},
    limits::CHAIN_MESSAGES,
    membership::{Kind, Op, OpSet, Resolution},
};

/// Chains classed anew in one step, and how soon the next follow, in milliseconds.
const AT_ONCE: usize = 64;
const SOON_MS: u64 = 20;

/// The class of a chain's message, by what these ops come to.
#[must_use]
pub fn class_of(ops: &OpSet, head: &SignedHead, index: u32) -> Class {
    Classes::of(ops, head).at(index)
}

/// The classes of a chain's messages.
#[derive(Clone, Default, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct Classes {
    /// Members of the sender's view, beside the sender, who are no members now.
    #[n(0)]
    stale: Vec<MemberId>,
    /// The first index that does not count: that after the cut of the sender's removal.
    #[n(1)]
    end: Option<u32>,
}

/// Chains that are to be classed anew.
#[derive(Default)]
pub(super) struct Classing(VecDeque<ChainId>);

impl Classes {
    /// The classes by what these ops come to.
    fn of(ops: &OpSet, head: &SignedHead) -> Self {
        let said = head.head();
        let Ok(view) = ops.resolve_at(&said.heads) else { return Self::default() };
        let now = ops.resolve();
        let gone = |member: &&MemberId| **member != said.sender && !now.is_member(member);
        Self {
            stale: view.members.keys().filter(gone).copied().collect(),
            end: end(now, &view, said.sender, head.chain()),
        }
    }

    pub(super) fn at(&self, index: u32) -> Class {
        if self.end.is_some_and(|end| index >= end) { Class::PostCut } else { self.below() }
    }

    fn below(&self) -> Class {
        if self.stale.is_empty() { Class::Ok } else { Class::StaleView(self.stale.clone()) }
    }

    /// The parts of a chain: their indexes, as first and first not, and their classes.
    fn parts(&self) -> [(u32, u32, Class); 2] {
        let end = self.end.unwrap_or(CHAIN_MESSAGES).min(CHAIN_MESSAGES);
        [(0, end, self.below()), (end, CHAIN_MESSAGES, Class::PostCut)]
    }
}

/// Where a chain ends that a sender made in this view: nowhere while one of the grants that made it
/// a member there stands or was given up; else after what the removals of these grants accept.
fn end(now: &Resolution, view: &Resolution, sender: MemberId, chain: ChainId) -> Option<u32> {
    let grants = view.grants.get(&sender)?;
    let mut end = 0;
    for grant in grants {
        let ended = now.ended(grant).filter(|it| it.void || !it.removals.is_empty())?;
        let cut = ended.cut.iter().filter(|cut| cut.chain == chain);
        end = cut.map(|cut| cut.index.saturating_add(1)).fold(end, u32::max);
    }
    Some(end)
}

impl Group {
    /// The class of a message that is being delivered. What was delivered of the chain before it is
    /// classed by the same ops.
    pub(super) fn classify(&mut self, chain: ChainId, index: u32) -> Class {
        self.class_anew(chain);
        let entry = self.receiving.chains.get(&chain);
        entry.map_or(Class::Ok, |entry| entry.classes.at(index))
    }

    /// Has chains classed anew where these ops may have changed their classes.
    pub(super) fn watch_classes<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, new: &[Op]) {
        // An invite that is taken back, or used by somebody more senior, ends an admission.
        let ends = |op: &Op| {
            matches!(
                op.body().kind,
                Kind::Remove { .. }
                    | Kind::Demote { .. }
                    | Kind::Leave
                    | Kind::Retire { .. }
                    | Kind::InviteRevoke { .. }
                    | Kind::Admit { invite: Some(_), .. }
            )
        };
        let grants = |op: &Op| matches!(op.body().kind, Kind::Admit { .. } | Kind::Promote { .. });
        let doubtful = || {
            let mut entries = self.receiving.chains.values();
            entries.any(|entry| entry.classes != Classes::default())
        };
        if new.iter().any(ends) || new.iter().any(grants) && doubtful() {
            self.class_all();
            self.class_some(cx.now);
        }
    }

    /// Has every chain classed anew: those of one view after one another, because a view is costly.
    pub(super) fn class_all(&mut self) {
        let mut views: BTreeMap<&[OpId], Vec<ChainId>> = BTreeMap::new();
        for (chain, entry) in &self.receiving.chains {
            views.entry(&entry.head.head().heads).or_default().push(*chain);
        }
        self.classing = Classing(views.into_values().flatten().collect());
    }

    /// Classes some of the chains that wait for it.
    pub(super) fn class_some(&mut self, now: Timestamp) {
        for _ in 0..AT_ONCE {
            let Some(chain) = self.classing.0.pop_front() else { return };
            self.class_anew(chain);
        }
        if !self.classing.0.is_empty() {
            self.set_timer(Timer::Classes, now.plus_ms(SOON_MS));
        }
    }

    pub(super) fn class_anew(&mut self, chain: ChainId) {
        let Some(entry) = self.receiving.chains.get_mut(&chain) else { return };
        let classes = Classes::of(&self.ops, &entry.head);
        if classes == entry.classes {
            return;
        }
        let parts = classes.parts();
        entry.classes = classes;
        self.dirty.mark(Key::Classes(chain));
        if has_messages(entry) {
            for (from, until, class) in parts.into_iter().filter(|(from, until, _)| from < until) {
                let event = Event::Reclassed { chain, from, until, class };
                self.out.push_back(Output::Event(event));
            }
        }
    }
}

/// Whether any message of the chain was delivered, or sent.
fn has_messages(entry: &Entry) -> bool {
    match &entry.state {
        ChainState::Open(read) => read.next() > 0,
        ChainState::Mine { count } => *count > 0,
        ChainState::Closed { next } => *next > 0,
        ChainState::NotForMe | ChainState::Failed => false,
    }
}
