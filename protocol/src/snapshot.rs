//! Stored state: its version, and why it may not be readable.

/// The version of a group's records that this program writes. A newer one is refused; an older one
/// is read, and written forward with the first step that changes it.
///
/// 1: the first. 2: with the audit log's end.
pub const VERSION: u8 = 2;

/// Stored state that can't be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer version.
    #[error("stored by a newer version of Wattle ({found}; this one knows {VERSION})")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// Damaged.
    #[error("the stored state is damaged")]
    Damaged,
}
