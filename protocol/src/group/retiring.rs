//! Ending the membership of a machine that is lost, by its recovery key.

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::CryptoRng;

use super::{Cx, Group, VerbError, wire::Statement};
use crate::{
    ids::MemberId,
    limits::OP_DEPS,
    membership::{Kind, Op},
    recovery::RecoveryKey,
};

impl Group {
    /// Retires the member on whose card this recovery key is, in the name of that member: any
    /// member's node may. The others stop sealing to it, and what its machine does beside this
    /// counts for nothing. Gives who it was.
    pub fn retire<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        key: &RecoveryKey,
    ) -> Result<MemberId, VerbError> {
        self.check_active()?;
        let recovery = key.public();
        let who = self.member_with(&recovery).ok_or(VerbError::WrongRecovery)?;
        let under = self.write_topics();
        self.join_heads(&mut cx, &under);
        if self.ops.heads().len() > OP_DEPS {
            return Err(VerbError::Full);
        }
        let kind = Kind::Retire { recovery, cut: self.cut(&who) };
        let body = self.ops.next(who, kind, cx.now).map_err(|_| VerbError::WrongRecovery)?;
        let op = Op::retire(body, key);
        let before: BTreeSet<MemberId> = self.ops.resolve().members.keys().copied().collect();
        let id = op.id();
        let bytes = Vec::from(op.as_bytes());
        self.ops.insert(op).map_err(|_| VerbError::Full)?;
        self.publish_control(&mut cx, &Statement::Ops(Vec::from([bytes.into()])), &under);
        self.after_ops(&mut cx, &before, &[id]);
        if who != self.me {
            // A Retire begins no topic, for whoever signs it may be out: this node does, at once.
            // Where it can't, the most senior member does.
            let _ = self.renew(&mut cx, |commit| Kind::Refresh { topic_commit: Some(commit) });
        }
        Ok(who)
    }

    /// The member who was admitted with this recovery key.
    fn member_with(&self, recovery: &[u8; 32]) -> Option<MemberId> {
        let cards = self.ops.iter().filter_map(super::people::card_in);
        let of = cards.filter(|card| card.card().recovery == Some(*recovery));
        of.map(|card| card.card().member).find(|member| self.is_member(member))
    }
}
