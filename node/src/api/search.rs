//! Full-text search, read from the store beside the core.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use protocol::ids::MemberId;

use super::{
    Api,
    access::Asker,
    messages::moment,
    refusal::Refusal,
    types::{Found, MemberRef, PAGE_MAX, SearchFor, VERSION},
};
use crate::{
    core::VerbError,
    store::{Search, StoreError, Words, unhex},
};

/// How many are in an answer where nothing is said of it.
const PAGE: u32 = 50;

pub(super) async fn search(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
    Query(asked): Query<SearchFor>,
) -> Result<Json<Found>, Refusal> {
    let words = Words::read(&asked.q).map_err(|error| {
        let hint = "give words that are in the text: wattle search deploy \"at noon\"";
        Refusal::wrong("no-words", &error.to_string(), hint)
    })?;
    let group = match asked.group {
        Some(group) => Some(asker.find(&api, group).await?),
        None if asker.is_bound() => {
            let hint = "name one of its groups with --group";
            return Err(Refusal::wrong("which-group", "this token is for some groups", hint));
        }
        None => None,
    };
    let from = match asked.from {
        Some(from) => match writer(&api, from).await {
            Ok(from) => Some(from),
            // Whom else this node knows is nobody's business.
            Err(_) if asker.is_bound() => {
                return Ok(Json(Found { v: VERSION, hits: Vec::new(), unindexed: 0 }));
            }
            Err(refusal) => return Err(refusal),
        },
        None => None,
    };
    let (since, until) = (moment(asked.since.as_deref())?, moment(asked.until.as_deref())?);
    let limit = asked.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let search = Search { words, group, from, since, until, before: asked.before, limit };
    let reader = api.reader.clone();
    let found = tokio::task::spawn_blocking(move || reader.search(&search)).await?;
    let (hits, unindexed) = found.map_err(|error| match error {
        StoreError::TooSlow => Refusal::too_slow(),
        error => error.into(),
    })?;
    Ok(Json(Found { v: VERSION, hits, unindexed }))
}

/// Somebody who is known here, member or not any more.
async fn writer(api: &Api, asked: String) -> Result<MemberId, Refusal> {
    let name = asked.strip_prefix('@').unwrap_or(&asked).to_owned();
    let known = api.read(move |reader| reader.known(&name)).await?;
    match known.as_slice() {
        [] => {
            let hint = "`wattle group show GROUP` shows its members";
            Err(Refusal::missing(
                "no-such-member",
                &format!("nobody called \"{asked}\" is known here"),
                hint,
            ))
        }
        [one] => {
            let id = unhex(&one.id).and_then(|id| id.try_into().ok());
            Ok(MemberId(id.ok_or(StoreError::Damaged)?))
        }
        several => {
            let shown =
                |it: &MemberRef| format!("{} ({})", it.name, it.id.get(..8).unwrap_or_default());
            let candidates = several.iter().map(shown).collect();
            Err(VerbError::AmbiguousMember { asked, candidates }.into())
        }
    }
}
