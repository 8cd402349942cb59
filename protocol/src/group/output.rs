//! What a group asks of its node, and what it has to tell people.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::talks::TalkCode;
use crate::{
    identity::SignedCard,
    ids::{ChainId, GroupId, LogId, MemberId, MessageId, OpId, RelayTag, Timestamp},
    membership::{AdmitMode, Conduct},
    relay_log::LogKeys,
    sign::Signature,
};

/// Work for the node, in order. None of it may be carried out before the state that made it is
/// committed.
pub enum Output {
    /// Append an envelope to these logs, at each relay of the group. Gossip has it already.
    Publish {
        /// The padded envelope.
        envelope: Vec<u8>,
        /// The logs of the topics that this group writes to now.
        logs: Vec<LogId>,
        /// The own message inside, if it is one.
        message: Option<MessageId>,
    },
    /// Hand a frame to one member's channel; it is lost if none stands, and sync mends that.
    Frame {
        /// To whom.
        to: MemberId,
        /// At most [`crate::limits::FRAME_MAX`] bytes.
        frame: Vec<u8>,
    },
    /// Keep this envelope so that members who missed it can be served.
    Archive {
        /// The sender's chain.
        chain: ChainId,
        /// The index in it.
        index: u32,
        /// The envelope as it came.
        envelope: Vec<u8>,
        /// Who has told it while it waited here for its bundle: see [`super::Group::note_told`].
        told_by: Vec<RelayTag>,
    },
    /// Read these from the archive and hand them to [`super::Group::serve`], in the order in which
    /// they were kept: that is an order in which no message comes before one that it follows.
    Serve {
        /// Who lacks them.
        to: MemberId,
        /// Chains and the indexes in each, at most 256.
        messages: Vec<(ChainId, Vec<u32>)>,
    },
    /// Keep this entry of the audit log (docs/spec/storage.md), by its number.
    Audit {
        /// From 0, without a gap.
        seq: u64,
        /// At most [`crate::audit::ENTRY_BYTES`].
        entry: Vec<u8>,
    },
    /// Something happened.
    Event(Event),
}

/// An envelope of the archive, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The sender's chain.
    pub chain: ChainId,
    /// The index in it.
    pub index: u32,
    /// The envelope as it came.
    pub envelope: Vec<u8>,
}

/// What happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message by another member was opened.
    Message(Received),
    /// By what the ops come to now, these messages of a chain have this class; some had another.
    Reclassed {
        /// The chain; perhaps an own one.
        chain: ChainId,
        /// The first index that has the class.
        from: u32,
        /// The first after it that has not.
        until: u32,
        /// The class.
        class: Class,
    },
    /// A member handed on a message of somebody's that this node has not read itself.
    Shared {
        /// Who handed it on.
        by: MemberId,
        /// The message, with its own author and time.
        message: Received,
    },
    /// Somebody was admitted.
    Joined {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody was removed; perhaps this node's own member.
    Removed {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody left.
    Left {
        /// Who.
        member: MemberId,
    },
    /// Somebody, perhaps this node's own member, was retired: its machine is lost, and whoever holds
    /// its recovery key ended the membership.
    Retired {
        /// Who.
        member: MemberId,
    },
    /// Somebody, perhaps this node's own member, was admitted, and the admission does not count.
    Unadmitted {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
        /// Why.
        why: Unadmitted,
    },
    /// Somebody else than the admin who welcomed this node's member has told what is new: the view
    /// is confirmed ([`super::Group::is_confirmed`]).
    Confirmed,
    /// An admin says that the group goes on as another one, and all is here that is needed to follow.
    Moved {
        /// The new group.
        to: crate::ids::GroupId,
        /// Who made it.
        by: MemberId,
        /// Whether this node follows: take up [`super::Group::moved`]. Otherwise its person may say so,
        /// by [`super::Group::follow_to`].
        followed: bool,
    },
    /// The policy, and so perhaps the name or the relays, changed.
    Policy {
        /// The relays that the ops which set it name, if they count.
        relays: BTreeSet<String>,
    },
    /// The conduct that counts is another one: somebody set it, or one that was set does not count.
    Conduct {
        /// Whose it is; `None`: nobody set one that counts.
        by: Option<MemberId>,
        /// The one before.
        before: Conduct,
        /// What it is now.
        now: Conduct,
    },
    /// A sender, perhaps this node, made a new chain and sealed it to these.
    Rotated {
        /// Whose chain.
        sender: MemberId,
        /// The chain.
        chain: ChainId,
        /// To whom it is sealed, the sender left out.
        recipients: Vec<MemberId>,
    },
    /// A member's node says that it has these own messages.
    Delivered {
        /// Who has them.
        to: MemberId,
        /// The own chain.
        chain: ChainId,
        /// The indexes in it.
        indexes: Vec<u32>,
    },
    /// A member says that its person has read these own messages.
    Seen {
        /// Who.
        by: MemberId,
        /// The own chain.
        chain: ChainId,
        /// The first of them.
        first: u32,
        /// One more than the last.
        next: u32,
    },
    /// A member's person types, or has stopped: told once, and again while it goes on.
    Typing {
        /// Who.
        by: MemberId,
        /// Whether it goes on.
        on: bool,
    },
    /// A member's node says that it can't open the keys of an own chain. It is given newer ones; what it
    /// lacks of this chain it may open later, or never.
    Unopened {
        /// Who can't.
        by: MemberId,
        /// The own chain.
        chain: ChainId,
    },
    /// A member's node answers to [`super::Group::ping`].
    Pong {
        /// Whose.
        from: MemberId,
        /// Of the question.
        nonce: [u8; 16],
        /// When, by its own clock.
        at: Timestamp,
    },
    /// A member asks this node's person to talk alone.
    Talk {
        /// Who.
        from: MemberId,
        /// The conversation.
        group: GroupId,
        /// Its code.
        code: TalkCode,
    },
    /// A member waits for this node at a relay.
    Circuit {
        /// Who.
        from: MemberId,
        /// Where, and what for.
        circuit: super::Circuit,
        /// The key to come with.
        key: super::CircuitKey,
    },
    /// A message that this member is entitled to is known to exist, and has not come.
    Gap {
        /// Who wrote it.
        from: MemberId,
        /// The chain.
        chain: ChainId,
        /// The index in it.
        index: u32,
    },
    /// These neighbours are asked for messages that are lacking.
    Asking {
        /// Whom, over their channels.
        of: Vec<MemberId>,
        /// Whether all members are asked too, under the topics.
        everybody: bool,
    },
    /// A reported gap is closed.
    Healed {
        /// Who wrote it.
        from: MemberId,
        /// The chain.
        chain: ChainId,
        /// The index in it.
        index: u32,
        /// How it stood.
        was: GapState,
    },
    /// A message that was lacking can't be had: its keys are gone, or it was asked for an hour in
    /// vain. It is taken all the same if it comes.
    Undeliverable {
        /// Who wrote it.
        from: MemberId,
        /// The chain.
        chain: ChainId,
        /// The index in it.
        index: u32,
    },
    /// This node's state was older than what others had seen of it, and has caught up.
    CaughtUp,
    /// The logs to follow or to write have changed: read [`super::Group::logs`] again.
    Logs,
    /// Members, their cards or addresses have changed: read [`super::Group::members`] again.
    Members,
    /// Sending may have become possible: try what is queued.
    Ready,
    /// Nobody of the group answers, and nothing has been heard since: this node may have been removed,
    /// or everybody is away.
    NoWord {
        /// When the newest topic became known here.
        since: Timestamp,
    },
    /// This node was out of touch since then, and is not any more. What was said meanwhile and is kept
    /// nowhere is lost.
    BackInTouch {
        /// When the newest topic before had become known here.
        since: Timestamp,
    },
    /// Something that a person should look at.
    Alarm(Alarm),
}

/// What a person should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A member signed two statements that no honest process makes: the proof is in
    /// [`super::Group::notices`].
    Equivocation(MemberId),
    /// A member's node was copied, or went on from a backup beside the first: see
    /// [`super::Group::notices`].
    Clone(MemberId),
    /// A member's node went on from an older state, and says so.
    Restored(MemberId),
    /// What one member says of another's messages, or of its own, does not fit what is here, and
    /// nobody shows which holds.
    Contradiction {
        /// Who says it.
        by: MemberId,
        /// Of whose messages.
        about: MemberId,
    },
    /// This node's state is older than what others have seen of it: it reads, and sends again once
    /// it has caught up.
    OldState,
    /// Another copy of this node goes on beside it.
    Copied,
    /// A member's keys could not be opened here; it was asked for new ones.
    SlotFailed(MemberId),
    /// This node removed a member that was away for longer than the policy says.
    Evicted(MemberId),
    /// A member who was removed, perhaps this node's own, is back, because the removal does not count:
    /// its author was removed or demoted beside it. Nothing is sealed until an admin has answered, by
    /// [`super::Group::readmit`] or [`super::Group::remove`], or for ten minutes.
    Returned {
        /// Who is back.
        member: MemberId,
        /// The removal.
        removal: OpId,
        /// Its author.
        by: MemberId,
    },
    /// Nobody is a member of this group any more: a Retire of this member, who held grants that the
    /// others' follow from, voids what made them members. Nothing is sent or read here from now on,
    /// and nothing is forgotten.
    Emptied(MemberId),
    /// Messages of an unknown chain wait for its keys for over a minute.
    KeysMissing(ChainId),
    /// A relay's log of this group is full; another is begun. With the member who wrote more than
    /// half of what was read of it, if there is one.
    LogFull(Option<MemberId>),
}

/// A message that this member is entitled to and that has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Who wrote it.
    pub from: MemberId,
    /// The chain.
    pub chain: ChainId,
    /// The index in it.
    pub index: u32,
    /// Since when it is known to exist.
    pub since: Timestamp,
    /// How it is known.
    pub cause: GapCause,
    /// How it stands.
    pub state: GapState,
}

/// How it is known that a message exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// A later one of the same chain came.
    Skipped,
    /// A message of this member follows it.
    Named(MemberId),
    /// Its sender's next bundle counts it.
    Closed,
    /// This member says that it has it.
    Read(MemberId),
}

impl GapCause {
    /// Whether a message's own writer says that it exists, and not other members alone.
    #[must_use]
    pub fn is_word_of(&self, writer: &MemberId) -> bool {
        match self {
            Self::Skipped | Self::Closed => true,
            Self::Named(by) | Self::Read(by) => by == writer,
        }
    }
}

/// How far a gap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapState {
    /// The others are asked for it.
    Asked,
    /// Asked for an hour in vain.
    GivenUp,
}

/// A message by another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its id.
    pub id: MessageId,
    /// The sender's chain.
    pub chain: ChainId,
    /// The index in it.
    pub index: u32,
    /// Who wrote it.
    pub from: MemberId,
    /// Its kind; 0 is text.
    pub kind: u8,
    /// What it says.
    pub payload: Vec<u8>,
    /// When, by the sender's clock.
    pub at: Timestamp,
    /// The sender's logical clock, as it signed it: an honest one is greater than that of each message that
    /// its sender had.
    pub lamport: u64,
    /// How late or doubtful it is.
    pub class: Class,
    /// Of what only admins may say: whether its sender was one in the view in which it was said. Else `false`.
    pub by_admin: bool,
    /// What its author signed.
    pub signed: SignedContent,
}

/// A message's content as it was signed, to be kept by whoever may share it some day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedContent {
    /// The whole content: CBOR.
    pub content: Vec<u8>,
    /// Its signature by the chain's key.
    pub signature: Signature,
}

/// How late or doubtful a message is (docs/spec/consistency.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing to say.
    Ok,
    /// Its sender did not know yet that these, who could read it, were removed.
    StaleView(Vec<MemberId>),
    /// Sent by a removed member beyond the cut: kept, never trusted.
    PostCut,
}

/// What [`super::Group::send`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub id: MessageId,
    /// The own chain.
    pub chain: ChainId,
    /// The index in it.
    pub index: u32,
    /// The logical clock.
    pub lamport: u64,
    /// Of what only admins may say: whether this member is one in the view of its chain. Else `false`.
    pub by_admin: bool,
    /// When.
    pub at: Timestamp,
    /// To whom it is sealed, the sender left out.
    pub recipients: Vec<MemberId>,
    /// What was signed.
    pub signed: SignedContent,
}

/// One member, as this group shows it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The identity.
    pub id: MemberId,
    /// Its newest card.
    pub card: SignedCard,
    /// Its rights.
    pub role: Role,
    /// Where it says that it may be reached: binary multiaddrs, at most 16.
    pub addresses: Vec<Vec<u8>>,
    /// When it said so, by its own clock.
    pub told: Timestamp,
}

/// Rights in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Made the group.
    Founder,
    /// May admit, and remove juniors.
    Admin,
    /// May read and write.
    Member,
}

/// This node's standing in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// A member.
    Active,
    /// Removed by somebody: nothing more is followed or sent.
    Removed,
    /// Left.
    Left,
    /// A member still, who has moved to another group with others: nothing more is sent here, and what
    /// comes is read.
    Migrated,
}

/// A relay log of a group: one for each topic epoch, and this node's inboxes.
pub struct GroupLog {
    /// Its capabilities.
    pub keys: LogKeys,
    /// What it is for.
    pub role: LogRole,
}

/// What a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRole {
    /// A topic's: followed, and envelopes go there now.
    Write,
    /// An older topic's: only followed.
    Follow,
    /// An inbox of this node: followed.
    Inbox,
}

/// Where an envelope came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A relay's log.
    Log(LogId),
    /// A member's channel.
    Member(MemberId),
}

/// One record of a group's stored state: written together with everything else of its step.
pub struct Change {
    /// Its key: one kind byte, then ids.
    pub key: Vec<u8>,
    /// What to store, or `None` to delete. Secret: to be stored encrypted.
    pub value: Option<zeroize::Zeroizing<Vec<u8>>>,
}

/// Terms of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteTerms {
    /// How often it may be used, at least once.
    pub max_uses: u32,
    /// Until when, judged by the admitting node's clock.
    pub expires: Timestamp,
    /// Whether a person is asked.
    pub mode: AdmitMode,
    /// Whether its creator alone serves it.
    pub strict: bool,
}

/// An invite as the group's ops know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: crate::ids::InviteId,
    /// Who made it.
    pub creator: MemberId,
    /// Its terms.
    pub terms: InviteTerms,
    /// How often it has been used.
    pub used: u32,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether this node's member may serve it: an admin, the creator's own or one that any admin
    /// may serve, of a creator who is an admin still.
    pub served: bool,
}

/// Why somebody's admission came to nothing, though nobody removed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unadmitted {
    /// The invite was used up by others at the same moment, before more senior admins.
    Used,
    /// The invite was taken back at the same moment.
    Revoked,
    /// Whoever made the invite, or admitted by it, lost the right to at the same moment.
    Admitter,
}
