//! The local API: HTTP/1.1 and JSON over a Unix socket that only the node's owner can open, and the
//! only way in for people and programs.
//!
//! ```text
//! POST /v1/groups                       GET /v1/groups           GET /v1/groups/{ref}
//! POST GET /v1/groups/{ref}/invites     DELETE /v1/groups/{ref}/invites/{id}
//! GET  /v1/groups/{ref}/requests        POST   /v1/groups/{ref}/requests/{member}/approve · deny
//! POST GET /v1/groups/{ref}/messages    GET /v1/messages/{id}; GET with ?before&limit&from&since&until
//! GET DELETE /v1/groups/{ref}/messages/{message}      POST …/edit · react · pin
//! POST GET /v1/groups/{ref}/files       POST   /v1/groups/{ref}/files/{file}/fetch
//! GET DELETE /v1/groups/{ref}/files/{file}
//! POST /v1/groups/{ref}/remove · promote · demote · leave · rotate
//! POST /v1/groups/{ref}/readmit · retire · migrate · follow · wipe
//! POST GET /v1/groups/{ref}/policy      POST /v1/groups/{ref}/share
//! POST GET /v1/groups/{ref}/conduct
//! GET  /v1/groups/{ref}/audit?from&limit GET /v1/groups/{ref}/audit/verify
//! GET  /v1/search?q&group&from&since&until&before&limit   messages with these words, the newest first
//! POST /v1/join                         GET /v1/joins            GET /v1/joins/{id}
//! GET  /v1/events?after=SEQ             server-sent events; without `after`, from now on
//! GET  /v1/groups/{ref}/events?before&limit       the last events of its messages
//! GET  /v1/groups/{ref}/history?place&seq&limit   its messages from the first on
//! GET  /v1/cursors                      PUT DELETE /v1/cursors/{name}
//! POST /v1/cursors/{name}/events        server-sent events after a cursor; POST …/move
//! GET  /v1/status                       POST /v1/down            GET DELETE /v1/recovery
//! POST GET /v1/talks                   DELETE /v1/talks/{member}
//! POST /v1/groups/{ref}/shelf           POST GET /v1/blocked     DELETE /v1/blocked/{member}
//! POST /v1/pings                        GET /v1/pings/{id}
//! GET  /v1/machines                     POST /v1/machines/add · remove · /v1/name
//! POST GET /v1/access                   DELETE /v1/access/{label}
//! ```
//!
//! `{ref}` is a group's exact name or an unambiguous prefix of its id, at least four digits; never
//! a guess. Programs with a token have a socket of their own, on which they may ask for what the token is for. What is said stands in [`types`]; an error is always an [`types::ErrorBody`].

mod access;
pub mod conduct;
mod cursors;
mod events;
mod files;
mod groups;
mod joins;
mod members;
mod messages;
mod node;
mod pings;
mod places;
mod refusal;
#[cfg(test)]
mod schema;
mod search;
mod shelf;
pub mod socket;
mod talks;
#[cfg(test)]
mod tests;
pub mod types;

use std::{io, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request},
    middleware,
    routing::{delete, get, post, put},
};
use protocol::ids::Timestamp;
use serde::de::DeserializeOwned;
use tokio::{net::UnixListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use self::{access::Asker, places::Places, refusal::Refusal};
use crate::{
    core::{Core, VerbError},
    driver::Handle,
    files::Files,
    store::{Reader, StoreError},
};

/// The largest body of a request, in bytes.
pub const BODY_MAX: usize = 256 * 1024;

/// A node's API, cheap to clone.
#[derive(Clone)]
pub struct Api {
    handle: Handle,
    reader: Reader,
    files: Files,
    down: Arc<Notify>,
    over: CancellationToken,
    leases: cursors::Leases,
}

impl Api {
    /// The API of a running core.
    #[must_use]
    pub fn new(handle: Handle, reader: Reader, files: Files) -> Self {
        Self {
            handle,
            reader,
            files,
            down: Arc::default(),
            over: CancellationToken::new(),
            leases: cursors::Leases::default(),
        }
    }

    /// Answers on a socket until [`Self::end`], then until the answers under way are given.
    pub async fn serve(self, listener: UnixListener) -> io::Result<()> {
        let over = self.over.clone();
        let router = self.router().layer(Extension(Asker::default()));
        axum::serve(listener, router).with_graceful_shutdown(over.cancelled_owned()).await
    }

    /// The same for programs with tokens.
    pub async fn serve_programs(self, listener: UnixListener) -> io::Result<()> {
        let over = self.over.clone();
        let places = Places::new(listener);
        axum::serve(places, self.door()).with_graceful_shutdown(over.cancelled_owned()).await
    }

    /// Waits until somebody asks the node to end.
    pub async fn asked_down(&self) {
        self.down.notified().await;
    }

    /// Ends the event streams and [`Self::serve`]. To be called last: whoever asked the node to end
    /// takes the end of its event stream for the end of the node.
    pub fn end(&self) {
        self.over.cancel();
    }

    fn router(self) -> Router {
        Router::new()
            .route("/v1/groups", post(groups::create).get(groups::list))
            .route("/v1/groups/{group}", get(groups::show))
            .route("/v1/groups/{group}/verify", get(groups::verify))
            .route("/v1/groups/{group}/remove", post(groups::remove))
            .route("/v1/groups/{group}/promote", post(groups::promote))
            .route("/v1/groups/{group}/demote", post(groups::demote))
            .route("/v1/groups/{group}/readmit", post(groups::readmit))
            .route("/v1/groups/{group}/retire", post(groups::retire))
            .route("/v1/groups/{group}/migrate", post(groups::migrate))
            .route("/v1/groups/{group}/follow", post(groups::follow))
            .route("/v1/groups/{group}/leave", post(groups::leave))
            .route("/v1/groups/{group}/rotate", post(groups::rotate))
            .route("/v1/groups/{group}/wipe", post(groups::wipe))
            .route("/v1/groups/{group}/shelf", post(shelf::shelve))
            .route("/v1/talks", post(talks::begin).get(talks::talks))
            .route("/v1/talks/{member}", delete(talks::deny))
            .route("/v1/blocked", post(shelf::block).get(shelf::blocked))
            .route("/v1/blocked/{member}", delete(shelf::unblock))
            .route("/v1/groups/{group}/typing", post(conduct::tell_typing))
            .route("/v1/groups/{group}/conduct", get(conduct::conduct).post(conduct::set_conduct))
            .route("/v1/groups/{group}/policy", get(conduct::policy).post(conduct::set_policy))
            .route("/v1/groups/{group}/share", post(conduct::share))
            .route("/v1/groups/{group}/audit", get(conduct::audit))
            .route("/v1/groups/{group}/audit/verify", get(conduct::verify))
            .route("/v1/groups/{group}/invites", post(groups::invite).get(groups::invites))
            .route("/v1/groups/{group}/invites/{id}", delete(groups::revoke))
            .route("/v1/groups/{group}/requests", get(groups::requests))
            .route("/v1/groups/{group}/requests/{member}/approve", post(groups::approve))
            .route("/v1/groups/{group}/requests/{member}/deny", post(groups::deny))
            .route("/v1/groups/{group}/messages", post(messages::send).get(messages::history))
            .route("/v1/groups/{group}/messages/{message}/delivery", get(messages::delivery))
            .route(
                "/v1/groups/{group}/messages/{message}",
                delete(messages::delete).get(messages::found),
            )
            .route("/v1/groups/{group}/messages/{message}/edit", post(messages::edit))
            .route("/v1/groups/{group}/messages/{message}/react", post(messages::react))
            .route("/v1/groups/{group}/messages/{message}/pin", post(messages::pin))
            .route("/v1/groups/{group}/files", post(files::send).get(files::list))
            .route("/v1/groups/{group}/files/{file}", get(files::one).delete(files::cancel))
            .route("/v1/groups/{group}/files/{file}/fetch", post(files::fetch))
            .route("/v1/members/{member}", get(members::one))
            .route("/v1/members/{member}/verify", post(members::verify))
            .route("/v1/groups/{group}/events", get(events::of_messages))
            .route("/v1/groups/{group}/history", get(messages::beyond))
            .route("/v1/cursors", get(cursors::list))
            .route("/v1/cursors/{name}", put(cursors::set).delete(cursors::remove))
            .route("/v1/cursors/{name}/events", post(cursors::follow))
            .route("/v1/cursors/{name}/move", post(cursors::advance))
            .route("/v1/messages/{id}", get(messages::one))
            .route("/v1/search", get(search::search))
            .route("/v1/join", post(joins::join))
            .route("/v1/joins", get(joins::list))
            .route("/v1/joins/{id}", get(joins::one))
            .route("/v1/events", get(events::follow))
            .route("/v1/pings", post(pings::ping))
            .route("/v1/pings/{id}", get(pings::one))
            .route("/v1/name", post(node::rename))
            .route("/v1/machines", get(node::machines))
            .route("/v1/machines/add", post(node::add_machine))
            .route("/v1/machines/remove", post(node::remove_machine))
            .route("/v1/status", get(node::status))
            .route("/v1/recovery", get(node::recovery).delete(node::forget_recovery))
            .route("/v1/down", post(node::down))
            .route("/v1/access", post(access::grant).get(access::list))
            .route("/v1/access/{label}", delete(access::revoke))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .layer(middleware::map_response(refusal::dress))
            .with_state(self)
    }

    /// Asks the core.
    async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Core, Timestamp) -> Result<T, VerbError> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.handle.call(verb).await??)
    }

    /// Reads from the store, beside the core.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.reader.clone();
        Ok(tokio::task::spawn_blocking(move || read(&reader)).await??)
    }
}

/// The body of a request, of a type that is asked for here.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}
