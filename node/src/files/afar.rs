//! Streams of files on circuits through relays: asked for where next to nothing of a file comes directly, and gone to where a
//! member asks.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use protocol::{
    group,
    ids::{FileId, GroupId, MemberId},
};
use tokio::{
    sync::mpsc,
    task::{self, JoinSet},
    time::Instant,
};

use super::whom::Unmet;
use crate::{
    core::Summons,
    driver::Handle,
    net::{Circuit, Circuits, FileStream},
};

/// Circuits to which this node goes.
pub(super) struct Going {
    circuits: Circuits,
    /// Takes the streams that come on them.
    fetchers: mpsc::Sender<FileStream>,
    tasks: JoinSet<()>,
    with: BTreeMap<task::Id, MemberId>,
    /// When it went last.
    gone: VecDeque<Instant>,
}

/// Circuits on which files are given at one time, and those with one member.
const GIVEN: usize = 8;
/// See [`GIVEN`].
const GIVEN_TO_ONE: usize = 4;

/// How often this node goes within [`SPAN`], whoever asks.
const GONE: usize = 16;
/// See [`GONE`].
const SPAN: Duration = Duration::from_secs(10);

/// Why there is no circuit with a member.
pub(super) struct NoCircuit {
    pub(super) unmet: Unmet,
    /// For people.
    pub(super) why: String,
}

/// Waits for a member at the first relay of the group that gives a place, and asks it to come; where it does not, at the
/// next. After circuits that were in vain another relay is the first.
pub(super) async fn meet(
    circuits: &Circuits,
    handle: &Handle,
    group: GroupId,
    member: MemberId,
    file: FileId,
    vain: usize,
) -> Result<(Circuit, FileStream), NoCircuit> {
    let relays = handle.call(move |core, _| core.circuit_relays(group, &member)).await;
    let mut relays = relays.map_err(|_| NoCircuit::ends())?.map_err(NoCircuit::unasked)?;
    let first = vain % relays.len().max(1);
    relays.rotate_left(first);
    let mut fault = NoCircuit { unmet: Unmet::Refused, why: String::new() };
    for relay in relays {
        let place = match circuits.reserve(&relay).await {
            Ok(place) => place,
            Err(refused) => {
                // Who was asked by way of another one did not come.
                fault.why = refused.to_string();
                continue;
            }
        };
        let (relay, place_key) = (relay.peer_id.to_bytes(), *place.key());
        let asked = group::Circuit { relay, place: place_key, file };
        let asked =
            handle.call(move |core, now| core.ask_circuit(group, member, &asked, now)).await;
        // What the store refuses is refused until the next time.
        let asked = asked.map_err(|_| NoCircuit::ends())?.map_err(|error| error.to_string());
        let key = match asked.flatten() {
            Ok(key) => key,
            Err(why) if fault.unmet == Unmet::Absent => return Err(NoCircuit { why, ..fault }),
            Err(why) => return Err(NoCircuit::unasked(why)),
        };
        match circuits.meet(place, member, key.seed()).await {
            Ok(met) => return Ok(met),
            Err(absent) => fault = NoCircuit { unmet: Unmet::Absent, why: absent.to_string() },
        }
    }
    Err(fault)
}

impl NoCircuit {
    const fn unasked(why: String) -> Self {
        Self { unmet: Unmet::Unasked, why }
    }

    fn ends() -> Self {
        Self::unasked("the node ends".into())
    }
}

impl Going {
    pub(super) fn new(circuits: Circuits, fetchers: mpsc::Sender<FileStream>) -> Self {
        let (tasks, with, gone) = (JoinSet::new(), BTreeMap::new(), VecDeque::new());
        Self { circuits, fetchers, tasks, with, gone }
    }

    /// Goes to where a member waits, unless there is too much of that.
    pub(super) fn go(&mut self, summons: Summons) {
        let Summons { member, relay, place, key } = summons;
        let with_it = self.with.values().filter(|other| **other == member).count();
        let now = Instant::now();
        self.gone.retain(|at| now.saturating_duration_since(*at) < SPAN);
        if self.with.len() >= GIVEN || with_it >= GIVEN_TO_ONE || self.gone.len() >= GONE {
            return;
        }
        self.gone.push_back(now);
        let (circuits, fetchers) = (self.circuits.clone(), self.fetchers.clone());
        let task = self.tasks.spawn(async move {
            if let Err(fault) = circuits.come(&relay, &place, member, key.seed(), &fetchers).await {
                tracing::debug!(%member, %fault, "no circuit for a file");
            }
        });
        self.with.insert(task.id(), member);
    }

    /// Waits until one has ended; never comes back where there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => {
                let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                self.with.remove(&task);
            }
            None => std::future::pending().await,
        }
    }
}
