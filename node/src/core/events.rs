//! What happens in groups, as rows and as events that people see.

use protocol::{
    group::{self, Alarm, GapState, Group, GroupState, Unadmitted},
    ids::{GroupId, MemberId},
};

use super::{
    backlog::Came,
    circuits::Asked,
    joins::{REFUSED, view},
    pings::Pong,
    step::{Step, random},
    words,
};
use crate::{
    api::types::{Class, JoinState, MemberRef, What},
    store::{Body, Changed, JoinRow, NewMessage, Reclassed, StoreError, rfc3339},
};

impl Step<'_> {
    /// Writes down what happened in a group.
    pub(super) fn happened(
        &mut self,
        group: &Group,
        event: group::Event,
    ) -> Result<(), StoreError> {
        use group::Event;
        let id = group.id();
        match event {
            Event::Message(received) => self.received(group, &received, None),
            Event::Shared { by, message } => self.received(group, &message, Some(by)),
            Event::Reclassed { chain, from, until, class } => {
                let class = class_of(&class);
                self.show_all()?;
                let Reclassed { messages, changes } =
                    self.tx.reclass(id, chain, from..until, class)?;
                if !messages.is_empty() {
                    self.emit(Some(id), What::Reclassed { messages, class })?;
                }
                changes.into_iter().try_for_each(|seq| {
                    self.settle_change(seq)?;
                    self.changed(id, seq, true)
                })
            }
            Event::Joined { member, by } => {
                self.after.members = true;
                self.after.present.push(id);
                let (member, by) = (self.named(group, member)?, self.named(group, by)?);
                self.emit(Some(id), What::MemberJoined { member, by })
            }
            Event::Removed { member, by } => {
                (self.after.members, self.after.logs) = (true, true);
                let me = member == self.me.member();
                if me && group.state() == GroupState::Removed {
                    self.tx.clear_outbox(id)?;
                }
                let (member, by) = (self.named(group, member)?, self.named(group, by)?);
                self.emit(Some(id), What::MemberRemoved { member, by, me })
            }
            Event::Left { member } => {
                (self.after.members, self.after.logs) = (true, true);
                let member = self.named(group, member)?;
                self.emit(Some(id), What::MemberLeft { member })
            }
            Event::Moved { to, by, followed } => self.moved(group, to, by, followed),
            Event::Retired { member } => {
                (self.after.members, self.after.logs) = (true, true);
                let me = member == self.me.member();
                if me && group.state() == GroupState::Removed {
                    self.tx.clear_outbox(id)?;
                }
                let member = self.named(group, member)?;
                self.emit(Some(id), What::MemberRetired { member, me })
            }
            Event::Unadmitted { member, by, why } => {
                (self.after.members, self.after.logs) = (true, true);
                let me = member == self.me.member();
                let why = unadmitted(why);
                if me {
                    self.tx.clear_outbox(id)?;
                    self.not_joined(id, why)?;
                }
                let (member, by) = (self.named(group, member)?, self.named(group, by)?);
                let why = why.into();
                self.emit(Some(id), What::NotAdmitted { member, by, me, why })
            }
            Event::Confirmed => self.emit(Some(id), What::ViewConfirmed),
            Event::Policy { relays } => {
                (self.after.members, self.after.logs) = (true, true);
                // Also where another one holds: who heard of this one alone writes where it says.
                self.note_named(group, &relays)?;
                self.note_former(group, self.now)?;
                self.tx.put_group(id, &group.policy().name, self.now)
            }
            Event::Conduct { by, before, now } => {
                let by = by.map(|by| self.named(group, by)).transpose()?;
                if before.receipts != now.receipts {
                    self.emit(Some(id), What::Receipts { by: by.clone(), on: now.receipts })?;
                }
                if before.typing != now.typing {
                    self.emit(Some(id), What::TypingShown { by: by.clone(), on: now.typing })?;
                }
                if before.expires_s == now.expires_s {
                    return Ok(());
                }
                self.emit(Some(id), What::Conduct { by, disappear: now.expires_s })
            }
            Event::Rotated { sender, recipients, .. } => {
                let sender = self.named(group, sender)?;
                let to = recipients
                    .into_iter()
                    .map(|member| self.named(group, member))
                    .collect::<Result<_, _>>()?;
                self.emit(Some(id), What::Rotated { sender, to })
            }
            Event::Delivered { to, chain, indexes } => self.delivered(group, to, chain, &indexes),
            Event::Seen { by, chain, first, next } => self.seen(group, by, (chain, first, next)),
            Event::Typing { by, on } => self.typing(group, by, on),
            Event::Unopened { by, chain } => self.unopened(group, by, chain),
            Event::Pong { from, nonce, at } => {
                let pong = Pong { group: id, from, nonce, theirs: at, now: self.now };
                self.after.pongs.push(pong);
                Ok(())
            }
            Event::Talk { from, group: of, code } => self.asked_to_talk(group, from, of, &code),
            Event::Circuit { from, circuit, key } => {
                self.after.asked.push(Asked { group: id, from, circuit, key });
                Ok(())
            }
            Event::Gap { from, .. } => {
                self.gaps.found.insert(from);
                Ok(())
            }
            Event::Asking { of, everybody } => {
                self.gaps.asked = (of, everybody);
                Ok(())
            }
            Event::Healed { from, was, .. } => {
                let asked = self.gaps.healed.entry(from).or_default();
                *asked |= was == GapState::Asked;
                Ok(())
            }
            Event::Undeliverable { from, .. } => {
                *self.gaps.vain.entry(from).or_default() += 1;
                Ok(())
            }
            Event::CaughtUp => self.emit(Some(id), What::CaughtUp),
            Event::Logs => {
                self.after.logs = true;
                Ok(())
            }
            Event::Members => {
                self.after.members = true;
                self.names(group)
            }
            // Whatever waits is tried after every step.
            Event::Ready => Ok(()),
            Event::NoWord { since } => {
                let text = format!(
                    "No word from anybody in this group since {}, and nobody answers. Everybody may \
                     be away, or you may have been removed: ask a member in another way. What you \
                     write from now on may reach nobody.",
                    rfc3339(since)
                );
                self.emit(Some(id), What::Alarm { text })
            }
            Event::BackInTouch { since } => {
                let text = format!(
                    "Back in touch. What was said here after {} and is kept by no relay and no member \
                     is lost.",
                    rfc3339(since)
                );
                self.emit(Some(id), What::Alarm { text })
            }
            Event::Alarm(alarm) => {
                let text = self.alarm(group, alarm)?;
                self.emit(Some(id), What::Alarm { text })
            }
        }
    }

    /// The join into a group came to nothing.
    fn not_joined(&mut self, group: GroupId, why: &str) -> Result<(), StoreError> {
        let Some(row) = self.tx.join_into(group)? else { return Ok(()) };
        let row =
            JoinRow { state: JoinState::Failed, detail: why.into(), exit: Some(REFUSED), ..row };
        self.tx.put_join(&row)?;
        let join = view(self.tx, &row)?;
        self.emit(Some(group), What::Join { join })
    }

    /// Keeps the names on the members' cards.
    pub(super) fn names(&mut self, group: &Group) -> Result<(), StoreError> {
        group
            .members()
            .iter()
            .try_for_each(|member| self.tx.put_name(member.id, &member.card.card().name))
    }

    /// Shows the messages that came since the last event, in their order: they came at once, and may have
    /// been opened in another one. Then tells what was changed.
    pub(super) fn show_all(&mut self) -> Result<(), StoreError> {
        std::mem::take(&mut self.came).into_iter().try_for_each(|(_, seq)| self.show(seq))?;
        let changes = std::mem::take(&mut self.changes);
        changes.into_iter().try_for_each(|(group, seq)| self.changed(group, seq, false))
    }

    /// Shows a message.
    pub(super) fn show(&mut self, seq: u64) -> Result<(), StoreError> {
        let Some(message) = self.tx.message(seq)? else { return Ok(()) };
        let group = protocol_group(&message.group.id);
        self.emit(group, What::Message { message: Box::new(message) })
    }

    /// A change has come.
    fn has_changed(&mut self, group: GroupId, seq: u64) -> Result<(), StoreError> {
        self.settle_change(seq)?;
        self.changes.push((group, seq));
        Ok(())
    }

    /// Keeps of a message what its changes leave, now that this one came or was sealed.
    pub(super) fn settle_change(&mut self, seq: u64) -> Result<(), StoreError> {
        self.tx.trim_changes(seq)?;
        let target = self.tx.changed_by(seq)?;
        target.map_or(Ok(false), |target| self.tx.erase(target)).map(drop)
    }

    /// Tells of a change that came, or that counts or doesn't by what is known now.
    fn changed(&mut self, group: GroupId, seq: u64, is_anew: bool) -> Result<(), StoreError> {
        let Some(Changed { message, by, change }) = self.tx.changed(seq, is_anew)? else {
            return Ok(());
        };
        let message = Box::new(message);
        self.emit(Some(group), What::Changed { message, by, change })
    }

    fn received(
        &mut self,
        group: &Group,
        received: &group::Received,
        shared_by: Option<MemberId>,
    ) -> Result<(), StoreError> {
        for member in [Some(received.from), shared_by].into_iter().flatten() {
            self.named(group, member)?;
        }
        let new = NewMessage {
            group: group.id(),
            id: random(self.rng),
            from: received.from,
            body: Body::of(received.kind, &received.payload),
            by_admin: received.by_admin,
            at: received.at,
            class: class_of(&received.class),
            chain: received.chain,
            index: received.index,
            message: received.id,
            lamport: received.lamport,
            clock: group.lamport(),
            signed: &received.signed,
            shared_by,
        };
        if let Some(seq) = self.tx.put_message(&new)?
            && let Some(place) = self.tx.place(seq)?
        {
            self.count_down(seq, received.kind, &received.payload)?;
            match new.body.changes {
                Some(_) => self.has_changed(group.id(), seq)?,
                None => {
                    self.tx.erase(seq)?;
                    self.came.insert((place, seq));
                }
            }
            if shared_by.is_none() {
                let place = (received.chain, received.index);
                let archived = self.archived.take_if(|archived| archived.place == place);
                let (envelope, told_by) = archived.map(|it| (it.envelope, it.told_by)).unzip();
                self.after.came.push(Came {
                    group: group.id(),
                    from: received.from,
                    place,
                    envelope,
                    told_by: told_by.unwrap_or_default(),
                    at: received.at,
                    now: self.now,
                });
            }
        }
        Ok(())
    }

    /// A member with the name on its newest card.
    pub(super) fn named(
        &mut self,
        group: &Group,
        member: MemberId,
    ) -> Result<MemberRef, StoreError> {
        if let Some(card) = group.card(&member) {
            self.tx.put_name(member, &card.card().name)?;
        }
        self.tx.member(member)
    }

    fn alarm(&mut self, group: &Group, alarm: Alarm) -> Result<String, StoreError> {
        Ok(match alarm {
            Alarm::Equivocation(member) => {
                words::equivocation(&self.named(group, member)?.name, member == self.me.member())
            }
            Alarm::Clone(member) => {
                words::clone(&self.named(group, member)?.name, member == self.me.member())
            }
            Alarm::Restored(member) => format!(
                "{}'s node went on from an older copy of its data: a restored backup, or another \
                 device. What it sent in between may be missing there. Ask them if that is so.",
                self.named(group, member)?.name
            ),
            Alarm::Contradiction { by, about } if by == about => format!(
                "What {} sends does not follow from what {} sent before, and nobody shows why.",
                self.named(group, by)?.name,
                self.named(group, by)?.name
            ),
            Alarm::Contradiction { by, about } => format!(
                "{} refers to a message of {} that differs from the one here, and nobody has shown \
                 it.",
                self.named(group, by)?.name,
                self.named(group, about)?.name
            ),
            Alarm::OldState => "This node's state is older than what others have seen from it: a \
                                restored backup or a copy of this machine? It reads, and sends again \
                                once it has caught up."
                .into(),
            Alarm::Copied => "Another copy of this node goes on beside it: a restored backup or a \
                              copy of this machine? Stop one of the two; each keeps overtaking the \
                              other."
                .into(),
            Alarm::Returned { member, by, .. } if member == self.me.member() => format!(
                "Your removal by {by} does not count, because {by} was removed or demoted at the same \
                 time: you are a member again. The others seal to you once an admin has answered, or \
                 in ten minutes.",
                by = self.named(group, by)?.name
            ),
            Alarm::Returned { member, by, .. } => {
                let (member, by) = (self.named(group, member)?.name, self.named(group, by)?.name);
                format!(
                    "{member} is back: the removal by {by} does not count, because {by} was removed or \
                     demoted at the same time. Nothing is sent for ten minutes, or until an admin lets \
                     {member} in again (wattle group readmit) or removes {member} again (wattle group \
                     remove)."
                )
            }
            Alarm::SlotFailed(member) => format!(
                "Keys from {} could not be opened; new ones were asked for.",
                self.named(group, member)?.name
            ),
            Alarm::LogFull(most) => {
                let who = match most {
                    Some(member) => {
                        let name = self.named(group, member)?.name;
                        format!(" {name} wrote more than half of it: remove them if that goes on.")
                    }
                    None => String::new(),
                };
                format!("The relay keeps no more for this group here; a new log is begun.{who}")
            }
            Alarm::Evicted(member) => format!(
                "{} was removed: nothing was heard of them for longer than the group's policy allows. \
                 A new invite brings them back.",
                self.named(group, member)?.name
            ),
            Alarm::Emptied(by) => {
                let by = self.named(group, by)?.name;
                format!(
                    "This group has no members any more: {by}'s recovery code was used to undo every \
                     admission. Nothing can be sent or read here. What was said, and everybody's card, \
                     is kept: found a new group and invite those whom you knew here, by other means. \
                     Whoever did this holds that code: trust no new group by it."
                )
            }
            Alarm::KeysMissing(_) => {
                "Messages have waited for their keys for over a minute; other members are asked."
                    .into()
            }
        })
    }
}

fn class_of(class: &group::Class) -> Class {
    match class {
        group::Class::Ok => Class::Ok,
        group::Class::StaleView(_) => Class::StaleView,
        group::Class::PostCut => Class::PostCut,
    }
}

/// Why an admission came to nothing, in words.
fn unadmitted(why: Unadmitted) -> &'static str {
    match why {
        Unadmitted::Used => "the invite was used by somebody else at the same moment",
        Unadmitted::Revoked => "the invite was revoked at the same moment",
        Unadmitted::Admitter => {
            "whoever made the invite, or admitted by it, lost the right to at the same moment"
        }
    }
}

/// A group by its id in hexadecimal.
pub(super) fn protocol_group(id: &str) -> Option<protocol::ids::GroupId> {
    crate::store::unhex(id).and_then(|bytes| protocol::ids::GroupId::from_slice(&bytes))
}
