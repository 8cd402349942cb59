//! A clock of a process's own, which can be set while it runs: Debian's libfaketime.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What one process takes for the time of day: the system's, and so many seconds more. Timers go by the system's
/// monotonic clock, as where somebody sets a machine's time.
pub(super) struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// The library, where it is installed.
    pub(super) fn library() -> Result<PathBuf, String> {
        let machines = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut libraries = machines.map(|it| it.path().join("faketime/libfaketime.so.1"));
        libraries.find(|it| it.is_file()).ok_or_else(|| "Debian's libfaketime is not there".into())
    }

    /// A clock that is right, told by `file`.
    pub(super) fn new(file: PathBuf, library: &Path) -> Self {
        let clock = Self { file, library: library.to_owned() };
        clock.set(0);
        clock
    }

    /// Sets it, within a second: so far ahead of the system's.
    pub(super) fn set(&self, seconds: i64) {
        // It may be read at any moment.
        let whole = self.file.with_extension("new");
        fs::write(&whole, format!("{seconds:+}\n")).expect("the clock's file");
        fs::rename(whole, &self.file).expect("the clock's file");
    }

    /// What a process's environment needs for it.
    pub(super) fn vars(&self) -> [String; 5] {
        [
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_CACHE_DURATION=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "NO_FAKE_STAT=1".into(),
        ]
    }

    /// Takes away what the library leaves behind for a process that was killed.
    pub(super) fn forget(process: u32) {
        for file in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = fs::remove_file(format!("/dev/shm/{file}{process}"));
        }
    }
}
