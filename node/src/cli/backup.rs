//! `wattle backup`.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use node::{
    backup::{self, BackupError, Contents},
    store::{StoreError, Unlock, rfc3339},
};
use protocol::ids::Timestamp;
use zeroize::Zeroizing;

use super::{
    Place, exit,
    exit::{Exit, Failure},
    init,
    passphrase::{self, Asked, Lock},
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

impl Backup {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let (dir, json) = (place.data_dir.clone(), place.json);
        let (file, seal, lock, asked) = match &self.what {
            What::Create { file, seal, lock } => (file.clone(), seal, lock, Asked::Twice),
            What::Restore { file, seal, lock } => (file.clone(), seal, lock, Asked::Once),
        };
        let unlock = lock.unlock(place).await?;
        let passphrase = seal.passphrase(asked).await?;
        // Keys are derived slowly, and the disk is read.
        tokio::task::spawn_blocking(move || match self.what {
            What::Create { .. } => create(&file, &passphrase, &unlock, &dir, json),
            What::Restore { .. } => restore(&file, &passphrase, &unlock, &dir, json),
        })
        .await?
    }
}

fn create(
    file: &Path,
    passphrase: &str,
    unlock: &Unlock,
    dir: &Path,
    json: bool,
) -> anyhow::Result<Exit> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let bar = Percent::new("writing the backup");
    let (rng, told) = (&mut init::seeded()?, &mut |percent| bar.show(percent));
    let made = backup::create(dir, unlock, file, passphrase, now, rng, told);
    drop(bar);
    let contents = made.map_err(|error| refused(error, file, dir))?;
    tell("wrote a backup of", &contents, json)?;
    show::words("keep the file and its passphrase apart from this machine, and from each other");
    show::words("what is said from now on is not in it: make another from time to time");
    let file = show::word(&file.display().to_string());
    show::next(format_args!("where this machine is lost: wattle backup restore {file}"));
    Ok(Exit::Done)
}

fn restore(
    file: &Path,
    passphrase: &str,
    unlock: &Unlock,
    dir: &Path,
    json: bool,
) -> anyhow::Result<Exit> {
    let bar = Percent::new("reading the backup");
    let (rng, told) = (&mut init::seeded()?, &mut |percent| bar.show(percent));
    let made = backup::restore(file, passphrase, dir, unlock, rng, told);
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

impl Seal {
    async fn passphrase(&self, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
        let Some(file) = &self.backup_passphrase_file else {
            if passphrase::is_somebody_here() {
                return passphrase::typed(QUESTION, asked).await;
            }
            let hint = "give --backup-passphrase-file FILE, or - for standard input";
            return Err(Failure::new(Exit::Usage, "a passphrase is needed", hint).into());
        };
        if passphrase::is_open_to_others(file) {
            let hint = format!("chmod 600 {}", show::word(&file.display().to_string()));
            let message = "others can read the passphrase's file";
            return Err(Failure::new(Exit::Usage, message, hint).into());
        }
        passphrase::one_line(passphrase::of_file(file, QUESTION, asked).await?, file)
    }
}

const QUESTION: &str = "the backup's passphrase: ";
