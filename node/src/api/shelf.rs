//! What this node's people keep of groups and members for themselves.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{BlockMember, Blocked, BlockedMember, GroupSummary, ShelveGroup, VERSION},
};

pub(super) async fn shelve(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<ShelveGroup>,
) -> Result<Json<GroupSummary>, Refusal> {
    api.ask(move |core, now| core.shelve(&group, &asked, now)).await.map(Json)
}

pub(super) async fn blocked(State(api): State<Api>) -> Result<Json<Blocked>, Refusal> {
    let blocked = api.ask(|core, _| core.blocked()).await?;
    Ok(Json(Blocked { v: VERSION, blocked }))
}

pub(super) async fn block(
    State(api): State<Api>,
    Body(asked): Body<BlockMember>,
) -> Result<Json<BlockedMember>, Refusal> {
    api.ask(move |core, now| core.block(&asked.member, now)).await.map(Json)
}

pub(super) async fn unblock(
    State(api): State<Api>,
    Path(member): Path<String>,
) -> Result<Json<BlockedMember>, Refusal> {
    api.ask(move |core, _| core.unblock(&member)).await.map(Json)
}
