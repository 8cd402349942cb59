//! Server-sent events, read from the store: a listener that comes back misses nothing, and one that
//! is slow holds nobody up.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use futures::Stream;
use tokio::sync::watch;

use super::{
    Api,
    refusal::Refusal,
    types::{Event, EventsAfter},
};
use crate::store::Reader;

/// How many events are read from the store at once.
const BATCH: u32 = 256;

/// A comment is sent after this much silence, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tells the place first, as an id of its own, then event after event.
pub(super) async fn follow(
    State(api): State<Api>,
    Query(from): Query<EventsAfter>,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Refusal> {
    let woken = api.handle.events();
    let after = match from.after {
        Some(after) => after,
        None => api.read(Reader::last_event).await?,
    };
    let place = Sent::default().id(after.to_string());
    let listener = Listener { api, woken, after, read: VecDeque::new() };
    let events = futures::stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    let first = futures::stream::iter([Ok(place)]);
    let stream = futures::StreamExt::chain(first, events);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Listener {
    api: Api,
    woken: watch::Receiver<u64>,
    after: u64,
    read: VecDeque<Event>,
}

impl Listener {
    /// The next event; none when the node ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                return sent(&event);
            }
            // Seen before the store is read: what comes in between wakes again.
            self.woken.borrow_and_update();
            let after = self.after;
            self.read = self.api.read(move |reader| reader.events(after, BATCH)).await.ok()?.into();
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
                }
            }
        }
    }
}

fn sent(event: &Event) -> Option<Sent> {
    let value = serde_json::to_value(event).ok()?;
    let kind = value.get("event")?.as_str()?;
    Some(Sent::default().id(event.seq.to_string()).event(kind).data(value.to_string()))
}
