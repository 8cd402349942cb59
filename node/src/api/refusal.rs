//! Answers that say no: an HTTP status, and a body that says why and what to do.

use axum::{
    Json,
    body::to_bytes,
    extract::rejection::JsonRejection,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};

use super::types::{ApiError, ErrorBody, VERSION};
use crate::{core::VerbError, driver::Gone, store::StoreError};

/// Why a request was not carried out. Nothing has changed.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    /// There is no such thing as asked for.
    pub fn missing(code: &str, message: &str, hint: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message, hint, 6)
    }

    /// It was asked for wrongly.
    pub fn wrong(code: &str, message: &str, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, hint, 2)
    }

    /// It took longer than an answer may.
    pub fn too_slow() -> Self {
        let hint = "look in one group, for what one member wrote, or between two dates";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too-slow", "that takes too long", hint, 4)
    }

    fn new(status: StatusCode, code: &str, message: &str, hint: &str, exit: u8) -> Self {
        let (code, message, hint) = (code.into(), message.into(), hint.into());
        Self { status, error: ApiError { code, message, hint, exit, wait_ms: None } }
    }
}

impl From<VerbError> for Refusal {
    fn from(error: VerbError) -> Self {
        let status = match error.exit() {
            2 => StatusCode::BAD_REQUEST,
            4 => StatusCode::GATEWAY_TIMEOUT,
            5 => StatusCode::FORBIDDEN,
            6 => StatusCode::NOT_FOUND,
            7 | 10 => StatusCode::CONFLICT,
            9 => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: error.into() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        VerbError::from(error).into()
    }
}

impl From<Gone> for Refusal {
    fn from(_: Gone) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "ending", "the node is ending", "start it again with: wattle up", 3)
    }
}

impl From<tokio::task::JoinError> for Refusal {
    fn from(_: tokio::task::JoinError) -> Self {
        Gone.into()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        from_status(rejection.status())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { v: VERSION, error: self.error })).into_response()
    }
}

/// Gives every error that is not JSON yet, from whatever layer, the body that errors have here.
pub(super) async fn dress(response: Response) -> Response {
    let status = response.status();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    // Of no interest, and drained so that the connection can be used again.
    drop(to_bytes(response.into_body(), 4096).await);
    from_status(status).into_response()
}

fn from_status(status: StatusCode) -> Refusal {
    const SCHEMA: &str = "what may be asked stands in node::api::types";
    let (code, message, hint) = match status {
        StatusCode::NOT_FOUND => ("no-such-route", "there is no such thing to ask for", SCHEMA),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("no-such-method", "that can't be done with this", SCHEMA)
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("too-large", "a request has at most 262,144 bytes", "send it in parts")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("not-json", "the body is to be JSON, and to say so in content-type", SCHEMA)
        }
        _ if status.is_client_error() => ("bad-request", "the request can't be read", SCHEMA),
        _ => ("unexpected", "the node failed at this", "see what it wrote to standard error"),
    };
    let exit = if status.is_client_error() { 2 } else { 1 };
    Refusal::new(status, code, message, hint, exit)
}
