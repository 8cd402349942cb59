//! What is found at the end, when all runs and all is whole again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use node::{
    api::types::{
        Event, GroupState, GroupView, JoinState, Message, PAGE_MAX, Page, Status, Verified, What,
    },
    client::{Client, ClientError},
};

use super::{
    GROUP,
    account::{self, Extent, Life, Seen},
    api::{Api, in_time},
    cast::NAMES,
    talk::{self, SECRET, Talk},
};
use crate::Forms;

/// Asks all nodes, and judges what they say.
pub(super) struct Inquiry {
    api: Api,
    dirs: Vec<PathBuf>,
    /// The number of each node's last event before anything happened.
    since: Vec<u64>,
    /// To whom each line was sealed, by its local id.
    recipients: BTreeMap<String, BTreeSet<usize>>,
}

/// What it comes to.
#[derive(Default)]
pub(super) struct Verdict {
    /// What is wrong.
    pub(super) findings: Vec<String>,
    pub(super) extent: Extent,
    /// Answers shown above what they answer, and pairs of nodes with different orders.
    pub(super) out_of_order: (usize, usize),
    /// What nodes told people that nobody need look at, and how often.
    pub(super) told: BTreeMap<String, usize>,
    pub(super) members: usize,
    /// Lines of which a member has not said to its writer that it has them: that is said again within minutes.
    pub(super) unsaid: u64,
}

/// What one node says.
struct Fact {
    view: GroupView,
    status: Status,
    verified: Option<Verified>,
    history: Vec<Message>,
    events: Vec<Event>,
}

/// How the words begin that a node may well say to people in such times. All others accuse somebody, or say
/// that something is lost.
const WELL: [&str; 3] = [
    "A relay did not store an entry: ",
    "Invites that others have used were ended",
    "Messages have waited for their keys for over a minute",
];

impl Inquiry {
    /// Takes note of where all nodes are.
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        let api = Api::new();
        let latest = |dir: &PathBuf| api.ask(dir, |client| async move { latest(&client).await });
        let since = dirs.iter().map(|dir| latest(dir).expect("events")).collect();
        Self { api, dirs, since, recipients: BTreeMap::new() }
    }

    /// Judges how things are now.
    pub(super) fn look(&mut self, talk: &Talk) -> Verdict {
        let mut verdict = Verdict::default();
        let mut facts = Vec::new();
        for (name, dir) in NAMES.iter().zip(&self.dirs) {
            match self.api.ask_all(dir, fact) {
                Ok(fact) => facts.push(fact),
                Err(error) => verdict.findings.push(format!("{name} does not answer: {error}")),
            }
        }
        // What somebody says alone is worth nothing.
        if facts.len() < self.dirs.len() {
            return verdict;
        }
        let members = names(&facts[0].view);
        verdict.members = members.len();
        let mut all = Vec::new();
        for (number, fact) in facts.iter().enumerate() {
            let is_member = members.contains(NAMES[number]);
            alarms(NAMES[number], &fact.events, self.since[number], &mut verdict);
            if is_member {
                let behind = fact.verified.iter().flat_map(|it| &it.behind);
                verdict.unsaid += behind.map(|it| it.messages).sum::<u64>();
                verdict.findings.extend(of_member(NAMES[number], fact, &facts[0].view));
            } else if fact.view.summary.state == GroupState::Active {
                verdict.findings.push(format!("{} takes itself for a member", NAMES[number]));
            }
            all.push(self.seen(number, fact, is_member));
        }
        let written: Vec<(usize, usize)> = talk
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.id.is_some())
            .map(|(number, line)| (number, line.by))
            .collect();
        let (wrong, extent) = account::judge(&all, &written, &NAMES);
        verdict.findings.extend(wrong);
        verdict.extent = extent;
        all.retain(|seen| seen.is_member);
        verdict.out_of_order = account::out_of_order(&all);
        verdict
    }

    fn seen(&mut self, number: usize, fact: &Fact, is_member: bool) -> Seen {
        let shown = fact.history.iter().filter_map(|message| talk::read(&message.text)).collect();
        let (mut own, mut life): (BTreeMap<&str, usize>, _) = (BTreeMap::new(), Vec::new());
        let since = self.since[number];
        // Ops may tell a node that it is a member again before its Welcome comes.
        let mut is_in_by_ops = false;
        for event in fact.events.iter().filter(|event| event.seq > since) {
            match &event.what {
                What::Message { message } if message.mine => {
                    own.extend(
                        talk::read(&message.text).map(|(line, _)| (message.id.as_str(), line)),
                    );
                }
                What::Delivery { message, delivery } if delivery.sealed => {
                    // Told for the first time when it is sealed.
                    if let Some(line) = own.remove(message.as_str()) {
                        life.push(Life::Sealed(line, self.recipients(number, message)));
                    }
                }
                What::MemberJoined { member, .. } if place(&member.name) == Some(number) => {
                    is_in_by_ops = true;
                    life.push(Life::Entered);
                }
                What::MemberJoined { member, .. } => {
                    life.extend(place(&member.name).map(Life::Joined))
                }
                What::MemberRemoved { member, .. }
                | What::MemberLeft { member }
                | What::MemberRetired { member, .. }
                | What::NotAdmitted { member, .. } => {
                    let who = place(&member.name);
                    is_in_by_ops &= who != Some(number);
                    life.extend(who.map(Life::Gone));
                }
                What::Join { join }
                    if join.state == JoinState::Joined && !std::mem::take(&mut is_in_by_ops) =>
                {
                    life.push(Life::Entered);
                }
                _ => {}
            }
        }
        Seen { is_member, shown, life }
    }

    fn recipients(&mut self, writer: usize, id: &str) -> BTreeSet<usize> {
        if let Some(known) = self.recipients.get(id) {
            return known.clone();
        }
        let asked = self
            .api
            .ask(&self.dirs[writer], |client| async move { client.delivery(GROUP, id).await });
        let Ok(delivery) = asked else { return BTreeSet::new() };
        let to: BTreeSet<usize> =
            delivery.members.iter().filter_map(|to| place(&to.member.name)).collect();
        self.recipients.insert(id.to_owned(), to.clone());
        to
    }
}

fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|it| *it == name)
}

fn names(view: &GroupView) -> BTreeSet<&str> {
    view.people.iter().map(|it| it.member.name.as_str()).collect()
}

async fn latest(client: &Client) -> Result<u64, ClientError> {
    Ok(client.events_from_now().await?.after())
}

async fn fact(client: Client) -> Result<Fact, ClientError> {
    let mut history: Vec<Message> = Vec::new();
    loop {
        let before = history.first().map(|message| message.seq);
        let page = Page { after: None, before, limit: Some(PAGE_MAX) };
        let mut page = in_time(client.history(GROUP, page)).await?;
        if page.is_empty() {
            break;
        }
        page.append(&mut history);
        history = page;
    }
    let (latest, mut events) = (in_time(latest(&client)).await?, Vec::new());
    let mut stream = in_time(client.events(0)).await?;
    while events.last().is_none_or(|event: &Event| event.seq < latest) {
        events.push(in_time(stream.next()).await?);
    }
    Ok(Fact {
        view: in_time(client.group(GROUP)).await?,
        status: in_time(client.status()).await?,
        verified: in_time(client.verify(GROUP)).await.ok(),
        history,
        events,
    })
}

/// What is wrong with how a member sees the group; `first` is how its founder does.
fn of_member(name: &str, fact: &Fact, first: &GroupView) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut is = |well: bool, what: String| {
        if !well {
            wrong.push(format!("{name}: {what}"));
        }
    };
    let view = &fact.view;
    is(view.summary.state == GroupState::Active, format!("is {:?}", view.summary.state));
    is(names(view) == names(first), format!("sees {:?} and not {:?}", names(view), names(first)));
    is(view.fingerprint == first.fingerprint, "has another fingerprint".into());
    is(view.summary.queued == 0, format!("waits: {}", view.summary.waiting_for));
    is(view.notices.is_empty(), format!("accuses: {:?}", view.notices));
    is(view.returned.is_empty(), format!("back are {:?}", view.returned));
    match &fact.verified {
        None => is(false, "does not verify".into()),
        Some(verified) => {
            is(verified.notices.is_empty(), format!("verify accuses: {:?}", verified.notices));
            is(verified.gaps.is_empty(), format!("verify misses: {:?}", verified.gaps));
        }
    }
    for group in &fact.status.groups {
        is(group.warnings == 0, format!("status warns {} times", group.warnings));
        is(group.missing == 0, format!("status misses {}", group.missing));
    }
    wrong
}

fn alarms(name: &str, events: &[Event], since: u64, verdict: &mut Verdict) {
    for event in events.iter().filter(|event| event.seq > since) {
        let What::Alarm { text } = &event.what else { continue };
        match WELL.iter().find(|words| text.starts_with(**words)) {
            Some(words) => *verdict.told.entry((*words).to_owned()).or_default() += 1,
            None => verdict.findings.push(format!("{name} alarms: {text}")),
        }
    }
}

/// What should not stand in what the processes wrote: a panic, what was said, a code.
pub(super) fn of_logs(logs: &[(&str, PathBuf)], codes: &[String]) -> Vec<String> {
    let mut secrets = vec![Forms::text("what was said", SECRET)];
    secrets.extend(codes.iter().map(|code| Forms::text("an invite's code", code)));
    let mut wrong = Vec::new();
    for (name, log) in logs {
        let bytes = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let fatal = [
            "panicked at",
            "has overflowed its stack",
            "fatal runtime error",
            "memory allocation of",
        ];
        let lines = text.lines().filter(|line| fatal.iter().any(|words| line.contains(words)));
        wrong.extend(lines.map(|line| format!("{name}: {line}")));
        let told = secrets.iter().filter(|secret| secret.occurs_in(&bytes));
        wrong.extend(told.map(|secret| format!("{name}'s log has {}", secret.name)));
    }
    wrong
}

/// What should not stand in what relays keep.
pub(super) fn of_relay(dir: &Path) -> Vec<String> {
    let said = Forms::text("what was said", SECRET);
    let files = crate::files_below(dir).into_iter();
    let has = |file: &PathBuf| said.occurs_in(&fs::read(file).unwrap_or_default());
    files.filter(has).map(|file| format!("{} has what was said", file.display())).collect()
}
