//! `wattle notify`.
//!
//! > A client of the node like any other. What the desktop is told goes over its own bus, never through an argument list,
//! > and says nothing of who or what unless a person asks for that.

mod desktop;
mod gathered;

use std::{future::pending, time::Duration};

use node::{
    api::types::{Event, What},
    client::{Client, ClientError, EventStream},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, sleep_until};

use self::{desktop::Desktop, gathered::Gathered};
use super::{Place, exit, exit::Exit, show};

/// Have the desktop show what comes, until Ctrl-C
///
/// It says that something came, and how much: no name, no group, no word of it, since who stands beside the screen
/// reads it too, and many desktops keep a list. With --content it says who wrote what, and where. Who asks to talk with you alone, or to
/// be let in, is told of, too. What is from before, as after a time away, is not shown.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle notify", "wattle notify --content --group ops --for-me"]))]
pub struct Notify {
    /// Say who wrote what, and where
    #[arg(long)]
    content: bool,
    /// Only of this group: its name, or the first digits of its id; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: Vec<String>,
    /// Only what mentions you, or answers you
    #[arg(long)]
    for_me: bool,
}

/// What is told of.
struct Wanted {
    me: String,
    /// Ids; all, if none is named.
    groups: Vec<String>,
    for_me: bool,
}

/// How long after a notification the next one is.
const PAUSE: Duration = Duration::from_secs(2);
/// How long ago a message may have been written that is told of.
const RECENT: time::Duration = time::Duration::minutes(10);
/// How often a node that has ended is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// How long after one that the desktop did not show it is asked again.
const AGAIN: Duration = Duration::from_secs(5);

impl Notify {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let mut wanted =
            Wanted { me: client.status().await?.me.id, groups: Vec::new(), for_me: self.for_me };
        for group in &self.group {
            wanted.groups.push(client.group(group).await?.summary.id);
        }
        let mut desktop = Desktop::connect(self.content).await?;
        let mut events = client.events_from_now().await?;
        let mut gathered = Gathered::default();
        let mut free = Instant::now();
        let mut is_shown = true;
        show::words("the desktop shows what comes; Ctrl-C ends");
        loop {
            let is_due = async {
                match gathered.is_empty() {
                    true => pending().await,
                    false => sleep_until(free).await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Ok(event) => {
                        if let Some(message) = wanted.of(&event, OffsetDateTime::now_utc()) {
                            gathered.add(message, &wanted.me);
                        }
                        if let Some(asks) = wanted.asked(&event, OffsetDateTime::now_utc()) {
                            gathered.ask(asks);
                        }
                    }
                    Err(ClientError::Ended) => events = again(place, events.after()).await?,
                    Err(error) => return Err(error.into()),
                },
                () = is_due => {
                    let shown = desktop.show(&gathered.words(self.content)).await;
                    let was_shown = std::mem::replace(&mut is_shown, shown.is_ok());
                    free = Instant::now() + if is_shown { PAUSE } else { AGAIN };
                    match shown {
                        Ok(()) => gathered = Gathered::default(),
                        // Such a service is started anew at times, and the bus with the session.
                        Err(why) => {
                            if was_shown {
                                show::words(format_args!("{why}; trying again"));
                            }
                            if let Ok(new) = Desktop::connect(self.content).await {
                                desktop = new;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The events after one, once the node is there again.
async fn again(place: &Place, after: u64) -> anyhow::Result<EventStream> {
    show::words("the node has ended; waiting for its next start");
    loop {
        match Client::connect(&place.data_dir).await {
            Ok(client) => match client.events(after).await {
                Ok(events) => return Ok(events),
                Err(ClientError::Ended | ClientError::NotRunning) => {}
                Err(error) => return Err(error.into()),
            },
            Err(ClientError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
        sleep(LOOK).await;
    }
}

impl Wanted {
    /// The message of an event, if it is to be told of.
    fn of<'a>(
        &self,
        event: &'a Event,
        now: OffsetDateTime,
    ) -> Option<&'a node::api::types::Message> {
        let What::Message { message } = &event.what else { return None };
        let is_recent = show::time(&message.at) >= now - RECENT;
        let is_here = self.groups.is_empty() || self.groups.contains(&message.group.id);
        let is_told = !self.for_me || gathered::is_for(message, &self.me);
        let is_hidden = message.mine || message.more.blocked;
        (!is_hidden && is_recent && is_here && is_told).then_some(&**message)
    }
}

impl Wanted {
    /// What somebody asks this node's person, if it is to be told of.
    fn asked(&self, event: &Event, now: OffsetDateTime) -> Option<String> {
        let name = show::name;
        let asks = match &event.what {
            What::TalkAsked { member } => {
                format!("{} would like to talk with you alone", name(member))
            }
            What::JoinRequested { request } => {
                format!("{} waits to be let in", name(&request.member))
            }
            _ => return None,
        };
        let is_here = event.group.as_ref().is_some_and(|it| self.groups.contains(&it.id));
        let is_recent = show::time(&event.at) >= now - RECENT;
        (is_recent && (self.groups.is_empty() || is_here)).then_some(asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_messages_old_ones_and_those_of_other_groups_are_not_told_of() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let told = |message, wanted: &Wanted| {
            let what = What::Message { message: Box::new(message) };
            let event = Event { v: 1, seq: 1, at: String::new(), group: None, what };
            wanted.of(&event, now).is_some()
        };
        let at = "2024-10-04T00:00:00Z";
        assert_eq!(show::time(at), now);
        let message = || gathered::tests::message("ben", "hello", at);
        let all = Wanted { me: "aa".into(), groups: Vec::new(), for_me: false };
        assert!(told(message(), &all));
        let mine = node::api::types::Message { mine: true, ..message() };
        assert!(!told(mine, &all));
        let old = gathered::tests::message("ben", "hello", "2024-10-03T23:49:59Z");
        assert!(!told(old, &all));
        let elsewhere = Wanted { groups: vec!["other".into()], ..all };
        assert!(!told(message(), &elsewhere));
        let here = Wanted { groups: vec!["tea".into()], for_me: true, ..elsewhere };
        assert!(!told(message(), &here), "it is for nobody in particular");
        let mut mention = message();
        mention.more.mentions.push(gathered::tests::member("aa", "ana"));
        assert!(told(mention, &here));
    }

    #[test]
    fn who_asks_to_talk_is_told_of() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let member = gathered::tests::member("bb", "ben");
        let group = Some(node::api::types::GroupRef { id: "tea".into(), name: "tea".into() });
        let (at, what) = ("2024-10-04T00:00:00Z".into(), What::TalkAsked { member });
        let event = Event { v: 1, seq: 1, at, group, what };
        let all = Wanted { me: "aa".into(), groups: Vec::new(), for_me: true };
        let asks = all.asked(&event, now).unwrap();
        assert_eq!(asks, "ben would like to talk with you alone");
        assert_eq!(all.asked(&event, now + time::Duration::hours(1)), None);
        let elsewhere = Wanted { groups: vec!["other".into()], ..all };
        assert_eq!(elsewhere.asked(&event, now), None);
    }
}
