//! `wattle backup`.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use node::{
    backup::{self, BackupError, Contents},
    store::{StoreError, rfc3339},
};
use protocol::ids::Timestamp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{
    Place, exit,
    exit::{Exit, Failure},
    init::{self, Lock},
    progress::Percent,
    show,
};

/// Keep a copy of this node apart from this machine, or make a node from one
///
/// A backup holds the identity, the groups and their history, sealed with a passphrase. It holds no
/// key that opens messages: the restored node makes new ones, and the others are told of it. It is no
/// way to have one identity on two machines.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle backup create tea.backup", "wattle backup restore tea.backup"]))]
pub struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write a backup to a file that does not exist yet; the node may run meanwhile
    #[command(after_help = exit::help(&["wattle backup create tea.backup"]))]
    Create {
        /// Where
        file: PathBuf,
        #[command(flatten)]
        seal: Seal,
        #[command(flatten)]
        lock: Lock,
    },
    /// Make the data directory from a backup, where there is none or an empty one
    #[command(after_help = exit::help(&["wattle backup restore tea.backup"]))]
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        seal: Seal,
        #[command(flatten)]
        lock: Lock,
    },
}

/// Where the backup's passphrase comes from.
#[derive(clap::Args)]
struct Seal {
    /// The backup's passphrase is in this file, that others can't read; `-` for standard input
    ///
    /// Without it, it is asked for at the terminal.
    #[arg(long, value_name = "FILE")]
    backup_passphrase_file: Option<PathBuf>,
}

/// The longest passphrase that is read, in bytes.
const PASSPHRASE_MAX: u64 = 4096;

impl Backup {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let (data_dir, json) = (place.data_dir.clone(), place.json);
        let terminal = tcgetattr(io::stdin()).ok();
        // Keys are derived slowly, and the disk is read.
        let work = tokio::task::spawn_blocking(move || match self.what {
            What::Create { file, seal, lock } => create(&file, &seal, &lock, &data_dir, json),
            What::Restore { file, seal, lock } => restore(&file, &seal, &lock, &data_dir, json),
        });
        tokio::select! {
            done = work => done?,
            _ = tokio::signal::ctrl_c() => {
                // It may have been asking for a passphrase, unseen.
                if let Some(before) = terminal {
                    tcsetattr(io::stdin(), OptionalActions::Flush, &before)?;
                }
                Ok(Exit::Interrupted)
            }
        }
    }
}

fn create(file: &Path, seal: &Seal, lock: &Lock, dir: &Path, json: bool) -> anyhow::Result<Exit> {
    let unlock = lock.unlock()?;
    let passphrase = seal.passphrase(Asked::Twice)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let bar = Percent::new("writing the backup");
    let (rng, told) = (&mut init::seeded()?, &mut |percent| bar.show(percent));
    let made = backup::create(dir, &unlock, file, &passphrase, now, rng, told);
    drop(bar);
    let contents = made.map_err(|error| refused(error, file, dir))?;
    tell("wrote a backup of", &contents, json)?;
    show::words("keep the file and its passphrase apart from this machine, and from each other");
    show::words("what is said from now on is not in it: make another from time to time");
    let file = show::word(&file.display().to_string());
    show::next(format_args!("where this machine is lost: wattle backup restore {file}"));
    Ok(Exit::Done)
}

fn restore(file: &Path, seal: &Seal, lock: &Lock, dir: &Path, json: bool) -> anyhow::Result<Exit> {
    let unlock = lock.unlock()?;
    let passphrase = seal.passphrase(Asked::Once)?;
    let bar = Percent::new("reading the backup");
    let (rng, told) = (&mut init::seeded()?, &mut |percent| bar.show(percent));
    let made = backup::restore(file, &passphrase, dir, &unlock, rng, told);
    drop(bar);
    let contents = made.map_err(|error| refused(error, file, dir))?;
    tell("restored", &contents, json)?;
    show::words(
        "never start the old machine's node again: two of one identity are taken for a stolen copy",
    );
    show::words("this node first asks the others what it has missed, and then makes new keys");
    show::next("wattle up");
    Ok(Exit::Done)
}

fn tell(what: &str, contents: &Contents, json: bool) -> anyhow::Result<()> {
    if json {
        show::json(contents)?;
    }
    let Contents { name, groups, messages, made } = contents;
    show::words(format_args!(
        "{what} {}: {}, {}, as of {}",
        show::safe(name),
        show::count(*groups, "group"),
        show::count(*messages, "message"),
        show::moment(&rfc3339(Timestamp(*made)))
    ));
    Ok(())
}

fn refused(error: BackupError, file: &Path, dir: &Path) -> anyhow::Error {
    let (exit, hint) = match &error {
        BackupError::Newer { .. } => (Exit::Refused, "update this program".into()),
        BackupError::NoBackup => (Exit::Integrity, format!("the file is {}", file.display())),
        BackupError::WrongPassphrase => {
            (Exit::Refused, "type it again; nothing was changed".into())
        }
        BackupError::Damaged => {
            (Exit::Integrity, "take another copy of it; nothing was changed".into())
        }
        BackupError::Exists => (Exit::Refused, "choose another name for the file".into()),
        BackupError::NotEmpty => {
            (Exit::Refused, format!("--data-dir DIR names another place than {}", dir.display()))
        }
        BackupError::NoIdentity | BackupError::Store(StoreError::NoDatabase) => {
            (Exit::Refused, format!("the data directory is {}", dir.display()))
        }
        BackupError::Store(error) => return init::locked_out(error, dir),
        BackupError::Group(_) | BackupError::Identity(_) => (Exit::Integrity, String::new()),
        BackupError::Io(_) => (Exit::Unexpected, String::new()),
    };
    Failure::new(exit, error.to_string(), hint).into()
}

enum Asked {
    Once,
    Twice,
}

impl Seal {
    fn passphrase(&self, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
        let text = match &self.backup_passphrase_file {
            Some(file) if file == Path::new("-") => first_line(io::stdin().lock())?,
            Some(file) => from_file(file)?,
            None if io::stdin().is_terminal() => typed(asked)?,
            None => {
                let hint = "give --backup-passphrase-file FILE, or - for standard input";
                return Err(Failure::new(Exit::Usage, "a passphrase is needed", hint).into());
            }
        };
        if text.is_empty() {
            let hint = "whoever has the file tries passphrases: take six words by chance";
            return Err(Failure::new(Exit::Usage, "the passphrase is empty", hint).into());
        }
        Ok(text)
    }
}

fn from_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let reading = || format!("reading {}", path.display());
    let file = File::open(path).with_context(reading)?;
    let meta = file.metadata().with_context(reading)?;
    if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
        let hint = format!("chmod 600 {}", show::word(&path.display().to_string()));
        return Err(Failure::new(Exit::Usage, "others can read the passphrase's file", hint).into());
    }
    first_line(io::BufReader::new(file)).with_context(reading)
}

fn first_line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.take(PASSPHRASE_MAX).read_line(&mut line)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).into()))
}

/// Asks at the terminal, without showing what is typed.
fn typed(asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    let passphrase = silently("the backup's passphrase: ")?;
    if matches!(asked, Asked::Twice) && *silently("again: ")? != *passphrase {
        let hint = "begin again; nothing was written";
        return Err(Failure::new(Exit::Usage, "the two are not the same", hint).into());
    }
    Ok(passphrase)
}

fn silently(question: &str) -> io::Result<Zeroizing<String>> {
    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    show::words(question);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    let line = first_line(io::stdin().lock());
    tcsetattr(io::stdin(), OptionalActions::Flush, &before)?;
    line
}
