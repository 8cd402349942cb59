//! `wattle tail`.

mod cursors;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use node::{
    api::types::{Class, Event, GroupView, Message, TakeCursor, What},
    client::{Client, ClientError, EventStream},
};
use tokio::{io::Interest, net::unix::pipe};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    history,
    progress::Bar,
    show::{self, Conversation},
    verify,
};

/// Follow a group's messages as they come
///
/// Times are UTC. What came late is shown when it comes, and says so: `wattle history` has it in its place. With --json each line is an event, with those that are no message too; resume
/// after a `seq` with --since. With --cursor the node remembers how far you have read.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle tail ops",
    "wattle tail ops --typing",
    "wattle --json tail ops -n 0",
    "wattle --json tail ops --since 4711",
    "wattle --json tail ops --cursor log-shipper | while read -r line; do ship \"$line\"; done",
]))]
pub struct Tail {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many of the last messages to begin with
    #[arg(short, value_name = "N", default_value_t = 10)]
    n: u32,
    /// Begin with all that the node has kept; with a cursor, where that is new
    #[arg(long, conflicts_with_all = ["n", "since"])]
    from_start: bool,
    /// Begin after the event with this `seq`, which is in each line of --json; what is not kept any more is told first
    #[arg(long, visible_alias = "after", value_name = "SEQ", conflicts_with = "n")]
    since: Option<u64>,
    /// Begin after what was read by this name before, or with what comes where it is new; one reader at a time
    ///
    /// The node moves it after each line that was written and flushed. Where this program is killed between the two, that one line is shown
    /// again; and a line that was written is not yet one that its reader has done something about: see --ack.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["n", "since"])]
    cursor: Option<String>,
    /// Move the cursor by what is acknowledged on standard input: the `seq` of a line that is done with, and all before it
    ///
    /// What is not acknowledged is shown again, at the next start, by the same `seq`: a reader that notes it with its work
    /// loses nothing and does nothing twice. No more than 1,024 lines are shown ahead of what is acknowledged.
    #[arg(long, requires = "cursor")]
    ack: bool,
    /// Don't wait for more
    #[arg(long)]
    no_follow: bool,
    /// Show who is typing, of members who are connected directly; no cursor counts it
    #[arg(long, conflicts_with_all = ["cursor", "no_follow"])]
    typing: bool,
}

impl Tail {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        if self.ack && !place.json {
            let hint = "wattle --json tail GROUP --cursor NAME --ack";
            return Err(Failure::new(Exit::Usage, "--ack is for lines of --json", hint).into());
        }
        let client = place.client().await?;
        let GroupView { summary: group, people, .. } = client.group(&self.group).await?;
        let mut conversation = Conversation::default();
        conversation.tell_apart(&people);
        let (json, bar, typing) = (place.json, Bar::new(), BTreeMap::new());
        let mut view = View { json, group: group.id, conversation, last: None, bar, typing };
        if let Some(name) = &self.cursor {
            let asked = TakeCursor { group: view.group.clone(), from_start: self.from_start };
            let stream = client.take_cursor(name, &asked).await?;
            return tokio::select! {
                ended = self.by_cursor(&client, stream, &mut view) => ended,
                () = reader_gone() => Ok(Exit::Done),
            };
        }
        let mut now = match self.typing {
            true => client.events_and_typing().await?,
            false => client.events_from_now().await?,
        };
        let mut seen = BTreeSet::new();
        let after = if self.from_start { Some(0) } else { self.since };
        if let Some(after) = after {
            has_been(after, now.after())?;
            view.replay(&client, after, now.after()).await?;
        } else if place.json {
            for event in last(&client, &view.group, now.after(), self.n).await? {
                view.show(&event)?;
            }
        } else {
            for message in history::last(&client, &view.group, self.n).await? {
                seen.insert(message.seq);
                view.message(&message)?;
            }
        }
        if self.no_follow {
            return Ok(Exit::Done);
        }
        let name = show::safe(&group.name);
        show::words(format_args!("following {name}; Ctrl-C ends, what comes meanwhile is kept"));
        tokio::select! {
            ended = view.follow(&client, &mut now, &seen) => ended,
            () = reader_gone() => Ok(Exit::Done),
        }
    }
}

/// Refuses an event that has not been, as after a restored backup: what comes would be passed over until it was.
fn has_been(after: u64, last: u64) -> anyhow::Result<()> {
    if after <= last {
        return Ok(());
    }
    let message = format!("the event {after} has not been: {last} is this node's last");
    let hint =
        "a restored node counts its events anew: --from-start begins with the first that it has";
    Err(Failure::new(Exit::Integrity, message, hint).into())
}

/// The events of the last `n` messages up to an event, oldest first.
async fn last(client: &Client, group: &str, until: u64, n: u32) -> Result<Vec<Event>, ClientError> {
    let mut pages: Vec<Vec<Event>> = Vec::new();
    let (mut left, mut before) = (n, until.saturating_add(1));
    while left > 0 {
        let limit = left.min(history::PAGE);
        let page = client.message_events(group, Some(before), limit).await?;
        let Some(first) = page.first() else { break };
        before = first.seq;
        left -= limit;
        pages.push(page);
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// Ends when whoever reads standard output through a pipe has gone away, as `head` does: nothing
/// need be written to notice it.
async fn reader_gone() {
    // It is watched only, never written to, so that it need not be non-blocking. What can't be
    // watched, as a file can't, has no reader who could go away.
    if let Ok(out) = io::stdout().as_fd().try_clone_to_owned()
        && let Ok(out) = pipe::Sender::from_owned_fd_unchecked(out)
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

struct View {
    json: bool,
    group: String,
    conversation: Conversation,
    /// The message of somebody else's that stands last of those that were shown.
    last: Option<Shown>,
    /// How far it is with what was said while the node was away.
    bar: Bar,
    /// Who is typing, by id, and when that was told last.
    typing: BTreeMap<String, Instant>,
}

/// Where a message stands, and when it was written.
struct Shown {
    place: String,
    at: String,
}

/// How much older than what was shown before it a message is that came late.
const LATE: time::Duration = time::Duration::minutes(1);

impl View {
    /// Shows the events after one and up to another.
    async fn replay(&mut self, client: &Client, after: u64, until: u64) -> anyhow::Result<()> {
        if after >= until {
            return Ok(());
        }
        let mut events = client.events(after).await?;
        while events.after() < until {
            let event = events.next().await?;
            if self.is_here(&event) {
                self.show(&event)?;
            }
        }
        Ok(())
    }

    async fn follow(
        &mut self,
        client: &Client,
        events: &mut EventStream,
        seen: &BTreeSet<u64>,
    ) -> anyhow::Result<Exit> {
        loop {
            let event = match events.next().await {
                Ok(event) => event,
                Err(error @ ClientError::Ended) => {
                    if self.json {
                        let after = events.after();
                        show::words(format_args!("resume with: wattle tail --since {after} …"));
                    }
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            };
            let old =
                matches!(&event.what, What::Message { message } if seen.contains(&message.seq));
            if !old && self.is_here(&event) {
                self.show(&event)?;
                // Somebody came, or has another name.
                if matches!(event.what, What::MemberJoined { .. } | What::MemberRenamed { .. }) {
                    self.conversation.tell_apart(&client.group(&self.group).await?.people);
                }
            }
        }
    }

    fn is_here(&self, event: &Event) -> bool {
        let whose = event.group.as_ref();
        whose.is_some_and(|group| group.id == self.group)
            || matches!(event.what, What::EventsLost { .. })
    }

    /// Shows an event; whether there was something to be written.
    fn show(&mut self, event: &Event) -> anyhow::Result<bool> {
        if self.json {
            show::json(event)?;
            return Ok(true);
        }
        if let (What::CatchingUp { backlog }, Some(group)) = (&event.what, &event.group) {
            self.bar.show(&group.name, backlog);
            return Ok(false);
        }
        if !self.heeds_typing(&event.what) {
            return Ok(false);
        }
        self.bar.hide();
        let note = note(&event.what);
        let is_shown =
            note.is_some() || matches!(event.what, What::Message { .. } | What::KeyChanged { .. });
        if let What::Message { message } | What::Changed { message, .. } = &event.what
            && message.more.blocked
        {
            self.bar.redraw();
            return Ok(false);
        }
        if let What::Message { message } = &event.what {
            self.message(message)?;
        } else if let What::KeyChanged { text, .. } = &event.what {
            self.conversation.alarm(event, show::safe(text))?;
        } else if let Some(note) = note {
            self.conversation.note(event, note)?;
        }
        self.bar.redraw();
        Ok(is_shown)
    }
}

impl View {
    /// Keeps in mind who is typing; whether the event is to be shown: who goes on isn't said again.
    fn heeds_typing(&mut self, what: &What) -> bool {
        match what {
            What::Typing { member, on: true } => {
                let before = self.typing.insert(member.id.clone(), Instant::now());
                before.is_none_or(|before| before.elapsed() > TYPING)
            }
            What::Typing { member, on: false } => self.typing.remove(&member.id).is_none(),
            What::Message { message } => {
                self.typing.remove(&message.from.id);
                true
            }
            _ => true,
        }
    }

    /// Shows a message; of one that came late, that it has its place further up.
    fn message(&mut self, message: &Message) -> io::Result<()> {
        let late = self.last.as_ref().is_some_and(|last| came_late(message, last));
        if leads(message) && !late {
            self.last = Some(Shown { place: message.place.clone(), at: message.at.clone() });
        }
        match late {
            true => self.conversation.late(message),
            false => self.conversation.message(message),
        }
    }
}

/// Whether what comes later can be late beside a message: not beside one's own, nor what stands where it came.
fn leads(message: &Message) -> bool {
    !message.mine && !message.ahead
}

/// Whether a message stands well above one that was shown before it. What was written within the same minute
/// is an answer to neither, and stays where it came.
fn came_late(message: &Message, last: &Shown) -> bool {
    let written = show::time(&last.at) - show::time(&message.at);
    !message.mine && message.place < last.place && written > LATE
}

/// After so much silence somebody has stopped typing.
const TYPING: Duration = Duration::from_secs(6);

/// What people want to read of an event that is no message.
fn note(what: &What) -> Option<String> {
    let name = show::name;
    Some(match what {
        What::Changed { message, by, change } => show::changed(message, by, change),
        What::Conduct { by, disappear } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!("{}: ", name(by)));
            let kept = disappear.map_or_else(
                || "messages no longer disappear".into(),
                |seconds| format!("messages disappear after {}", show::span(seconds.into())),
            );
            format!("{by}from now on {kept}")
        }
        What::Receipts { by, on } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!("{}: ", name(by)));
            let may = if *on { "may tell" } else { "no longer tell" };
            format!("{by}from now on members {may} what they have read")
        }
        What::Typing { member, on: true } => format!("{} is typing", name(member)),
        What::TypingShown { by, on } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!("{}: ", name(by)));
            let is = if *on { "is" } else { "is no longer" };
            format!("{by}from now on it {is} shown who is typing")
        }
        What::TalkAsked { member } => {
            let (who, digits) = (name(member), show::digits(&member.id));
            format!("{who} would like to talk with you alone: wattle dm @{digits}")
        }
        What::MemberJoined { member, by } => {
            format!("{} joined, invited by {}", name(member), name(by))
        }
        What::MemberRemoved { by, me: true, .. } => {
            format!("{} removed you: what follows is not for you any more", name(by))
        }
        What::MemberRemoved { member, by, .. } => {
            format!("{} removed {}", name(by), name(member))
        }
        What::Reclassed { messages, class: Class::PostCut } => {
            let messages = show::count(messages.len() as u64, "message");
            format!("{messages} above: written after the writer's removal, don't trust it")
        }
        What::Moved { by, followed: true, .. } => {
            format!("{} moved the group: write in the new one of this name", name(by))
        }
        What::Moved { to, by, followed: false } => format!(
            "{} moved the group: wattle group follow GROUP --to {} goes there, with whoever does",
            name(by),
            show::short(to)
        ),
        What::MemberRetired { me: true, .. } => {
            "your recovery code ended this membership: what follows is not for this machine".into()
        }
        What::MemberRetired { member, .. } => {
            format!("{} was retired with the recovery code: that machine is lost", name(member))
        }
        What::MemberRenamed { member, before, me: true } => {
            format!("you are {} from now on; you were {}", name(member), show::safe(before))
        }
        What::MemberRenamed { member, before, .. } => {
            format!("{} was {}: another name, the same member", name(member), show::safe(before))
        }
        What::MemberLeft { member } => format!("{} left", name(member)),
        What::NotAdmitted { me: true, why, .. } => {
            format!("you are not in after all: {}", show::safe(why))
        }
        What::NotAdmitted { member, why, .. } => {
            format!("{} is not in after all: {}", name(member), show::safe(why))
        }
        What::ViewUnconfirmed { by } => format!(
            "unconfirmed view: who is in this group is {}'s word alone, until somebody else or the \
             relay has spoken",
            name(by)
        ),
        What::ViewConfirmed => "the view is confirmed".into(),
        What::Gap { from, missing, asked, everybody } => {
            let are = if *missing == 1 { "is" } else { "are" };
            let missing = show::count(*missing, "message");
            let asking = match (asked.is_empty(), everybody) {
                (true, true) => "asking all members".into(),
                (true, false) => "nobody is there to be asked yet".into(),
                (false, true) => format!("asking {} and all others", show::names(asked)),
                (false, false) => format!("asking {}", show::names(asked)),
            };
            format!("{missing} from {} {are} missing; {asking}", name(from))
        }
        What::GapHealed { from, missing: 0 } => {
            format!("recovered what was missing from {}", name(from))
        }
        What::GapHealed { from, missing } => {
            let missing = show::count(*missing, "message");
            format!("recovered what was asked for from {}; {missing} given up before", name(from))
        }
        What::GivenUp { from, missing } => {
            let missing = show::count(*missing, "message");
            format!("nobody here has {missing} from {}; shown if it comes after all", name(from))
        }
        What::Withheld { withheld } => {
            format!("look at this: {}", verify::withheld(withheld))
        }
        What::CaughtUp => "this node has caught up and sends again, with new keys".into(),
        What::JoinRequested { request } => format!(
            "{} waits to be let in, number {}{}: wattle invite approve, or deny",
            name(&request.member),
            show::safe(&request.fingerprint),
            show::imitates(&request.other_than)
        ),
        What::JoinAnswered { request, approved: true } => {
            format!("you let {} in", name(&request.member))
        }
        What::JoinAnswered { request, .. } => format!("you sent {} away", name(&request.member)),
        What::RelayClosed { relay, reason, hint } => {
            let [relay, reason, hint] = [relay, reason, hint].map(|it| show::safe(it));
            format!("{reason}; {hint} ({relay})")
        }
        What::RelayOpened { relay } => {
            format!("the relay has taken the group's token ({})", show::safe(relay))
        }
        What::EventsLost { until, .. } => format!(
            "events up to {until} are not kept any more: of those that were not read yet the messages follow, all else is lost"
        ),
        What::Alarm { text } => format!("look at this: {}", show::safe(text)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    #[test]
    fn what_came_late_is_what_stands_and_was_written_before() {
        let message = |place: &str, at: &str, mine| Message {
            v: 1,
            id: String::new(),
            seq: 1,
            place: place.into(),
            group: Default::default(),
            from: MemberRef { id: "00".into(), name: "ben".into() },
            mine,
            text: String::new(),
            at: at.into(),
            class: Class::Ok,
            late: false,
            ahead: false,
            shared_by: None,
            file: None,
            more: node::api::types::More::default(),
            delivery: None,
        };
        let last = Shown { place: "05".into(), at: "2026-01-31T14:03:00Z".into() };
        let late = |place, at, mine| came_late(&message(place, at, mine), &last);
        assert!(late("04", "2026-01-31T14:01:00Z", false));
        assert!(!late("06", "2026-01-31T14:01:00Z", false), "a clock that is behind");
        assert!(!late("04", "2026-01-31T14:02:30Z", false), "at the same time");
        assert!(!late("04", "2026-01-31T14:01:00Z", true), "one's own");
        let there = message("06", "2090-01-31T14:01:00Z", false);
        assert!(leads(&there) && !leads(&Message { mine: true, ..there.clone() }));
        assert!(!leads(&Message { ahead: true, ..there }), "others would all be late beside it");
    }

    #[test]
    fn names_in_notes_are_safe_on_a_terminal() {
        let member = MemberRef { id: "00".into(), name: "b\u{1b}en".into() };
        assert_eq!(note(&What::MemberLeft { member }).unwrap(), "b\\u{1b}en left");
        assert_eq!(note(&What::GroupAdded), None);
    }
}
