//! What must hold, by name (docs/spec/invariants.md).

use alloc::string::String;
use core::fmt;

/// One of the protocol's invariants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// I1: who can open a chain is its roster.
    Confinement,
    /// I2: at the moment of sealing the roster is what the sender's ops come to.
    Roster,
    /// I3: whoever these ops effectively remove derives no message key.
    Removal,
    /// I4: no key and salt encrypt two plaintexts.
    OnePlaintext,
    /// I5: each message is delivered at most once.
    Once,
    /// I6: a step that fails has changed nothing; one that succeeds has committed all it changed.
    AllOrNothing,
    /// I7: equal ops come to equal rosters, ranks, cuts and classes, in any order.
    Convergence,
    /// I8: juniors change nothing for seniors.
    Juniors,
    /// I9: who was removed changes nothing for others by what it did beside its removal.
    Retaliation,
    /// I10: nobody comes back without a later grant.
    Reentry,
    /// I11: two honest acceptors of a chain hold the same keys.
    OneSeed,
    /// I12: who says two things is found out; nobody else is accused.
    Equivocation,
    /// I13: what a member is entitled to comes or is reported; nothing else is reported.
    Gaps,
    /// I14: once all is well, all members read each other.
    Liveness,
    /// I15: a stolen snapshot opens nothing that was processed before.
    ForwardSecrecy,
    /// I16: a stolen snapshot opens nothing once both sides have rotated.
    Healing,
    /// I17: state and talk are bounded.
    Bounds,
    /// I18: accepted bytes are the only encoding of what they say.
    Codec,
    /// I19: what a relay sees does not depend on what is said.
    Transcript,
    /// I20: the audit log verifies and its heads are in bundles.
    Audit,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Confinement,
        Self::Roster,
        Self::Removal,
        Self::OnePlaintext,
        Self::Once,
        Self::AllOrNothing,
        Self::Convergence,
        Self::Juniors,
        Self::Retaliation,
        Self::Reentry,
        Self::OneSeed,
        Self::Equivocation,
        Self::Gaps,
        Self::Liveness,
        Self::ForwardSecrecy,
        Self::Healing,
        Self::Bounds,
        Self::Codec,
        Self::Transcript,
        Self::Audit,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} {self:?}", *self as usize + 1)
    }
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which.
    pub invariant: Invariant,
    /// What was seen, for a person.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}
