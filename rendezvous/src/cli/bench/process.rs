//! A process as Linux shows it in /proc: the time it took, its memory, the files it has open; and what the machine's
//! host gave to others meanwhile.

use std::{fs, path::PathBuf, time::Duration};

/// What /proc counts time in, in Hz: the same on all machines that Wattle is built for.
const TICKS: u64 = 100;

/// A process of this machine.
pub(super) struct Process(PathBuf);

/// How it is at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Time of processors that it took since its start.
    pub(super) cpu: Duration,
    /// Bytes of memory that it has in use.
    pub(super) memory: u64,
    /// Files and sockets that it has open; none where it is somebody else's.
    pub(super) files: Option<u64>,
}

impl Process {
    pub(super) fn of(pid: u32) -> Self {
        Self(format!("/proc/{pid}").into())
    }

    /// Looks at it; `None` where it isn't, or on a system without /proc.
    pub(super) fn look(&self) -> Option<Look> {
        let cpu = cpu(&fs::read_to_string(self.0.join("stat")).ok()?)?;
        let memory = memory(&fs::read_to_string(self.0.join("status")).ok()?)?;
        let files = fs::read_dir(self.0.join("fd")).ok().map(|all| all.count() as u64);
        Some(Look { cpu, memory, files })
    }
}

impl Look {
    /// The greater of each.
    pub(super) fn or_more(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            files: self.files.max(other.files),
        }
    }
}

/// What the processors of this machine did so far, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    all: u64,
    stolen: u64,
}

impl Machine {
    /// Looks at it; nothing is known of it on a system without /proc.
    pub(super) fn look() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self::read(&stat).unwrap_or_default()
    }

    /// Of a virtual machine the part of the time since `before` that its host gave to others, though it was asked for.
    pub(super) fn stolen_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(self.stolen.saturating_sub(before.stolen) as f64 / all as f64)
    }

    /// The first line has user, nice, system, idle, iowait, irq, softirq and steal; guests are counted as users, too.
    fn read(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = fields.take(8).map_while(|it| it.parse().ok()).collect();
        Some(Self { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
    }
}

/// Files that this process may open: each client takes one.
pub(super) fn files_allowed() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// utime and stime, the 14th and 15th field; the second may have spaces in it, and ends with a bracket.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let all = ticks()? + ticks()?;
    Some(Duration::from_millis(all * 1000 / TICKS))
}

fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 5 0 99 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(memory("Name:\ta\nVmRSS:\t   12 kB\nThreads:\t1\n"), Some(12_288));
        assert_eq!((cpu("7 (a) S"), memory("Name: a")), (None, None));
    }

    #[test]
    fn what_a_host_gives_to_others_is_read() {
        let read = |stat| Machine::read(stat).unwrap();
        let before = read("cpu  10 0 10 70 5 0 5 0 3 0\ncpu0 1 2 3 4 5 6 7 8");
        let now = read("cpu  40 0 30 70 5 0 5 50 9 0\n");
        assert_eq!(now.stolen_since(before), Some(0.5));
        assert_eq!(before.stolen_since(before), None);
        assert!(Machine::read("cpu  1 2 3").is_none() && Machine::read("").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen_and_one_that_is_not_there_is_not() {
        let look = Process::of(std::process::id()).look().unwrap();
        assert!(look.memory > 0 && look.files.is_some_and(|files| files > 2));
        assert!(files_allowed().is_none_or(|files| files > 2));
        assert!(Process::of(u32::MAX).look().is_none());
    }
}
