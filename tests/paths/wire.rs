//! Bytes on the wire for one message, hop by hop.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use harness::Machine;
use node::api::types::Path;

use crate::{
    Asked,
    pair::Pair,
    report::{Figure, Outcome, median},
    talk::{TEXT, texts},
};

/// How often somebody says something.
const PACE: Duration = Duration::from_millis(50);
/// How long what follows a message may take: receipts are gathered for half a second.
const SETTLE: Duration = Duration::from_millis(1200);

/// What goes through the interfaces of the two for each message, less what goes through them in the same time
/// without any. First Ana's, then Ben's; of each first what goes the message's way, then what comes back. The
/// envelope's size is what a relay keeps most of; once it is known, it is the same without one.
pub fn hops(
    pair: &mut Pair,
    asked: &Asked,
    path: Path,
    envelope: &mut Option<usize>,
) -> [Outcome; 2] {
    if let Err(why) = pair.reaches(path, asked.patience()) {
        return [Err(why.clone()), Err(why)];
    }
    let all = texts("how much is it?", 0..asked.messages);
    let each = all.len().div_ceil(usize::try_from(asked.rounds).expect("a number"));
    let mut rounds = Vec::new();
    for texts in all.chunks(each) {
        let (busy, span) = counted(pair, || talk(pair, texts));
        let (idle, _) = counted(pair, || thread::sleep(span));
        rounds.push([0, 1, 2, 3].map(|at| (busy[at] - idle[at]) / texts.len() as f64));
    }
    if path == Path::Relay {
        pair.kill_relay();
        *envelope = most_frequent(&pair.kept());
    }
    let size = match *envelope {
        Some(size) => Figure::Number(size as f64),
        None => Figure::Words("not known".into()),
    };
    let counted = |at: usize| {
        Figure::Number(median(rounds.iter().map(|round: &[f64; 4]| round[at]).collect()))
    };
    [[0, 1], [2, 3]].map(|[there, back]| {
        let text = Figure::Number(TEXT as f64);
        Ok(vec![text, size.clone(), counted(there), counted(back)])
    })
}

/// One message after the other at a pace, until all is done that follows the last.
fn talk(pair: &Pair, texts: &[String]) {
    for text in texts {
        let begun = Instant::now();
        pair.say(text);
        thread::sleep(PACE.saturating_sub(begun.elapsed()));
    }
    thread::sleep(SETTLE);
}

/// What is sent and received by Ana, then received and sent by Ben, while this is done; and how long it took.
fn counted(pair: &Pair, work: impl FnOnce()) -> ([f64; 4], Duration) {
    let (before, begun) = (counters(pair), Instant::now());
    work();
    let (span, after) = (begun.elapsed(), counters(pair));
    ([0, 1, 2, 3].map(|at| (after[at] - before[at]) as f64), span)
}

fn counters(pair: &Pair) -> [u64; 4] {
    let [ana, ben] = pair.machines();
    let ([out, back], [back_too, there]) = (sent_and_received(ana), sent_and_received(ben));
    [out, back, there, back_too]
}

/// The interface's counters: whole Ethernet frames, without what closes them.
fn sent_and_received(machine: &Machine) -> [u64; 2] {
    let counted = |what: &str| {
        let said = machine.run(&["cat", &format!("/sys/class/net/e0/statistics/{what}_bytes")]);
        said.parse().expect("a counter")
    };
    [counted("tx"), counted("rx")]
}

fn most_frequent(sizes: &[usize]) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for size in sizes {
        *counts.entry(*size).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(size, _)| size)
}
