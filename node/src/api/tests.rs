//! A node without network, asked over its socket.

mod access;

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

use super::{
    Api, BODY_MAX, socket,
    types::{ErrorBody, FileStanding, Only, Page, What},
};
use crate::{
    client::{Client, ClientError},
    driver::{self, NodeConfig, Running},
    net::Reach,
    store::Unlock,
};

struct Served {
    node: Running,
    api: Api,
    socket: socket::Socket,
    task: JoinHandle<std::io::Result<()>>,
    client: Client,
}

async fn serve(dir: &Path) -> Served {
    let config = NodeConfig {
        data_dir: dir.into(),
        unlock: Unlock::KeyFile,
        name: "ana".into(),
        listen: vec![],
        direct: false,
        relays: vec![],
        host_relay: None,
        relay_proxy: None,
        reach: Reach::Anywhere,
        mdns: false,
        map_port: false,
    };
    let node = driver::start(config).await.unwrap();
    let (listener, socket) = socket::bind(dir).unwrap();
    let api = Api::new(node.handle.clone(), node.reader.clone(), node.files.clone());
    let task = tokio::spawn(api.clone().serve(listener));
    let client = Client::connect(dir).await.unwrap();
    Served { node, api, socket, task, client }
}

impl Served {
    /// Ends as `wattle up` does.
    async fn end(self) {
        self.node.shutdown().await.unwrap();
        drop(self.socket);
        self.api.end();
        self.task.await.unwrap().unwrap();
    }

    /// Writes a request as it stands, and reads the answer's status and body.
    async fn raw(&self, request: &str) -> (u16, ErrorBody) {
        let mut stream = UnixStream::connect(self.socket.path()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn post(&self, path: &str, body: &str) -> (u16, ErrorBody) {
        let length = body.len();
        let kind = "content-type: application/json";
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{kind}\r\nconnection: close");
        self.raw(&format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")).await
    }
}

#[tokio::test]
async fn every_error_has_a_body_that_says_why_and_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let close = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(BODY_MAX));
    let answers = [
        (served.raw(&format!("GET /v1/nothing {close}")).await, 404, 2, "no-such-route"),
        (served.raw(&format!("DELETE /v1/groups {close}")).await, 405, 2, "no-such-method"),
        (served.raw(&format!("GET /v1/groups/ops {close}")).await, 404, 6, "no-such-group"),
        (served.raw(&format!("GET /v1/messages/zz {close}")).await, 404, 6, "no-such-message"),
        (served.raw(&format!("GET /v1/events?after=x {close}")).await, 400, 2, "bad-request"),
        (served.post("/v1/groups", "{").await, 400, 2, "bad-request"),
        (served.post("/v1/groups", "{\"name\":7}").await, 422, 2, "bad-request"),
        (served.post("/v1/groups", &long).await, 413, 2, "too-large"),
        (served.post("/v1/join", "{\"code\":\"hello\"}").await, 400, 2, "not-a-code"),
    ];
    for ((status, body), expected, exit, code) in answers {
        assert_eq!((status, body.error.code.as_str(), body.error.exit), (expected, code, exit));
        assert!(!body.error.message.is_empty() && !body.error.hint.is_empty(), "{body:?}");
    }
    served.end().await;
}

#[tokio::test]
async fn what_leaves_out_what_it_is_about_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    served.client.create_group("ops").await.unwrap();
    let of_group =
        ["remove", "promote", "demote", "readmit", "retire", "share", "messages", "files"];
    let of_group = of_group.map(|what| format!("/v1/groups/ops/{what}"));
    let others = ["groups", "join", "pings", "machines/add", "machines/remove", "name"];
    let others = others.map(|what| format!("/v1/{what}"));
    for path in of_group.iter().chain(&others) {
        let (status, body) = served.post(path, "{}").await;
        assert_eq!((status, body.error.code.as_str()), (422, "bad-request"), "{path}");
    }
    let token = "{\"name\":\"tea\",\"relay_token\":{}}";
    assert_eq!(served.post("/v1/groups", token).await.0, 422);
    assert_eq!(served.client.groups().await.unwrap().len(), 1);
    served.end().await;
}

#[tokio::test]
async fn a_listener_that_comes_back_misses_nothing_and_hears_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    served.client.create_group("ops").await.unwrap();
    let mut first = served.client.events_from_now().await.unwrap();
    let begun = first.after();
    let mut sent = Vec::new();
    for text in ["one", "two", "three"] {
        sent.push(served.client.send("ops", text).await.unwrap().text);
    }
    let message = |what: &What| match what {
        What::Message { message } => Some(message.text.clone()),
        _ => None,
    };
    let one = first.wait_for(|event| message(&event.what)).await.unwrap();
    let left = first.after();
    drop(first);
    served.end().await;

    let served = serve(dir.path()).await;
    let mut again = served.client.events(left).await.unwrap();
    let mut heard = vec![one];
    while heard.len() < sent.len() {
        heard.extend(again.wait_for(|event| Some(message(&event.what))).await.unwrap());
    }
    assert_eq!(heard, sent);
    assert!(begun < left && left < again.after());

    let mut now = served.client.events_from_now().await.unwrap();
    served.client.send("ops", "four").await.unwrap();
    let next = now.wait_for(|event| message(&event.what)).await.unwrap();
    assert_eq!(next, "four", "what was before is not heard by whoever listens from now on");
    served.end().await;
}

#[tokio::test]
async fn history_is_read_in_pages_of_which_none_is_without_bound() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    served.client.create_group("ops").await.unwrap();
    for n in 0..5 {
        served.client.send("ops", &n.to_string()).await.unwrap();
    }
    let page = |after, before, limit| Page { after, before, limit };
    let read = async |page| {
        let messages = served.client.history("ops", page).await.unwrap();
        messages.into_iter().map(|one| (one.seq, one.text)).collect::<Vec<_>>()
    };
    let all = read(page(None, None, Some(u32::MAX))).await;
    let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    assert_eq!(read(page(None, None, Some(2))).await, all[3..]);
    assert_eq!(read(page(None, Some(all[3].0), Some(2))).await, all[1..3]);
    assert_eq!(read(page(Some(all[0].0), None, Some(2))).await, all[1..3]);
    served.end().await;
}

#[tokio::test]
async fn a_history_is_asked_for_by_writer_and_time_and_a_message_by_how_its_id_begins() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    served.client.create_group("ops").await.unwrap();
    for n in 0..5 {
        served.client.send("ops", &n.to_string()).await.unwrap();
    }
    let all = served.client.history("ops", Page::default()).await.unwrap();
    let me = Some(all[0].from.id[..8].to_owned());
    let read = async |only: Only, before| {
        let read = served.client.history_only("ops", &only, (before, 2)).await;
        read.map(|(page, next)| (page.into_iter().map(|one| one.text).collect::<Vec<_>>(), next))
    };
    let mine = Only { from: me, ..Only::default() };
    let (texts, next) = read(mine.clone(), None).await.unwrap();
    assert_eq!(texts, ["3", "4"]);
    let (texts, next) = read(mine.clone(), next).await.unwrap();
    assert_eq!(texts, ["1", "2"]);
    assert_eq!(read(mine.clone(), next).await.unwrap(), (vec!["0".into()], None));
    let at = |text: &str| Some(text.to_owned());
    let until = Only { until: at("2001-01-01T00:00:00Z"), ..Only::default() };
    assert_eq!(read(until, None).await.unwrap(), (vec![], None));
    let since = Only { since: at("1931-01-01T00:00:00+01:00"), ..mine };
    assert_eq!(read(since, None).await.unwrap().0, ["3", "4"]);

    let code = |error: ClientError| match error {
        ClientError::Refused(error) => (error.code, error.exit),
        other => panic!("{other}"),
    };
    let wrong = Only { since: at("noon&limit=1"), ..Only::default() };
    assert_eq!(code(read(wrong, None).await.unwrap_err()), ("no-such-time".into(), 2));
    let nobody = Only { from: at("@zed"), ..Only::default() };
    assert_eq!(code(read(nobody, None).await.unwrap_err()), ("no-such-member".into(), 6));

    let found = served.client.find_message("ops", &all[1].id[..12]).await.unwrap();
    assert_eq!(found.text, "1");
    assert_eq!(served.client.find_message("ops", "last").await.unwrap().text, "4");
    assert_eq!(code(served.client.find_message("ops", "zzzz").await.unwrap_err()).1, 6);
    served.end().await;
}

#[tokio::test]
async fn whoever_asks_the_node_to_end_is_told_when_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let client = served.client.clone();
    let mut asked = tokio::spawn(async move { client.down().await });
    served.api.asked_down().await;
    let early = timeout(Duration::from_millis(100), &mut asked).await;
    assert!(early.is_err(), "the node is not down yet");
    served.end().await;
    asked.await.unwrap().unwrap();
    let error = Client::connect(dir.path()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning));
}

#[tokio::test]
async fn a_file_that_is_gone_is_wanted_again_and_it_is_said_why_it_does_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let (data, plan) = (dir.path().join("data"), dir.path().join("plan.pdf"));
    std::fs::write(&plan, b"bytes").unwrap();
    let served = serve(&data).await;
    served.client.create_group("ops").await.unwrap();
    served.client.send_file("ops", plan.to_str().unwrap()).await.unwrap();
    let here = served.client.fetch_file("ops", "plan.pdf").await.unwrap();
    assert_eq!(here.state, FileStanding::Here);
    assert_eq!(here.path, plan.canonicalize().unwrap().to_str().map(Into::into));
    let own = served.client.send_file("ops", data.join("key").to_str().unwrap()).await;
    let ClientError::Refused(error) = own.unwrap_err() else { panic!("no refusal") };
    assert!(error.message.contains("own directory"), "{}", error.message);

    std::fs::remove_file(&plan).unwrap();
    let again = served.client.fetch_file("ops", "plan.pdf").await.unwrap();
    assert_eq!((again.state, again.path), (FileStanding::Fetching, None));
    let said = timeout(Duration::from_secs(30), async {
        loop {
            let files = served.client.files("ops").await.unwrap();
            if let [file] = &files[..]
                && !file.waits.is_empty()
            {
                return file.waits.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(said.await.unwrap().contains("no other member"));
    served.end().await;
}
