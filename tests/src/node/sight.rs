//! What a person sees of a node, and waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use node::api::types::{
    Delivery, Event, GroupState, GroupView, Message, PAGE_MAX, Page, Ready, Status, What,
};

use super::Node;
use crate::{PATIENCE, stored};

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
                all.sort_by(|one, other| one.place.cmp(&other.place));
                return all;
            }
            // A page is in the order of coming.
            all.extend(more);
        }
    }

    /// The texts of the group's history, oldest first.
    #[must_use]
    pub fn texts(&self, group: &str) -> Vec<String> {
        self.history(group).into_iter().map(|message| message.text).collect()
    }

    /// Waits until its history has each of these texts.
    pub fn until_texts(&self, group: &str, texts: &BTreeSet<&str>) {
        let start = Instant::now();
        loop {
            let seen = self.watch.latest();
            let history = self.texts(group);
            let there: BTreeSet<&str> = history.iter().map(String::as_str).collect();
            let lacks: Vec<&&str> = texts.difference(&there).collect();
            if lacks.is_empty() {
                return;
            }
            let some = &lacks[..lacks.len().min(8)];
            assert!(
                start.elapsed() < 3 * PATIENCE,
                "{}: {} of {} texts are lost, of these {some:?}",
                self.name(),
                lacks.len(),
                texts.len()
            );
            self.watch.next(seen, LOOK_AGAIN);
        }
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

    /// The same where it may not come: waits for so long at most.
    pub fn within<T>(
        &self,
        patience: Duration,
        after: u64,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        self.watch.within(patience, after, pick)
    }

    /// Waits for an alarm with these words.
    pub fn warns(&self, words: &str) {
        self.until(&format!("to be warned: {words:?}"), |event| match &event.what {
            What::Alarm { text } if text.contains(words) => Some(()),
            _ => None,
        });
    }

    /// Waits until `holds` is true of the group; looks again at each event.
    pub fn until_group(&self, group: &str, what: &str, holds: impl Fn(&GroupView) -> bool) {
        let start = Instant::now();
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

    /// Waits until `holds` is true of its status.
    pub fn until_status(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        self.until_status_within(PATIENCE, what, holds);
    }

    /// The same, for what takes its time.
    pub fn until_status_within(
        &self,
        patience: Duration,
        what: &str,
        holds: impl Fn(&Status) -> bool,
    ) {
        let start = Instant::now();
        loop {
            let (seen, status) = (self.watch.latest(), self.status());
            if holds(&status) {
                return;
            }
            assert!(
                start.elapsed() < patience,
                "{}: waited for {what}; its status is {status:#?}",
                self.name()
            );
            self.watch.next(seen, LOOK_AGAIN);
        }
    }

    /// What it has read of its own inboxes and has not had trimmed: the number of the last entry
    /// read on each day, by log. Waits until `holds` is true of it.
    pub fn until_marks(
        &self,
        what: &str,
        holds: impl Fn(&BTreeMap<Vec<u8>, Vec<u64>>) -> bool,
    ) -> BTreeMap<Vec<u8>, Vec<u64>> {
        let start = Instant::now();
        loop {
            let marks = stored::marks(&self.setup.data_dir);
            if holds(&marks) {
                return marks;
            }
            assert!(start.elapsed() < PATIENCE, "{}: waited for {what}: {marks:?}", self.name());
            self.watch.next(self.watch.latest(), LOOK_AGAIN);
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

    /// Says `text` with a number, again and again, until `reader` hears one of them: what was said
    /// before it had the keys may stay unread.
    pub fn says_until_heard(&self, group: &str, text: &str, reader: &Node) {
        let start = Instant::now();
        for number in 0.. {
            let said = format!("{text} {number}");
            self.send(group, &said);
            reader.watch.next(reader.watch.latest(), SAY_AGAIN);
            if reader.texts(group).iter().any(|heard| heard.starts_with(text)) {
                return;
            }
            assert!(start.elapsed() < 3 * PATIENCE, "{} hears none of {said:?}", reader.name());
        }
    }

    /// Waits until an own message is as far as `far` asks.
    pub fn until_delivery(&self, id: &str, what: &str, far: impl Fn(&Delivery) -> bool) {
        let start = Instant::now();
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
}

/// How soon a condition is looked at again when no event comes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long somebody who says something until it is heard waits each time.
const SAY_AGAIN: Duration = Duration::from_secs(5);
