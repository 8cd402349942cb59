//! How much memory and how many files the process uses: above a mark, no more connections are taken, and
//! where memory stays there some are closed.
//!
//! > Who comes is turned away before a handshake, so that it costs next to nothing, and until what is
//! > used has fallen well below the mark, so that it is said once. Of those who are connected, who has most
//! > goes first.

mod shed;

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::sync::Notify;

use crate::{
    limits::{Limits, Mark},
    watch::{Counts, Why},
};
use shed::{Seen, Shed};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// Of the mark, which part what is used has to fall below it.
const PART: u64 = 16;
/// Of what the control group may use, which part the mark is where nothing else is said, in percent.
const OF_MEMORY: u64 = 80;
/// The same of files.
const OF_FILES: u64 = 90;

/// Whether more connections may come, and how many are to go.
#[derive(Default)]
pub(crate) struct Strain {
    memory: Gate,
    files: Gate,
    /// Where memory is about to run out: halfway between the mark and what there is.
    second: AtomicU64,
    shed: Mutex<Shed>,
    to_close: AtomicU64,
    closes: Notify,
    counts: Arc<Counts>,
}

impl Strain {
    /// By what the limits say, and what is used now.
    pub(crate) fn new(limits: &Limits, counts: Arc<Counts>) -> Self {
        let strain = Self { counts, ..Self::default() };
        strain.set(limits);
        strain
    }

    /// Goes by other marks from now on. It may block.
    pub(crate) fn set(&self, limits: &Limits) {
        let percent = |all: u64, part| all / 100 * part + all % 100 * part / 100;
        let memory = || Some(percent(group_memory()?, OF_MEMORY));
        let files = || Some(percent(open_files()?.0, OF_FILES));
        let memory = mark(limits.memory, memory);
        let files = mark(limits.files, files);
        self.second.store(second(memory, group_memory()), Ordering::Relaxed);
        self.memory.mark.store(memory, Ordering::Relaxed);
        self.files.mark.store(files, Ordering::Relaxed);
        let shown = |mark| if mark == OFF { 0 } else { i64::try_from(mark).unwrap_or(i64::MAX) };
        self.counts.memory_mark.set(shown(memory));
        self.counts.files_mark.set(shown(files));
        self.look();
    }

    /// Why no more connections are taken; `None`: they are.
    pub(crate) fn refuses(&self) -> Option<Why> {
        let gates = [(&self.memory, Why::Memory), (&self.files, Why::Files)];
        gates.into_iter().find_map(|(gate, why)| gate.is_shut().then_some(why))
    }

    /// Waits until connections are to be closed; answers how many.
    pub(crate) async fn sheds(&self) -> u32 {
        loop {
            match self.to_close.swap(0, Ordering::Relaxed) {
                0 => self.closes.notified().await,
                count => return u32::try_from(count).unwrap_or(u32::MAX),
            }
        }
    }

    /// Looks every second, until nobody else holds this.
    pub(crate) async fn watch(this: Weak<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(strain) = this.upgrade() else { return };
            if tokio::task::spawn_blocking(move || strain.look()).await.is_err() {
                tracing::error!("what the process uses could not be looked at");
            }
        }
    }

    /// Looks what is used, and says when that goes past a mark. One look at a time: another would see a
    /// gate that has turned before that is said, or turn it once more.
    fn look(&self) {
        let mut shed = self.shed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = memory() {
            self.counts.memory.set(i64::try_from(used).unwrap_or(i64::MAX));
            let (used_mib, mark_mib) = (used >> 20, self.memory.mark.load(Ordering::Relaxed) >> 20);
            match self.memory.turn(used) {
                None => {}
                Some(true) => tracing::error!(
                    used_mib,
                    mark_mib,
                    "memory is nearly used up, so that no more connections are taken: give the service more \
                     (MemoryMax), or raise limits.memory, or lower limits.connections"
                ),
                Some(false) => {
                    tracing::info!(used_mib, "there is memory again: connections are taken");
                }
            }
            self.shed(&mut shed, used);
        }
        if let Some(used) = files() {
            self.counts.files.set(i64::try_from(used).unwrap_or(i64::MAX));
            let mark = self.files.mark.load(Ordering::Relaxed);
            match self.files.turn(used) {
                None => {}
                Some(true) => tracing::error!(
                    used,
                    mark,
                    "nearly as many files are open as may be, so that no more connections are taken: let the \
                     service open more (LimitNOFILE), or lower limits.connections"
                ),
                Some(false) => {
                    tracing::info!(used, "files can be opened again: connections are taken");
                }
            }
        }
    }
}

impl Strain {
    /// Has connections closed where memory stays above the mark.
    fn shed(&self, shed: &mut Shed, used: u64) {
        if !self.memory.is_shut() {
            *shed = Shed::default();
            return;
        }
        let standing = u64::try_from(self.counts.connections.get()).unwrap_or(0);
        let second = self.second.load(Ordering::Relaxed);
        let had_begun = shed.has_begun();
        let count = shed.turn(Seen { used, low: self.memory.low(), second, standing });
        if count == 0 {
            return;
        }
        if !had_begun {
            tracing::error!(
                used_mib = used >> 20,
                connections = standing,
                "memory stays nearly used up, so that connections are closed, first of the address that has most"
            );
        }
        self.to_close.store(count, Ordering::Relaxed);
        self.closes.notify_one();
    }
}

/// What shuts at a mark, and opens well below it.
struct Gate {
    mark: AtomicU64,
    is_shut: AtomicBool,
}

/// A mark that nothing reaches.
const OFF: u64 = u64::MAX;

impl Default for Gate {
    fn default() -> Self {
        Self { mark: AtomicU64::new(OFF), is_shut: AtomicBool::new(false) }
    }
}

impl Gate {
    fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Relaxed)
    }

    /// To where what is used has to fall.
    fn low(&self) -> u64 {
        let mark = self.mark.load(Ordering::Relaxed);
        mark - mark / PART
    }

    /// Shuts or opens by what is used; answers whether it is shut now, if that has changed.
    fn turn(&self, used: u64) -> Option<bool> {
        let (mark, was_shut) = (self.mark.load(Ordering::Relaxed), self.is_shut());
        let is_shut = used > if was_shut { self.low() } else { mark };
        self.is_shut.store(is_shut, Ordering::Relaxed);
        (is_shut != was_shut).then_some(is_shut)
    }
}

fn mark(wanted: Mark, auto: impl FnOnce() -> Option<u64>) -> u64 {
    match wanted {
        Mark::Off => OFF,
        Mark::At(mark) => mark,
        Mark::Auto => auto().unwrap_or(OFF),
    }
}

/// Where memory is about to run out, by its mark and by what there is.
fn second(mark: u64, all: Option<u64>) -> u64 {
    match all {
        _ if mark == OFF => OFF,
        Some(all) if all > mark => mark + (all - mark) / 2,
        _ => mark.saturating_add(mark / 8),
    }
}

/// Bytes of memory that the process has.
fn memory() -> Option<u64> {
    let pages: u64 =
        fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Files that the process has open.
fn files() -> Option<u64> {
    const OWN: &str = "/proc/self/fd";
    // Since Linux 6.2 the directory's size is their number.
    match fs::metadata(OWN).ok()?.len() {
        0 => Some(fs::read_dir(OWN).ok()?.count() as u64),
        count => Some(count),
    }
}

/// Bytes that the process may use by the control group (v2) in which it is, or one around that.
fn group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least_memory(Path::new("/sys/fs/cgroup"), &groups)
}

fn least_memory(root: &Path, groups: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = root.join(own.trim_start_matches('/'));
    let most = |dir: &Path| -> Option<u64> {
        fs::read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok()
    };
    own.ancestors().take_while(|dir| dir.starts_with(root)).filter_map(most).min()
}

/// How many files the process may open, and how many it may allow itself.
fn open_files() -> Option<(u64, u64)> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Has the process allow itself as many files as it may: one connection is one file, and a shell's
/// limit is for programs that open few.
pub fn raise_open_files() {
    let Some((soft, hard)) = open_files().filter(|(soft, hard)| soft < hard) else { return };
    let all = Rlimit { current: Some(hard), maximum: Some(hard) };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, files = soft, "the process can't allow itself more open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_shuts_above_its_mark_and_opens_well_below_it() {
        let gate = Gate::default();
        assert_eq!(gate.turn(u64::MAX), None, "it is off");
        gate.mark.store(160, Ordering::Relaxed);
        assert_eq!(
            [160, 161, 170, 151].map(|used| gate.turn(used)),
            [None, Some(true), None, None]
        );
        assert!(gate.is_shut());
        assert_eq!([150, 160].map(|used| gate.turn(used)), [Some(false), None]);
        assert_eq!(gate.turn(161), Some(true));
        gate.mark.store(OFF, Ordering::Relaxed);
        assert_eq!(gate.turn(161), Some(false));
    }

    #[test]
    fn the_second_mark_is_halfway_to_the_end() {
        assert_eq!(second(OFF, Some(9)), OFF);
        assert_eq!(second(800, Some(1000)), 900);
        assert_eq!([None, Some(700)].map(|all| second(800, all)), [900, 900]);
    }

    #[test]
    fn the_least_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("system.slice/relay.service");
        fs::create_dir_all(&own).unwrap();
        let groups = "1:name=systemd:/else\n0::/system.slice/relay.service\n";
        let least = || least_memory(root.path(), groups);
        assert_eq!(least(), None);
        fs::write(own.join("memory.max"), "max\n").unwrap();
        assert_eq!(least(), None);
        fs::write(root.path().join("system.slice/memory.max"), "4096\n").unwrap();
        assert_eq!(least(), Some(4096));
        fs::write(own.join("memory.max"), "1024\n").unwrap();
        assert_eq!(least(), Some(1024));
        assert_eq!(least_memory(root.path(), "1:memory:/\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_used_is_known() {
        let before = files().unwrap();
        let more: Vec<_> = (0..9).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(before > 2 && files().unwrap() > 9);
        drop(more);
        assert!(memory().unwrap() > 1 << 20);
        let (soft, hard) = open_files().unwrap();
        assert!(soft <= hard && soft > 9);
    }
}
