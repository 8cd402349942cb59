//! What breaks in mid-conversation, and how long it takes to be whole again.

use std::{
    thread,
    time::{Duration, Instant},
};

use node::api::types::Path;

use crate::{
    Asked,
    pair::{GROUP, Pair, reads, turns, words},
    report::{Figure, Outcome, share},
    talk::texts,
};

/// How long the relay is away.
const DOWN: Duration = Duration::from_secs(1);

/// Packets of the direct path are dropped while it is in use, until the node has seen that, and then no more. How
/// long until a message sent just then is read, until status says that the path is relayed, and
/// from the mending until it says that it is direct.
pub fn cut(pair: &Pair, asked: &Asked) -> [Outcome; 3] {
    let (mut read, mut noticed, mut healed) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts("can you hear me?", 0..asked.rounds) {
        if let Err(why) = pair.reaches(Path::Direct, asked.patience()) {
            return [Err(why.clone()), Err(why.clone()), Err(why)];
        }
        pair.say(&format!("{text}!"));
        let seen = pair.ana.latest_event();
        pair.cut();
        let begun = Instant::now();
        read.push(Some(pair.say(&text)));
        noticed.push(turned(pair, asked, seen, Path::Relay, begun));
        let seen = pair.ana.latest_event();
        pair.mend();
        let begun = Instant::now();
        if noticed.last().is_some_and(Option::is_some) {
            healed.push(turned(pair, asked, seen, Path::Direct, begun));
        }
    }
    let noticed = row(pair, asked, &noticed);
    let healed = match healed.is_empty() {
        true => Err("the cut was never noticed".into()),
        false => row(pair, asked, &healed),
    };
    [row(pair, asked, &read), noticed, healed]
}

/// The relay ends while a direct path stands: how long a message takes that is sent just then.
pub fn relay_lost(pair: &mut Pair, asked: &Asked) -> Outcome {
    let mut read = Vec::new();
    for text in texts("where is the relay?", 0..asked.rounds) {
        pair.reaches(Path::Direct, asked.patience())?;
        pair.kill_relay();
        read.push(Some(pair.say(&text)));
        pair.restart_relay();
        pair.until_relay_up();
    }
    row(pair, asked, &read)
}

/// The relay ends, something is said, and the relay serves again: how long from there until that is read, where
/// there is no other path.
pub fn relay_back(pair: &mut Pair, asked: &Asked) -> Outcome {
    let mut read = Vec::new();
    for text in texts("is it back?", 0..asked.rounds) {
        pair.until_relay_up();
        pair.kill_relay();
        let seen = pair.ben.latest_event();
        pair.ana.send(GROUP, &text);
        thread::sleep(DOWN);
        pair.restart_relay();
        let begun = Instant::now();
        let heard = pair.ben.within(asked.patience(), seen, |event| reads(event, &text));
        read.push(heard.map(|()| begun.elapsed()));
    }
    row(pair, asked, &read)
}

fn turned(pair: &Pair, asked: &Asked, seen: u64, to: Path, begun: Instant) -> Option<Duration> {
    let turned = pair.ana.within(asked.patience(), seen, |event| turns(event, to));
    turned.map(|()| begun.elapsed())
}

/// The median, the least and the most, if it happened each time.
fn row(pair: &Pair, asked: &Asked, spans: &[Option<Duration>]) -> Outcome {
    let Some(spans) = spans.iter().copied().collect::<Option<Vec<Duration>>>() else {
        let (waited, path) = (asked.patience().as_secs(), words(&pair.path()));
        return Err(format!("not each time within {waited} s; path is {path}"));
    };
    Ok([50, 0, 100].map(|percent| Figure::ms(share(&spans, percent))).into())
}
