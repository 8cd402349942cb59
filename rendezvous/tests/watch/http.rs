//! A client of HTTP that sends what it is told to, byte for byte.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Long enough for a machine that is busy; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Says this and hears the answer, until the relay hangs up.
pub async fn says(to: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub async fn get_with(to: SocketAddr, path: &str, lines: &str) -> Answer {
    says(to, &format!("GET {path} HTTP/1.1\r\n{lines}\r\n")).await
}

pub async fn get(to: SocketAddr, path: &str) -> Answer {
    get_with(to, path, "Host: localhost\r\n").await
}

/// What a metric says; `None` if there is none of this name and label.
pub async fn metric(to: SocketAddr, name: &str) -> Option<f64> {
    let all = get(to, "/metrics").await.body;
    let name = format!("wattle_rendezvous_{name} ");
    all.lines().find_map(|line| line.strip_prefix(&name)).map(|value| value.parse().unwrap())
}
