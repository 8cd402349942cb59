//! What is said of a message: answers, mentions, and what changes it.

use protocol::{
    chain::HeadRef,
    group::{Member, Role},
    ids::{GroupId, Timestamp},
    limits::MENTIONS,
    said::{Said, Text, is_reaction},
};

use super::{Core, VerbError, membership::id_prefix, send::TEXT_MAX};
use crate::{
    api::types::{ChangeKind, Message, SendMessage, What},
    store::{Body, StoreError, Which},
};

/// What fits an envelope, with all that goes with a text (docs/spec/envelope.md).
const PAYLOAD_MAX: usize = 32_183;
/// What stands for the last message of a group.
const LAST: &str = "last";

/// A message that is changed or answered.
struct Target {
    group: GroupId,
    seq: u64,
    /// How others name it; none while it waits to be sealed.
    head: Option<HeadRef>,
    message: Message,
}

/// Why a message was not changed or answered. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SaidError {
    /// No message of that id.
    #[error("there is no message \"{0}\" in this group")]
    NoMessage(String),
    /// Others wrote it.
    #[error("only who wrote a message can change it")]
    NotYours,
    /// It offers a file.
    #[error("what offers a file has no text of its own")]
    NoText,
    /// What can't stand as a reaction.
    #[error("a reaction is an emoji or a short word: at most 32 bytes, without spaces")]
    NoSign,
    /// It is queued.
    #[error("that message waits to be sealed: nobody has it yet")]
    NotSealed,
    /// Somebody has deleted it.
    #[error("that message was deleted")]
    Deleted,
    /// It was to be kept for some time only, and that is over.
    #[error("that message has expired")]
    Expired,
    /// So many are mentioned.
    #[error("{0} members are mentioned, and {MENTIONS} may be")]
    Mentions(usize),
}

impl SaidError {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::NoMessage(_) => "no-such-message",
            Self::NotYours => "not-your-message",
            Self::NoText => "no-text",
            Self::NoSign => "no-reaction",
            Self::NotSealed => "not-sealed",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Mentions(_) => "too-many-mentions",
        }
    }

    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::NoMessage(_) => {
                "Give at least four digits of its id: `wattle history GROUP --ids` shows them."
            }
            Self::NotYours => "Answer it, or react to it: `wattle react GROUP MESSAGE 👍`.",
            Self::NoText => "Delete the offer, and offer the file again.",
            Self::NoSign => "For more than that: `wattle send GROUP --reply MESSAGE TEXT`.",
            Self::NotSealed => "Wait until it is sent: `wattle status` says what it waits for.",
            Self::Deleted => "What was deleted can't be changed any more, nor answered.",
            Self::Expired => "What has expired can't be changed any more, nor answered.",
            Self::Mentions(_) => "Write to all of them without naming each.",
        }
    }

    pub(super) const fn exit(&self) -> u8 {
        match self {
            Self::NoMessage(_) => 6,
            Self::NoSign | Self::NoText | Self::Mentions(_) => 2,
            Self::NotYours | Self::Deleted | Self::Expired => 5,
            Self::NotSealed => 4,
        }
    }
}

impl Core {
    /// Queues a message with what it answers, and whom it is for in particular.
    pub fn send_with(
        &mut self,
        reference: &str,
        asked: &SendMessage,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        let id = self.find_group(reference)?;
        check(&asked.text)?;
        let reply = match &asked.reply {
            Some(message) => Some(self.target(reference, message)?.whole()?),
            None => None,
        };
        let mentions = asked.mentions.iter().map(|member| self.find_member(id, member));
        let mut mentions = mentions.collect::<Result<Vec<_>, _>>()?;
        mentions.sort_unstable();
        mentions.dedup();
        if mentions.len() > MENTIONS {
            return Err(SaidError::Mentions(mentions.len()).into());
        }
        let expires_s = self.groups.get(&id).and_then(|group| group.conduct().expires_s);
        let text = Text { text: asked.text.clone(), reply, mentions, expires_s };
        let seq = self.say(id, &Said::Text(text), now)?;
        Ok(self.store.read(|tx| tx.message(seq))?.ok_or(StoreError::Damaged)?)
    }

    /// Gives an own message another text.
    pub fn edit(
        &mut self,
        reference: &str,
        message: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        check(text)?;
        let target = self.target(reference, message)?;
        if !target.message.mine {
            return Err(SaidError::NotYours.into());
        }
        if target.message.file.is_some() {
            return Err(SaidError::NoText.into());
        }
        let head = target.whole()?;
        self.change(&target, &Said::Edit { target: head, text: text.into() }, now)
    }

    /// Deletes an own message: asks the others' nodes to, once it is theirs.
    pub fn delete_message(
        &mut self,
        reference: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        let target = self.target(reference, message)?;
        if !target.message.mine {
            return Err(SaidError::NotYours.into());
        }
        if target.head.is_none() {
            // Nobody has it, and nobody gets it.
            let (group, seq, me) = (target.group, target.seq, self.me.member());
            self.step(group, now, |_, step| {
                step.tx.unqueue(seq)?;
                step.tx.empty(seq, me)?;
                let message = Box::new(step.tx.message(seq)?.ok_or(StoreError::Damaged)?);
                let (by, change) = (step.tx.member(me)?, ChangeKind::Delete);
                step.emit(Some(group), What::Changed { message, by, change })
            })?;
            self.finish(now);
            return self.shown(&target);
        }
        let head = target.whole()?;
        // What it was to say instead is said to nobody any more.
        let group = target.group;
        self.step(group, now, |_, step| {
            let edits = step.tx.queued_edits(group, &head)?;
            edits.into_iter().try_for_each(|seq| step.tx.unqueue(seq))
        })?;
        self.change(&target, &Said::Delete { target: head }, now)
    }

    /// Puts a sign at a message, or takes it away.
    pub fn react(
        &mut self,
        reference: &str,
        message: &str,
        (sign, on): (&str, bool),
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        if !is_reaction(sign) {
            return Err(SaidError::NoSign.into());
        }
        let target = self.target(reference, message)?;
        let head = target.whole()?;
        self.change(&target, &Said::Reaction { target: head, text: sign.into(), on }, now)
    }

    /// Pins a message for everybody, or no more.
    pub fn pin(
        &mut self,
        reference: &str,
        message: &str,
        on: bool,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        let target = self.target(reference, message)?;
        let head = target.whole()?;
        let me = self.me.member();
        let group = self.groups.get(&target.group).ok_or(StoreError::Damaged)?;
        let is_admin = |member: &Member| member.id == me && member.role != Role::Member;
        if !group.members().iter().any(is_admin) {
            return Err(VerbError::NotAnAdmin);
        }
        self.change(&target, &Said::Pin { target: head, on }, now)
    }

    /// A message of a group: the last one that is shown, or the one whose local id begins so.
    pub fn find_message(&mut self, group: &str, message: &str) -> Result<Message, VerbError> {
        Ok(self.target(group, message)?.message)
    }

    fn change(
        &mut self,
        target: &Target,
        said: &Said,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        self.say(target.group, said, now)?;
        self.shown(target)
    }

    fn say(&mut self, group: GroupId, said: &Said, now: Timestamp) -> Result<u64, VerbError> {
        let payload = said.payload();
        if payload.len() > PAYLOAD_MAX {
            return Err(VerbError::MessageTooLong { bytes: payload.len(), limit: PAYLOAD_MAX });
        }
        self.queue(group, &Body::of(said.kind(), &payload), now, |_, _| Ok(()))
    }

    fn shown(&mut self, target: &Target) -> Result<Message, VerbError> {
        let seq = target.seq;
        Ok(self.store.read(|tx| tx.message(seq))?.ok_or(StoreError::Damaged)?)
    }

    /// A message of a group: the last one that is shown, or the one whose local id begins so.
    fn target(&mut self, reference: &str, message: &str) -> Result<Target, VerbError> {
        let group = self.find_group(reference)?;
        let prefix = id_prefix(message);
        let which = match &prefix {
            Some(prefix) => Which::Prefix(prefix),
            None if message == LAST => Which::Last,
            None => return Err(SaidError::NoMessage(message.into()).into()),
        };
        self.store.read(|tx| {
            let seq = match tx.which_shown(group, which)?.as_slice() {
                [] => return Err(SaidError::NoMessage(message.into()).into()),
                [seq] => *seq,
                _ => return Err(VerbError::AmbiguousMessage { asked: message.into() }),
            };
            let message = tx.message(seq)?.ok_or(StoreError::Damaged)?;
            Ok(Target { group, seq, head: tx.head(seq)?, message })
        })
    }
}

impl Target {
    /// How others name it, where it is neither deleted nor over.
    fn whole(&self) -> Result<HeadRef, VerbError> {
        if self.message.more.expired {
            return Err(SaidError::Expired.into());
        }
        match self.message.more.deleted_by {
            Some(_) => Err(SaidError::Deleted.into()),
            None => Ok(self.head.ok_or(SaidError::NotSealed)?),
        }
    }
}

/// Whether a text can be sent.
fn check(text: &str) -> Result<(), VerbError> {
    match text.len() {
        0 => Err(VerbError::EmptyMessage),
        bytes if bytes > TEXT_MAX => Err(VerbError::MessageTooLong { bytes, limit: TEXT_MAX }),
        _ => Ok(()),
    }
}
