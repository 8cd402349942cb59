//! Groups, their members and their invites.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{
    Api, Body,
    access::Asker,
    refusal::Refusal,
    types::{
        CreateGroup, CreateInvite, FollowMove, GroupView, Groups, InviteView, Invites,
        MigrateGroup, RemoveMember, RequestView, Requests, RetireMember, VERSION, Verified,
        WipeGroup, Wiped,
    },
};
use crate::core::VerbError;

/// How often it is looked whether a group is gone.
const LOOK: Duration = Duration::from_millis(20);

type Answer<T> = Result<Json<T>, Refusal>;

pub(super) async fn create(
    State(api): State<Api>,
    Body(asked): Body<CreateGroup>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.create_group(&asked, now)).await.map(Json)
}

pub(super) async fn list(
    State(api): State<Api>,
    Extension(asker): Extension<Asker>,
) -> Answer<Groups> {
    let mut groups = api.ask(|core, now| core.groups(now)).await?;
    groups.retain(|group| asker.is_for_id(&group.id));
    Ok(Json(Groups { v: VERSION, groups }))
}

pub(super) async fn show(State(api): State<Api>, Path(group): Path<String>) -> Answer<GroupView> {
    api.ask(move |core, now| core.group(&group, now)).await.map(Json)
}

pub(super) async fn verify(State(api): State<Api>, Path(group): Path<String>) -> Answer<Verified> {
    api.ask(move |core, _| core.verify(&group)).await.map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<RemoveMember>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.remove(&group, &asked.member, now)).await.map(Json)
}

pub(super) async fn promote(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<RemoveMember>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.promote(&group, &asked.member, now)).await.map(Json)
}

pub(super) async fn demote(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<RemoveMember>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.demote(&group, &asked.member, now)).await.map(Json)
}

pub(super) async fn readmit(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<RemoveMember>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.readmit(&group, &asked.member, now)).await.map(Json)
}

pub(super) async fn retire(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<RetireMember>,
) -> Answer<GroupView> {
    let code = Zeroizing::new(asked.code);
    api.ask(move |core, now| core.retire(&group, &code, now)).await.map(Json)
}

pub(super) async fn migrate(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<MigrateGroup>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.migrate(&group, &asked.without, now)).await.map(Json)
}

pub(super) async fn follow(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<FollowMove>,
) -> Answer<GroupView> {
    api.ask(move |core, now| core.follow(&group, asked.to.as_deref(), now)).await.map(Json)
}

pub(super) async fn leave(State(api): State<Api>, Path(group): Path<String>) -> Answer<GroupView> {
    api.ask(move |core, now| core.leave(&group, now)).await.map(Json)
}

pub(super) async fn rotate(State(api): State<Api>, Path(group): Path<String>) -> Answer<GroupView> {
    api.ask(move |core, now| core.rotate(&group, now)).await.map(Json)
}

pub(super) async fn wipe(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<WipeGroup>,
) -> Answer<Wiped> {
    let doomed = api.ask(move |core, _| core.doomed(&group, asked.unheard)).await?;
    let (id, count) = (doomed.group, doomed.files.len() as u64);
    // Before the rows that name them.
    let files = api.files.clone();
    tokio::task::spawn_blocking(move || files.remove(&doomed.files)).await?;
    let late = api.ask(move |core, now| core.wipe(id, now)).await?;
    let files = api.files.clone();
    tokio::task::spawn_blocking(move || files.remove(&late)).await?;
    api.files.look();
    // Whoever waits no longer has it go on all the same.
    while api.ask(move |core, _| Ok::<_, VerbError>(core.is_being_erased(id))).await? {
        sleep(LOOK).await;
    }
    Ok(Json(Wiped { v: VERSION, id: id.to_string(), files: count }))
}

pub(super) async fn invite(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(terms): Body<CreateInvite>,
) -> Answer<InviteView> {
    api.ask(move |core, now| core.invite(&group, &terms, now)).await.map(Json)
}

pub(super) async fn invites(State(api): State<Api>, Path(group): Path<String>) -> Answer<Invites> {
    let invites = api.ask(move |core, now| core.invites(&group, now)).await?;
    Ok(Json(Invites { v: VERSION, invites }))
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Path((group, id)): Path<(String, String)>,
) -> Answer<InviteView> {
    api.ask(move |core, now| core.revoke(&group, &id, now)).await.map(Json)
}

pub(super) async fn requests(
    State(api): State<Api>,
    Path(group): Path<String>,
) -> Answer<Requests> {
    let requests = api.ask(move |core, _| core.requests(&group)).await?;
    Ok(Json(Requests { v: VERSION, requests }))
}

pub(super) async fn approve(
    State(api): State<Api>,
    Path((group, member)): Path<(String, String)>,
) -> Answer<RequestView> {
    api.ask(move |core, now| core.approve(&group, &member, now)).await.map(Json)
}

pub(super) async fn deny(
    State(api): State<Api>,
    Path((group, member)): Path<(String, String)>,
) -> Answer<RequestView> {
    api.ask(move |core, now| core.deny(&group, &member, now)).await.map(Json)
}
