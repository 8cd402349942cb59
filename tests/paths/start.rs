//! From a node's start until it is of use.

use std::time::{Duration, Instant};

use node::api::types::{Path, What};

use crate::{
    Asked,
    pair::{GROUP, Pair, reads, turns, words},
    report::{Figure, Outcome, share},
    talk::texts,
};

/// From the start of its process until its local API is ready, until it has told of a message that was sent while
/// it was away, by whichever path, and until it tells that the direct path stands: then the first direct bytes
/// have gone both ways.
pub fn start(pair: &mut Pair, asked: &Asked) -> Outcome {
    let (mut ready, mut heard, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts("are you there?", 0..asked.rounds) {
        pair.ben.stop();
        pair.ana.send(GROUP, &text);
        pair.until_sent();
        let seen = pair.ben.latest_event();
        let begun = Instant::now();
        pair.ben.start_again();
        ready.push(begun.elapsed());
        let (mut message, mut path) = (None, None);
        pair.ben.within(asked.patience(), seen, |event| {
            if let What::Message { .. } = event.what {
                message = message.or_else(|| reads(event, &text).map(|()| begun.elapsed()));
            } else {
                path = path.or_else(|| turns(event, Path::Direct).map(|()| begun.elapsed()));
            }
            (message.is_some() && path.is_some()).then_some(())
        });
        heard.extend(message);
        direct.extend(path);
    }
    let figure = |samples: &[Duration]| match samples.len() == ready.len() {
        true => Figure::ms(share(samples, 50)),
        false => Figure::Words(format!("not within {} s", asked.patience().as_secs())),
    };
    // The other side may see it a little later.
    let other = match direct.len() == ready.len() {
        true => pair.reaches(Path::Direct, asked.patience()).err(),
        false => None,
    };
    let said = Figure::Words(other.unwrap_or_else(|| words(&pair.path())));
    Ok(vec![figure(&ready), figure(&heard), figure(&direct), said])
}
