//! Who is in a group: a DAG of signed ops and the rule that reads it.

mod kind;
pub mod op;

pub use op::{AdmitMode, Body, Cut, InviteFields, Kind, Op, OpError, Policy, RemoveReason};
