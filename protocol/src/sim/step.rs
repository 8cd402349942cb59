//! What can happen in a world, as data: a schedule is a list of these, and plays the same way
//! whatever drew it. New features add a variant here, an arm in `play.rs` and a draw in `draw.rs`.

use super::network::Trick;

/// One thing that happens. People are numbered; where it can't happen, nothing does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are told of with their variants")]
pub enum Step {
    /// Somebody says something.
    Say { by: u8 },
    /// An admin invites and admits somebody.
    Join { host: u8, who: u8 },
    /// An admin removes somebody.
    Remove { by: u8, whom: u8 },
    /// A member leaves.
    Leave { by: u8 },
    /// An admin makes another.
    Promote { by: u8, whom: u8 },
    /// An admin takes another's rights.
    Demote { by: u8, whom: u8 },
    /// A member makes new keys and a new topic.
    Rotate { by: u8 },
    /// A node tells where it is.
    Present { by: u8 },
    /// An admin gives the group another name.
    Rename { by: u8, to: u8 },
    /// An admin has the group's messages disappear after some minutes; 0: no more.
    Conduct { by: u8, minutes: u8 },
    /// Two nodes' channel comes up or goes down.
    Link { a: u8, b: u8 },
    /// The network falls apart: into those whose bit is set, who reach the relay, and the others.
    Partition { side: u16 },
    /// The network is whole again.
    Mend,
    /// A node goes offline, or comes back.
    Power { who: u8 },
    /// The relay goes offline, or comes back.
    Relay,
    /// A process ends and starts; it reads the logs on, or from their starts.
    Restart { who: u8, reread: bool },
    /// A process dies before something is committed: 0 a message, 1 new keys, 2 what is due.
    CrashBefore { who: u8, what: u8 },
    /// A process dies after something is committed, before anything of it is carried out.
    CrashAfter { who: u8, what: u8 },
    /// A node's disk is copied.
    Snapshot { who: u8 },
    /// A node's disk is set back to the copy.
    Restore { who: u8 },
    /// A second machine starts from a node's disk; or the one that did is switched off.
    Clone { who: u8 },
    /// A node's clock leaps.
    Clock { who: u8, ms: i64 },
    /// The relay plays a trick with the next entry of the nth log that somebody follows.
    Trick { who: u8, log: u8, trick: Trick },
    /// The relay loses all it has.
    Forget,
    /// The nth frame in flight comes.
    Frame { nth: u8 },
    /// The nth frame in flight is lost.
    LoseFrame { nth: u8 },
    /// The nth frame in flight is doubled.
    RepeatFrame { nth: u8 },
    /// The nth frame in flight and the last one change places.
    SwapFrames { nth: u8 },
    /// The next entry of the nth log that somebody follows comes.
    Entry { who: u8, log: u8 },
    /// Everything comes that is on its way.
    Everything,
    /// Time passes.
    Pass { ms: u64 },
    /// A hostile member signs ops side by side under one number.
    Fork { by: u8, ops: u8 },
    /// A hostile member, or one who was removed, signs an op as if it knew nothing: 0 a removal,
    /// 1 a promotion, 2 a demotion, 3 a new topic.
    Backdate { by: u8, whom: u8, what: u8 },
    /// A hostile member says two things as one message, to different people.
    Equivocate { by: u8 },
    /// A hostile member seals other seeds to different members.
    OtherSeeds { by: u8 },
    /// A hostile member seals to one more than the roster has.
    HiddenSlot { by: u8 },
    /// A hostile member keeps the bundle of what it says.
    WithholdBundle { by: u8 },
    /// A hostile member sends a frame again that it was sent once.
    Replay { by: u8, to: u8 },
    /// A hostile member sends bytes without meaning: to the log, or to one member.
    Garbage { by: u8, to: u8, bytes: u16 },
    /// A hostile member asks the same again and again.
    Flood { by: u8, to: u8 },
}
