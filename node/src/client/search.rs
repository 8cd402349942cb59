//! Looking for words in the history.

use super::{Client, ClientError, escaped};
use crate::api::types::{Found, SearchFor};

impl Client {
    /// Messages that have all the words, those that came last first.
    pub async fn search(&self, asked: &SearchFor) -> Result<Found, ClientError> {
        let SearchFor { q, group, from, since, until, before, limit } = asked;
        let before = before.map(|it| it.to_string());
        let limit = limit.map(|it| it.to_string());
        let fields = [
            ("q", Some(q)),
            ("group", group.as_ref()),
            ("from", from.as_ref()),
            ("since", since.as_ref()),
            ("until", until.as_ref()),
            ("before", before.as_ref()),
            ("limit", limit.as_ref()),
        ];
        let query: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))))
            .collect();
        self.get(&format!("/v1/search?{}", query.join("&"))).await
    }
}
