//! Looking at a store that may be damaged, and saving what can be read of it.
//!
//! ```text
//! journals ─┐                       ┌─▶ counts                     (check)
//! tables ───┼─▶ one list for each ──┤
//! manifests ┘   kind of record      └─▶ a fresh store, then rename  (repair)
//! ```
//!
//! > The files are read as they are, and not through fjall: opening a damaged store with it cuts off
//! > what follows the damage, or deletes what a damaged list does not name. Nothing here changes a
//! > file of the store that is looked at. An entry counts if its own checksum holds; what is under
//! > no checksum of ours counts if the checksum of its block or batch holds.

mod files;
mod journal;
mod manifest;
mod merged;
mod rebuild;
mod survey;
mod table;
#[cfg(test)]
mod tests;

pub(super) use files::{is_openable, is_unborn, journal_paths};
pub use rebuild::Anew;
pub use survey::{Damage, Survey};

use std::{io, path::Path};

use super::StoreError;

/// Walks the store in a directory, which no process uses, and changes nothing.
pub(crate) fn survey(dir: &Path) -> io::Result<Survey> {
    survey::survey(dir)
}

/// Writes what can be read of the store in `from` into a new one in the empty directory `to`.
/// Answers what was found, and whether the new one has a new generation.
pub(crate) fn rebuild(from: &Path, to: &Path, anew: Anew) -> Result<(Survey, bool), StoreError> {
    rebuild::rebuild(from, to, anew)
}
