//! Files: read beside the core, offered and asked for by it, fetched by their own task.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{FileView, Files, Message, SendFile, VERSION},
};
use crate::files::ReadFileError;

pub(super) async fn send(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<SendFile>,
) -> Result<Json<Message>, Refusal> {
    // Before a large file is read.
    let reference = group.clone();
    api.ask(move |core, _| core.find_group(&reference)).await?;
    let path = PathBuf::from(asked.path);
    if !path.is_absolute() {
        return Err(refusal("the path is not absolute".into()));
    }
    let files = api.files.clone();
    let read = tokio::task::spawn_blocking(move || files.read(&path)).await?;
    let made = read.map_err(|error: ReadFileError| refusal(error.to_string()))?;
    api.ask(move |core, now| core.offer_file(&group, &made, now)).await.map(Json)
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(group): Path<String>,
) -> Result<Json<Files>, Refusal> {
    let files = api.ask(move |core, _| core.files(&group)).await?;
    let files = files.into_iter().map(|view| api.files.with_progress(view)).collect();
    Ok(Json(Files { v: VERSION, files }))
}

pub(super) async fn one(
    State(api): State<Api>,
    Path((group, file)): Path<(String, String)>,
) -> Result<Json<FileView>, Refusal> {
    let view = api.ask(move |core, _| core.file(&group, &file)).await?;
    Ok(Json(api.files.with_progress(view)))
}

pub(super) async fn fetch(
    State(api): State<Api>,
    Path((group, file)): Path<(String, String)>,
) -> Result<Json<FileView>, Refusal> {
    let (reference, asked) = (group.clone(), file.clone());
    let mut view = api.ask(move |core, now| core.want_file(&reference, &asked, None, now)).await?;
    if let Some(path) = view.path.clone() {
        let (files, at) = (api.files.clone(), path.clone());
        // What was moved away since, or deleted, is fetched again.
        if tokio::task::spawn_blocking(move || files.is_gone(at.as_ref())).await? {
            view = api
                .ask(move |core, now| core.want_file(&group, &file, Some(path.as_str()), now))
                .await?;
        }
    }
    api.files.retry(view.seq);
    Ok(Json(api.files.with_progress(view)))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Path((group, file)): Path<(String, String)>,
) -> Result<Json<FileView>, Refusal> {
    let view = api.ask(move |core, now| core.drop_file(&group, &file, now)).await?;
    api.files.look();
    Ok(Json(api.files.with_progress(view)))
}

fn refusal(message: String) -> Refusal {
    Refusal::wrong("no-such-file-here", &message, "Name a file that this node's user can read.")
}
