//! Chaos: everything that can happen to eight nodes and two relays, at once and by a seed, while people talk, come
//! and go.
//!
//! > Whatever happens: what `wattle send` acknowledged is with everybody who was a member then and stayed one, once;
//! > who was removed reads nothing of what follows; nobody is accused, and nothing panics.
//!
//! Processes are killed, machines parted and slowed, clocks set, disks filled ([`plan`]); lines are sent, members let
//! in, removed, made admins, and leave ([`talk`], [`people`]). Then all is made whole, and within a bounded time
//! everything has to hold ([`account`], [`verdict`]). The seed decides what is tried and when; how far each process is at
//! that moment is the machine's.

mod account;
mod api;
mod cast;
mod clock;
mod disk;
mod people;
mod plan;
mod talk;
mod verdict;

use std::{
    env,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

pub use self::disk::Disk;
use self::{
    api::Api,
    cast::{Cast, NAMES, NODES},
    people::Changes,
    plan::Step,
    talk::Talk,
    verdict::{Inquiry, Verdict},
};
use crate::copy_dir;

/// The group that all are in.
const GROUP: &str = "tea";
/// How often is looked at what runs and what holds.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A directory to which all is copied where something is wrong.
const KEEP: &str = "WATTLE_CHAOS_KEEP";

/// What is to be played.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Says what happens when.
    pub seed: u64,
    /// For how long things happen.
    pub length: Duration,
    /// How long it may take then until all holds.
    pub settles: Duration,
    /// Whether all are to show all in one order, each line after what it answers.
    pub in_order: bool,
}

impl Chaos {
    /// Plays it; fails with everything that does not hold. Where namespaces, libfaketime or mounts can't be had, it is
    /// skipped.
    pub fn play(self) {
        println!("{self:?}");
        let began = Instant::now();
        let Some(mut cast) = Cast::new() else { return };
        let dirs = cast.dirs();
        let changes = people::gather(&Api::new(), &dirs);
        let mut inquiry = Inquiry::new(dirs.clone());
        println!("all are there after {:.1?}", began.elapsed());

        let steps = plan::plan(self.seed, self.length);
        let happened = steps.len();
        let (talk, changes, mut findings) = self.everything(&mut cast, &dirs, &steps, changes);
        let ends = Instant::now();
        let verdict = loop {
            findings.extend(cast.look_after());
            let verdict = inquiry.look(&talk);
            let is_well = verdict.findings.is_empty() && !self.is_disorder(&verdict);
            if is_well && cast.all_run() || ends.elapsed() > self.settles {
                break verdict;
            }
            thread::sleep(LOOK_AGAIN);
        };
        findings.extend(verdict.findings.iter().cloned());
        findings.extend(talk.findings.iter().cloned());
        findings.extend(verdict::of_logs(&cast.logs(), &changes.codes));
        for relay in &NAMES[NODES..] {
            findings.extend(verdict::of_relay(&cast.world().dir().join(relay)));
        }
        if self.is_disorder(&verdict) {
            let (above, differ) = verdict.out_of_order;
            findings.push(format!("{above} answers above what they answer; {differ} other orders"));
        }
        if verdict.extent.owed == 0 {
            findings.push(format!("nothing was looked at: {:?}", verdict.extent));
        }
        println!("{happened} things happened; settled after {:.1?}", ends.elapsed());
        report(&talk, &changes, &verdict);
        if !findings.is_empty() {
            keep(&cast);
        }
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }

    /// Whether they show an order that they should not.
    fn is_disorder(&self, verdict: &Verdict) -> bool {
        self.in_order && verdict.out_of_order != (0, 0)
    }

    /// Has it all happen while people talk, come and go.
    fn everything(
        self,
        cast: &mut Cast,
        dirs: &[PathBuf],
        steps: &[Step],
        changes: Changes,
    ) -> (Talk, Changes, Vec<String>) {
        let (over, seed) = (AtomicBool::new(false), self.seed);
        let mut findings = Vec::new();
        let (talk, changes) = thread::scope(|scope| {
            let ends = Ends(&over);
            let talk = scope.spawn(|| talk::talk(dirs, seed, &over));
            let changes = scope.spawn(|| people::come_and_go(dirs, seed, &over, changes));
            let began = Instant::now();
            for step in steps {
                while began.elapsed() < step.at {
                    findings.extend(cast.look_after());
                    thread::sleep(LOOK.min(step.at.saturating_sub(began.elapsed())));
                }
                println!("{:7.1} s {:?}", began.elapsed().as_secs_f64(), step.act);
                cast.carry_out(step.act);
            }
            drop(ends);
            (talk.join().expect("a talk"), changes.join().expect("changes"))
        });
        (talk, changes, findings)
    }
}

/// Ends what goes on beside, also where this fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn report(talk: &Talk, changes: &Changes, verdict: &Verdict) {
    let acknowledged = talk.lines.iter().filter(|line| line.id.is_some()).count();
    let Changes { joined, removed, left, promoted, refused, .. } = changes;
    println!(
        "{acknowledged} lines acknowledged of {} ({:?}); {joined} joined, {removed} removed, {left} left, \
         {promoted} promoted, {refused} changes refused or without an answer",
        talk.lines.len(),
        talk.ends,
    );
    let (extent, (above, differ)) = (verdict.extent, verdict.out_of_order);
    println!(
        "{} members at the end: {} pairs of a line and who is owed it, {} of a line and who is not to have it, \
         {} answers, {above} of them above what they answer, {differ} pairs of members with other orders",
        verdict.members, extent.owed, extent.kept_from, extent.answers,
    );
    println!("{} receipts not yet there; people were told: {:?}", verdict.unsaid, verdict.told);
}

fn keep(cast: &Cast) {
    if let Some(to) = env::var_os(KEEP) {
        copy_dir(cast.world().dir(), Path::new(&to));
        println!("all of it is in {}", Path::new(&to).display());
    }
}
