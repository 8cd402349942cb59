//! Files.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError, at, escaped};
use crate::api::types::{FileView, Files, Message, SendFile};

impl Client {
    /// Offers a file by its absolute path; answered when it was read.
    pub async fn send_file(&self, group: &str, path: &str) -> Result<Message, ClientError> {
        self.post(&at(group, "/files"), &SendFile { path: path.into() }).await
    }

    /// The files that were offered in a group, the newest last.
    pub async fn files(&self, group: &str) -> Result<Vec<FileView>, ClientError> {
        Ok(self.get::<Files>(&at(group, "/files")).await?.files)
    }

    /// One of them, by its name or the first digits of its id.
    pub async fn file(&self, group: &str, file: &str) -> Result<FileView, ClientError> {
        self.get(&at(group, &format!("/files/{}", escaped(file)))).await
    }

    /// Has a file fetched, by its name or the first digits of its id. It goes on by itself.
    pub async fn fetch_file(&self, group: &str, file: &str) -> Result<FileView, ClientError> {
        let path = at(group, &format!("/files/{}/fetch", escaped(file)));
        self.ask(Method::POST, &path, Bytes::new()).await
    }

    /// Fetches or gives a file no longer.
    pub async fn drop_file(&self, group: &str, file: &str) -> Result<FileView, ClientError> {
        let path = at(group, &format!("/files/{}", escaped(file)));
        self.ask(Method::DELETE, &path, Bytes::new()).await
    }
}
