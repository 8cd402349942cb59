//! What the local API says, in JSON: one set of types for the node, the command line, tests and
//! bots. Ids are strings (lower-case hexadecimal), times RFC 3339 in UTC.

mod backlog;
mod cursors;
mod delivery;
mod files;
mod messages;
mod own;
mod paths;
mod pings;
mod relays;
mod tokens;
mod trust;
mod view;
mod wiped;

mod admins;
mod invites;

use serde::{Deserialize, Serialize};

pub use self::invites::{
    CreateInvite, InviteView, Invites, JoinRequest, JoinState, JoinView, Joins, RequestView,
    Requests,
};

pub use self::admins::{
    FollowMove, MigrateGroup, Move, RecoveryView, RetireMember, Returned, VoidAct,
};
pub use self::{
    backlog::Backlog,
    cursors::{
        Beyond, CursorLease, CursorView, Cursors, EventPage, Events, MoveCursor, SetCursor,
        TakeCursor,
    },
    delivery::{Delivery, DeliveryState, DeliveryView, MemberDelivery, NAMED_MAX},
    files::{FileRef, FileStanding, FileView, Files, SendFile},
    messages::{
        Answered, ChangeKind, Class, EditMessage, Message, MessageKind, More, Only, PinMessage,
        React, Reaction, SendMessage,
    },
    own::{Machine, Machines, NameMachine},
    paths::{Ipv6, Lan, MemberPath, Nat, Outside, Path, PortMap, Via},
    pings::{PingMember, PingView, Way, WayTried},
    relays::{RelayState, RelayStatus, Withheld},
    tokens::{CreateGroup, GiveToken},
    trust::{MemberIdentity, OtherKey, SharedGroup, VerifyMember},
    view::{Adopted, Behind, Gap, GroupRelay, Notice, NoticeKind, Verified},
    wiped::{WipeGroup, Wiped},
};

/// The version of everything here, `"v"` in each line and body.
pub const VERSION: u8 = 1;

/// A member, as shown: never a name without the id behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRef {
    /// Identity key, 64 hexadecimal digits.
    pub id: String,
    /// The name on the member's card.
    pub name: String,
}

/// A node, as `wattle status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub v: u8,
    /// This node's member.
    pub me: MemberRef,
    /// Its fingerprint: 30 digits, to be read to whoever is asked to let it in.
    #[serde(default)]
    pub fingerprint: String,
    /// The program's version.
    pub version: String,
    /// When this process started.
    pub started: String,
    /// For how many seconds it has run, by its own clock.
    #[serde(default)]
    pub up_s: u64,
    /// Addresses at which members may reach this node directly, with PeerId.
    pub listen: Vec<String>,
    /// Whether direct connections are made and taken at all.
    pub direct: bool,
    /// Whether it listens where a person said, and nowhere else: then no relay is asked how this machine looks from
    /// outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
    /// How this machine looks from outside, as relays say, where they do: one of them, unless they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<Outside>,
    /// How this machine is met over IPv6, where that is known and direct connections go beyond local networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6>,
    /// How members are looked for on the local networks, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan: Option<Lan>,
    /// How the router's port stands that is to lead here, where one is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_map: Option<PortMap>,
    /// By way of which proxy all relays are reached, if not directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_proxy: Option<String>,
    /// The relays in use.
    pub relays: Vec<RelayStatus>,
    /// The groups.
    pub groups: Vec<GroupSummary>,
    /// The members met in any group, and how each is reached.
    pub paths: Vec<MemberPath>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Group id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// This node's standing in it.
    pub state: GroupState,
    /// How many members it has.
    pub members: u64,
    /// Messages written here that are not yet sealed.
    pub queued: u64,
    /// Why they wait, in words; empty when nothing does.
    pub waiting_for: String,
    /// Messages that are known to exist and have not come.
    #[serde(default)]
    pub missing: u64,
    /// Proofs and suspicions about members; `group show` tells them.
    #[serde(default)]
    pub warnings: u64,
    /// How its relays stand with it; none where this node takes no part in it.
    #[serde(default)]
    pub relay_states: Vec<GroupRelay>,
    /// How far it is with what was said while this node was away, while that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
    /// Who is in it under the name of a verified identity, is another one, and was not seen: nothing is sent here till then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_keys: Vec<OtherKey>,
}

/// This node's standing in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// A member.
    Active,
    /// A member whose state here is older than what others have seen of it: a restored backup, or a
    /// copy. It reads, and sends once it has caught up.
    Desynced,
    /// Removed by somebody.
    Removed,
    /// Left.
    Left,
    /// A member who has moved to another group: nothing more is sent here.
    Migrated,
}

/// A group, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// [`VERSION`].
    pub v: u8,
    /// What the list shows.
    #[serde(flatten)]
    pub summary: GroupSummary,
    /// Its members.
    pub people: Vec<Person>,
    /// 40 digits that all members see alike when they hold the same view.
    pub fingerprint: String,
    /// The group's relays.
    pub relays: Vec<String>,
    /// Whether who is in it is still the word of one admin alone: of the one who let this node in.
    #[serde(default)]
    pub unconfirmed: bool,
    /// How far the members have come with this view.
    #[serde(default)]
    pub adopted: Adopted,
    /// What is known to be missing, by writer.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// What members signed that does not go together.
    #[serde(default)]
    pub notices: Vec<Notice>,
    /// Who is back because a removal does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Returned>,
    /// What was done and does not count, the newest last; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<VoidAct>,
    /// Whose machines are lost, and who were retired with their recovery codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<MemberRef>,
    /// The groups that this one goes on as, the most senior admin's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who.
    #[serde(flatten)]
    pub member: MemberRef,
    /// With which rights.
    pub role: Role,
    /// Whether this is this node's own member.
    pub me: bool,
    /// How it is reached.
    pub path: Path,
    /// The member's fingerprint: 30 digits.
    #[serde(default)]
    pub fingerprint: String,
    /// The fingerprint of this member and this node's own: 60 digits, alike at both. Empty for
    /// this node's own member.
    #[serde(default)]
    pub pair: String,
    /// The identities of the same person's other machines in this group: each of them names each
    /// other one.
    #[serde(default)]
    pub machines: Vec<String>,
    /// Whether this identity was compared here.
    #[serde(default)]
    pub verified: bool,
    /// The names under which it was, where the one of now is none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified_as: Vec<String>,
    /// Whether it has the name of another identity that was compared, and that was not seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_key: bool,
}

/// Rights in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Made the group; nobody can remove the founder.
    Founder,
    /// May invite, and remove juniors.
    Admin,
    /// May read and write.
    Member,
}

/// A group by id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRef {
    /// Group id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Body of `POST /v1/groups/{ref}/remove`, `promote` and `demote`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveMember {
    /// A member's name (with or without `@`), or an unambiguous id prefix.
    pub member: String,
}

/// What happened. One line of `wattle tail --json`, one SSE event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// [`VERSION`].
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

/// Answer of `GET /v1/groups`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Groups {
    /// [`VERSION`].
    pub v: u8,
    /// The groups of this node.
    pub groups: Vec<GroupSummary>,
}

/// Query of `GET /v1/groups/{ref}/messages`. Without `after`, the last in the order of `place` are
/// answered; with it, what came here after that one, in the order of coming.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// Only messages with a greater `seq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only messages that stand before the one with this `seq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most: 100 where left out, never more than [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The most messages in one answer.
pub const PAGE_MAX: u32 = 1000;

/// Answer of `GET /v1/groups/{ref}/messages`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Messages {
    /// [`VERSION`].
    pub v: u8,
    /// In the order of `place`, or with `after` in that of `seq`.
    pub messages: Vec<Message>,
    /// With [`Only`]: the `before` by which to go on, where there may be more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Answer of what has nothing more to say than that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// [`VERSION`].
    pub v: u8,
}

/// Query of `GET /v1/events`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct EventsAfter {
    /// Resume after this `seq`; from now on where left out. 0 is all that is kept; after any other, what is not kept any more is told
    /// by [`What::EventsLost`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// The one line that `wattle up --json` prints when the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// [`VERSION`].
    pub v: u8,
    /// Always `ready`.
    pub event: String,
    /// This node's identity key, 64 hexadecimal digits.
    pub member: String,
    /// The name on its card.
    pub name: String,
    /// The local API's socket.
    pub api: String,
    /// The PeerId under which the node is met.
    pub peer: String,
    /// Addresses for direct connections, with PeerId.
    pub listen: Vec<String>,
    /// The relays in use, with PeerId.
    pub relays: Vec<String>,
}

/// Body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// [`VERSION`].
    pub v: u8,
    /// The error.
    pub error: ApiError,
}

/// Why something was not done, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A short name, stable: `no-such-group`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The exit code of the command line.
    pub exit: u8,
}
