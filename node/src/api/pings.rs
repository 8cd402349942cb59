//! Whether members' nodes answer.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{PingMember, PingView},
};

pub(super) async fn ping(
    State(api): State<Api>,
    Body(asked): Body<PingMember>,
) -> Result<Json<PingView>, Refusal> {
    api.ask(move |core, now| core.ping(asked.group.as_deref(), &asked.member, now)).await.map(Json)
}

pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<PingView>, Refusal> {
    api.ask(move |core, now| core.ping_state(&id, now)).await.map(Json)
}
