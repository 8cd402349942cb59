//! What happens, as it is told.

use serde::{Deserialize, Serialize};

use super::{
    Backlog, ChangeKind, Class, Delivery, GroupRef, JoinView, MemberPath, MemberRef, Message,
    OtherKey, RelayStatus, RequestView, Withheld,
};

/// What happened. One line of `wattle tail --json`, one SSE event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// [`super::VERSION`].
    pub v: u8,
    /// Grows by at least one with each event of this node; resume after it.
    pub seq: u64,
    /// When this node saw it.
    pub at: String,
    /// The group, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRef>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The kinds of event: `"event"` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A message was read or written here.
    Message {
        /// The message.
        message: Box<Message>,
    },
    /// Somebody changed a message.
    Changed {
        /// What it shows now.
        message: Box<Message>,
        /// Who changed it.
        by: MemberRef,
        /// What was changed.
        #[serde(flatten)]
        change: ChangeKind,
    },
    /// A message was to be kept for some time only, and that is over: it is emptied.
    Expired {
        /// What it shows now.
        message: Box<Message>,
    },
    /// For how long new messages of the group are to be kept is another time now.
    Conduct {
        /// Whose word that is; left out where none that was given counts any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<MemberRef>,
        /// In seconds; left out where there is no end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disappear: Option<u32>,
    },
    /// Whether members may tell in this group what they have read is different now.
    Receipts {
        /// Whose word that is; left out where none that was given counts any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<MemberRef>,
        /// Whether they may.
        on: bool,
    },
    /// Whether members' nodes tell each other who is typing is different now.
    TypingShown {
        /// Whose word that is; left out where none that was given counts any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<MemberRef>,
        /// Whether they do.
        on: bool,
    },
    /// A member is typing, or has stopped: told to who asks for it while it is so, with the `seq` of the event before
    /// it, and kept by nobody. It is told again every few seconds; after six of silence it has stopped.
    Typing {
        /// Who.
        member: MemberRef,
        /// Whether it goes on.
        on: bool,
    },
    /// An own message got further. What comes at short intervals is told together.
    Delivery {
        /// Its local id.
        message: String,
        /// How far it is now.
        delivery: Delivery,
    },
    /// What came to be known of the group's members gives these messages another class.
    Reclassed {
        /// Their local ids.
        messages: Vec<String>,
        /// What they are now.
        class: Class,
    },
    /// A member asks to talk alone, who is in this group, too.
    TalkAsked {
        /// Who.
        member: MemberRef,
    },
    /// A group was made or joined by this node.
    GroupAdded,
    /// A group was erased from this machine: which is not said any more.
    GroupWiped,
    /// Somebody was admitted.
    MemberJoined {
        /// Who.
        member: MemberRef,
        /// By whom.
        by: MemberRef,
    },
    /// Somebody was removed.
    MemberRemoved {
        /// Who.
        member: MemberRef,
        /// By whom.
        by: MemberRef,
        /// Whether this was this node's own member.
        me: bool,
    },
    /// Somebody was admitted, and the admission does not count: two admins acted at once, and the
    /// more senior one's act stands.
    NotAdmitted {
        /// Who.
        member: MemberRef,
        /// By whom.
        by: MemberRef,
        /// Whether this was this node's own member.
        me: bool,
        /// Why, in words.
        why: String,
    },
    /// What this node knows of the group is the word of the admin who let it in, so far.
    ViewUnconfirmed {
        /// That admin.
        by: MemberRef,
    },
    /// Somebody else, or the group's log, has told what is new since.
    ViewConfirmed,
    /// Somebody left.
    MemberLeft {
        /// Who.
        member: MemberRef,
    },
    /// Somebody's membership was ended with its recovery code.
    MemberRetired {
        /// Who.
        member: MemberRef,
        /// Whether this was this node's own member.
        me: bool,
    },
    /// An admin says that the group goes on as another one.
    Moved {
        /// The new group's id.
        to: String,
        /// Who made it.
        by: MemberRef,
        /// Whether this node follows by itself, or was told to.
        followed: bool,
    },
    /// Somebody's keys were made anew and sealed to each of these.
    Rotated {
        /// Whose.
        sender: MemberRef,
        /// To whom.
        to: Vec<MemberRef>,
    },
    /// A message is known to exist and nobody has supplied it yet.
    Gap {
        /// Who wrote it.
        from: MemberRef,
        /// How many are missing from that writer.
        missing: u64,
        /// Who is asked for them directly.
        #[serde(default)]
        asked: Vec<MemberRef>,
        /// Whether all members are asked, by the group's logs.
        #[serde(default)]
        everybody: bool,
    },
    /// What was missing and asked for has come.
    GapHealed {
        /// Who wrote it.
        from: MemberRef,
        /// How many of the same writer are still missing: they were asked for in vain before.
        #[serde(default)]
        missing: u64,
    },
    /// What is missing of somebody was asked for in vain; it is taken all the same if it comes.
    GivenUp {
        /// Who wrote it.
        from: MemberRef,
        /// How many it is by now that can't be had.
        #[serde(default)]
        missing: u64,
    },
    /// This node's state was older than what others had seen of it, and has caught up.
    CaughtUp,
    /// What was said while this node was away is being read; at 100 percent it is. Once a second at most, and not
    /// where there is little of it.
    CatchingUp {
        /// How far that is.
        backlog: Backlog,
    },
    /// A relay does not tell messages that it said it keeps: of one writer once an hour, where there are more.
    Withheld {
        /// Which, and how they are known.
        withheld: Withheld,
    },
    /// A relay's state changed.
    Relay {
        /// The relay.
        relay: RelayStatus,
    },
    /// A relay of the group's wants a token and does not take its own; its other relays, and other
    /// groups there, go on.
    RelayClosed {
        /// The relay's first address.
        relay: String,
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A relay of the group's has taken its token.
    RelayOpened {
        /// The relay's first address.
        relay: String,
    },
    /// A member is reached differently now.
    Path {
        /// The member and its path.
        path: MemberPath,
    },
    /// A join got further.
    Join {
        /// The join.
        join: JoinView,
    },
    /// Somebody who showed an invite waits for a person's word: approve or deny.
    JoinRequested {
        /// Who.
        request: RequestView,
    },
    /// The word was given.
    JoinAnswered {
        /// Who had asked.
        request: RequestView,
        /// What was said.
        approved: bool,
    },
    /// A member has another name from now on, and is the same identity.
    MemberRenamed {
        /// Who, by the new name.
        member: MemberRef,
        /// The name before.
        before: String,
        /// Whether this was this node's own member.
        me: bool,
    },
    /// A person has compared a member's identity here, or taken that back.
    MemberVerified {
        /// Whose.
        member: MemberRef,
        /// Whether it counts as compared from now on.
        verified: bool,
    },
    /// Somebody in the group has the name of a verified identity and is another one: nothing is sent to it until the
    /// person has seen that.
    KeyChanged {
        /// Who, and whose name it is.
        #[serde(flatten)]
        other: OtherKey,
        /// What it may mean and what to do, in words.
        text: String,
    },
    /// What came after one event is not kept any more, up to another. The messages among it follow, and then what is kept;
    /// its `seq` is where the reader was.
    EventsLost {
        /// The last event that was read.
        after: u64,
        /// The last that is not kept.
        until: u64,
    },
    /// Something that a person should look at.
    Alarm {
        /// What, in words; no secrets.
        text: String,
    },
}
