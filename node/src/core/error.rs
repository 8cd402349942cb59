//! Why something was not done, said to a person: what happened, what to do next, and with which
//! exit code the command line ends.

use protocol::{
    endpoint,
    group::{self, NotReady},
    invite::CodeError,
    join::RefusedReason,
    limits,
    recovery::RecoveryCodeError,
    relay_log::TokenError,
    snapshot::SnapshotError,
};

use super::{access::AccessError, cursors::CursorError, said::SaidError, trust::TrustError};
use crate::{api::types::ApiError, store::StoreError};

/// A verb that was not carried out. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// No group of that name or id.
    #[error("there is no group \"{asked}\"")]
    NoSuchGroup {
        /// What was asked for.
        asked: String,
    },
    /// Several groups fit.
    #[error("\"{asked}\" could be any of these groups: {}", .candidates.join(", "))]
    AmbiguousGroup {
        /// What was asked for.
        asked: String,
        /// Name and short id of each.
        candidates: Vec<String>,
    },
    /// No member of that name or id.
    #[error("there is no member \"{asked}\" in the group")]
    NoSuchMember {
        /// What was asked for.
        asked: String,
    },
    /// Several members fit.
    #[error("\"{asked}\" could be any of these members: {}", .candidates.join(", "))]
    AmbiguousMember {
        /// What was asked for.
        asked: String,
        /// Name and short id of each.
        candidates: Vec<String>,
    },
    /// No own message of that id.
    #[error("you wrote no message \"{asked}\" in this group")]
    NoSuchMessage {
        /// What was asked for.
        asked: String,
    },
    /// Several own messages fit.
    #[error("\"{asked}\" could be any of several messages")]
    AmbiguousMessage {
        /// What was asked for.
        asked: String,
    },
    /// No file of that name or id.
    #[error("no file \"{asked}\" was offered in this group")]
    NoSuchFile {
        /// What was asked for.
        asked: String,
    },
    /// Several files fit.
    #[error("\"{asked}\" could be any of several files")]
    AmbiguousFile {
        /// What was asked for.
        asked: String,
    },
    /// No invite of that id, made by this node.
    #[error("there is no such invite")]
    NoSuchInvite,
    /// Nobody of that name or id waits to be let in.
    #[error("nobody called \"{asked}\" waits to be let in")]
    NoSuchRequest {
        /// What was asked for.
        asked: String,
    },
    /// The invite that somebody waits by can't let them in any more.
    #[error("they can't be let in: {reason}")]
    NotAdmitted {
        /// Why.
        reason: RefusedReason,
    },
    /// No join of that id.
    #[error("there is no such join")]
    NoSuchJoin,
    /// Asking oneself whether one answers.
    #[error("that is you")]
    PingSelf,
    /// No ping of that number.
    #[error("there is no such ping, or no longer")]
    NoSuchPing,
    /// As many pings are under way as may be.
    #[error("{limit} pings are under way already")]
    TooManyPings {
        /// The most.
        limit: usize,
    },
    /// Out of the group.
    #[error("you are no longer a member of this group")]
    NotAMember,
    /// Erasing a group that one is in.
    #[error("you are a member of this group")]
    StillAMember,
    /// Erasing a group that nobody has heard one has left.
    #[error("nobody has heard yet that you left")]
    Unheard,
    /// Only admins may.
    #[error("only an admin of the group may do this")]
    NotAnAdmin,
    /// The target is as senior, or more.
    #[error("only a more senior admin may remove that member")]
    TargetIsSenior,
    /// Removing oneself.
    #[error("nobody removes themselves")]
    RemoveSelf,
    /// A name that can't be.
    #[error(
        "a name has 1 to {} bytes, no control or hidden characters and no space at its ends",
        limits::NAME_BYTES
    )]
    BadName,
    /// A group of this name is there already.
    #[error("there is a group \"{name}\" here already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A time in the policy that can't be.
    #[error(
        "--evict-after is 1 hour to 10 years, --rotate-on-disconnect 10 seconds to 30 days; 0s is off"
    )]
    BadTime,
    /// A time out of bounds for messages.
    #[error("messages are kept for 1 minute to 1 year, or --disappear never")]
    BadDisappear,
    /// No text of a relay's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An address that names no relay.
    #[error("\"{address}\" is no relay's address: that ends in /p2p/ and its PeerId")]
    BadRelay {
        /// As it was given.
        address: String,
    },
    /// More relays than a group has, or too long addresses.
    #[error(
        "a group has at most {} relays, each address of at most {} bytes",
        limits::POLICY_RELAYS,
        limits::RELAY_BYTES
    )]
    TooManyRelays,
    /// A token, and several relays.
    #[error("the group has {relays} relays: say which one the token is for")]
    WhichRelay {
        /// How many.
        relays: usize,
    },
    /// A token for another relay.
    #[error("\"{asked}\" is none of the group's relays")]
    NotItsRelay {
        /// What was asked for.
        asked: String,
    },
    /// A token, and no relay.
    #[error("the group has no relay that a token could be for")]
    NoRelay,
    /// The policy forbids it.
    #[error("this group does not share history")]
    NoSharing,
    /// Nothing can be sealed now.
    #[error("not now: {reason}")]
    NotNow {
        /// What is waited for.
        reason: String,
    },
    /// Nothing to send.
    #[error("the message is empty")]
    EmptyMessage,
    /// Too long a message.
    #[error("the message has {bytes} bytes, {limit} at most")]
    MessageTooLong {
        /// Its length.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// As many messages wait as may wait.
    #[error("{waiting} messages wait to be sent already")]
    QueueFull {
        /// How many.
        waiting: u64,
    },
    /// A number of uses that can't be.
    #[error("an invite is for 1 to {limit} uses")]
    BadUses {
        /// The most.
        limit: u32,
    },
    /// A time that can't be.
    #[error("an invite lasts from 1 second to {days} days")]
    BadExpiry {
        /// The most.
        days: u64,
    },
    /// No text of an invite.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The code's time is over.
    #[error("the invite has expired")]
    Expired,
    /// Joined that group before, and still in it.
    #[error("you are a member of \"{group}\" already")]
    AlreadyMember {
        /// Its name.
        group: String,
    },
    /// A code without any address.
    #[error("neither this node nor the invite names a relay or an address")]
    NoWay,
    /// The group is full.
    #[error("the group is full")]
    Full,
    /// Its newest keys are missing.
    #[error("this node still waits for the group's newest keys")]
    NoTopic,
    /// What this node has stored is older than what others have seen of it.
    #[error("catching up: this node's state is older than what others have seen from it")]
    Behind,
    /// The invite would not fit into a code.
    #[error("the relays' addresses are too long for an invite code")]
    CodeTooLong,
    /// No text of a recovery code.
    #[error(transparent)]
    Recovery(#[from] RecoveryCodeError),
    /// A recovery code of nobody in this group.
    #[error("no member of this group has this recovery code")]
    WrongRecovery,
    /// No admin has moved the group there.
    #[error("no admin has moved this group there, or not all of it has come")]
    NoSuchMove,
    /// The group has moved.
    #[error("this group has moved to another one")]
    Moved,
    /// Nothing can be sealed now.
    #[error(transparent)]
    NotReady(NotReady),
    /// No identity.
    #[error("\"{asked}\" is no identity: that has 64 digits")]
    NoIdentity {
        /// What was asked for.
        asked: String,
    },
    /// Machines that can't stand on a card.
    #[error(transparent)]
    Machines(#[from] endpoint::BadMachines),
    /// A message can't be changed or answered so.
    #[error(transparent)]
    Said(#[from] SaidError),
    /// An identity that was not compared, or is another one than was.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A named cursor can't be used so.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A time for which nothing is muted.
    #[error("a group is muted for 1 second to ten years, or until it is unmuted")]
    BadMute,
    /// So many are blocked.
    #[error("{limit} members are blocked already")]
    TooManyBlocked {
        /// The most.
        limit: u64,
    },
    /// Nobody who is blocked.
    #[error("that member is not blocked")]
    NotBlocked,
    /// A conversation with oneself.
    #[error("that is you")]
    TalkToSelf,
    /// There is no conversation of two with that member, nor a wish for one.
    #[error("there is no conversation of two with that member")]
    NoTalk,
    /// No group over which the member could be asked.
    #[error("no group that you are in with that member can tell them now")]
    NoSharedGroup,
    /// A conversation of two is never one of three.
    #[error("this is a conversation of two: nobody else comes in")]
    OfTwo,
    /// A program was not let in, or no token made for one.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a node can't start from its store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Never initialised.
    #[error("there is no identity here yet: run `wattle init`")]
    NoIdentity,
    /// The identity is there, and unreadable.
    #[error("the stored identity can't be read: {0}")]
    Identity(#[from] endpoint::LoadError),
    /// A group is there, and unreadable.
    #[error("a stored group can't be read: {0}")]
    Group(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no identity was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one.
    #[error("there is an identity here already")]
    Exists,
    /// A name that can't be.
    #[error(transparent)]
    Name(#[from] endpoint::BadName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<group::VerbError> for VerbError {
    fn from(error: group::VerbError) -> Self {
        match error {
            group::VerbError::NotAMember => Self::NotAMember,
            group::VerbError::NotAnAdmin => Self::NotAnAdmin,
            group::VerbError::TargetIsSenior(_) => Self::TargetIsSenior,
            group::VerbError::NoSuchMember(who) => Self::NoSuchMember { asked: who.to_string() },
            group::VerbError::NoSuchInvite => Self::NoSuchInvite,
            group::VerbError::BadPolicy => Self::BadName,
            group::VerbError::Full => Self::Full,
            group::VerbError::NoTopic => Self::NoTopic,
            group::VerbError::WrongRecovery => Self::WrongRecovery,
            group::VerbError::NoSuchMove => Self::NoSuchMove,
            group::VerbError::NotReady(why) => Self::NotReady(why),
            group::VerbError::Behind => Self::Behind,
        }
    }
}

impl VerbError {
    /// A short name, stable.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchGroup { .. } => "no-such-group",
            Self::AmbiguousGroup { .. } => "ambiguous-group",
            Self::NoSuchMember { .. } => "no-such-member",
            Self::AmbiguousMember { .. } => "ambiguous-member",
            Self::NoSuchMessage { .. } => "no-such-message",
            Self::AmbiguousMessage { .. } => "ambiguous-message",
            Self::NoSuchFile { .. } => "no-such-file",
            Self::AmbiguousFile { .. } => "ambiguous-file",
            Self::NoSuchInvite => "no-such-invite",
            Self::NoSuchRequest { .. } => "no-such-request",
            Self::NotAdmitted { .. } => "not-admitted",
            Self::NoSuchJoin => "no-such-join",
            Self::PingSelf => "ping-self",
            Self::NoSuchPing => "no-such-ping",
            Self::TooManyPings { .. } => "too-many-pings",
            Self::NotAMember => "not-a-member",
            Self::NotAnAdmin => "not-an-admin",
            Self::TargetIsSenior => "target-is-senior",
            Self::RemoveSelf => "remove-self",
            Self::StillAMember => "still-a-member",
            Self::Unheard => "unheard",
            Self::BadName => "bad-name",
            Self::NameTaken { .. } => "name-taken",
            Self::BadTime | Self::BadDisappear => "bad-time",
            Self::Token(TokenError::NotAToken) => "not-a-token",
            Self::Token(TokenError::Mistyped) => "mistyped-token",
            Self::Token(TokenError::Newer { .. }) => "newer-token",
            Self::Token(TokenError::Malformed) => "malformed-token",
            Self::BadRelay { .. } => "bad-relay",
            Self::TooManyRelays => "too-many-relays",
            Self::WhichRelay { .. } => "which-relay",
            Self::NotItsRelay { .. } => "not-its-relay",
            Self::NoRelay => "no-relay",
            Self::NoSharing => "no-sharing",
            Self::NotNow { .. } => "not-now",
            Self::EmptyMessage => "empty-message",
            Self::Said(error) => error.code(),
            Self::Trust(error) => error.code(),
            Self::Cursor(error) => error.code(),
            Self::BadMute => "bad-mute",
            Self::TooManyBlocked { .. } => "too-many-blocked",
            Self::NotBlocked => "not-blocked",
            Self::TalkToSelf => "talk-to-self",
            Self::NoTalk => "no-talk",
            Self::NoSharedGroup => "no-shared-group",
            Self::OfTwo => "of-two",
            Self::Access(error) => error.code(),
            Self::MessageTooLong { .. } => "message-too-long",
            Self::QueueFull { .. } => "queue-full",
            Self::BadUses { .. } => "bad-uses",
            Self::BadExpiry { .. } => "bad-expiry",
            Self::Code(CodeError::NotACode) => "not-a-code",
            Self::Code(CodeError::Truncated { .. }) => "truncated-code",
            Self::Code(CodeError::Mistyped) => "mistyped-code",
            Self::Code(CodeError::Newer { .. }) => "newer-code",
            Self::Code(CodeError::Malformed) => "malformed-code",
            Self::Expired => "invite-expired",
            Self::AlreadyMember { .. } => "already-a-member",
            Self::NoWay => "no-way",
            Self::Full => "group-full",
            Self::NoTopic => "no-keys-yet",
            Self::Behind => "catching-up",
            Self::CodeTooLong => "code-too-long",
            Self::Recovery(_) => "bad-recovery-code",
            Self::WrongRecovery => "wrong-recovery-code",
            Self::NoSuchMove => "no-such-move",
            Self::Moved => "group-moved",
            Self::NotReady(_) => "not-ready",
            Self::NoIdentity { .. } => "no-identity",
            Self::Machines(_) => "bad-machines",
            Self::Store(_) => "store",
        }
    }

    /// What to do next, in words.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSuchGroup { .. } => "`wattle group list` shows the groups.",
            Self::AmbiguousGroup { .. }
            | Self::AmbiguousMember { .. }
            | Self::AmbiguousMessage { .. } => "Give the id, or more of it.",
            Self::NoSuchMember { .. } => "`wattle group show GROUP` shows its members.",
            Self::NoSuchMessage { .. } => {
                "Give at least four digits of its id: `wattle --json history GROUP` shows them."
            }
            Self::NoSuchFile { .. } => "`wattle file list GROUP` shows what was offered.",
            Self::AmbiguousFile { .. } => "Give its id: `wattle file list GROUP` shows it.",
            Self::NoSuchInvite => "`wattle invite list GROUP` shows those that this node serves.",
            Self::NoSuchRequest { .. } => "`wattle invite list GROUP` shows who waits.",
            Self::NotAdmitted { .. } => "`wattle invite create GROUP` makes another invite.",
            Self::NoSuchJoin => "`wattle join` begins one.",
            Self::PingSelf => "Name another member: `wattle group show GROUP` shows them.",
            Self::NoSuchPing => "`wattle ping MEMBER` begins one.",
            Self::TooManyPings { .. } => "Wait ten seconds.",
            Self::NotAMember => "To come back, ask a member for a new invite.",
            Self::NotAnAdmin => "Ask an admin: `wattle group show GROUP` says who is one.",
            Self::TargetIsSenior => "Ask a more senior admin, or found a new group.",
            Self::RemoveSelf => "`wattle group leave GROUP` leaves it.",
            Self::StillAMember => "`wattle group leave GROUP` first.",
            Self::Unheard => {
                "Once a relay or a member is reached, it can be; or at once with --unheard."
            }
            Self::BadName | Self::NameTaken { .. } => "Choose another name.",
            Self::BadTime | Self::BadDisappear => "Choose another time.",
            Self::Token(TokenError::Newer { .. }) => "Update this program.",
            Self::Token(_) => {
                "Copy the whole line that the relay's operator has passed on; don't type it."
            }
            Self::BadRelay { .. } => "Copy the address that the relay printed when it started.",
            Self::WhichRelay { .. } => "Name it with --relay-token-for and its address or PeerId.",
            Self::NotItsRelay { .. } => "`wattle group show GROUP` shows its relays.",
            Self::NoRelay => "Give `wattle up` or `wattle group create` a relay with --relay ADDR.",
            Self::NoSharing => "An admin allows it: `wattle group policy GROUP --history share`.",
            Self::NotNow { .. } => "`wattle status` says what is waited for.",
            Self::EmptyMessage => "Write something after the group's name.",
            Self::Said(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Cursor(error) => error.hint(),
            Self::BadMute => "Choose another time.",
            Self::TooManyBlocked { .. } | Self::NotBlocked => "`wattle blocked` shows them.",
            Self::TalkToSelf => "Name another member; a group of your own is for notes.",
            Self::NoTalk => "`wattle dm @MEMBER` asks for one; `wattle dm` shows them.",
            Self::NoSharedGroup => "Ask again once you are in a group together.",
            Self::OfTwo => "Found a group for more: `wattle group create NAME`.",
            Self::Access(error) => error.hint(),
            Self::MessageTooLong { .. } => "Send it in parts.",
            Self::QueueFull { .. } => "`wattle status` says what they wait for.",
            Self::BadUses { .. } => "Choose another number for --uses.",
            Self::BadExpiry { .. } => "Choose another time for --expires.",
            Self::Code(CodeError::Newer { .. }) => "Update this program.",
            Self::Code(CodeError::NotACode | CodeError::Truncated { .. }) => {
                "Copy the whole code, from \"wattle1\" to its end."
            }
            Self::Code(CodeError::Mistyped) => "Copy the code again; don't type it.",
            Self::Code(CodeError::Malformed) | Self::Expired => "Ask for a new invite.",
            Self::AlreadyMember { .. } => "Nothing to do: `wattle send GROUP` writes to it.",
            Self::NoWay => "Give `wattle up` a relay with --relay ADDR.",
            Self::Full => "Remove somebody, or found a new group.",
            Self::NoTopic => "Wait until a member of the group is reached.",
            Self::Behind => "Wait a moment; `wattle group show` tells when it has caught up.",
            Self::CodeTooLong | Self::TooManyRelays => "Use fewer relays.",
            Self::Recovery(_) => "Copy the whole code, from \"wattlerecovery1\" to its end.",
            Self::WrongRecovery => "Each group that the lost machine was in needs it once.",
            Self::NoSuchMove | Self::Moved => "`wattle group show GROUP` says where it has moved.",
            Self::NotReady(_) => "`wattle status` says what it waits for.",
            Self::NoIdentity { .. } | Self::Machines(_) => {
                "`wattle machine`, on the other machine, shows its identity."
            }
            Self::Store(_) => "Look at the data directory's disk; nothing was changed.",
        }
    }

    /// The exit code of the command line.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::NoSuchGroup { .. }
            | Self::AmbiguousGroup { .. }
            | Self::NoSuchMember { .. }
            | Self::AmbiguousMember { .. }
            | Self::NoSuchMessage { .. }
            | Self::AmbiguousMessage { .. }
            | Self::NoSuchFile { .. }
            | Self::AmbiguousFile { .. }
            | Self::NoSuchInvite
            | Self::NoSuchRequest { .. }
            | Self::NoSuchJoin
            | Self::NoSuchPing
            | Self::NotItsRelay { .. }
            | Self::NoSuchMove => 6,
            Self::BadName
            | Self::NameTaken { .. }
            | Self::EmptyMessage
            | Self::BadTime
            | Self::BadDisappear
            | Self::Token(_)
            | Self::BadRelay { .. }
            | Self::WhichRelay { .. }
            | Self::TooManyRelays
            | Self::NoRelay
            | Self::MessageTooLong { .. }
            | Self::BadUses { .. }
            | Self::BadExpiry { .. }
            | Self::RemoveSelf
            | Self::PingSelf
            | Self::Code(_)
            | Self::Recovery(_)
            | Self::NoIdentity { .. }
            | Self::Machines(_)
            | Self::CodeTooLong => 2,
            Self::NotAMember
            | Self::StillAMember
            | Self::Unheard
            | Self::NoSharing
            | Self::NotAnAdmin
            | Self::TargetIsSenior
            | Self::WrongRecovery
            | Self::Moved
            | Self::Expired
            | Self::NotAdmitted { .. }
            | Self::AlreadyMember { .. } => 5,
            Self::NoWay
            | Self::NotNow { .. }
            | Self::NoTopic
            | Self::Behind
            | Self::NotReady(_) => 4,
            Self::QueueFull { .. } | Self::TooManyPings { .. } | Self::Full => 9,
            Self::Said(error) => error.exit(),
            Self::Trust(error) => error.exit(),
            Self::Cursor(error) => error.exit(),
            Self::BadMute | Self::TalkToSelf => 2,
            Self::NotBlocked | Self::NoTalk => 6,
            Self::NoSharedGroup | Self::OfTwo => 5,
            Self::TooManyBlocked { .. } => 9,
            Self::Access(error) => error.exit(),
            Self::Store(_) => 1,
        }
    }
}

impl From<&VerbError> for ApiError {
    fn from(error: &VerbError) -> Self {
        Self {
            code: error.code().into(),
            message: error.to_string(),
            hint: error.hint().into(),
            exit: error.exit(),
            wait_ms: match error {
                VerbError::Access(AccessError::TooFast { wait_ms, .. }) => Some(*wait_ms),
                _ => None,
            },
        }
    }
}

impl From<VerbError> for ApiError {
    fn from(error: VerbError) -> Self {
        (&error).into()
    }
}
