//! `wattle tail`.

use std::{collections::VecDeque, io, os::fd::AsFd};

use node::{
    api::types::{Class, Event, What},
    client::{Client, ClientError, EventStream},
};
use tokio::{io::Interest, net::unix::pipe};

use super::{
    Place, exit,
    exit::Exit,
    history,
    show::{self, Conversation},
};

/// Follow a group's messages as they come
///
/// Times are UTC. With --json each line is an event, with those that are no message too; resume
/// after a `seq` with --after.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle tail ops", "wattle --json tail ops -n 0"]))]
pub struct Tail {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
    /// How many of the last messages to begin with
    #[arg(short, value_name = "N", default_value_t = 10)]
    n: u32,
    /// Begin with all that the node has kept
    #[arg(long, conflicts_with_all = ["n", "after"])]
    from_start: bool,
    /// Begin after the event with this `seq`
    #[arg(long, value_name = "SEQ", conflicts_with = "n")]
    after: Option<u64>,
    /// Don't wait for more
    #[arg(long)]
    no_follow: bool,
}

impl Tail {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let group = client.group(&self.group).await?.summary;
        let mut now = client.events_from_now().await?;
        let mut view =
            View { json: place.json, group: group.id, conversation: Conversation::default() };
        let mut seen = 0;
        let after = if self.from_start { Some(0) } else { self.after };
        if let Some(after) = after {
            view.replay(&client, after, now.after(), usize::MAX).await?;
        } else if place.json {
            view.replay(&client, 0, now.after(), self.n as usize).await?;
        } else {
            for message in history::last(&client, &view.group, self.n).await? {
                seen = message.seq;
                view.conversation.message(&message)?;
            }
        }
        if self.no_follow {
            return Ok(Exit::Done);
        }
        let name = show::safe(&group.name);
        show::words(format_args!("following {name}; Ctrl-C ends, what comes meanwhile is kept"));
        tokio::select! {
            ended = view.follow(&mut now, seen) => ended,
            () = reader_gone() => Ok(Exit::Done),
        }
    }
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
}

impl View {
    /// Shows the events after one and up to another: all, or the last `n` messages.
    async fn replay(
        &mut self,
        client: &Client,
        after: u64,
        until: u64,
        n: usize,
    ) -> anyhow::Result<()> {
        if after >= until || n == 0 {
            return Ok(());
        }
        let (mut events, mut kept) = (client.events(after).await?, VecDeque::new());
        while events.after() < until {
            let event = events.next().await?;
            let shown = n == usize::MAX || matches!(event.what, What::Message { .. });
            if !shown || !self.is_here(&event) {
                continue;
            }
            if n == usize::MAX {
                self.show(&event)?;
            } else {
                kept.push_back(event);
            }
            if kept.len() > n {
                kept.pop_front();
            }
        }
        kept.iter().try_for_each(|event| self.show(event))
    }

    async fn follow(&mut self, events: &mut EventStream, seen: u64) -> anyhow::Result<Exit> {
        loop {
            let event = match events.next().await {
                Ok(event) => event,
                Err(error @ ClientError::Ended) => {
                    if self.json {
                        let after = events.after();
                        show::words(format_args!("resume with: wattle tail --after {after} …"));
                    }
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            };
            let old = matches!(&event.what, What::Message { message } if message.seq <= seen);
            if !old && self.is_here(&event) {
                self.show(&event)?;
            }
        }
    }

    fn is_here(&self, event: &Event) -> bool {
        event.group.as_ref().is_some_and(|group| group.id == self.group)
    }

    fn show(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.json {
            return show::json(event);
        }
        if let What::Message { message } = &event.what {
            return Ok(self.conversation.message(message)?);
        }
        if let Some(note) = note(&event.what) {
            self.conversation.note(event, note)?;
        }
        Ok(())
    }
}

/// What people want to read of an event that is no message.
fn note(what: &What) -> Option<String> {
    let name = show::name;
    Some(match what {
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
            let asked = match (asked.is_empty(), everybody) {
                (true, _) => "all members".into(),
                (false, true) => format!("{} and all others", show::names(asked)),
                (false, false) => show::names(asked),
            };
            format!("{missing} from {} {are} missing; asking {asked}", name(from))
        }
        What::GapHealed { from } => format!("recovered what was missing from {}", name(from)),
        What::GivenUp { from, missing } => {
            let missing = show::count(*missing, "message");
            format!("nobody here has {missing} from {}; shown if it comes after all", name(from))
        }
        What::CaughtUp => "this node has caught up and sends again, with new keys".into(),
        What::JoinRequested { request } => format!(
            "{} waits to be let in, number {}: wattle invite approve, or deny",
            name(&request.member),
            show::safe(&request.fingerprint)
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
        What::Alarm { text } => format!("look at this: {}", show::safe(text)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    #[test]
    fn names_in_notes_are_safe_on_a_terminal() {
        let member = MemberRef { id: "00".into(), name: "b\u{1b}en".into() };
        assert_eq!(note(&What::MemberLeft { member }).unwrap(), "b\\u{1b}en left");
        assert_eq!(note(&What::GroupAdded), None);
    }
}
