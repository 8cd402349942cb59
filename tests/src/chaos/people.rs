//! Who comes and goes: a group of all, in which some are let in, removed and made admins, and leave.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use node::api::types::{CreateInvite, GroupView, JoinState, Role};

use super::{
    GROUP,
    api::Api,
    cast::{NAMES, NODES},
};
use crate::{Chance, PATIENCE};

/// Who never goes: the founder, two admins, and who becomes one.
pub(super) const STAYS: usize = 4;
/// Who are admins from the beginning on.
const ADMINS: usize = 3;

/// What came of it.
#[derive(Default)]
pub(super) struct Changes {
    /// Each code that was made.
    pub(super) codes: Vec<String>,
    pub(super) joined: usize,
    pub(super) removed: usize,
    pub(super) left: usize,
    pub(super) promoted: usize,
    /// What was refused, or had no answer.
    pub(super) refused: usize,
}

/// Between two changes.
const PAUSE_MS: (u64, u64) = (500, 4000);
/// How long a join is waited for; it goes on after that.
const JOINING: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// Has the first found the group, everybody join it, and some be admins.
pub(super) fn gather(api: &Api, dirs: &[PathBuf]) -> Changes {
    let mut changes = Changes::default();
    let founded = api.ask(&dirs[0], |client| async move { client.create_group(GROUP).await });
    founded.expect("a group");
    for dir in &dirs[1..] {
        let code = invite(api, &dirs[0]).expect("an invite");
        assert!(join(api, dir, &code, PATIENCE), "{} did not join", dir.display());
        changes.codes.push(code);
    }
    for name in &NAMES[1..ADMINS] {
        let promoted = api.ask(&dirs[0], |client| async move { client.promote(GROUP, name).await });
        promoted.expect("an admin");
    }
    let start = Instant::now();
    let is_whole = |view: &GroupView| {
        let admins = view.people.iter().filter(|it| it.role == Role::Admin).count();
        view.people.len() == NODES && admins == ADMINS - 1
    };
    while !dirs.iter().all(|dir| view(api, dir).is_some_and(|view| is_whole(&view))) {
        assert!(start.elapsed() < PATIENCE, "not everybody sees everybody");
        thread::sleep(LOOK);
    }
    changes
}

/// Has people come and go until it is over.
pub(super) fn come_and_go(
    dirs: &[PathBuf],
    seed: u64,
    over: &AtomicBool,
    mut changes: Changes,
) -> Changes {
    let (api, mut chance) = (Api::new(), Chance::of(seed ^ 0x9e09));
    while !over.load(Ordering::SeqCst) {
        thread::sleep(chance.span(PAUSE_MS.0, PAUSE_MS.1));
        let admins: &[usize] = if changes.promoted > 0 { &[0, 1, 2, 3] } else { &[0, 1, 2] };
        let admin = &dirs[chance.pick(admins)];
        let who = usize::try_from(chance.within(STAYS as u64, NODES as u64 - 1)).expect("a number");
        let (name, leaves) = (NAMES[who], chance.below(3) == 0);
        let Some(view) = view(&api, admin) else {
            changes.refused += 1;
            continue;
        };
        let is_in = view.people.iter().any(|it| it.member.name == name);
        let done = if changes.promoted == 0 && chance.below(4) == 0 {
            let promotes = |client: node::client::Client| async move {
                client.promote(GROUP, NAMES[STAYS - 1]).await
            };
            count(&mut changes.promoted, api.ask(&dirs[0], promotes).is_ok())
        } else if is_in && leaves {
            let leaves = api.ask(&dirs[who], |client| async move { client.leave(GROUP).await });
            count(&mut changes.left, leaves.is_ok())
        } else if is_in {
            let removes = api.ask(admin, |client| async move { client.remove(GROUP, name).await });
            count(&mut changes.removed, removes.is_ok())
        } else if let Some(code) = invite(&api, admin) {
            let joined = join(&api, &dirs[who], &code, JOINING);
            changes.codes.push(code);
            count(&mut changes.joined, joined)
        } else {
            false
        };
        changes.refused += usize::from(!done);
    }
    changes
}

fn count(number: &mut usize, done: bool) -> bool {
    *number += usize::from(done);
    done
}

/// The group as a node sees it.
fn view(api: &Api, dir: &Path) -> Option<GroupView> {
    api.ask(dir, |client| async move { client.group(GROUP).await }).ok()
}

fn invite(api: &Api, admin: &Path) -> Option<String> {
    let terms = CreateInvite { ask: Some(false), ..CreateInvite::default() };
    api.ask(admin, |client| async move { client.invite(GROUP, &terms).await }).ok()?.code
}

/// Whether a join came to its end in time. It goes on where it did not.
fn join(api: &Api, dir: &Path, code: &str, patience: Duration) -> bool {
    let start = Instant::now();
    let Ok(begun) = api.ask(dir, |client| async move { client.join(code).await }) else {
        return false;
    };
    let id = &begun.id;
    while start.elapsed() < patience {
        let now = api.ask(dir, |client| async move { client.join_state(id).await });
        match now.map(|join| join.state) {
            Ok(JoinState::Joined) => return true,
            Ok(JoinState::Failed) => return false,
            _ => thread::sleep(LOOK),
        }
    }
    false
}
