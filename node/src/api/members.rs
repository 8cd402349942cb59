//! Members as identities that people compare.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{MemberIdentity, VerifyMember},
};

pub(super) async fn one(
    State(api): State<Api>,
    Path(member): Path<String>,
) -> Result<Json<MemberIdentity>, Refusal> {
    api.ask(move |core, _| core.identity(&member)).await.map(Json)
}

pub(super) async fn verify(
    State(api): State<Api>,
    Path(member): Path<String>,
    Body(asked): Body<VerifyMember>,
) -> Result<Json<MemberIdentity>, Refusal> {
    api.ask(move |core, now| core.verify_member(&member, &asked, now)).await.map(Json)
}
