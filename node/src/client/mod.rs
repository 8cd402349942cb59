//! What programs use to speak with a running node: the command line, tests and bots alike.
//!
//! ```no_run
//! # async fn example() -> Result<(), node::client::ClientError> {
//! use node::{api::types::What, client::Client};
//!
//! let client = Client::connect("/home/ana/.local/share/wattle".as_ref()).await?;
//! let mut events = client.events_from_now().await?;
//! client.send("ops", "deployed").await?;
//! let answer = events
//!     .wait_for(|event| match &event.what {
//!         What::Message { message } if !message.mine => Some(message.text.clone()),
//!         _ => None,
//!     })
//!     .await?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```

mod access;
mod conduct;
mod cursors;
mod events;
mod files;
mod members;
mod pings;
mod said;
mod search;
mod shelf;
mod sse;
mod talks;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::net::UnixStream;

pub use access::Token;
pub use cursors::CursorStream;
pub use events::EventStream;

use crate::api::{
    socket,
    types::{
        ApiError, CreateGroup, CreateInvite, DeliveryView, Done, ErrorBody, EventsAfter,
        FollowMove, GroupSummary, GroupView, Groups, InviteView, Invites, JoinRequest, JoinView,
        Joins, Machines, Message, Messages, MigrateGroup, NameMachine, Only, Page, RecoveryView,
        RemoveMember, RequestView, Requests, RetireMember, SendMessage, Status, Verified,
        WipeGroup, Wiped,
    },
};

/// Speaks with the node of one data directory. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    token: Option<Token>,
}

/// Why a node did not do what it was asked to.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No node runs on that data directory.
    #[error("no node is running here")]
    NotRunning,
    /// The socket is there and can't be used.
    #[error("the node's socket can't be used")]
    Socket(#[source] io::Error),
    /// The node said no, and why.
    #[error("{}", .0.message)]
    Refused(ApiError),
    /// The node ended in the middle.
    #[error("the node has ended")]
    Ended,
    /// What came is no answer of a node of this version.
    #[error("the node's answer can't be read; is it of another version?")]
    Garbled,
}

/// The largest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 20;

impl Client {
    /// Finds the node that runs on a data directory, and sees that it answers.
    pub async fn connect(data_dir: &Path) -> Result<Self, ClientError> {
        let client = Self { socket: socket::find(data_dir), token: None };
        client.open().await?;
        Ok(client)
    }

    /// Speaks with a node as a program that it has given a token, by the socket that it has for those.
    pub async fn connect_with(socket: &Path, token: Token) -> Result<Self, ClientError> {
        let client = Self { socket: socket.into(), token: Some(token) };
        client.open().await?;
        Ok(client)
    }

    /// How the node stands.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// This machine and those that it names.
    pub async fn machines(&self) -> Result<Machines, ClientError> {
        self.get("/v1/machines").await
    }

    /// Names another machine of the same person, by its whole identity.
    pub async fn add_machine(&self, machine: &str) -> Result<Machines, ClientError> {
        self.post("/v1/machines/add", &NameMachine { machine: machine.into() }).await
    }

    /// Names a machine no more.
    pub async fn remove_machine(&self, machine: &str) -> Result<Machines, ClientError> {
        self.post("/v1/machines/remove", &NameMachine { machine: machine.into() }).await
    }

    /// Makes a group at the node's own relays.
    pub async fn create_group(&self, name: &str) -> Result<GroupView, ClientError> {
        self.create_group_with(&CreateGroup::named(name)).await
    }

    /// Makes a group.
    pub async fn create_group_with(&self, group: &CreateGroup) -> Result<GroupView, ClientError> {
        self.post("/v1/groups", group).await
    }

    /// The groups of this node.
    pub async fn groups(&self) -> Result<Vec<GroupSummary>, ClientError> {
        Ok(self.get::<Groups>("/v1/groups").await?.groups)
    }

    /// One group, by its exact name or an unambiguous prefix of its id, as everywhere here.
    pub async fn group(&self, group: &str) -> Result<GroupView, ClientError> {
        self.get(&at(group, "")).await
    }

    /// Whether the members of a group hold the same, as far as this node sees.
    pub async fn verify(&self, group: &str) -> Result<Verified, ClientError> {
        self.get(&at(group, "/verify")).await
    }

    /// Makes an invite; the answer has its code.
    pub async fn invite(
        &self,
        group: &str,
        terms: &CreateInvite,
    ) -> Result<InviteView, ClientError> {
        self.post(&at(group, "/invites"), terms).await
    }

    /// A group's invites, without their codes.
    pub async fn invites(&self, group: &str) -> Result<Vec<InviteView>, ClientError> {
        Ok(self.get::<Invites>(&at(group, "/invites")).await?.invites)
    }

    /// Ends an invite: its code opens nothing from now on.
    pub async fn revoke(&self, group: &str, id: &str) -> Result<InviteView, ClientError> {
        let path = at(group, &format!("/invites/{}", escaped(id)));
        self.ask(Method::DELETE, &path, Bytes::new()).await
    }

    /// Those who wait to be let in.
    pub async fn requests(&self, group: &str) -> Result<Vec<RequestView>, ClientError> {
        Ok(self.get::<Requests>(&at(group, "/requests")).await?.requests)
    }

    /// Lets somebody in who waits, by name or an unambiguous prefix of the id.
    pub async fn approve(&self, group: &str, member: &str) -> Result<RequestView, ClientError> {
        self.post(&at(group, &format!("/requests/{}/approve", escaped(member))), &()).await
    }

    /// Sends somebody away who waits.
    pub async fn deny(&self, group: &str, member: &str) -> Result<RequestView, ClientError> {
        self.post(&at(group, &format!("/requests/{}/deny", escaped(member))), &()).await
    }

    /// Queues a text for a group. The answer is the message as it stands, with its local id.
    pub async fn send(&self, group: &str, text: &str) -> Result<Message, ClientError> {
        let text = text.into();
        self.say(group, &SendMessage { text, ..SendMessage::default() }).await
    }

    /// The same, with what it answers and whom it is for in particular.
    pub async fn say(&self, group: &str, message: &SendMessage) -> Result<Message, ClientError> {
        self.post(&at(group, "/messages"), message).await
    }

    /// A page of a group's history, oldest first; the newest messages where `page` says nothing.
    pub async fn history(&self, group: &str, page: Page) -> Result<Vec<Message>, ClientError> {
        let fields = [("after", page.after), ("before", page.before)];
        let fields = fields.into_iter().chain([("limit", page.limit.map(u64::from))]);
        let query: Vec<String> =
            fields.filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
        let path = at(group, &format!("/messages?{}", query.join("&")));
        Ok(self.get::<Messages>(&path).await?.messages)
    }

    /// The same, of those messages that are wanted; and by which `before` to go on, where there may be more.
    pub async fn history_only(
        &self,
        group: &str,
        only: &Only,
        (before, limit): (Option<u64>, u32),
    ) -> Result<(Vec<Message>, Option<u64>), ClientError> {
        let Only { from, since, until } = only;
        let fields = [("from", from), ("since", since), ("until", until)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let fields: String =
            fields.map(|(name, value)| format!("&{name}={}", escaped(value))).collect();
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        let path = at(group, &format!("/messages?limit={limit}{before}{fields}"));
        let Messages { messages, next, .. } = self.get(&path).await?;
        Ok((messages, next))
    }

    /// A group's message, by the first digits of its local id, at least four, or `last`.
    pub async fn find_message(&self, group: &str, message: &str) -> Result<Message, ClientError> {
        self.get(&at(group, &format!("/messages/{}", escaped(message)))).await
    }

    /// One message, by its local id.
    pub async fn message(&self, id: &str) -> Result<Message, ClientError> {
        self.get(&format!("/v1/messages/{}", escaped(id))).await
    }

    /// How far an own message is with each member: by its local id, the first four digits of it at
    /// least, or `last`.
    pub async fn delivery(&self, group: &str, message: &str) -> Result<DeliveryView, ClientError> {
        self.get(&at(group, &format!("/messages/{}/delivery", escaped(message)))).await
    }

    /// Removes a member, by name or an unambiguous prefix of its id. The answer is the group as it
    /// is then.
    pub async fn remove(&self, group: &str, member: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/remove"), &RemoveMember { member: member.into() }).await
    }

    /// Makes an admin of a member.
    pub async fn promote(&self, group: &str, member: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/promote"), &RemoveMember { member: member.into() }).await
    }

    /// Takes an admin's rights.
    pub async fn demote(&self, group: &str, member: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/demote"), &RemoveMember { member: member.into() }).await
    }

    /// This machine's recovery code.
    pub async fn recovery(&self) -> Result<RecoveryView, ClientError> {
        self.get("/v1/recovery").await
    }

    /// Has the node forget its recovery code.
    pub async fn forget_recovery(&self) -> Result<Done, ClientError> {
        self.ask(Method::DELETE, "/v1/recovery", Bytes::new()).await
    }

    /// Lets somebody in again, who was a member.
    pub async fn readmit(&self, group: &str, member: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/readmit"), &RemoveMember { member: member.into() }).await
    }

    /// Ends the membership of a lost machine by its recovery code.
    pub async fn retire(&self, group: &str, code: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/retire"), &RetireMember { code: code.into() }).await
    }

    /// Founds a group with the same people but these, and moves to it. The answer is the new group.
    pub async fn migrate(
        &self,
        group: &str,
        without: Vec<String>,
    ) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/migrate"), &MigrateGroup { without }).await
    }

    /// Follows an admin to the group that this one goes on as. The answer is the new group.
    pub async fn follow(&self, group: &str, to: Option<String>) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/follow"), &FollowMove { to }).await
    }

    /// Erases a group from the node's machine; answered when nothing is left of it there.
    pub async fn wipe(&self, group: &str, unheard: bool) -> Result<Wiped, ClientError> {
        self.post(&at(group, "/wipe"), &WipeGroup { unheard }).await
    }

    /// Leaves a group.
    pub async fn leave(&self, group: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/leave"), &()).await
    }

    /// Makes this node's sending keys anew.
    pub async fn rotate(&self, group: &str) -> Result<GroupView, ClientError> {
        self.post(&at(group, "/rotate"), &()).await
    }

    /// Begins to join by an invite code. The node goes on with it, also after a restart.
    pub async fn join(&self, code: &str) -> Result<JoinView, ClientError> {
        self.post("/v1/join", &JoinRequest { code: code.into() }).await
    }

    /// The joins that this node began.
    pub async fn joins(&self) -> Result<Vec<JoinView>, ClientError> {
        Ok(self.get::<Joins>("/v1/joins").await?.joins)
    }

    /// How far a join is.
    pub async fn join_state(&self, id: &str) -> Result<JoinView, ClientError> {
        self.get(&format!("/v1/joins/{}", escaped(id))).await
    }

    /// The events after `after`, those to come included; 0 for all that the node has kept.
    pub async fn events(&self, after: u64) -> Result<EventStream, ClientError> {
        self.stream(EventsAfter { after: Some(after), ..EventsAfter::default() }).await
    }

    /// The events from now on: whatever is asked of the node after this call is among them.
    pub async fn events_from_now(&self) -> Result<EventStream, ClientError> {
        self.stream(EventsAfter::default()).await
    }

    /// The events from now on, and who is typing.
    pub async fn events_and_typing(&self) -> Result<EventStream, ClientError> {
        self.stream(EventsAfter { typing: true, ..EventsAfter::default() }).await
    }

    /// Ends the node, and waits until its database is closed.
    pub async fn down(&self) -> Result<(), ClientError> {
        let mut events = self.events_from_now().await?;
        self.post::<Done>("/v1/down", &()).await?;
        while events.next().await.is_ok() {}
        Ok(())
    }

    async fn stream(&self, from: EventsAfter) -> Result<EventStream, ClientError> {
        let after = from.after.map(|after| format!("after={after}"));
        let typing = from.typing.then(|| "typing=true".to_owned());
        let query: Vec<String> = after.into_iter().chain(typing).collect();
        let path = format!("/v1/events?{}", query.join("&"));
        EventStream::open(self.request(Method::GET, &path, Bytes::new()).await?.into_body()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|_| ClientError::Garbled)?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answer = self.request(method, path, body).await?;
        serde_json::from_slice(&read(answer).await?).map_err(|_| ClientError::Garbled)
    }

    /// An answer that is not an error.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "wattle")
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", token.header()?);
        }
        let request = request.body(Full::new(body)).map_err(|_| ClientError::Garbled)?;
        let answer = self.open().await?.send_request(request).await;
        let answer = answer.map_err(|_| ClientError::Ended)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body: ErrorBody =
            serde_json::from_slice(&read(answer).await?).map_err(|_| ClientError::Garbled)?;
        Err(ClientError::Refused(body.error))
    }

    async fn open(&self) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NotRunning
                }
                // It was killed while this waited for it to accept.
                io::ErrorKind::ConnectionReset => ClientError::Ended,
                _ => ClientError::Socket(error),
            })?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| ClientError::Ended)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The whole body.
async fn read(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    Ok(body.map_err(|_| ClientError::Ended)?.to_bytes())
}

fn at(group: &str, rest: &str) -> String {
    format!("/v1/groups/{}{rest}", escaped(group))
}

/// One segment of a path (RFC 3986, 2.1).
fn escaped(segment: &str) -> String {
    segment.bytes().fold(String::with_capacity(segment.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment_of_a_path() {
        assert_eq!(at("ops", "/leave"), "/v1/groups/ops/leave");
        assert_eq!(at("../a b/ü?#", ""), "/v1/groups/%2E%2E%2Fa%20b%2F%C3%BC%3F%23");
    }

    #[tokio::test]
    async fn without_a_node_it_says_that_none_is_running() {
        let dir = tempfile::tempdir().unwrap();
        let error = Client::connect(dir.path()).await.unwrap_err();
        assert!(matches!(error, ClientError::NotRunning));
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("api.sock")).unwrap());
        let error = Client::connect(dir.path()).await.unwrap_err();
        assert!(matches!(error, ClientError::NotRunning), "{error}");
    }
}
