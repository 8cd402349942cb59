//! Reading by a named cursor: the node knows how far, and nobody else reads by it meanwhile.
//!
//! > The cursor is moved after the line was written and flushed, never before: what was not written is shown again.

use std::{collections::VecDeque, io};

use node::{
    api::types::{CursorLease, Event},
    client::{Client, CursorStream, EventStream},
};
use tokio::sync::mpsc::Receiver;

use super::{Tail, View};
use crate::cli::{
    exit::{Exit, Failure},
    input, show,
};

/// How many lines are shown that are not acknowledged yet.
const AHEAD: usize = 1024;

/// After how many events that are not shown the cursor moves past them.
const PASSED: u64 = 1024;

struct Reading<'a> {
    client: &'a Client,
    lease: CursorLease,
    events: EventStream,
    /// Where the cursor stands.
    at: u64,
    /// The events that were shown and are not acknowledged yet.
    shown: VecDeque<u64>,
    /// What is acknowledged, where that is asked for.
    acks: Option<Receiver<io::Result<String>>>,
    /// The last event to be read, if not all that come.
    until: Option<u64>,
}

impl Tail {
    /// Follows by a cursor.
    pub(super) async fn by_cursor(
        &self,
        client: &Client,
        stream: CursorStream,
        view: &mut View,
    ) -> anyhow::Result<Exit> {
        let CursorStream { lease, events } = stream;
        let cursor = &lease.cursor;
        if !self.no_follow {
            let (name, after) = (show::safe(&cursor.name), cursor.after);
            show::words(format_args!(
                "following by the cursor {name}, after event {after}; Ctrl-C ends, what comes meanwhile is kept"
            ));
        }
        let reading = Reading {
            client,
            at: cursor.after,
            shown: VecDeque::new(),
            acks: self.ack.then(input::lines),
            until: self.no_follow.then_some(cursor.last),
            lease,
            events,
        };
        reading.run(view).await
    }
}

impl Reading<'_> {
    async fn run(mut self, view: &mut View) -> anyhow::Result<Exit> {
        loop {
            let ends = self.until.is_some_and(|until| self.events.after() >= until);
            if ends && self.shown.is_empty() {
                self.pass(1).await?;
                return Ok(Exit::Done);
            }
            let may_show = !ends && self.shown.len() < AHEAD;
            tokio::select! {
                biased;
                ack = next(&mut self.acks) => match ack {
                    Some(line) => self.acknowledge(&line?).await?,
                    None => return Ok(self.unheard()),
                },
                event = self.events.next(), if may_show => self.show(&event?, view).await?,
            }
        }
    }

    async fn show(&mut self, event: &Event, view: &mut View) -> anyhow::Result<()> {
        let is_shown = view.is_here(event) && view.show(event)?;
        match (is_shown && event.seq > self.at, &self.acks) {
            (false, _) => self.pass(PASSED).await,
            (true, None) => self.advance(event.seq).await,
            (true, Some(_)) => {
                self.shown.push_back(event.seq);
                Ok(())
            }
        }
    }

    /// Moves past what has been read and was not to be shown, where it is so much, and nothing before it waits.
    async fn pass(&mut self, least: u64) -> anyhow::Result<()> {
        let passed = self.events.after();
        if self.shown.is_empty() && passed >= self.at.saturating_add(least) {
            self.advance(passed).await?;
        }
        Ok(())
    }

    /// Moves by what was acknowledged, and all that has come of it meanwhile.
    async fn acknowledge(&mut self, first: &str) -> anyhow::Result<()> {
        let mut done = self.ack(first)?;
        while let Some(Ok(line)) = self.acks.as_mut().map(Receiver::try_recv) {
            done = done.max(self.ack(&line?)?);
        }
        match done > self.at {
            true => self.advance(done).await,
            false => Ok(()),
        }
    }

    /// Up to which event a line says that all is done with.
    fn ack(&mut self, line: &str) -> anyhow::Result<u64> {
        let line = line.trim();
        let hint = "write the `seq` of a line that was shown, a line each";
        let wrong = |message: String| Failure::new(Exit::Usage, message, hint);
        if line.is_empty() {
            return Ok(self.at);
        }
        let seq: u64 = line.parse().map_err(|_| wrong("that acknowledges no event".into()))?;
        if self.shown.contains(&seq) {
            self.shown.retain(|shown| *shown > seq);
            return Ok(seq);
        }
        // What is acknowledged twice was done with.
        let first = self.shown.front().copied().unwrap_or(self.events.after() + 1);
        if seq < first {
            Ok(self.at)
        } else {
            Err(wrong(format!("the event {seq} was not shown")).into())
        }
    }

    async fn advance(&mut self, to: u64) -> anyhow::Result<()> {
        self.client.move_cursor(&self.lease, to).await?;
        self.at = to;
        Ok(())
    }

    /// Whoever acknowledges has ended.
    fn unheard(&self) -> Exit {
        if !self.shown.is_empty() {
            let lines = show::count(self.shown.len() as u64, "line");
            show::words(format_args!("not acknowledged: {lines}; shown again the next time"));
        }
        Exit::Done
    }
}

/// The next line that acknowledges; none comes where that is not asked for.
async fn next(acks: &mut Option<Receiver<io::Result<String>>>) -> Option<io::Result<String>> {
    match acks {
        Some(acks) => acks.recv().await,
        None => std::future::pending().await,
    }
}
