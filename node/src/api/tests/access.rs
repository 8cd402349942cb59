//! Programs with tokens: what each is let in for, and nothing else.

use std::collections::BTreeSet;

use super::*;
use crate::{
    api::{
        access::ROUTES,
        types::{GrantAccess, Scope, SearchFor, SetCursor},
    },
    client::{EventStream, Token},
};

/// A node with the groups `ops` and `tea`, and a socket for programs.
struct Open {
    served: Served,
    task: JoinHandle<std::io::Result<()>>,
    socket: socket::Socket,
}

async fn open(dir: &Path) -> Open {
    let served = serve(dir).await;
    for group in ["ops", "tea"] {
        served.client.create_group(group).await.unwrap();
        served.client.send(group, &format!("secret of {group}")).await.unwrap();
    }
    let (listener, socket) = socket::bind_programs(&dir.join("programs")).unwrap();
    let task = tokio::spawn(served.api.clone().serve_programs(listener));
    Open { served, task, socket }
}

impl Open {
    async fn program(&self, label: &str, may: &[Scope], groups: Option<&[&str]>) -> Client {
        let groups = groups.map(|groups| groups.iter().map(ToString::to_string).collect());
        let asked = GrantAccess {
            label: label.into(),
            may: may.to_vec(),
            groups,
            rate: Some(3),
            expires_in: None,
        };
        let granted = self.served.client.grant(&asked).await.unwrap();
        self.with(&granted.token).await
    }

    async fn with(&self, token: &str) -> Client {
        Client::connect_with(self.socket.path(), Token::new(token)).await.unwrap()
    }

    async fn end(self) {
        drop(self.socket);
        self.served.end().await;
        self.task.await.unwrap().unwrap();
    }
}

/// Why not.
fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    match answer.unwrap_err() {
        ClientError::Refused(error) => error.code,
        other => other.to_string(),
    }
}

async fn texts(mut events: EventStream, until: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|last| last != until) {
        if let What::Message { message } = events.next().await.unwrap().what {
            texts.push(message.text);
        }
    }
    texts
}

#[test]
fn what_programs_may_ask_for_is_there_and_what_is_about_the_node_is_the_owners() {
    let source = include_str!("../mod.rs");
    let routes: BTreeSet<&str> =
        source.split("\"").filter(|text| text.starts_with("/v1/")).collect();
    assert!(routes.len() > 50, "{}", routes.len());
    for (method, route, scopes) in &ROUTES {
        assert!(routes.contains(route), "{method} {route}");
        assert!(!scopes.is_empty());
    }
    let open: BTreeSet<&str> = ROUTES.iter().map(|(_, route, _)| *route).collect();
    let owners: Vec<&str> = routes.into_iter().filter(|route| !open.contains(route)).collect();
    let kept = [
        "/v1/access",
        "/v1/access/{label}",
        "/v1/blocked",
        "/v1/blocked/{member}",
        "/v1/down",
        "/v1/groups/{group}/files/{file}/fetch",
        "/v1/groups/{group}/follow",
        "/v1/groups/{group}/leave",
        "/v1/groups/{group}/migrate",
        "/v1/groups/{group}/retire",
        "/v1/groups/{group}/share",
        "/v1/groups/{group}/shelf",
        "/v1/groups/{group}/wipe",
        "/v1/join",
        "/v1/joins",
        "/v1/joins/{id}",
        "/v1/machines",
        "/v1/machines/add",
        "/v1/machines/remove",
        "/v1/members/{member}",
        "/v1/members/{member}/verify",
        "/v1/name",
        "/v1/pings",
        "/v1/pings/{id}",
        "/v1/recovery",
        "/v1/status",
        "/v1/talks",
        "/v1/talks/{member}",
    ];
    assert_eq!(owners, kept);
}

#[tokio::test]
async fn who_shows_no_token_that_holds_learns_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let forged = format!("wattle_{}", "0".repeat(64));
    for token in ["", "x", &forged, &"x".repeat(4000)] {
        let nobody = open.with(token).await;
        assert_eq!(code(nobody.groups().await), "no-access");
        assert_eq!(code(nobody.group("nothing").await), "no-access");
        assert_eq!(code(nobody.down().await), "no-access");
    }
    let short = GrantAccess {
        label: "short".into(),
        may: vec![Scope::Read],
        groups: None,
        rate: None,
        expires_in: Some(1),
    };
    let token = open.served.client.grant(&short).await.unwrap().token;
    let short = open.with(&token).await;
    while short.groups().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code(short.groups().await), "no-access");
    assert!(open.served.client.accesses().await.unwrap()[0].ended);
    open.end().await;
}

#[tokio::test]
async fn a_program_that_may_send_reads_nothing_and_sends_no_more_than_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let bot = open.program("bot", &[Scope::Send], Some(&["ops"])).await;
    let sent = bot.send("ops", "done").await.unwrap();
    assert_eq!(bot.group("ops").await.unwrap().summary.name, "ops");
    assert_eq!(bot.delivery("ops", &sent.id).await.unwrap().message, sent.id);
    assert_eq!(code(bot.history("ops", Page::default()).await), "out-of-scope");
    assert_eq!(code(bot.message(&sent.id).await), "out-of-scope");
    assert_eq!(code(bot.status().await), "out-of-scope");
    assert_eq!(code(bot.send_file("ops", "/etc/hostname").await), "out-of-scope");
    assert_eq!(code(bot.delete_message("ops", &sent.id).await), "out-of-scope");
    assert_eq!(code(bot.accesses().await), "out-of-scope");
    assert_eq!(code(bot.down().await), "out-of-scope");
    // Of another group it does not learn whether that is.
    assert_eq!(code(bot.send("tea", "hello").await), "no-such-group");
    assert_eq!(code(bot.send("none", "hello").await), "no-such-group");
    let groups = bot.groups().await.unwrap();
    assert_eq!(groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["ops"]);

    bot.send("ops", "2").await.unwrap();
    bot.send("ops", "3").await.unwrap();
    let ClientError::Refused(error) = bot.send("ops", "4").await.unwrap_err() else { panic!() };
    assert_eq!((&*error.code, error.exit), ("too-fast", 9));
    assert!((1..=20_000).contains(&error.wait_ms.unwrap()), "{error:?}");
    open.end().await;
}

#[tokio::test]
async fn a_program_that_may_read_one_group_reads_that_one_alone_until_its_token_ends() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let owner = &open.served.client;
    let reader = open.program("reader", &[Scope::Read], Some(&["ops"])).await;
    let history = reader.history("ops", Page::default()).await.unwrap();
    assert_eq!(history.iter().map(|it| &*it.text).collect::<Vec<_>>(), ["secret of ops"]);
    assert_eq!(code(reader.send("ops", "hello").await), "out-of-scope");
    let other = owner.history("tea", Page::default()).await.unwrap();
    assert_eq!(code(reader.message(&other[0].id).await), "no-such-message");
    assert_eq!(code(reader.history("tea", Page::default()).await), "no-such-group");
    let tea = owner.group("tea").await.unwrap().summary.id;
    assert_eq!(code(reader.history(&tea, Page::default()).await), "no-such-group");

    let find = |group: Option<&str>, from: Option<&str>| SearchFor {
        q: "secret".into(),
        group: group.map(Into::into),
        from: from.map(Into::into),
        ..SearchFor::default()
    };
    assert_eq!(code(reader.search(&find(None, None)).await), "which-group");
    assert_eq!(code(reader.search(&find(Some("tea"), None)).await), "no-such-group");
    assert_eq!(reader.search(&find(Some("ops"), None)).await.unwrap().hits.len(), 1);
    assert_eq!(reader.search(&find(Some("ops"), Some("nobody"))).await.unwrap().hits.len(), 0);

    // Cursors of other groups are not its own, nor may it take one for them.
    let at = |group: &str| SetCursor { group: group.into(), after: None, from_start: true };
    owner.set_cursor("theirs", &at("tea")).await.unwrap();
    assert_eq!(reader.cursors().await.unwrap().len(), 0);
    assert_eq!(code(reader.set_cursor("theirs", &at("ops")).await), "cursor-held");
    assert_eq!(code(reader.drop_cursor("theirs").await), "cursor-held");
    assert_eq!(code(reader.set_cursor("mine", &at("tea")).await), "no-such-group");
    assert_eq!(reader.set_cursor("mine", &at("ops")).await.unwrap().group.name, "ops");

    let events = reader.events(0).await.unwrap();
    owner.send("tea", "not for it").await.unwrap();
    owner.send("ops", "for it").await.unwrap();
    assert_eq!(texts(events, "for it").await, ["secret of ops", "for it"]);

    let mut events = reader.events_from_now().await.unwrap();
    owner.revoke_access("reader").await.unwrap();
    owner.send("ops", "after it").await.unwrap();
    let ended = timeout(Duration::from_secs(30), events.next()).await.unwrap();
    assert!(matches!(ended, Err(ClientError::Ended)), "{ended:?}");
    assert_eq!(code(reader.groups().await), "no-access");
    assert_eq!(code(owner.revoke_access("reader").await), "no-such-token");
    open.end().await;
}

#[tokio::test]
async fn programs_that_take_all_places_hold_up_no_owner_and_others_until_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let bot = open.program("bot", &[Scope::Send], None).await;
    let mut stuck = Vec::new();
    for _ in 0..64 {
        stuck.push(UnixStream::connect(open.socket.path()).await.unwrap());
    }
    let asked = tokio::spawn(async move { bot.groups().await.unwrap().len() });
    assert_eq!(open.served.client.groups().await.unwrap().len(), 2);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked.is_finished());
    stuck.clear();
    assert_eq!(asked.await.unwrap(), 2);
    open.end().await;
}

#[tokio::test]
async fn a_program_of_a_group_that_was_erased_is_of_none() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(dir.path()).await;
    let owner = &open.served.client;
    let bot = open.program("bot", &[Scope::Admin], Some(&["ops"])).await;
    bot.rotate("ops").await.unwrap();
    assert_eq!(code(bot.leave("ops").await), "out-of-scope");
    owner.leave("ops").await.unwrap();
    owner.wipe("ops", true).await.unwrap();
    assert_eq!(bot.groups().await.unwrap().len(), 0);
    assert_eq!(code(bot.history("tea", Page::default()).await), "no-such-group");
    assert_eq!(owner.accesses().await.unwrap()[0].groups.as_deref(), Some(&[][..]));
    // Nor is it after a start.
    open.end().await;
    let served = serve(dir.path()).await;
    assert_eq!(served.client.accesses().await.unwrap()[0].groups.as_deref(), Some(&[][..]));
    served.end().await;
}
