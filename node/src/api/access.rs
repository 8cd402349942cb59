//! Programs that are let in by a token, on a socket of their own.
//!
//! > What is not in [`ROUTES`] is the owner's alone. A token is looked at before anything else of a request is; a group is
//! > found among those that it is for, and handed on by its id.
//!
//! The owner's socket asks for no token: whoever can open it is the owner.

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{Method, Uri, header::AUTHORIZATION},
    response::IntoResponse,
};
use tower::ServiceExt;

use super::{
    Api, Body, refusal,
    refusal::Refusal,
    types::{Accesses, Done, Event, GrantAccess, GrantedAccess, Scope, VERSION, What},
};
use crate::{
    core::{AccessError, Permit, VerbError},
    store::unhex,
};
use protocol::ids::GroupId;

/// Who asks: the owner, or a program with a token.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker(Option<Permit>);

/// What programs may ask for, by what they may do. `{group}` is a group that the token is for.
pub(super) const ROUTES: [(Method, &str, &[Scope]); 41] = {
    use Scope::{Admin, Read, Send};
    const ANY: &[Scope] = &[Read, Send];
    const READ: &[Scope] = &[Read];
    const SEND: &[Scope] = &[Send];
    const ADMIN: &[Scope] = &[Admin];
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    [
        (GET, "/v1/groups", ANY),
        (GET, "/v1/groups/{group}", ANY),
        (GET, "/v1/groups/{group}/verify", READ),
        (GET, "/v1/groups/{group}/conduct", READ),
        (GET, "/v1/groups/{group}/policy", READ),
        (GET, "/v1/groups/{group}/audit", READ),
        (GET, "/v1/groups/{group}/audit/verify", READ),
        (GET, "/v1/groups/{group}/messages", READ),
        (GET, "/v1/groups/{group}/messages/{message}", READ),
        (GET, "/v1/groups/{group}/messages/{message}/delivery", ANY),
        (GET, "/v1/groups/{group}/files", READ),
        (GET, "/v1/groups/{group}/files/{file}", READ),
        (GET, "/v1/groups/{group}/events", READ),
        (GET, "/v1/groups/{group}/history", READ),
        (GET, "/v1/messages/{id}", READ),
        (GET, "/v1/search", READ),
        (GET, "/v1/events", ANY),
        (GET, "/v1/cursors", READ),
        (Method::PUT, "/v1/cursors/{name}", READ),
        (Method::DELETE, "/v1/cursors/{name}", READ),
        (POST, "/v1/cursors/{name}/events", READ),
        (POST, "/v1/cursors/{name}/move", READ),
        (POST, "/v1/groups/{group}/messages", SEND),
        (POST, "/v1/groups/{group}/messages/{message}/react", SEND),
        (POST, "/v1/groups/{group}/typing", SEND),
        (POST, "/v1/groups/{group}/messages/{message}/edit", ADMIN),
        (POST, "/v1/groups/{group}/messages/{message}/pin", ADMIN),
        (Method::DELETE, "/v1/groups/{group}/messages/{message}", ADMIN),
        (POST, "/v1/groups/{group}/invites", ADMIN),
        (GET, "/v1/groups/{group}/invites", ADMIN),
        (Method::DELETE, "/v1/groups/{group}/invites/{id}", ADMIN),
        (GET, "/v1/groups/{group}/requests", ADMIN),
        (POST, "/v1/groups/{group}/requests/{member}/approve", ADMIN),
        (POST, "/v1/groups/{group}/requests/{member}/deny", ADMIN),
        (POST, "/v1/groups/{group}/remove", ADMIN),
        (POST, "/v1/groups/{group}/promote", ADMIN),
        (POST, "/v1/groups/{group}/demote", ADMIN),
        (POST, "/v1/groups/{group}/readmit", ADMIN),
        (POST, "/v1/groups/{group}/rotate", ADMIN),
        (POST, "/v1/groups/{group}/conduct", ADMIN),
        (POST, "/v1/groups/{group}/policy", ADMIN),
    ]
};

/// Asked for with one of the group's own routes: what is sent by these counts.
const COUNTED: [&str; 4] = ["messages", "react", "edit", "pin"];

impl Asker {
    /// Whether it may know of a group, by its id.
    pub fn is_for_id(&self, group: &str) -> bool {
        self.0.as_ref().is_none_or(|permit| {
            let id = unhex(group).and_then(|id| id.try_into().ok());
            id.is_some_and(|id| permit.is_for(&GroupId(id)))
        })
    }

    /// The group that is meant, as whoever asks may know of it.
    pub async fn find(&self, api: &Api, asked: String) -> Result<GroupId, Refusal> {
        let permit = self.0.clone();
        api.ask(move |core, _| match permit {
            Some(permit) => core.find_permitted(&permit, &asked),
            None => core.find_group(&asked),
        })
        .await
    }

    /// Whether it is for some groups alone.
    pub fn is_bound(&self) -> bool {
        self.0.as_ref().is_some_and(Permit::is_bound)
    }

    /// Whether it still may ask: tokens end.
    pub async fn is_still_let_in(&self, api: &Api) -> bool {
        let Some(permit) = self.0.clone() else { return true };
        api.ask(move |core, now| Ok(core.still_permits(&permit, now))).await.unwrap_or(false)
    }

    /// Whether it may be told an event: of its groups alone, and nothing that is said where it may not read.
    pub fn may_hear(&self, event: &Event) -> bool {
        let Some(permit) = &self.0 else { return true };
        match event.what {
            What::EventsLost { .. } => return true,
            // It is told in a group, and is of none.
            What::TalkAsked { .. } => return false,
            _ => {}
        }
        let is_theirs = event.group.as_ref().is_some_and(|group| self.is_for_id(&group.id));
        let is_about_groups = matches!(
            event.what,
            What::Delivery { .. }
                | What::MemberRemoved { .. }
                | What::MemberLeft { .. }
                | What::MemberRetired { .. }
                | What::NotAdmitted { .. }
        );
        is_theirs && (permit.may(Scope::Read) || is_about_groups)
    }
}

impl Api {
    /// What programs with tokens reach.
    pub(super) fn door(self) -> Router {
        let inside = self.clone().router();
        Router::new().fallback(move |request: Request| {
            let (api, inside) = (self.clone(), inside.clone());
            async move {
                let answer = match api.let_in(request).await {
                    Ok(request) => match inside.oneshot(request).await {
                        Ok(answer) => answer,
                        Err(never) => match never {},
                    },
                    Err(refusal) => refusal.into_response(),
                };
                refusal::dress(answer).await
            }
        })
    }

    /// The request as the program may make it.
    async fn let_in(&self, mut request: Request) -> Result<Request, Refusal> {
        let token = token_of(&request).ok_or_else(|| VerbError::from(AccessError::Unknown))?;
        let permit = self.ask(move |core, now| Ok(core.permit(&token, now)?)).await?;
        let path = request.uri().path().to_owned();
        let route = ROUTES
            .iter()
            .find(|(method, route, _)| method == request.method() && is_of(route, &path));
        let Some((_, _, scopes)) = route else {
            return Err(VerbError::from(AccessError::NotForThat).into());
        };
        if !scopes.iter().any(|scope| permit.may(*scope)) {
            return Err(VerbError::from(AccessError::NotForThat).into());
        }
        let asker = Asker(Some(permit.clone()));
        let segments: Vec<&str> = path.split('/').collect();
        if let ["", "v1", "groups", group, ..] = segments.as_slice() {
            let asked = unescaped(group).ok_or_else(|| VerbError::from(AccessError::NotForThat))?;
            let id = asker.find(self, asked).await?;
            let rest = segments.get(4..).unwrap_or_default();
            let rest: String = rest.iter().map(|segment| format!("/{segment}")).collect();
            let query = request.uri().query().map(|it| format!("?{it}")).unwrap_or_default();
            let uri = format!("/v1/groups/{id}{rest}{query}").parse::<Uri>();
            *request.uri_mut() = uri.map_err(|_| VerbError::from(AccessError::NotForThat))?;
            let is_sent = segments.last().is_some_and(|last| COUNTED.contains(last));
            if request.method() == Method::POST && is_sent {
                self.ask(move |core, now| Ok(core.count_sent(&permit, now)?)).await?;
            }
        }
        request.extensions_mut().insert(asker);
        Ok(request)
    }
}

/// The token that a request shows (RFC 6750, section 2.1).
fn token_of(request: &Request) -> Option<zeroize::Zeroizing<String>> {
    let shown = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let token = shown.strip_prefix("Bearer ")?.trim();
    (token.len() <= 128).then(|| token.to_owned().into())
}

/// Whether a path is one of a route's: segment by segment, `{…}` for any.
fn is_of(route: &str, path: &str) -> bool {
    let (mut route, mut path) = (route.split('/'), path.split('/'));
    loop {
        match (route.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) => {
                let is_any = wanted.starts_with('{') && !segment.is_empty();
                if !is_any && wanted != segment {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// One segment of a path, as it was before it was escaped (RFC 3986, 2.1).
fn unescaped(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Accesses>, Refusal> {
    let access = api.ask(|core, now| Ok(core.accesses(now))).await?;
    Ok(Json(Accesses { v: VERSION, access }))
}

pub(super) async fn grant(
    State(api): State<Api>,
    Body(asked): Body<GrantAccess>,
) -> Result<Json<GrantedAccess>, Refusal> {
    api.ask(move |core, now| core.grant(&asked, now)).await.map(Json)
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Path(label): Path<String>,
) -> Result<Json<Done>, Refusal> {
    api.ask(move |core, _| core.revoke_access(&label)).await?;
    Ok(Json(Done { v: VERSION }))
}
