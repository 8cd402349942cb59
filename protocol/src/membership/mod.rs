//! Who is in a group: a DAG of signed ops and the rule that reads it.
//!
//! An admin publishes ops; every member keeps all of them in an [`OpSet`] and reads the same
//! [`Resolution`] out of the same ops, whatever the order in which they came. Authority is a strict
//! total order: whoever promotes is senior to whom it promotes, and removals act only downward, so
//! that two admins can't remove one another and back-dating gains nothing.
//!
//! ```text
//! next (what may I do?) ── sign ──▶ Op ── insert ──▶ OpSet ── resolve ──▶ Resolution ── roster
//! ```
//!
//! docs/spec/membership.md.

#[cfg(test)]
mod asked;
mod bits;
mod conduct;
#[cfg(test)]
mod crowded;
#[cfg(test)]
mod demoted;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod fixture;
mod gone;
mod kind;
#[cfg(test)]
mod left;
#[cfg(test)]
mod lost;
mod next;
mod node;
pub mod op;
mod proof;
#[cfg(test)]
mod refused;
mod resolution;
mod resolve;
mod returns;
mod room;
mod roster;
mod set;
#[cfg(test)]
mod stories;
mod topics;

pub use self::{
    conduct::Conduct,
    next::NotAllowed,
    op::{AdmitMode, Body, Cut, InviteFields, Kind, Op, OpError, Policy, RemoveReason},
    proof::{NotAdmin, admin_path, join_holds, proves_admin, sign_join, sign_request},
    resolution::{Ended, InviteState, Move, Resolution, Standing},
    resolve::Rank,
    roster::Roster,
    set::{InsertError, Inserted, Missing, OpSet},
    topics::{Topic, Topics},
};
