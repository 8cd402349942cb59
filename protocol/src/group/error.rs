//! Why a group did not do what was asked, or did not take what came.

use crate::ids::MemberId;

/// A verb that was not carried out. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerbError {
    /// This node's member was removed or has left.
    #[error("no longer a member of this group")]
    NotAMember,
    /// Only an admin may do this.
    #[error("only an admin may do this")]
    NotAnAdmin,
    /// The other one is as senior or more.
    #[error("only a more senior admin may do this to that member")]
    TargetIsSenior(MemberId),
    /// There is no such member now.
    #[error("no such member")]
    NoSuchMember(MemberId),
    /// There is no such invite.
    #[error("no such invite")]
    NoSuchInvite,
    /// A name or an address in it is not allowed.
    #[error("a name has 1 to 64 bytes, no control or hidden characters and no space at its ends")]
    BadPolicy,
    /// The group has as many members, ops or invites as it may have.
    #[error("the group is full")]
    Full,
    /// The recovery key is of no member's card.
    #[error("not the recovery key of a member of this group")]
    WrongRecovery,
    /// No admin has moved there, or not all of it has come.
    #[error("no admin has moved the group there")]
    NoSuchMove,
    /// Nothing can be sealed now.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The group's current topic secret has not come yet.
    #[error("this node still waits for the group's newest keys")]
    NoTopic,
    /// This node's state is older than what others have seen of it; it is catching up.
    #[error("catching up: this node's state is older than what others have seen from it")]
    Behind,
}

/// A joiner that was not admitted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// As often used as it may be.
    #[error("the invite has been used")]
    Used,
    /// Past its time.
    #[error("the invite has expired")]
    Expired,
    /// Revoked by an admin.
    #[error("the invite was revoked")]
    Revoked,
    /// Not an invite of this group.
    #[error("no such invite")]
    Unknown,
    /// The joiner's proof or card does not hold.
    #[error("the joiner's proof does not hold")]
    BadProof,
    /// The joiner is a member already, by another way.
    #[error("already a member")]
    AlreadyMember,
    /// No more room.
    #[error("the group is full")]
    Full,
    /// This node may not admit anybody, or not by this invite.
    #[error("not an admin of this group, or not for this invite")]
    NotAllowed,
}

/// Why nothing can be sealed now. What is queued waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Removed or left.
    #[error("no longer a member of this group")]
    NotAMember,
    /// No relay and no member has told yet what is new.
    #[error("waiting for the group's relay or for a member to connect")]
    NotSynced,
    /// A conversation of two has one member: the other has not come yet, or left.
    #[error("waiting for the other one to come: nobody is there who could read it")]
    Alone,
    /// This node has moved to another group.
    #[error("the group has moved: write in the new one")]
    Moved,
    /// A member is back whose removal does not count: nobody is sealed to until an admin has answered,
    /// or for ten minutes.
    #[error("a removed member is back: waiting for an admin, or for ten minutes")]
    Returned,
    /// The newest topic secret has not come.
    #[error("waiting for the group's newest keys")]
    NoTopic,
    /// This node's state is older than what others have seen of it.
    #[error("catching up: this node's state is older than what others have seen from it")]
    Behind,
}

/// A message that was not sealed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not now.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// Too long for one envelope.
    #[error("a message has at most {limit} bytes")]
    TooLong {
        /// The most that fits.
        limit: usize,
    },
}

/// An envelope that was not taken. Nothing has changed; the peer learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not of a bucket's size, or under no topic that is known here.
    #[error("not an envelope of this group")]
    NotOurs,
    /// Damaged or forged.
    #[error("the envelope does not open")]
    Forged,
    /// From somebody who is no member.
    #[error("not from a member")]
    NotAMember,
    /// This node is no member any more.
    #[error("no longer a member of this group")]
    Closed,
}

/// A channel frame that was not taken. Nothing has changed; the peer learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a frame.
    #[error("not a frame")]
    Malformed,
    /// From somebody who is no member.
    #[error("not from a member")]
    NotAMember,
}

/// A Welcome that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WelcomeError {
    /// Not a Welcome.
    #[error("the welcome is damaged")]
    Malformed,
    /// Its ops don't make this node a member.
    #[error("the welcome does not make this node a member")]
    NotAMember,
    /// Its sender is no admin in it.
    #[error("the welcome is not from an admin")]
    NotAnAdmin,
}

/// A group that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 bytes, no control or hidden characters and no space at its ends")]
pub struct BadPolicy;
