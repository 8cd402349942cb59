//! Messages: queued by the core, read from the store beside it.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use protocol::ids::{GroupId, Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Api, Body,
    access::Asker,
    refusal::Refusal,
    types::{
        Beyond, DeliveryView, EditMessage, Message, Messages, Only, PAGE_MAX, Page, PinMessage,
        React, SendMessage, VERSION,
    },
};
use crate::{
    core::Core,
    store::{Filter, unhex},
};

/// How many are in an answer where nothing is said of it.
pub(super) const PAGE: u32 = 100;

pub(super) async fn send(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<SendMessage>,
) -> Result<Json<Message>, Refusal> {
    api.ask(move |core, now| core.send_with(&group, &asked, now)).await.map(Json)
}

pub(super) async fn edit(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
    Body(asked): Body<EditMessage>,
) -> Result<Json<Message>, Refusal> {
    api.ask(move |core, now| core.edit(&group, &message, &asked.text, now)).await.map(Json)
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
) -> Result<Json<Message>, Refusal> {
    api.ask(move |core, now| core.delete_message(&group, &message, now)).await.map(Json)
}

pub(super) async fn react(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
    Body(asked): Body<React>,
) -> Result<Json<Message>, Refusal> {
    let verb =
        move |core: &mut Core, now| core.react(&group, &message, (&asked.sign, asked.on), now);
    api.ask(verb).await.map(Json)
}

pub(super) async fn pin(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
    Body(asked): Body<PinMessage>,
) -> Result<Json<Message>, Refusal> {
    api.ask(move |core, now| core.pin(&group, &message, asked.on, now)).await.map(Json)
}

pub(super) async fn history(
    State(api): State<Api>,
    Path(group): Path<String>,
    Query(page): Query<Page>,
    Query(only): Query<Only>,
) -> Result<Json<Messages>, Refusal> {
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_MAX);
    if only != Only::default() {
        let (group, filter) = filter(&api, group, only, page).await?;
        let read = api.read(move |reader| reader.filtered(group, &filter, page.before, limit));
        let (messages, next) = read.await?;
        return Ok(Json(Messages { v: VERSION, messages, next }));
    }
    let group = api.ask(move |core, _| core.find_group(&group)).await?;
    let messages = api
        .read(move |reader| match page.after {
            Some(after) => reader.came_after(Some(group), after, limit),
            None => reader.messages(group, page.before, limit),
        })
        .await?;
    Ok(Json(Messages { v: VERSION, messages, next: None }))
}

/// What is meant, where that can be asked for.
async fn filter(
    api: &Api,
    group: String,
    only: Only,
    page: Page,
) -> Result<(GroupId, Filter), Refusal> {
    if page.after.is_some() {
        let hint = "leave out `after`, and go on by `before`";
        let message = "what comes after one is not told by its writer or time";
        return Err(Refusal::wrong("bad-request", message, hint));
    }
    let (since, until) = (moment(only.since.as_deref())?, moment(only.until.as_deref())?);
    let from = only.from;
    let found = api.ask(move |core, _| {
        let group = core.find_group(&group)?;
        let from = from.map(|from| core.find_known(group, &from)).transpose()?;
        Ok((group, from))
    });
    let (group, from) = found.await?;
    Ok((group, Filter { from, since, until }))
}

/// A time that somebody gave.
pub(super) fn moment(at: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let wrong = || {
        let hint = "give it as 2026-01-31T14:03:00Z";
        Refusal::wrong("no-such-time", "that is no time", hint)
    };
    let Some(at) = at else { return Ok(None) };
    let at = OffsetDateTime::parse(at, &Rfc3339).map_err(|_| wrong())?;
    // What is before 1970 is before all messages.
    let ms = u64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or_default();
    Ok(Some(Timestamp(ms)))
}

/// In the order of their places, from the first on.
pub(super) async fn beyond(
    State(api): State<Api>,
    Path(group): Path<String>,
    Query(page): Query<Beyond>,
) -> Result<Json<Messages>, Refusal> {
    let wrong = || {
        let hint = "give the `place` of a message as it stands there, and its `seq`";
        Refusal::wrong("no-such-place", "that is no place of a message", hint)
    };
    let group = api.ask(move |core, _| core.find_group(&group)).await?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let beyond = match &page.place {
        Some(place) => {
            let place = unhex(place).and_then(|place| place.try_into().ok()).ok_or_else(wrong)?;
            Some((place, page.seq.unwrap_or(u64::MAX)))
        }
        None => None,
    };
    let messages = api.read(move |reader| reader.beyond(group, beyond, limit)).await?;
    Ok(Json(Messages { v: VERSION, messages, next: None }))
}

pub(super) async fn delivery(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
) -> Result<Json<DeliveryView>, Refusal> {
    api.ask(move |core, now| core.delivery(&group, &message, now)).await.map(Json)
}

/// One of a group's, by the first digits of its id.
pub(super) async fn found(
    State(api): State<Api>,
    Path((group, message)): Path<(String, String)>,
) -> Result<Json<Message>, Refusal> {
    api.ask(move |core, _| core.find_message(&group, &message)).await.map(Json)
}

pub(super) async fn one(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
) -> Result<Json<Message>, Refusal> {
    let missing = || {
        let hint = "ids of messages are in what `wattle history --json` prints";
        Refusal::missing("no-such-message", "there is no message with this id", hint)
    };
    let id = unhex(&id).ok_or_else(missing)?;
    let message = api.read(move |reader| reader.message(&id)).await?;
    message.filter(|it| asker.is_for_id(&it.group.id)).map(Json).ok_or_else(missing)
}
