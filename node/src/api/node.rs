//! The node itself.

use axum::{Json, extract::State};

use super::{
    Api,
    refusal::Refusal,
    types::{Done, Status, VERSION},
};

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Refusal> {
    api.ask(|core, now| core.status(now)).await.map(Json)
}

pub(super) async fn down(State(api): State<Api>) -> Json<Done> {
    api.down.notify_one();
    Json(Done { v: VERSION })
}
