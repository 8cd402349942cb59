//! A node: `wattle up` as a process, and what a person does with it as verbs.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use node::{
    api::types::{
        CreateInvite, Delivery, Event, GroupState, GroupView, InviteView, JoinState, JoinView,
        Message, PAGE_MAX, Page, Ready, Status, What,
    },
    client::{Client, ClientError},
};
use tokio::task::JoinHandle;

use crate::{
    Link, PATIENCE, Relay, Said, binaries, cli, process::Process, watch::Watch, world::Shared,
};

/// A node to be started.
pub struct NodeSetup {
    shared: Arc<Shared>,
    name: String,
    data_dir: PathBuf,
    args: Vec<String>,
    relays: Vec<String>,
}

impl NodeSetup {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let data_dir = shared.data_dir(name);
        Self { shared, name: name.into(), data_dir, args: Vec::new(), relays: Vec::new() }
    }

    /// Uses `relay`.
    #[must_use]
    pub fn relay(self, relay: &Relay) -> Self {
        self.relay_at(relay.address())
    }

    /// Uses a relay by way of `link`.
    #[must_use]
    pub fn relay_over(self, link: &Link) -> Self {
        self.relay_at(link.address())
    }

    /// Uses the relay at this multiaddr.
    #[must_use]
    pub fn relay_at(mut self, address: &str) -> Self {
        self.relays.push(address.into());
        self
    }

    /// Neither makes nor takes direct connections.
    #[must_use]
    pub fn no_direct(self) -> Self {
        self.arg("--no-direct")
    }

    /// Uses no relay and runs none.
    #[must_use]
    pub fn no_relay(self) -> Self {
        self.arg("--no-relay")
    }

    /// One more argument of `wattle up`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Lives in `data_dir` rather than in one of its own.
    #[must_use]
    pub fn living_in(mut self, data_dir: PathBuf) -> Self {
        self.data_dir = data_dir;
        self
    }

    /// Starts it; returns when it is ready.
    #[must_use]
    pub fn start(self) -> Node {
        let mut node = Node { setup: self, watch: Arc::default(), running: None, ready: None };
        node.start_again();
        node
    }

    /// `wattle up` with these settings.
    fn command(&self) -> Command {
        let mut command = Command::new(binaries::wattle());
        command.arg("--data-dir").arg(&self.data_dir).args(["--json", "up", "--name", &self.name]);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]).args(&self.args);
        for relay in &self.relays {
            command.arg("--relay").arg(relay);
        }
        command.env("RUST_BACKTRACE", "1");
        command
    }
}

/// A node of this world.
pub struct Node {
    setup: NodeSetup,
    watch: Arc<Watch>,
    running: Option<Running>,
    ready: Option<Ready>,
}

struct Running {
    process: Process,
    client: Client,
    _events: Follower,
}

/// The task that follows a node's events; it ends with this value.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is done to the process.
impl Node {
    /// Starts it, first or again, with its data as it is; returns when it is ready.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "{} runs", self.name());
        let log = self.setup.shared.log_file(&self.setup.name);
        let process = Process::start(&self.setup.name, &mut self.setup.command(), &log);
        self.ready = Some(process.line("the ready line", |line| {
            serde_json::from_str(line).ok().filter(|ready: &Ready| ready.event == "ready")
        }));
        let client = self.setup.shared.runtime.block_on(Client::connect(&self.setup.data_dir));
        let client = client.expect("the local API answers once the node is ready");
        let follow = follow(client.clone(), self.watch.clone());
        let events = Follower(self.setup.shared.runtime.spawn(follow));
        self.running = Some(Running { process, client, _events: events });
    }

    /// Ends it in order, as `wattle down` does.
    pub fn stop(&mut self) {
        self.cli(&["down"]).ok();
        let running = self.running.take().expect("it runs");
        let status = running.process.ended();
        assert!(status.success(), "{} ended with {status}", self.name());
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// Whether its process is still there.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| running.process.is_running())
    }

    /// Runs a line of shell in which `wattle` is this node's.
    #[must_use]
    pub fn shell(&self, line: &str) -> Said {
        cli::shell(&self.setup.data_dir, line)
    }

    /// Runs `wattle` on this node's data directory.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, "")
    }

    /// The same, with `input` on standard input.
    #[must_use]
    pub fn cli_with(&self, args: &[&str], input: &str) -> Said {
        cli::run(&self.setup.data_dir, args, input)
    }
}

/// What a person does.
impl Node {
    /// Makes a group.
    pub fn create_group(&self, name: &str) -> GroupView {
        self.ask("create a group", |client| async move { client.create_group(name).await })
    }

    /// An invite code for one.
    pub fn invite(&self, group: &str) -> String {
        self.invite_for(group, CreateInvite::default()).code.expect("a new invite has its code")
    }

    /// An invite with terms.
    pub fn invite_for(&self, group: &str, terms: CreateInvite) -> InviteView {
        self.ask("invite", |client| async move { client.invite(group, &terms).await })
    }

    /// Joins by `code`; returns as a member.
    pub fn join(&self, code: &str) -> JoinView {
        let join = self.join_later(code);
        self.until(&format!("join {} to end", join.id), |event| match &event.what {
            What::Join { join: now } if now.id == join.id && now.state == JoinState::Failed => {
                panic!("{}: the join failed: {}", self.name(), now.detail)
            }
            What::Join { join: now } if now.id == join.id && now.state == JoinState::Joined => {
                Some(now.clone())
            }
            _ => None,
        })
    }

    /// Begins to join by `code`.
    pub fn join_later(&self, code: &str) -> JoinView {
        self.ask("join", |client| async move { client.join(code).await })
    }

    /// Says `text`; returns the message's local id.
    pub fn send(&self, group: &str, text: &str) -> String {
        self.ask("send", |client| async move { client.send(group, text).await }).id
    }

    /// Locks `member` out.
    pub fn remove(&self, group: &str, member: &str) {
        self.ask("remove", |client| async move { client.remove(group, member).await });
    }

    /// Leaves.
    pub fn leave(&self, group: &str) {
        self.ask("leave", |client| async move { client.leave(group).await });
    }

    /// Makes this node's own keys anew.
    pub fn rotate(&self, group: &str) {
        self.ask("rotate", |client| async move { client.rotate(group).await });
    }
}

/// What a person sees, and waits for.
impl Node {
    /// The name on its card.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.setup.name
    }

    /// Its identity key, in hexadecimal.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.ready().member
    }

    /// Where members may reach it directly.
    #[must_use]
    pub fn listen(&self) -> &[String] {
        &self.ready().listen
    }

    /// What it said of itself when it last became ready.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("it has been started")
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir.clone()
    }

    /// Where its process writes what it says.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.setup.shared.log_file(&self.setup.name)
    }

    /// The node as `wattle status` shows it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.ask("status", |client| async move { client.status().await })
    }

    /// The group as `wattle group show` shows it.
    #[must_use]
    pub fn group(&self, group: &str) -> GroupView {
        self.ask("show a group", |client| async move { client.group(group).await })
    }

    /// Names of the group's members, sorted.
    #[must_use]
    pub fn people(&self, group: &str) -> Vec<String> {
        let people = self.group(group).people;
        let mut names: Vec<String> = people.into_iter().map(|person| person.member.name).collect();
        names.sort();
        names
    }

    /// The group's history, oldest first, whole.
    #[must_use]
    pub fn history(&self, group: &str) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        loop {
            let after = Some(all.last().map_or(0, |message| message.seq));
            let page = Page { after, before: None, limit: Some(PAGE_MAX) };
            let more =
                self.ask("history", |client| async move { client.history(group, page).await });
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// The texts of the group's history, oldest first.
    #[must_use]
    pub fn texts(&self, group: &str) -> Vec<String> {
        self.history(group).into_iter().map(|message| message.text).collect()
    }

    /// Every event so far, over all starts of this node that the story has seen.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.watch.all()
    }

    /// The number of its latest event: what [`Node::until_after`] counts from.
    #[must_use]
    pub fn latest_event(&self) -> u64 {
        self.watch.latest()
    }

    /// Waits for an event that `pick` takes, among those that were and those that come.
    pub fn until<T>(&self, what: &str, pick: impl FnMut(&Event) -> Option<T>) -> T {
        self.until_after(0, what, pick)
    }

    /// Waits for an event after number `after` that `pick` takes.
    pub fn until_after<T>(
        &self,
        after: u64,
        what: &str,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        self.watch.until(self.name(), what, after, pick)
    }

    /// Waits until `holds` is true of the group; looks again at each event.
    pub fn until_group(&self, group: &str, what: &str, holds: impl Fn(&GroupView) -> bool) {
        let start = std::time::Instant::now();
        loop {
            let seen = self.watch.latest();
            let view = self.group(group);
            if holds(&view) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{}: waited for {what}; the group is {view:#?}",
                self.name()
            );
            self.watch.next(seen, LOOK_AGAIN);
        }
    }

    /// Waits until the group has just these members.
    pub fn until_people(&self, group: &str, names: &[&str]) {
        let mut names: Vec<&str> = names.to_vec();
        names.sort_unstable();
        self.until_group(group, &format!("the members {names:?}"), |view| {
            let mut now: Vec<&str> =
                view.people.iter().map(|person| person.member.name.as_str()).collect();
            now.sort_unstable();
            now == names
        });
    }

    /// Waits until this node knows that it is no longer a member.
    pub fn until_out(&self, group: &str, state: GroupState) {
        self.until_group(group, &format!("to be {state:?}"), |view| view.summary.state == state);
    }

    /// Waits for a message with this text from somebody else.
    pub fn hears(&self, group: &str, text: &str) -> Message {
        self.until(&format!("{text:?} in {group}"), |event| match &event.what {
            What::Message { message }
                if !message.mine && message.group.name == group && message.text == text =>
            {
                Some(message.as_ref().clone())
            }
            _ => None,
        })
    }

    /// Waits until an own message is as far as `far` asks.
    pub fn until_delivery(&self, id: &str, what: &str, far: impl Fn(&Delivery) -> bool) {
        let start = std::time::Instant::now();
        loop {
            let seen = self.watch.latest();
            let message = self.message(id);
            if message.delivery.as_ref().is_some_and(&far) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{}: waited for {what} of {message:#?}",
                self.name()
            );
            self.watch.next(seen, LOOK_AGAIN);
        }
    }

    /// Waits until a relay keeps the message.
    pub fn until_stored(&self, id: &str) {
        self.until_delivery(id, "a relay to keep it", |delivery| delivery.stored);
    }

    /// Waits until every member's node has said that it has the message.
    pub fn until_received(&self, id: &str) {
        self.until_delivery(id, "everybody to have it", |delivery| {
            delivery.sealed && delivery.missing.is_empty()
        });
    }

    /// One message by its local id.
    #[must_use]
    pub fn message(&self, id: &str) -> Message {
        self.ask("a message", |client| async move { client.message(id).await })
    }

    /// The local API, for what has no verb here; at most [`PATIENCE`].
    pub fn ask<T, F>(&self, what: &str, ask: impl FnOnce(Client) -> F) -> T
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        match self.try_ask(ask) {
            Ok(answer) => answer,
            Err(error) => panic!("{}: could not {what}: {error:?}", self.name()),
        }
    }

    /// The same, where a refusal is expected.
    pub fn try_ask<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let client = self.running.as_ref().expect("it runs").client.clone();
        let asked = ask(client);
        self.setup.shared.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or_else(|_| panic!("{}: its local API does not answer", self.name()))
        })
    }
}

/// Keeps a node's events until it ends.
async fn follow(client: Client, watch: Arc<Watch>) {
    let Ok(mut events) = client.events(watch.latest()).await else { return };
    while let Ok(event) = events.next().await {
        watch.add(event);
    }
}

/// How soon a condition is looked at again when no event comes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
