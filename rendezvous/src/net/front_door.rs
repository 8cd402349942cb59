//! One TCP port for two ways in: libp2p as it is, and inside WebSocket (RFC 6455) for networks that
//! let nothing else through.
//!
//! > Who speaks first decides: a libp2p dialer begins with the length of its first line, a browser or
//! > a proxy with `GET`. One byte is looked at, none is taken.
//!
//! A reverse proxy ends TLS and passes WebSocket on to this port; Noise goes through it from end to
//! end, so that a proxy reads nothing and can be nobody else.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    Sink, Stream,
    future::Either,
    sink,
    stream::{self, BoxStream},
};
use libp2p::tcp::tokio::TcpStream;
use rw_stream_sink::RwStreamSink;
use soketto::{
    Data, Incoming,
    connection::Error,
    handshake::{Server, server::Response},
};

use crate::limits::FIRST_BYTE;

/// What a client speaks through: a socket, or WebSocket messages on one.
pub(super) type Entered = Either<TcpStream, WebSocket>;

/// A WebSocket connection as a stream of bytes; where messages end means nothing.
pub(super) type WebSocket = RwStreamSink<Messages>;

/// The longest WebSocket message: a frame of Noise is 64 KiB and its length.
const MESSAGE_MAX: usize = 128 << 10;

/// The first byte of `GET`.
const GET: u8 = b'G';

/// Binary messages from and to one client.
///
/// > After one of them could not be sent, none is: Yamux goes on where a sink has failed, and what
/// > lies below may not be asked again.
pub(super) struct Messages {
    incoming: BoxStream<'static, io::Result<Vec<u8>>>,
    outgoing: Option<Outgoing>,
}

type Outgoing = Pin<Box<dyn Sink<Vec<u8>, Error = io::Error> + Send>>;

/// Lets a client in, by what it says first.
pub(super) async fn enter(socket: TcpStream) -> io::Result<Entered> {
    let mut first = [0];
    let peeked = tokio::time::timeout(FIRST_BYTE, socket.0.peek(&mut first)).await;
    if peeked.map_err(|_| io::ErrorKind::TimedOut)?? == 1 && first[0] == GET {
        Ok(Either::Right(upgrade(socket).await?))
    } else {
        Ok(Either::Left(socket))
    }
}

async fn upgrade(socket: TcpStream) -> io::Result<WebSocket> {
    let mut server = Server::new(socket);
    let key = server.receive_request().await.map_err(io::Error::other)?.key();
    server
        .send_response(&Response::Accept { key, protocol: None })
        .await
        .map_err(io::Error::other)?;
    let mut connection = server.into_builder();
    connection.set_max_message_size(MESSAGE_MAX);
    connection.set_max_frame_size(MESSAGE_MAX);
    let (sender, receiver) = connection.finish();
    let incoming = stream::try_unfold(receiver, |mut receiver| async move {
        let mut message = Vec::new();
        loop {
            match receiver.receive(&mut message).await {
                Ok(Incoming::Data(Data::Binary(_))) => return Ok(Some((message, receiver))),
                Ok(Incoming::Pong(_)) => {}
                Ok(Incoming::Closed(_)) | Err(Error::Closed) => return Ok(None),
                Ok(Incoming::Data(Data::Text(_))) => {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    });
    let outgoing = sink::unfold(sender, |mut sender, message: Vec<u8>| async move {
        sender.send_binary_mut(message).await.map_err(io::Error::other)?;
        sender.flush().await.map_err(io::Error::other)?;
        Ok(sender)
    });
    let messages = Messages { incoming: Box::pin(incoming), outgoing: Some(Box::pin(outgoing)) };
    Ok(RwStreamSink::new(messages))
}

impl Stream for Messages {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.as_mut().poll_next(cx)
    }
}

impl Sink<Vec<u8>> for Messages {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|outgoing| outgoing.poll_ready(cx))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Vec<u8>) -> io::Result<()> {
        match self.ask(|outgoing| Poll::Ready(outgoing.start_send(message))) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|outgoing| outgoing.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(|outgoing| outgoing.poll_close(cx))
    }
}

impl Messages {
    /// Asks the sink, unless it has failed before.
    fn ask(
        &mut self,
        ask: impl FnOnce(
            Pin<&mut (dyn Sink<Vec<u8>, Error = io::Error> + Send)>,
        ) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let answer = ask(outgoing.as_mut());
        if matches!(answer, Poll::Ready(Err(_))) {
            self.outgoing = None;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, SinkExt as _};

    use super::*;

    #[test]
    fn what_could_not_be_sent_once_is_not_tried_again() {
        let broken = sink::unfold((), |(), _: Vec<u8>| async {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        });
        let outgoing: Option<Outgoing> = Some(Box::pin(broken));
        let mut messages = Messages { incoming: Box::pin(stream::empty()), outgoing };
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe] {
            let sent = messages.send(vec![1]).now_or_never().unwrap();
            assert_eq!(sent.unwrap_err().kind(), kind);
            assert!(messages.start_send_unpin(vec![2]).is_err());
        }
    }
}
