//! Stored state: its version, and why it may not be readable.

/// The version of every record that this program writes. A newer one is refused, an older one is
/// read and written forward.
pub const VERSION: u8 = 1;

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
