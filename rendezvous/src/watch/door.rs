//! The dashboard's socket: so many connections, each for one request and for so long.
//!
//! > Nothing that is done to this port reaches the relay: connections are few and short, one too many
//! > is dropped before it is read, and a request is small.

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{answers::Answers, counts::Counts};
use crate::limits::{
    WATCH_CONNECTIONS, WATCH_HEADER, WATCH_HEADER_BYTES, WATCH_HEADERS, WATCH_TIME,
};

/// How long nothing is accepted after the system had no socket to give.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `ended`. The newest connection is the one that finds no place.
pub(super) async fn serve(
    listener: TcpListener,
    answers: Arc<Answers>,
    counts: Arc<Counts>,
    ended: CancellationToken,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((socket, _)) if open.len() < WATCH_CONNECTIONS => {
                open.spawn(converse(socket, Arc::clone(&answers)));
            }
            Ok(_) => {
                counts.watch_shed.inc();
            }
            Err(error) => {
                tracing::debug!(%error, "the dashboard could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(socket: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request| {
        let answer = answers.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WATCH_HEADER)
        .max_buf_size(WATCH_HEADER_BYTES)
        .max_headers(WATCH_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    // Who is not done by then, or breaks off, is told nothing more.
    let _ = tokio::time::timeout(WATCH_TIME, served).await;
}
