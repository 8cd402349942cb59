//! What is taken in of the ops that others tell (docs/spec/membership.md, *Room*).

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::CryptoRng;

use super::{Cx, Group, Timer};
use crate::{
    ids::{MemberId, OpId},
    membership::{Inserted, Op},
};

impl Group {
    /// Takes ops in, in any order, and draws what follows from them; answers which they were.
    pub(super) fn take_ops<'a, R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        ops: impl IntoIterator<Item = &'a [u8]>,
    ) -> BTreeSet<OpId> {
        let before: BTreeSet<MemberId> = self.ops.resolve().members.keys().copied().collect();
        let (mut new, mut told) = (Vec::new(), BTreeSet::new());
        let named = self.named_ops();
        let mut unasked = Vec::new();
        let mut take = |group: &mut Self, op: Op| match group.ops.take(op, &named) {
            Ok(Inserted::New(ids)) => new.extend(ids),
            Ok(Inserted::Pending) => group.set_timer(Timer::Want, cx.now.plus_ms(400)),
            Ok(Inserted::Known) | Err(_) => {}
        };
        for bytes in ops {
            let Ok(op) = Op::from_bytes(bytes) else { continue };
            told.insert(op.id());
            take(self, op.clone());
            if !self.ops.knows(&op.id()) {
                unasked.push(op);
            }
        }
        // What came behind may depend on what had no room before.
        unasked.into_iter().rev().for_each(|op| take(self, op));
        if !new.is_empty() {
            self.after_ops(cx, &before, &new);
        }
        told
    }

    /// What the bundles of known chains name: nobody takes one up without it.
    pub(super) fn heads_named(&self) -> impl Iterator<Item = &OpId> {
        self.receiving.chains.values().flat_map(|entry| &entry.head.head().heads)
    }

    /// What bundles that wait depend on, each op with whose bundle it is.
    fn named_ops(&self) -> BTreeSet<(OpId, MemberId)> {
        let heads = self.receiving.held.values().map(|held| held.head.head());
        heads.flat_map(|head| head.heads.iter().map(|op| (*op, head.sender))).collect()
    }
}
