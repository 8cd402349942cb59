//! Conversations of two.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{BeginTalk, Talk, Talks, VERSION},
};

pub(super) async fn talks(State(api): State<Api>) -> Result<Json<Talks>, Refusal> {
    let talks = api.ask(|core, _| core.talks()).await?;
    Ok(Json(Talks { v: VERSION, talks }))
}

pub(super) async fn begin(
    State(api): State<Api>,
    Body(asked): Body<BeginTalk>,
) -> Result<Json<Talk>, Refusal> {
    api.ask(move |core, now| core.talk(&asked.member, now)).await.map(Json)
}

pub(super) async fn deny(
    State(api): State<Api>,
    Path(member): Path<String>,
) -> Result<Json<Talk>, Refusal> {
    api.ask(move |core, _| core.deny_talk(&member)).await.map(Json)
}
