//! The dashboard's socket: so many connections, each for one request and for so long.
//!
//! > Nothing that is done to this port reaches the relay: connections are few and short, and a request is
//! > small. Where there is no place, the connection goes that has been silent for longest: who asks at
//! > once is answered, however many say nothing.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{answers::Answers, counts::Counts};
use crate::limits::{
    WATCH_CONNECTIONS, WATCH_HEADER, WATCH_HEADER_BYTES, WATCH_HEADERS, WATCH_TIME,
};

/// How long nothing is accepted after the system had no socket to give.
const PAUSE: Duration = Duration::from_millis(100);

/// One connection.
struct Guest {
    task: AbortHandle,
    /// Whether its request has been read.
    has_asked: Arc<AtomicBool>,
}

/// Accepts until `ended`.
pub(super) async fn serve(
    listener: TcpListener,
    answers: Arc<Answers>,
    counts: Arc<Counts>,
    ended: CancellationToken,
) {
    let mut open = JoinSet::new();
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        while open.try_join_next().is_some() {}
        guests.retain(|guest| !guest.task.is_finished());
        match accepted {
            Ok((socket, _)) => {
                if guests.len() >= WATCH_CONNECTIONS {
                    counts.watch_shed.inc();
                    let is_silent = |guest: &Guest| !guest.has_asked.load(Ordering::Relaxed);
                    let silent = guests.iter().position(is_silent);
                    // All others are being answered: this one goes.
                    let Some(guest) = silent.and_then(|at| guests.remove(at)) else { continue };
                    guest.task.abort();
                }
                let has_asked = Arc::new(AtomicBool::new(false));
                let conversed = converse(socket, Arc::clone(&answers), Arc::clone(&has_asked));
                guests.push_back(Guest { task: open.spawn(conversed), has_asked });
            }
            Err(error) => {
                tracing::debug!(kind = ?error.kind(), "the dashboard could not accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(socket: TcpStream, answers: Arc<Answers>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
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
