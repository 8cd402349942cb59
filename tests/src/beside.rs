//! What runs beside a node for as long as a story wants: an example, a script, a command that follows.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crate::{Node, World, binaries, cli, process::Process, world::Shared};

/// A line of shell that runs; it is killed with this value, and whatever it has started.
pub struct Beside {
    _group: Group,
    process: Process,
    /// The directory that it works in lives as long.
    _shared: Arc<Shared>,
}

impl Node {
    /// Starts a line of shell in which `wattle` is this node's, and the examples are commands. With `exec` the shell
    /// becomes the command, which is then what is interrupted and killed.
    #[must_use]
    pub fn beside(&self, name: &str, line: &str) -> Beside {
        Beside::start(&self.setup.shared, &self.setup.data_dir, name, line)
    }
}

impl World {
    /// The same on the data directory `node`, where no node need be.
    #[must_use]
    pub fn beside(&self, node: &str, name: &str, line: &str) -> Beside {
        Beside::start(&self.shared, &self.shared.data_dir(node), name, line)
    }
}

impl Beside {
    fn start(shared: &Arc<Shared>, data_dir: &Path, name: &str, line: &str) -> Self {
        let mut command = cli::sh(data_dir, line);
        command.current_dir(shared.dir()).process_group(0);
        let process = Process::start(name, &mut command, &shared.log_file(name));
        Self { _group: Group(process.id()), process, _shared: shared.clone() }
    }

    /// Waits for a line on its standard output of which `pick` makes something.
    pub fn says<T>(&self, what: &str, pick: impl FnMut(&str) -> Option<T>) -> T {
        self.process.line(what, pick)
    }

    /// Interrupts it, as Ctrl+C does.
    pub fn interrupt(&self) {
        let id = self.process.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &id]).status();
        assert!(status.expect("sh starts").success(), "it runs no more");
    }

    /// Waits until it has ended by itself; its exit code.
    #[must_use]
    pub fn ended(self) -> Option<i32> {
        self.process.ended().code()
    }
}

/// The processes of a line of shell, by the first one's id: a pipe has several.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -KILL \"-$1\"", "sh", &self.0.to_string()]);
        // None of them may be left.
        let _ = kill.stderr(Stdio::null()).status();
    }
}

/// The folders in which a story's commands are looked for before those of the system.
pub(crate) fn folders() -> [std::path::PathBuf; 3] {
    let programs = binaries::wattle().parent().expect("a folder").to_owned();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    [programs.join("examples"), programs, scripts]
}
