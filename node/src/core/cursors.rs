//! Named cursors: how far scripts have read the events, kept by the node so that they go on where they were.

use protocol::ids::{GroupId, Timestamp};

use super::{Core, VerbError};
use crate::{
    api::types::{CursorView, SetCursor, TakeCursor, VERSION},
    store::{CursorRow, StoreError, Tx, rfc3339},
};

/// How many there may be.
const CURSORS: usize = 64;
/// The longest name, in bytes.
const NAME_MAX: usize = 32;

/// Why a cursor was not read by, set or dropped. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum CursorError {
    /// What can't be a name.
    #[error(
        "a cursor's name has 1 to {NAME_MAX} letters of a to z, digits, dots, dashes and underscores, and begins with a \
         letter or digit"
    )]
    BadName,
    /// There is none.
    #[error("there is no cursor \"{0}\"")]
    None(String),
    /// So many there are.
    #[error("there are {CURSORS} cursors already")]
    TooMany,
    /// Somebody reads by it.
    #[error("somebody else reads by the cursor \"{0}\" now")]
    Held(String),
    /// Whoever moves it no longer reads by it.
    #[error("the cursor \"{0}\" is not yours any more")]
    NotHeld(String),
    /// It is another group's.
    #[error("the cursor \"{name}\" is of the group \"{group}\"")]
    OtherGroup {
        /// Its name.
        name: String,
        /// That group's.
        group: String,
    },
    /// The node's events don't go as far.
    #[error("the event {asked} has not been: {last} is this node's last")]
    Ahead {
        /// Where it would stand.
        asked: u64,
        /// The last event.
        last: u64,
    },
    /// It came with a backup.
    #[error(
        "the cursor \"{0}\" counts the events of a node of which this one is a restored backup: here the same numbers \
         are other events"
    )]
    Restored(String),
}

impl CursorError {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::BadName => "bad-cursor-name",
            Self::None(_) => "no-such-cursor",
            Self::TooMany => "too-many-cursors",
            Self::Held(_) => "cursor-held",
            Self::NotHeld(_) => "cursor-not-held",
            Self::OtherGroup { .. } => "cursor-of-another-group",
            Self::Ahead { .. } => "cursor-ahead",
            Self::Restored(_) => "cursor-restored",
        }
    }

    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::BadName => "Such as: log-shipper, alerts.2.",
            Self::None(_) => {
                "`wattle cursor list` shows them; `wattle tail GROUP --cursor NAME` makes one."
            }
            Self::TooMany => {
                "`wattle cursor list` shows which are old; `wattle cursor drop NAME` removes one."
            }
            Self::Held(_) => "End that `wattle tail`, or read by a cursor of another name.",
            Self::NotHeld(_) => "Begin again: what was not moved past is shown again.",
            Self::OtherGroup { .. } => {
                "Use another name, or `wattle cursor set NAME GROUP` to have it read that group."
            }
            Self::Ahead { .. } => {
                "A restored node counts its events anew. `wattle cursor set NAME GROUP --from-start` begins with the first that \
                 it has, without --from-start with what comes."
            }
            Self::Restored(_) => {
                "`wattle cursor set NAME GROUP` goes on with what comes from now on, with --from-start with the first event \
                 here; `wattle export GROUP --since TIME` has what was said in between."
            }
        }
    }

    pub(super) const fn exit(&self) -> u8 {
        match self {
            Self::BadName | Self::OtherGroup { .. } => 2,
            Self::Held(_) | Self::NotHeld(_) => 5,
            Self::None(_) => 6,
            Self::TooMany => 9,
            Self::Ahead { .. } | Self::Restored(_) => 10,
        }
    }
}

impl Core {
    /// All of them, by name.
    pub fn cursors(&mut self) -> Result<Vec<CursorView>, VerbError> {
        let rows = self.store.read(|tx| tx.named_cursors())?;
        rows.into_iter().map(|row| self.cursor_view(row)).collect()
    }

    /// Makes one, or puts one elsewhere.
    pub fn set_cursor(
        &mut self,
        name: &str,
        asked: &SetCursor,
        now: Timestamp,
    ) -> Result<CursorView, VerbError> {
        check(name)?;
        let group = self.find_group(&asked.group)?;
        let row = self.store.transaction(|tx| {
            let last = tx.last_event()?;
            let after = match (asked.after, asked.from_start) {
                (Some(asked), _) if asked > last => {
                    return Err(CursorError::Ahead { asked, last }.into());
                }
                (Some(after), _) => after,
                (None, true) => tx.events_begin()?,
                (None, false) => last,
            };
            put(tx, name, group, after, now)
        })?;
        self.cursor_view(row)
    }

    /// Removes one.
    pub fn drop_cursor(&mut self, name: &str) -> Result<(), VerbError> {
        match self.store.transaction(|tx| tx.drop_named_cursor(name))? {
            true => Ok(()),
            false => Err(CursorError::None(name.into()).into()),
        }
    }

    /// Where somebody goes on who reads a group by it; makes it where there is none.
    pub fn take_cursor(
        &mut self,
        name: &str,
        asked: &TakeCursor,
        now: Timestamp,
    ) -> Result<CursorView, VerbError> {
        check(name)?;
        let group = self.find_group(&asked.group)?;
        let (row, last) = self
            .store
            .read(|tx| Ok::<_, StoreError>((tx.named_cursor(name)?, tx.last_event()?)))?;
        let Some(row) = row else {
            let (group, from_start) = (asked.group.clone(), asked.from_start);
            return self.set_cursor(name, &SetCursor { group, after: None, from_start }, now);
        };
        if !row.ours {
            return Err(CursorError::Restored(row.name).into());
        }
        if row.group != group {
            let group = self.group_ref(row.group).name;
            return Err(CursorError::OtherGroup { name: row.name, group }.into());
        }
        if row.after > last {
            return Err(CursorError::Ahead { asked: row.after, last }.into());
        }
        self.cursor_view(row)
    }

    /// Moves one on; where it stands further, it stays.
    pub fn move_cursor(
        &mut self,
        name: &str,
        after: u64,
        now: Timestamp,
    ) -> Result<CursorView, VerbError> {
        let row = self.store.transaction(|tx| {
            let last = tx.last_event()?;
            let Some(row) = tx.named_cursor(name)? else {
                return Err(CursorError::None(name.into()).into());
            };
            if after > last {
                return Err(CursorError::Ahead { asked: after, last }.into());
            }
            if !row.ours {
                return Err(CursorError::Restored(row.name).into());
            }
            match after > row.after {
                true => put(tx, name, row.group, after, now),
                false => Ok(row),
            }
        })?;
        self.cursor_view(row)
    }

    fn cursor_view(&mut self, row: CursorRow) -> Result<CursorView, VerbError> {
        Ok(CursorView {
            v: VERSION,
            name: row.name,
            group: self.group_ref(row.group),
            after: row.after,
            last: self.store.read(|tx| tx.last_event())?,
            held: false,
            restored: !row.ours,
            moved: rfc3339(row.moved),
        })
    }
}

fn put(
    tx: &Tx<'_>,
    name: &str,
    group: GroupId,
    after: u64,
    now: Timestamp,
) -> Result<CursorRow, VerbError> {
    if tx.named_cursor(name)?.is_none() && tx.named_cursors()?.len() >= CURSORS {
        return Err(CursorError::TooMany.into());
    }
    tx.put_named_cursor(name, group, after, now)?;
    Ok(tx.named_cursor(name)?.ok_or(StoreError::Damaged)?)
}

fn check(name: &str) -> Result<(), CursorError> {
    if is_name(name) { Ok(()) } else { Err(CursorError::BadName) }
}

/// Whether that can be what people call a cursor, or a token.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (1..=NAME_MAX).contains(&name.len())
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}
