//! Tokens of programs: making them, and showing one.

use std::fmt;

use bytes::Bytes;
use hyper::{Method, header::HeaderValue};
use zeroize::Zeroizing;

use super::{Client, ClientError, escaped};
use crate::api::types::{AccessView, Accesses, Done, GrantAccess, GrantedAccess};

/// What a program shows to be let in: a secret, wiped on drop and never printed.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Of a text, without spaces around it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// As a request shows it (RFC 6750, section 2.1).
    pub(super) fn header(&self) -> Result<HeaderValue, ClientError> {
        let shown = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut shown = HeaderValue::from_str(&shown).map_err(|_| ClientError::Garbled)?;
        shown.set_sensitive(true);
        Ok(shown)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Client {
    /// The tokens that programs have, without what they are.
    pub async fn accesses(&self) -> Result<Vec<AccessView>, ClientError> {
        Ok(self.get::<Accesses>("/v1/access").await?.access)
    }

    /// Makes a token. It is told this once.
    pub async fn grant(&self, asked: &GrantAccess) -> Result<GrantedAccess, ClientError> {
        self.post("/v1/access", asked).await
    }

    /// Ends a token, by its label.
    pub async fn revoke_access(&self, label: &str) -> Result<Done, ClientError> {
        self.ask(Method::DELETE, &format!("/v1/access/{}", escaped(label)), Bytes::new()).await
    }
}
