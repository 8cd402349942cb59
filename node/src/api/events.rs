//! Server-sent events, read from the store: a listener that comes back misses nothing, and one that
//! is slow holds nobody up.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    response::sse::{Event as Sent, KeepAlive, KeepAliveStream, Sse},
};
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::{broadcast, watch};

use super::{
    Api,
    access::Asker,
    cursors::Lease,
    messages::PAGE,
    refusal::Refusal,
    types::{CursorLease, CursorView, Event, EventPage, Events, EventsAfter, PAGE_MAX, VERSION},
};
use crate::store::{Reader, StoreError};

/// How many events are read from the store at once.
const BATCH: u32 = 256;

/// A comment is sent after this much silence, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tells the place first, as an id of its own, then event after event.
pub(super) async fn follow(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Query(from): Query<EventsAfter>,
) -> Result<Told, Refusal> {
    let woken = api.handle.events();
    let after = match from.after {
        // All that is kept, and no word of what is not.
        Some(0) => api.read(Reader::events_begin).await?,
        Some(after) => after,
        None => api.read(Reader::last_event).await?,
    };
    let place = Sent::default().id(from.after.unwrap_or(after).to_string());
    let read = VecDeque::new();
    let live = from.typing.then(|| api.handle.live());
    Ok(Listener { api, asker, woken, live, after, lost: 0, read, _lease: None }.tell(place))
}

/// The last events of a group's messages.
pub(super) async fn of_messages(
    State(api): State<Api>,
    Path(group): Path<String>,
    Query(page): Query<EventPage>,
) -> Result<Json<Events>, Refusal> {
    let group = api.ask(move |core, _| core.find_group(&group)).await?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let events = api.read(move |it| it.events_of_messages(group, page.before, limit)).await?;
    Ok(Json(Events { v: VERSION, events }))
}

/// Events for somebody who reads by a cursor: the place is where that stands.
pub(super) fn by_cursor(
    api: Api,
    asker: Asker,
    lease: Lease,
    cursor: CursorView,
) -> Result<Told, Refusal> {
    let after = cursor.after;
    let place = Sent::default().id(after.to_string());
    let place = place.json_data(CursorLease { cursor, lease: lease.number() });
    let place = place.map_err(|_| StoreError::Damaged)?;
    let woken = api.handle.events();
    let (read, _lease) = (VecDeque::new(), Some(lease));
    Ok(Listener { api, asker, woken, live: None, after, lost: 0, read, _lease }.tell(place))
}

/// Server-sent events.
pub(super) type Told = Sse<KeepAliveStream<BoxStream<'static, Result<Sent, Infallible>>>>;

struct Listener {
    api: Api,
    /// Who listens.
    asker: Asker,
    woken: watch::Receiver<u64>,
    /// What is told once, where that is asked for.
    live: Option<broadcast::Receiver<Event>>,
    after: u64,
    /// Up to which event it was told that they are not kept.
    lost: u64,
    read: VecDeque<Event>,
    /// Whoever reads by a cursor does as long as this is.
    _lease: Option<Lease>,
}

impl Listener {
    fn tell(self, place: Sent) -> Told {
        let events = futures::stream::unfold(self, |mut listener| async {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        });
        let first = futures::stream::iter([Ok(place)]);
        let stream = first.chain(events).boxed();
        Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }

    /// The next event; none when the node ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                if self.asker.may_hear(&event) {
                    return sent(&event).map(|it| it.id(event.seq.to_string()));
                }
            }
            // Seen before the store is read: what comes in between wakes again.
            self.woken.borrow_and_update();
            let after = self.after;
            let onward = self.api.read(move |reader| reader.onward(after, BATCH)).await.ok()?;
            if !self.asker.is_still_let_in(&self.api).await {
                return None;
            }
            // Told once, also where more is lost while it is read.
            if let Some(until) = onward.lost
                && self.lost <= after
            {
                self.lost = until;
                self.read.extend(onward.loss(after));
            }
            self.read.extend(onward.events);
            if self.read.is_empty() {
                let over = self.api.over.clone();
                tokio::select! {
                    biased;
                    () = over.cancelled() => return None,
                    woken = self.woken.changed() => {
                        if woken.is_err() {
                            // The core is gone; the node says when all of it is.
                            over.cancelled().await;
                            return None;
                        }
                    }
                    mut event = once(&mut self.live) => {
                        // Who comes back after it has missed nothing that is kept.
                        event.seq = self.after;
                        if self.asker.may_hear(&event) {
                            return sent(&event);
                        }
                    }
                }
            }
        }
    }
}

/// The next of what is told once.
async fn once(live: &mut Option<broadcast::Receiver<Event>>) -> Event {
    while let Some(heard) = live {
        match heard.recv().await {
            Ok(event) => return event,
            // What was too much is passed over.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => *live = None,
        }
    }
    std::future::pending().await
}

fn sent(event: &Event) -> Option<Sent> {
    let value = serde_json::to_value(event).ok()?;
    let kind = value.get("event")?.as_str()?;
    Some(Sent::default().event(kind).data(value.to_string()))
}
