//! A node: `wattle up` as a process, and what a person does with it as verbs.

mod setup;
mod sight;

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use node::{
    api::types::{CreateInvite, GroupView, InviteView, JoinState, JoinView, Ready, What},
    client::{Client, ClientError},
};
use tokio::task::JoinHandle;

pub use self::setup::NodeSetup;
use crate::{PATIENCE, Place, Said, Talk, cli, process::Process, stored, watch::Watch};

/// A node of this world.
pub struct Node {
    pub(crate) setup: NodeSetup,
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
    fn first_start(setup: NodeSetup) -> Self {
        let mut node = Self { setup, watch: Arc::default(), running: None, ready: None };
        node.start_again();
        node
    }

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

    /// Sets its clock ahead, from the next start on, by this many days.
    pub fn set_ahead(&mut self, days: u32) {
        self.setup.args.retain(|arg| !arg.starts_with("--clock-offset"));
        self.add_arg(&format!("--clock-offset={days}d"));
    }

    /// From the next start on, it is started with this argument too.
    pub fn add_arg(&mut self, arg: &str) {
        self.setup.args.push(arg.into());
    }

    /// Ends it in order, as `wattle down` does.
    pub fn stop(&mut self) {
        self.cli(&["down"]).ok();
        let running = self.running.take().expect("it runs");
        let status = running.process.ended();
        assert!(status.success(), "{} ended with {status}", self.name());
    }

    /// Changes the number of its database's format; returns the one before. Only while it is down.
    pub fn database_format(&self, change: impl FnOnce(i64) -> i64) -> i64 {
        assert!(self.running.is_none(), "{} runs", self.name());
        stored::database_format(&self.setup.data_dir, change)
    }

    /// Queues so many copies of the message that it queued last. Only while it is down.
    pub fn queue_copies(&self, copies: u32) {
        assert!(self.running.is_none(), "{} runs", self.name());
        stored::queue_copies(&self.setup.data_dir, copies);
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// Starts it, and ends it without a word after `span`, ready or not.
    pub fn live_for(&mut self, span: Duration) {
        assert!(self.running.is_none(), "{} runs", self.name());
        let log = self.setup.shared.log_file(&self.setup.name);
        let process = Process::start(&self.setup.name, &mut self.setup.command(), &log);
        thread::sleep(span);
        process.kill9();
    }

    /// The messages in its database by their places in chains. Only while it is down.
    #[must_use]
    pub fn places(&self) -> BTreeMap<Place, Vec<u8>> {
        assert!(self.running.is_none(), "{} runs", self.name());
        stored::places(&self.setup.data_dir)
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

    /// Runs `wattle` on this node's data directory, and again where it does not say what `holds` asks for: it gives members
    /// and relays some seconds to answer, which a machine that is busy may not have. What it said last.
    #[must_use]
    pub fn cli_until(&self, args: &[&str], holds: impl Fn(&Said) -> bool) -> Said {
        let mut said = self.cli(args);
        for _ in 0..AGAIN {
            if holds(&said) {
                break;
            }
            said = self.cli(args);
        }
        said
    }

    /// Runs `wattle` on this node's data directory, to be spoken with.
    #[must_use]
    pub fn talk(&self, args: &[&str]) -> Talk {
        Talk::start(&self.setup.data_dir, args)
    }

    /// Runs `wattle` on this node's data directory, with `input` on standard input.
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

/// What has no verb here.
impl Node {
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

/// How often a command that asks others is run again.
const AGAIN: usize = 9;

/// Keeps a node's events until it ends.
async fn follow(client: Client, watch: Arc<Watch>) {
    let Ok(mut events) = client.events(watch.latest()).await else { return };
    while let Ok(event) = events.next().await {
        watch.add(event);
    }
}
