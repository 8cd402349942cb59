//! What people say all the while: each line answers the last one that its writer sees.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use node::api::types::{Message, Page};

use super::{GROUP, api::Api, cast::NODES};
use crate::{Chance, cli};

/// What is in all lines, and nowhere else.
pub(super) const SECRET: &str = "the kettle sings at noon";

/// A line that was to be sent.
pub(super) struct Line {
    /// Who wrote it.
    pub(super) by: usize,
    /// Its local id, if `wattle send` ended with 0.
    pub(super) id: Option<String>,
}

/// All of it.
#[derive(Default)]
pub(super) struct Talk {
    /// By their numbers.
    pub(super) lines: Vec<Line>,
    /// With what `wattle send` ended, and how often.
    pub(super) ends: BTreeMap<i32, usize>,
    /// What it should not have said.
    pub(super) findings: Vec<String>,
}

/// Between two lines.
const PAUSE_MS: (u64, u64) = (10, 250);

/// Has people talk until it is over.
pub(super) fn talk(dirs: &[PathBuf], seed: u64, over: &AtomicBool) -> Talk {
    let (api, mut chance, mut talk) = (Api::new(), Chance::of(seed ^ 0x7a1c), Talk::default());
    while !over.load(Ordering::SeqCst) {
        let by = usize::try_from(chance.below(NODES as u64)).expect("a number");
        let dir = &dirs[by];
        let text = text(talk.lines.len(), last(&api, dir));
        let said = cli::run(dir, &["--json", "send", GROUP, &text], "");
        let message: Option<Message> =
            (said.code == Some(0)).then(|| serde_json::from_str(&said.out).expect("a message"));
        // A node whose disk was filled says so, if it is asked before it ends of that.
        let is_full = said.err.contains("the disk is full");
        if said.code.is_none_or(|code| code == 1 && !is_full) || said.err.contains("panicked") {
            talk.findings.push(format!("wattle send ended with {said:?}"));
        }
        *talk.ends.entry(said.code.unwrap_or(-1)).or_default() += 1;
        talk.lines.push(Line { by, id: message.map(|it| it.id) });
        thread::sleep(chance.span(PAUSE_MS.0, PAUSE_MS.1));
    }
    talk
}

/// The line that a node shows last.
fn last(api: &Api, dir: &Path) -> Option<usize> {
    let page = Page { limit: Some(1), ..Page::default() };
    let shown = api.ask(dir, |client| async move { client.history(GROUP, page).await }).ok()?;
    Some(read(&shown.last()?.text)?.0)
}

fn text(number: usize, answers: Option<usize>) -> String {
    match answers {
        Some(answers) => format!("{SECRET}: {number} answers {answers}"),
        None => format!("{SECRET}: {number} answers nobody"),
    }
}

/// The number of a line, and of what it answers.
pub(super) fn read(text: &str) -> Option<(usize, Option<usize>)> {
    let rest = text.strip_prefix(SECRET)?.strip_prefix(": ")?;
    let (number, answers) = rest.split_once(" answers ")?;
    Some((number.parse().ok()?, answers.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        assert_eq!(read(&text(12, Some(7))), Some((12, Some(7))));
        assert_eq!(read(&text(0, None)), Some((0, None)));
        assert_eq!(read("the kettle"), None);
    }
}
