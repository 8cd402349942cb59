//! Named cursors. Whoever reads by one has it as long as the answer is read.
//!
//! > One reader at a time: two would each miss what the other one was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use tokio::{sync::Notify, time::timeout};

use super::{
    Api, Body,
    access::Asker,
    events,
    refusal::Refusal,
    types::{CursorView, Cursors, Done, MoveCursor, SetCursor, TakeCursor, VERSION},
};
use crate::core::{Core, CursorError, VerbError};

/// How long somebody waits for a cursor whose reader has just been killed: its end has to be noticed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who reads by which cursor, in this process.
#[derive(Clone, Default)]
pub(super) struct Leases(Arc<Held>);

#[derive(Default)]
struct Held {
    now: Mutex<Numbered>,
    freed: Notify,
}

#[derive(Default)]
struct Numbered {
    last: u64,
    held: BTreeMap<String, u64>,
}

/// That a cursor is somebody's; it is free again when this is dropped.
pub(super) struct Lease {
    leases: Leases,
    name: String,
    number: u64,
}

pub(super) async fn list(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
) -> Result<Json<Cursors>, Refusal> {
    let mut cursors = api.ask(|core, _| core.cursors()).await?;
    cursors.retain(|cursor| asker.is_for_id(&cursor.group.id));
    for cursor in &mut cursors {
        cursor.held = api.leases.is_held(&cursor.name);
    }
    Ok(Json(Cursors { v: VERSION, cursors }))
}

pub(super) async fn set(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
    Body(mut asked): Body<SetCursor>,
) -> Result<Json<CursorView>, Refusal> {
    is_theirs(&api, &asker, &name).await?;
    asked.group = asker.find(&api, asked.group).await?.to_string();
    let _lease = api.leases.soon(&name).await.ok_or_else(|| held(&name))?;
    api.ask(move |core, now| core.set_cursor(&name, &asked, now)).await.map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
) -> Result<Json<Done>, Refusal> {
    is_theirs(&api, &asker, &name).await?;
    let _lease = api.leases.soon(&name).await.ok_or_else(|| held(&name))?;
    api.ask(move |core, _| core.drop_cursor(&name)).await?;
    Ok(Json(Done { v: VERSION }))
}

pub(super) async fn follow(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
    Body(mut asked): Body<TakeCursor>,
) -> Result<events::Told, Refusal> {
    is_theirs(&api, &asker, &name).await?;
    asked.group = asker.find(&api, asked.group).await?.to_string();
    let lease = api.leases.soon(&name).await.ok_or_else(|| held(&name))?;
    let mut cursor = api.ask(move |core, now| core.take_cursor(&name, &asked, now)).await?;
    cursor.held = true;
    events::by_cursor(api, asker, lease, cursor)
}

pub(super) async fn advance(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
    Body(asked): Body<MoveCursor>,
) -> Result<Json<CursorView>, Refusal> {
    is_theirs(&api, &asker, &name).await?;
    // Looked at in the core, which tells the next reader where to begin: what a killed one still had under way moves nothing after
    // that.
    let leases = api.leases.clone();
    let verb = move |core: &mut Core, now| match leases.is(&name, asked.lease) {
        true => core.move_cursor(&name, asked.after, now),
        false => Err(CursorError::NotHeld(name).into()),
    };
    let mut cursor = api.ask(verb).await?;
    cursor.held = true;
    Ok(Json(cursor))
}

/// Refuses a cursor of a group that whoever asks may not know of, as one that is not there. It has one lease for all: between two
/// looks it may become another group's, which the core refuses.
async fn is_theirs(api: &Api, asker: &Asker, name: &str) -> Result<(), Refusal> {
    if !asker.is_bound() {
        return Ok(());
    }
    let cursors = api.ask(|core, _| core.cursors()).await?;
    match cursors.iter().find(|cursor| cursor.name == name) {
        Some(cursor) if !asker.is_for_id(&cursor.group.id) => {
            Err(VerbError::from(CursorError::Held(name.into())).into())
        }
        _ => Ok(()),
    }
}

fn held(name: &str) -> Refusal {
    VerbError::from(CursorError::Held(name.into())).into()
}

impl Leases {
    /// Takes a cursor; not where somebody has it.
    fn now(&self, name: &str) -> Option<Lease> {
        let mut now = self.numbered();
        if now.held.contains_key(name) {
            return None;
        }
        now.last += 1;
        let number = now.last;
        now.held.insert(name.into(), number);
        Some(Lease { leases: self.clone(), name: name.into(), number })
    }

    /// The same; waits a little for one whose reader has ended.
    async fn soon(&self, name: &str) -> Option<Lease> {
        let free = async {
            loop {
                // Listened for before it is looked at: what is freed in between is heard.
                let mut freed = std::pin::pin!(self.0.freed.notified());
                freed.as_mut().enable();
                if let Some(lease) = self.now(name) {
                    return lease;
                }
                freed.await;
            }
        };
        timeout(PATIENCE, free).await.ok()
    }

    fn is_held(&self, name: &str) -> bool {
        self.numbered().held.contains_key(name)
    }

    fn is(&self, name: &str, lease: u64) -> bool {
        self.numbered().held.get(name) == Some(&lease)
    }

    fn numbered(&self) -> MutexGuard<'_, Numbered> {
        // Nothing is done half under it.
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// What its holder is known by.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.numbered().held.remove(&self.name);
        self.leases.0.freed.notify_waiters();
    }
}
