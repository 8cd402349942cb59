//! The node itself.

use axum::{Json, extract::State};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{Done, Machines, NameMachine, RecoveryView, Rename, Renamed, Status, VERSION},
};

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Refusal> {
    api.ask(|core, now| core.status(now)).await.map(Json)
}

pub(super) async fn recovery(State(api): State<Api>) -> Result<Json<RecoveryView>, Refusal> {
    let code = api.ask(|core, _| Ok(core.recovery_code())).await?;
    Ok(Json(RecoveryView { v: VERSION, code: code.map(|code| code.as_str().into()) }))
}

pub(super) async fn forget_recovery(State(api): State<Api>) -> Result<Json<Done>, Refusal> {
    api.ask(|core, _| core.forget_recovery()).await?;
    Ok(Json(Done { v: VERSION }))
}

pub(super) async fn down(State(api): State<Api>) -> Json<Done> {
    api.down.notify_one();
    Json(Done { v: VERSION })
}

pub(super) async fn machines(State(api): State<Api>) -> Result<Json<Machines>, Refusal> {
    api.ask(|core, _| core.machines()).await.map(Json)
}

pub(super) async fn add_machine(
    State(api): State<Api>,
    Body(asked): Body<NameMachine>,
) -> Result<Json<Machines>, Refusal> {
    api.ask(move |core, now| core.add_machine(&asked.machine, now)).await.map(Json)
}

pub(super) async fn remove_machine(
    State(api): State<Api>,
    Body(asked): Body<NameMachine>,
) -> Result<Json<Machines>, Refusal> {
    api.ask(move |core, now| core.remove_machine(&asked.machine, now)).await.map(Json)
}

pub(super) async fn rename(
    State(api): State<Api>,
    Body(asked): Body<Rename>,
) -> Result<Json<Renamed>, Refusal> {
    api.ask(move |core, now| core.rename(&asked.name, now)).await.map(Json)
}
