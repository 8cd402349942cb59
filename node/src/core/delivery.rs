//! How far own messages are: with each member, and as it is told to whoever listens.
//!
//! > What a member's node has is stored once, when its receipt comes. That a message is sealed, stored at
//! > a relay or with everybody is told at once; who has it meanwhile is gathered first. What is gathered
//! > is a row: a node that is killed tells it when it is back.

use protocol::{
    group::{Due, Group},
    ids::{ChainId, MemberId, Timestamp},
    limits,
};

use super::{
    AGAIN_MS, Core, VerbError,
    events::protocol_group,
    membership::{id_prefix, is_active},
    step::Step,
};
use crate::{
    api::types::{DeliveryState, DeliveryView, MemberDelivery, MemberRef, Path, VERSION, What},
    store::{Recipient, Sent, StoreError, Which, rfc3339},
};

/// How long is gathered who has a message, in milliseconds: in groups that receipt each message, and in
/// those that tell by summaries.
const GATHER_MS: u64 = 500;
const GATHER_LARGE_MS: u64 = 30_000;

/// How long a relay keeps an entry that has not said it, in milliseconds: what is usual.
const KEPT_MS: u64 = 30 * 24 * super::HOUR_MS;

/// Messages of which something is told in one transaction.
const AT_ONCE: u32 = 64;

/// What stands for the last message written.
const LAST: &str = "last";

impl Core {
    /// How far an own message is with each member: the last one, or the one whose local id begins so.
    pub fn delivery(
        &mut self,
        reference: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<DeliveryView, VerbError> {
        let id = self.find_group(reference)?;
        let prefix = id_prefix(message);
        let which = match &prefix {
            Some(prefix) => Which::Prefix(prefix),
            None if message == LAST => Which::Last,
            None => return Err(VerbError::NoSuchMessage { asked: message.into() }),
        };
        let (sent, shown) = self.store.read(|tx| {
            let seq = match tx.which_sent(id, which)?.as_slice() {
                [] => return Err(VerbError::NoSuchMessage { asked: message.into() }),
                [seq] => *seq,
                _ => return Err(VerbError::AmbiguousMessage { asked: message.into() }),
            };
            Ok((tx.sent(seq)?.ok_or(StoreError::Damaged)?, tx.group(id)?))
        })?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        // This group's relays alone: that another group reaches somebody brings nothing nearer.
        let has_relay = is_active(group) && self.has_relay(group);
        let members: Vec<MemberDelivery> = sent
            .recipients
            .iter()
            .map(|to| {
                let by_relay = has_relay && group.is_member(&to.member);
                let path = self.path_by(&to.member, by_relay);
                self.reached(group, &sent, to, path, now)
            })
            .collect();
        let (state, mut reason) = overall(group, &sent, &members, now);
        if let Err(held) = self.may_send(&group.id())
            && state == DeliveryState::Queued
            && reason.is_empty()
        {
            reason = held.to_string();
        }
        Ok(DeliveryView {
            v: VERSION,
            message: sent.id,
            group: shown,
            at: rfc3339(sent.at),
            state,
            reason,
            members,
        })
    }

    /// How far a sealed message is with one member.
    fn reached(
        &self,
        group: &Group,
        sent: &Sent,
        to: &Recipient,
        path: Path,
        now: Timestamp,
    ) -> MemberDelivery {
        let (state, since, reason) = if to.read_at.is_some() {
            (DeliveryState::Read, to.read_at, String::new())
        } else if to.received {
            (DeliveryState::Received, to.received_at, String::new())
        } else if let Some((since, reason)) = never(group, sent, to, now) {
            (DeliveryState::Cant, since, reason.into())
        } else if sent.stored {
            (DeliveryState::Stored, sent.stored_at, kept(group, sent, to, now))
        } else {
            let reason = match path {
                Path::Direct => "its node is connected and has not said yet that it has it".into(),
                Path::Relay => "no relay has said yet that it keeps it".into(),
                Path::None => self.member_path(to.member, String::new(), path, now).reason,
            };
            (DeliveryState::Sealed, Some(sent.at), reason)
        };
        let member = MemberRef { id: to.member.to_string(), name: to.name.clone() };
        MemberDelivery { member, state, since: since.map(rfc3339), reason }
    }

    /// Tells what was gathered and is due.
    pub(super) fn tell_deliveries(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.tell_at.is_none_or(|due| due > now) {
            return Ok(());
        }
        let latest = now.plus_ms(GATHER_LARGE_MS);
        self.tell_at = Some(now.plus_ms(AGAIN_MS));
        let next = self.record(now, |step| {
            for seq in step.tx.untold(now, latest, AT_ONCE)? {
                step.delivery(seq)?;
            }
            step.tx.untold_due()
        })?;
        self.tell_at = next.map(|due| due.min(latest));
        Ok(())
    }
}

impl Step<'_> {
    /// A member's node says that it has these own messages.
    pub(super) fn delivered(
        &mut self,
        group: &Group,
        to: MemberId,
        chain: ChainId,
        indexes: &[u32],
    ) -> Result<(), StoreError> {
        for seq in self.tx.mark_received(group.id(), chain, indexes, to, self.now)? {
            // In a large group the next one may be far off.
            match self.tx.reached(seq)? {
                (_, 0) => self.delivery(seq)?,
                (1, _) if is_large(group) => self.delivery(seq)?,
                _ => self.gather(group, seq)?,
            }
        }
        Ok(())
    }

    /// A member's person has read these own messages. Who doesn't tell isn't told either.
    pub(super) fn seen(
        &mut self,
        group: &Group,
        by: MemberId,
        place: (ChainId, u32, u32),
    ) -> Result<(), StoreError> {
        if !self.tx.shelf(group.id())?.tells {
            return Ok(());
        }
        for seq in self.tx.mark_seen(group.id(), place, by, self.now)? {
            self.gather(group, seq)?;
        }
        Ok(())
    }

    /// A member's node can't open the keys of an own chain.
    pub(super) fn unopened(
        &mut self,
        group: &Group,
        by: MemberId,
        chain: ChainId,
    ) -> Result<(), StoreError> {
        for seq in self.tx.mark_unopened(group.id(), chain, by, self.now)? {
            self.gather(group, seq)?;
        }
        Ok(())
    }

    /// Tells how far an own message is.
    pub(super) fn delivery(&mut self, seq: u64) -> Result<(), StoreError> {
        self.tx.drop_untold(seq)?;
        let Some(message) = self.tx.message(seq)? else { return Ok(()) };
        let Some(delivery) = message.delivery else { return Ok(()) };
        let group = protocol_group(&message.group.id);
        self.emit(group, What::Delivery { message: message.id, delivery })
    }

    /// An own message got further, which is told with what follows soon.
    fn gather(&mut self, group: &Group, seq: u64) -> Result<(), StoreError> {
        let due = self.now.plus_ms(if is_large(group) { GATHER_LARGE_MS } else { GATHER_MS });
        self.tx.put_untold(seq, due)?;
        self.after.untold = Some(self.after.untold.map_or(due, |other| other.min(due)));
        Ok(())
    }
}

/// Whether its members tell what they have in summaries only.
fn is_large(group: &Group) -> bool {
    group.members().len() > limits::RECEIPT_MEMBERS
}

/// What is due of a sealed message to one to whom it was sealed.
fn due(group: &Group, sent: &Sent, to: &Recipient) -> Due {
    sent.chain.map_or(Due::Owed, |chain| group.due(&to.member, &chain))
}

/// Why a sealed message won't get to somebody who hasn't said to have it, and since when.
fn never(
    group: &Group,
    sent: &Sent,
    to: &Recipient,
    now: Timestamp,
) -> Option<(Option<Timestamp>, &'static str)> {
    match due(group, sent, to) {
        Due::Ended if group.is_member(&to.member) => {
            return Some((None, "was let in anew since: nothing from before is for it"));
        }
        Due::Ended => return Some((group.out_since(&to.member), "no member any more")),
        Due::Owed | Due::Unheard => {}
    }
    if !is_active(group) && !sent.stored {
        return Some((None, "this node is out of the group and sends nothing more there"));
    }
    if !sent.stored && !sent.waits && due(group, sent, to) == Due::Unheard {
        let reason = "no relay took it; this node was let in anew since, or has let go of its keys, and hears \
                      no more of it: write it again";
        return Some((None, reason));
    }
    if let Some(at) = to.unopened_at {
        let reason = "its node can't open the keys of this message: send it again, with newer ones";
        return Some((Some(at), reason));
    }
    let is_kept = sent.archived || sent.waits || is_kept_by_relay(sent, now);
    let reason = "neither a relay nor this node keeps it any more: write it again";
    (sent.chain.is_some() && !is_kept).then_some((None, reason))
}

/// Whether a relay has it still. Of one that said so before it was noted for how long, it is not known.
fn is_kept_by_relay(sent: &Sent, now: Timestamp) -> bool {
    let until = sent.kept_until.or_else(|| Some(sent.stored_at?.plus_ms(KEPT_MS)));
    sent.stored && until.is_some_and(|until| now < until)
}

/// Who keeps a message for a node that has not said to have it.
fn kept(group: &Group, sent: &Sent, to: &Recipient, now: Timestamp) -> String {
    if !is_active(group) {
        return "a relay took it; this node is out of the group and hears no more of it".into();
    }
    if due(group, sent, to) == Due::Unheard {
        let reason = "a relay took it; this node was let in anew since, or has let go of its keys, and \
                      hears no more of it";
        return reason.into();
    }
    match sent.kept_until {
        _ if !is_kept_by_relay(sent, now) => {
            "no relay keeps it any more; this node does, and gives it when its node asks".into()
        }
        Some(until) => {
            format!("a relay said that it keeps it for its node until {}", rfc3339(until))
        }
        None => "a relay said that it keeps it for its node".into(),
    }
}

/// How far a message is on the whole.
fn overall(
    group: &Group,
    sent: &Sent,
    members: &[MemberDelivery],
    now: Timestamp,
) -> (DeliveryState, String) {
    if sent.chain.is_none() {
        if !sent.queued {
            let reason = "it was never sealed, and is not going to be: write it again";
            return (DeliveryState::Cant, reason.into());
        }
        let reason = group.ready(now).err().map(|why| why.to_string()).unwrap_or_default();
        return (DeliveryState::Queued, reason);
    }
    let states = || members.iter().map(|member| member.state);
    let least = |wanted| states().any(|state| state == wanted);
    let state = if least(DeliveryState::Sealed) {
        DeliveryState::Sealed
    } else if least(DeliveryState::Stored) {
        DeliveryState::Stored
    } else if least(DeliveryState::Received) || members.is_empty() {
        DeliveryState::Received
    } else if least(DeliveryState::Read) {
        DeliveryState::Read
    } else {
        DeliveryState::Cant
    };
    (state, String::new())
}
