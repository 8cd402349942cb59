//! `wattle send`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal},
    mem,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;
use node::{
    api::types::{
        ApiError, Delivery, DeliveryState, DeliveryView, MemberDelivery, Message, NAMED_MAX,
        SendMessage, What,
    },
    client::{Client, ClientError, EventStream},
    core::TEXT_MAX,
};
use tokio::sync::mpsc;

use super::{
    Place, args, exit,
    exit::{Exit, Failure},
    file, input, show,
};

/// Send messages to a group
///
/// Without TEXT, or where it is -, each line of standard input is a message; with --block all that comes
/// until a pause is one. The node keeps what it can't deliver yet.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle send ops deployed",
    "wattle send ops deployed --wait all --timeout 5m",
    "wattle send ops --reply 1a2b3c4d on it",
    "wattle send ops --file plan.pdf the plan for Monday",
    "make 2>&1 | wattle send ops --block",
    "journalctl -f -u web | wattle send ops -",
]))]
pub struct Send {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// The message; - is standard input
    text: Vec<String>,
    /// Send standard input as one message: in several where it goes on after a pause of a second, or is
    /// longer than 31,744 bytes, cut at the ends of lines
    #[arg(long)]
    block: bool,
    /// The message that it answers: the first digits of its id, at least four, or last
    #[arg(long, value_name = "MESSAGE")]
    reply: Option<String>,
    /// A member whom it is for in particular; may be given several times
    #[arg(long, value_name = "MEMBER")]
    mention: Vec<String>,
    /// Offer this file, too, after the text; without a text, the file alone. It stays where it is, and members fetch it from there
    #[arg(long, value_name = "PATH", conflicts_with = "block")]
    file: Option<PathBuf>,
    /// Wait until a relay has it, until any member's node has it, or until all members' nodes have it
    #[arg(long, value_name = "FOR")]
    wait: Option<Wait>,
    /// How long to wait: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "30s")]
    timeout: Duration,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// A relay keeps it.
    Stored,
    /// At least one member's node has it.
    Any,
    /// Each member's node has it.
    All,
}

/// Messages that are looked at when the time is over.
const LOOKED_AT: usize = 64;
/// Messages that are waited for at once: where there are more, it is waited for half of them before more is read.
const OPEN_MAX: usize = 4_096;
/// How long nothing comes at the end of a block.
const PAUSE: Duration = Duration::from_secs(1);

/// Own messages that are not yet where they are waited for, by local id.
type Open = BTreeMap<String, Delivery>;

/// What was sent, of which no more is kept than what is waited for: standard input may never end.
struct Sent {
    count: u64,
    /// It was said that it has to wait.
    is_slowed: bool,
    waiting: Option<(Waiting, EventStream)>,
}

/// Messages on their way.
struct Waiting {
    wait: Wait,
    open: Open,
    /// Somebody was removed, or left: from then on a message may be for nobody more.
    gone: bool,
    /// Those that may not get there.
    doubtful: BTreeSet<String>,
}

/// Standard input, message by message.
enum Input {
    Lines(mpsc::Receiver<io::Result<String>>),
    Blocks(input::Blocks),
}

impl Send {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        if self.block && !self.is_input() {
            let hint = format!("wattle send {} --block < FILE", show::word(&self.group));
            let message = "--block is for standard input, and a text is given";
            return Err(Failure::new(Exit::Usage, message, hint).into());
        }
        if self.text.is_empty()
            && self.file.is_some()
            && !(self.reply.is_none() && self.mention.is_empty())
        {
            let hint = "give a text, or leave --reply and --mention out";
            let message = "a file alone answers nobody and mentions nobody";
            return Err(Failure::new(Exit::Usage, message, hint).into());
        }
        // A file that can't be is told before the text is sent.
        let file = self.file.as_deref().map(file::readable).transpose()?;
        let client = place.client().await?;
        let waiting = match self.wait {
            Some(wait) => Some((Waiting::new(wait), client.events_from_now().await?)),
            None => None,
        };
        let mut sent = Sent { count: 0, is_slowed: false, waiting };
        if self.is_input() {
            self.send_input(&client, &mut sent, place).await?;
        } else if !self.text.is_empty() {
            self.send(&client, &self.text.join(" "), &mut sent, place).await?;
        }
        if let Some(path) = &file {
            let offered = self.offer(&client, path, &mut sent, place).await;
            offered.with_context(|| match sent.count {
                0 => "the file is not offered".into(),
                count => {
                    format!("{} sent, and the file is not offered", show::count(count, "message"))
                }
            })?;
        }
        let messages = show::count(sent.count, "message");
        match &mut sent.waiting {
            None => show::words(format_args!("{messages} sent")),
            Some((waiting, events)) => {
                self.settle(waiting, 0, &client, events).await?;
                show::words(format_args!("{messages} {}", waiting.wait.done()));
            }
        }
        show::next(format_args!("wattle tail {}", show::word(&self.group)));
        Ok(Exit::Done)
    }

    /// Whether standard input is what is sent.
    fn is_input(&self) -> bool {
        (self.text.is_empty() && self.file.is_none()) || self.text == ["-"]
    }

    /// Waits until no more than so many are open. Where that does not come: says of which, and why.
    async fn settle(
        &self,
        waiting: &mut Waiting,
        most: usize,
        client: &Client,
        events: &mut EventStream,
    ) -> anyhow::Result<()> {
        let settled = self.until(waiting, most, client, events);
        let vain = match tokio::time::timeout(self.timeout, settled).await {
            Ok(settled) => settled?.map(|delivery| vain(&waiting.open, &delivery)),
            Err(_) => {
                // What is gathered is not told yet.
                self.look(&mut waiting.open, client).await?;
                waiting.open.retain(|_, delivery| !waiting.wait.holds(delivery));
                (waiting.open.len() > most).then(|| waiting.wait.missed(&waiting.open))
            }
        };
        let Some(message) = vain else { return Ok(()) };
        let first = waiting.open.keys().next().map_or("", |id| show::short(id));
        let hint = format!("wattle delivery {} {first}", show::word(&self.group));
        Err(Failure::new(Exit::NotDelivered, message, hint).into())
    }

    /// The same for ever. Where nothing more can come of it: how far one of them is.
    async fn until(
        &self,
        waiting: &mut Waiting,
        most: usize,
        client: &Client,
        events: &mut EventStream,
    ) -> Result<Option<DeliveryView>, ClientError> {
        while waiting.open.len() > most {
            for message in mem::take(&mut waiting.doubtful) {
                let delivery = client.delivery(&self.group, &message).await?;
                if waiting.wait.is_vain(&delivery) {
                    return Ok(Some(delivery));
                }
            }
            waiting.take(events.next().await?.what);
        }
        Ok(None)
    }

    /// How far those that are open are by now; of very many, the first.
    async fn look(&self, open: &mut Open, client: &Client) -> Result<(), ClientError> {
        for (message, known) in open.iter_mut().take(LOOKED_AT) {
            *known = in_short(client.delivery(&self.group, message).await?);
        }
        Ok(())
    }

    async fn send(
        &self,
        client: &Client,
        text: &str,
        sent: &mut Sent,
        place: &Place,
    ) -> anyhow::Result<()> {
        let (reply, mentions) = (self.reply.clone(), self.mention.clone());
        let said = SendMessage { text: text.into(), reply, mentions };
        let message = loop {
            match client.say(&self.group, &said).await {
                // What a pipe brings waits; who types one message is told.
                Err(ClientError::Refused(ApiError { wait_ms: Some(ms), message, .. }))
                    if self.is_input() =>
                {
                    if !mem::replace(&mut sent.is_slowed, true) {
                        show::words(format_args!("{}; waiting", show::safe(&message)));
                    }
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                said => break said?,
            }
        };
        self.sent(client, message, sent, place).await
    }

    /// Offers a file.
    async fn offer(
        &self,
        client: &Client,
        path: &str,
        sent: &mut Sent,
        place: &Place,
    ) -> anyhow::Result<()> {
        let message = client.send_file(&self.group, path).await?;
        show::words(file::offered(&message));
        self.sent(client, message, sent, place).await
    }

    /// Counts what was sent, and waits for it where that is asked.
    async fn sent(
        &self,
        client: &Client,
        message: Message,
        sent: &mut Sent,
        place: &Place,
    ) -> anyhow::Result<()> {
        if place.json {
            show::json(&message)?;
        }
        sent.count += 1;
        if let Some((waiting, events)) = &mut sent.waiting {
            waiting.add(message);
            if waiting.open.len() >= OPEN_MAX {
                self.settle(waiting, OPEN_MAX / 2, client, events).await?;
            }
        }
        Ok(())
    }

    async fn send_input(
        &self,
        client: &Client,
        sent: &mut Sent,
        place: &Place,
    ) -> anyhow::Result<()> {
        // An unknown group is told before anything is typed.
        let group = client.group(&self.group).await?.summary.name;
        let what = if self.block { "block" } else { "line" };
        if io::stdin().is_terminal() {
            let group = show::safe(&group);
            show::words(format_args!("to {group}: each {what} is a message; Ctrl-D ends"));
        }
        let mut input = match self.block {
            true => Input::Blocks(input::Blocks::new(TEXT_MAX, PAUSE)),
            false => Input::Lines(input::lines()),
        };
        let mut number = 0;
        loop {
            let text = match &mut sent.waiting {
                None => input.next().await?,
                Some((waiting, events)) => tokio::select! {
                    text = input.next() => text?,
                    event = events.next() => {
                        waiting.take(event?.what);
                        continue;
                    }
                },
            };
            let Some(text) = text else { return Ok(()) };
            number += 1;
            if !text.trim().is_empty() {
                let ended = self.send(client, &text, sent, place).await;
                ended.with_context(|| format!("{what} {number}"))?;
            }
        }
    }
}

impl Input {
    /// The next one. Where this is called off nothing is lost.
    async fn next(&mut self) -> io::Result<Option<String>> {
        match self {
            Self::Lines(lines) => lines.recv().await.transpose(),
            Self::Blocks(blocks) => blocks.next().await,
        }
    }
}

impl Waiting {
    fn new(wait: Wait) -> Self {
        Self { wait, open: Open::new(), gone: false, doubtful: BTreeSet::new() }
    }

    fn add(&mut self, message: Message) {
        if let Some(delivery) = message.delivery.filter(|delivery| !self.wait.holds(delivery)) {
            self.open.insert(message.id, delivery);
        }
    }

    fn take(&mut self, what: What) {
        match what {
            What::Delivery { message, delivery } if self.wait.holds(&delivery) => {
                self.open.remove(&message);
                self.doubtful.remove(&message);
            }
            What::Delivery { message, delivery } => {
                let Some(known) = self.open.get_mut(&message) else { return };
                if self.gone || delivery.unopened > 0 {
                    self.doubtful.insert(message);
                }
                *known = delivery;
            }
            What::MemberRemoved { .. }
            | What::MemberLeft { .. }
            | What::MemberRetired { .. }
            | What::NotAdmitted { .. } => {
                self.gone = true;
                self.doubtful = self.open.keys().cloned().collect();
            }
            _ => {}
        }
    }
}

impl Wait {
    /// Whether a message is where it is waited for. What all members have needs no relay.
    fn holds(self, delivery: &Delivery) -> bool {
        let all = delivery.sealed && delivery.missing.is_empty();
        all || match self {
            Self::Stored => delivery.stored,
            Self::Any => !delivery.received.is_empty(),
            Self::All => false,
        }
    }

    /// Whether a message will not get there however long one waits.
    fn is_vain(self, delivery: &DeliveryView) -> bool {
        let states = || delivery.members.iter().map(|to| to.state);
        let cant = |state| state == DeliveryState::Cant;
        cant(delivery.state)
            || match self {
                Self::Stored => false,
                Self::Any => states().next().is_some() && states().all(cant),
                Self::All => {
                    states().any(cant) && states().all(|state| state >= DeliveryState::Received)
                }
            }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Stored => "sent, and kept by a relay or by all members",
            Self::Any => "sent; at least one member's node has it",
            Self::All => "sent; all members' nodes have it",
        }
    }

    /// What is said when the time is over.
    fn missed(self, open: &Open) -> String {
        let what = show::count(open.len() as u64, "message");
        if open.values().any(|one| !one.sealed) {
            return format!("{what} still waiting here, not yet sealed; the node goes on trying");
        }
        let missing = missing(open);
        let is_large = open.values().any(|one| one.members >= NAMED_MAX.into());
        match self {
            Self::Any | Self::All if is_large => format!(
                "{what} not yet with {missing}; the node goes on trying, and in a group as large as \
                 this one members say only every few minutes what they have"
            ),
            Self::Any | Self::All => {
                format!("{what} not yet with {missing}; the node goes on trying")
            }
            Self::Stored => {
                format!("{what} kept by no relay yet, nor by {missing}; the node goes on trying")
            }
        }
    }
}

/// How far a message is, in short.
fn in_short(view: DeliveryView) -> Delivery {
    use DeliveryState::{Cant, Queued, Read, Received, Stored};
    let members = view.members.len() as u64;
    let sealed = view.state != Queued && (members > 0 || view.state != Cant);
    let stored = view.members.iter().any(|to| to.state == Stored);
    let read = view.members.iter().filter(|to| to.state == Read).count() as u64;
    let has = |to: &MemberDelivery| matches!(to.state, Received | Read);
    let (received, missing): (Vec<_>, Vec<_>) = view.members.into_iter().partition(has);
    let reached = received.len() as u64;
    let [received, missing] =
        [received, missing].map(|all| all.into_iter().map(|to| to.member).collect());
    Delivery { sealed, stored, received, missing, members, reached, unopened: 0, read }
}

/// Who lacks a message, by name; of very many, some.
fn missing(open: &Open) -> String {
    let mut missing: Vec<_> = open.values().flat_map(|one| &one.missing).cloned().collect();
    missing.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    missing.dedup();
    let named = |one: &Delivery| one.members.saturating_sub(one.reached);
    let all = open.values().map(named).max().unwrap_or_default();
    match all.saturating_sub(missing.len() as u64) {
        0 => show::names(&missing),
        more => format!("{} and {more} more", show::names(&missing)),
    }
}

/// What is said where a message can't reach somebody, or anybody.
fn vain(open: &Open, delivery: &DeliveryView) -> String {
    let what = show::count(open.len() as u64, "message");
    let cant = delivery.members.iter().filter(|to| to.state == DeliveryState::Cant);
    let cant: Vec<_> =
        cant.map(|to| format!("{} ({})", show::name(&to.member), show::safe(&to.reason))).collect();
    if cant.is_empty() {
        return format!("{what} can't be sent: {}", show::safe(&delivery.reason));
    }
    format!("{what} can't get to {}", cant.join(", "))
}

#[cfg(test)]
mod tests {
    use node::api::types::{GroupRef, MemberRef};

    use super::*;

    fn delivery(sealed: bool, stored: bool, missing: &[&str]) -> Delivery {
        let member = |name: &&str| MemberRef { id: format!("{name}-id"), name: (*name).into() };
        let missing: Vec<_> = missing.iter().map(member).collect();
        let members = missing.len() as u64;
        Delivery { sealed, stored, missing, members, ..Delivery::default() }
    }

    fn view(state: DeliveryState, states: &[DeliveryState]) -> DeliveryView {
        let member = |state: &DeliveryState| MemberDelivery {
            member: MemberRef { id: "ben-id".into(), name: "ben".into() },
            state: *state,
            since: None,
            reason: "gone".into(),
        };
        DeliveryView {
            v: 1,
            message: "1".into(),
            group: GroupRef::default(),
            at: String::new(),
            state,
            reason: String::new(),
            members: states.iter().map(member).collect(),
        }
    }

    #[test]
    fn waiting_ends_with_what_was_asked_for_and_not_before() {
        let queued = delivery(false, false, &[]);
        let stored = delivery(true, true, &["ben"]);
        let all = delivery(true, false, &[]);
        assert_eq!([&queued, &stored, &all].map(|one| Wait::All.holds(one)), [false, false, true]);
        assert_eq!(
            [&queued, &stored, &all].map(|one| Wait::Stored.holds(one)),
            [false, true, true]
        );
    }

    #[test]
    fn what_is_where_it_is_waited_for_is_kept_no_longer() {
        let message = |id: &str| What::Delivery {
            message: id.into(),
            delivery: delivery(true, true, &["ben"]),
        };
        let mut waiting = Waiting::new(Wait::Stored);
        let on_its_way = delivery(true, false, &["ben"]);
        waiting.open = ["1", "2"].map(|id| (id.into(), on_its_way.clone())).into();
        waiting.gone = true;
        waiting.take(What::Delivery { message: "1".into(), delivery: on_its_way });
        assert_eq!((waiting.open.len(), waiting.doubtful.len()), (2, 1));
        waiting.take(message("1"));
        waiting.take(message("another program's"));
        assert_eq!((waiting.open.len(), waiting.doubtful.len()), (1, 0));
    }

    #[test]
    fn who_is_missing_is_named_once() {
        let one = delivery(true, true, &["cleo", "ben"]);
        let open = [("1".into(), one.clone()), ("2".into(), one)].into_iter().collect();
        let words = Wait::All.missed(&open);
        assert!(words.starts_with("2 messages not yet with ben, cleo;"), "{words}");
    }

    #[test]
    fn of_many_who_are_missing_some_are_named_and_all_are_counted() {
        let one = Delivery { members: 100, reached: 10, ..delivery(true, true, &["ben"]) };
        let words = Wait::All.missed(&Open::from([("1".into(), one)]));
        assert!(words.starts_with("1 message not yet with ben and 89 more;"), "{words}");
    }

    #[test]
    fn what_is_looked_at_in_the_end_counts_as_what_is_told() {
        use DeliveryState::{Cant, Queued, Received, Stored};
        let [stored, any, all] = [Wait::Stored, Wait::Any, Wait::All];
        let holds = |wait: Wait, state, states: &[DeliveryState]| {
            wait.holds(&in_short(view(state, states)))
        };
        assert!(!holds(stored, Queued, &[]) && !holds(all, Cant, &[]), "never sealed");
        assert!(
            holds(stored, Stored, &[Stored, Received]) && holds(any, Stored, &[Stored, Received])
        );
        assert!(
            !holds(all, Stored, &[Stored, Received]) && !holds(all, Received, &[Received, Cant])
        );
        assert!(holds(all, Received, &[Received, Received]));
    }

    #[test]
    fn a_large_group_is_said_to_answer_slowly() {
        let one = Delivery { members: 80, reached: 10, ..delivery(true, true, &["ben"]) };
        let words = Wait::All.missed(&Open::from([("1".into(), one)]));
        assert!(words.contains("every few minutes"), "{words}");
    }

    #[test]
    fn waiting_is_in_vain_once_nobody_is_left_whom_it_can_reach() {
        use DeliveryState::{Cant, Received, Stored};
        let view = |states: &[DeliveryState]| view(Stored, states);
        let waits = [Wait::Stored, Wait::Any, Wait::All];
        let vain = |states: &[DeliveryState]| waits.map(|wait| wait.is_vain(&view(states)));
        assert_eq!(vain(&[Cant, Stored]), [false; 3]);
        assert_eq!(vain(&[Cant, Received]), [false, false, true]);
        assert_eq!(vain(&[Cant, Cant]), [false, true, true]);
        assert_eq!(vain(&[]), [false; 3]);
        let said = super::vain(&Open::default(), &view(&[Cant]));
        assert_eq!(said, "0 messages can't get to ben (gone)");
    }
}
