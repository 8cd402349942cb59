//! What the local API says, in JSON: one set of types for the node, the command line, tests and
//! bots. Ids are strings (lower-case hexadecimal), times RFC 3339 in UTC.

mod access;
mod backlog;
mod cursors;
mod delivery;
mod event;
mod files;
mod messages;
mod own;
mod paths;
mod pings;
mod relays;
mod search;
mod shelf;
mod talks;
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
    access::{AccessView, Accesses, GrantAccess, GrantedAccess, Scope},
    backlog::Backlog,
    cursors::{
        Beyond, CursorLease, CursorView, Cursors, EventPage, Events, MoveCursor, SetCursor,
        TakeCursor,
    },
    delivery::{Delivery, DeliveryState, DeliveryView, MemberDelivery, NAMED_MAX},
    event::{Event, What},
    files::{FileRef, FileStanding, FileView, Files, SendFile},
    messages::{
        Answered, ChangeKind, Class, EditMessage, Message, MessageKind, More, Only, PinMessage,
        React, Reaction, SendMessage,
    },
    own::{
        Machine, Machines, NameMachine, Rename, Renamed, ServiceView, SettingOrigin, SettingValue,
        SettingView,
    },
    paths::{Ipv6, Lan, MemberPath, Nat, Outside, Path, PortMap, Via},
    pings::{PingMember, PingView, Way, WayTried},
    relays::{RelayState, RelayStatus, Withheld},
    search::{Found, Hit, Mark, SearchFor},
    shelf::{BlockMember, Blocked, BlockedMember, Mute, ShelveGroup},
    talks::{BeginTalk, Talk, TalkState, Talks},
    tokens::{CreateGroup, GiveToken},
    trust::{MemberIdentity, OtherKey, Removal, SharedGroup, VerifyMember},
    view::{Adopted, Behind, Gap, GroupRelay, Notice, NoticeKind, Verified},
    wiped::{WipeGroup, Wiped},
};

/// The version of everything here, `"v"` in each line and body.
pub const VERSION: u8 = 1;

/// A member, as shown: never a name without the id behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemberRef {
    /// Identity key, 64 hexadecimal digits.
    pub id: String,
    /// The name on the member's card.
    pub name: String,
}

/// A node, as `wattle status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Messages that came since it was marked as read here; 1,000 at most.
    #[serde(default)]
    pub unread: u64,
    /// Whether there are more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread_more: bool,
    /// Whether nobody here is told of what comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
    /// Until when, if that has an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<String>,
    /// Whether it is put away here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// Whether members are to be told what is marked as read here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tells: bool,
}

/// This node's standing in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Whether another member's name is easily mistaken for this one's: the ids tell them apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alike: bool,
}

/// Rights in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupRef {
    /// Group id, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Body of `POST /v1/groups/{ref}/remove`, `promote` and `demote`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RemoveMember {
    /// A member's name (with or without `@`), or an unambiguous id prefix.
    pub member: String,
}

/// Answer of `GET /v1/groups`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Groups {
    /// [`VERSION`].
    pub v: u8,
    /// The groups of this node.
    pub groups: Vec<GroupSummary>,
}

/// Query of `GET /v1/groups/{ref}/messages`. Without `after`, the last in the order of `place` are
/// answered; with it, what came here after that one, in the order of coming.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Done {
    /// [`VERSION`].
    pub v: u8,
}

/// Query of `GET /v1/events`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventsAfter {
    /// Resume after this `seq`; from now on where left out. 0 is all that is kept; after any other, what is not kept any more is told
    /// by [`What::EventsLost`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Whether who is typing is told, too: see [`What::Typing`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typing: bool,
}

/// The one line that `wattle up --json` prints when the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// [`VERSION`].
    pub v: u8,
    /// The error.
    pub error: ApiError,
}

/// Why something was not done, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ApiError {
    /// A short name, stable: `no-such-group`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The exit code of the command line.
    pub exit: u8,
    /// In how many milliseconds it may be asked again, where it came too soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}
