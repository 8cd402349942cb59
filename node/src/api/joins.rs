//! Joins by invite code.

use axum::{
    Json,
    extract::{Path, State},
};
use zeroize::Zeroizing;

use super::{
    Api, Body,
    refusal::Refusal,
    types::{JoinRequest, JoinView, Joins, VERSION},
};

pub(super) async fn join(
    State(api): State<Api>,
    Body(asked): Body<JoinRequest>,
) -> Result<Json<JoinView>, Refusal> {
    let code = Zeroizing::new(asked.code);
    api.ask(move |core, now| core.join(&code, now)).await.map(Json)
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Joins>, Refusal> {
    let joins = api.ask(|core, _| core.joins()).await?;
    Ok(Json(Joins { v: VERSION, joins }))
}

pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<JoinView>, Refusal> {
    api.ask(move |core, _| core.join_state(&id)).await.map(Json)
}
