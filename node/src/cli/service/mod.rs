//! `wattle service`.

mod manager;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use directories::BaseDirs;
use node::{
    api::types::{ServiceView, VERSION},
    config::Origin,
    store::is_locked,
};

use self::manager::{Manager, OURS};
use super::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Have the node here started by the system, whenever you log in
///
/// By systemd, as a unit of the user (systemctl --user), or by launchd on macOS. It needs no rights of the system's. The service
/// hears no environment of a shell: its settings are in the settings file (wattle config).
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle service install", "wattle service status"]))]
pub struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write the service's file, and start it
    #[command(after_help = exit::help(&["wattle service install", "wattle service install --no-start"]))]
    Install {
        /// Write the file alone
        #[arg(long)]
        no_start: bool,
    },
    /// End the service, and take its file away; what the node keeps stays
    #[command(after_help = exit::help(&["wattle service uninstall"]))]
    Uninstall {},
    /// Say whether it is installed, and how it stands
    #[command(after_help = exit::help(&["wattle service status"]))]
    Status {},
}

/// What a shell may say to a node, and a service does not hear.
const UNHEARD: [&str; 8] = [
    "WATTLE_RELAY",
    "WATTLE_RELAY_PROXY",
    "WATTLE_LISTEN",
    "WATTLE_MDNS",
    "WATTLE_PROGRAMS",
    "WATTLE_NAME",
    "WATTLE_PASSPHRASE",
    "WATTLE_PASSPHRASE_FILE",
];

impl Service {
    pub fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let manager = Manager::here();
        let file = manager.file().ok_or_else(nowhere)?;
        match self.what {
            What::Install { no_start } => install(manager, &file, no_start, place),
            What::Uninstall {} => uninstall(manager, &file),
            What::Status {} => status(manager, &file, place),
        }
    }
}

fn install(manager: Manager, file: &Path, no_start: bool, place: &Place) -> anyhow::Result<Exit> {
    let before = text(file)?;
    if before.as_ref().is_some_and(|text| !text.contains(OURS)) {
        let message = format!("{} is another's", file.display());
        return Err(Failure::new(Exit::Refused, message, "move it out of the way").into());
    }
    let home = BaseDirs::new().ok_or_else(nowhere)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let after = manager.text(&command(place)?, home.home_dir());
    let draft = folder.join(".wattle.new");
    fs::write(&draft, after)?;
    fs::rename(&draft, file)?;
    show::data(show::safe(&file.display().to_string()))?;
    if is_locked(&place.data_dir) && place.settings.passphrase_file.as_os_str().is_empty() {
        show::words(
            "the data directory is locked: give the service its passphrase, as docs/node.md says, or set passphrase_file",
        );
    }
    let unheard: Vec<&str> =
        UNHEARD.into_iter().filter(|name| env::var_os(name).is_some()).collect();
    if !unheard.is_empty() {
        let names = unheard.join(", ");
        show::words(format_args!("the service does not hear {names}: wattle config set KEY VALUE"));
    }
    let starts = manager.start(file);
    if no_start {
        show::next(said(&starts));
        return Ok(Exit::Done);
    }
    if manager == Manager::Launchd && before.is_some() {
        // One that runs is ended first; one that doesn't is no error.
        drop(tell(&manager.stop()));
    }
    tell(&starts)?;
    show::words("the node runs, and starts whenever you log in");
    if manager == Manager::Systemd {
        show::words("where it is to run without you, too: loginctl enable-linger");
    }
    show::next("wattle status");
    Ok(Exit::Done)
}

/// What the service starts: this program, on the same directory, by the same settings file.
fn command(place: &Place) -> anyhow::Result<Vec<String>> {
    let mut words = vec![env::current_exe()?];
    let mut with = |flag: &str, path: &Path| -> anyhow::Result<()> {
        words.extend([flag.into(), std::path::absolute(path)?]);
        Ok(())
    };
    if place.data_dir_by > Origin::File {
        with("--data-dir", &place.data_dir)?;
    }
    if let Some(file) = &place.settings_file
        && place.typed.origin("config").is_some()
    {
        with("--config", file)?;
    }
    words.push("up".into());
    let text = |word: PathBuf| {
        word.into_os_string().into_string().map_err(|_| {
            let hint = "give it a name of letters: a service's file is UTF-8";
            Failure::new(Exit::Usage, "a path is no text", hint).into()
        })
    };
    words.into_iter().map(text).collect()
}

fn uninstall(manager: Manager, file: &Path) -> anyhow::Result<Exit> {
    match text(file)? {
        None => {
            show::words("there is no service");
            return Ok(Exit::Done);
        }
        Some(text) if !text.contains(OURS) => {
            let message = format!("{} is another's", file.display());
            return Err(Failure::new(Exit::Refused, message, "it is left as it is").into());
        }
        Some(_) => {}
    }
    let ended = tell(&manager.stop());
    fs::remove_file(file)?;
    ended?;
    tell(&manager.forget())?;
    show::words("the service has ended; the node's data is as it was");
    show::next("wattle up");
    Ok(Exit::Done)
}

fn status(manager: Manager, file: &Path, place: &Place) -> anyhow::Result<Exit> {
    let installed = text(file)?.is_some_and(|text| text.contains(OURS));
    let state = if installed { manager.state() } else { None }.filter(|it| !it.is_empty());
    let path = file.display().to_string();
    if place.json {
        show::json(&ServiceView { v: VERSION, installed, file: path, state })?;
    } else if installed {
        show::data(format_args!("installed  {}", show::safe(&path)))?;
        let state = state.map_or_else(|| "not known".into(), |state| show::safe(&state));
        show::data(format_args!("state      {state}"))?;
    } else {
        show::data("not installed")?;
        show::next("wattle service install");
    }
    Ok(if installed { Exit::Done } else { Exit::NotRunning })
}

/// Tells the manager all of it; stops at what it refuses.
fn tell(all: &[Vec<String>]) -> anyhow::Result<()> {
    for words in all {
        let mut command = Command::new(&words[0]);
        // Its words are for whoever waits here; standard output is data.
        let ended = command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).status();
        let why = match ended {
            Ok(ended) if ended.success() => continue,
            Ok(ended) => ended.to_string(),
            Err(error) => error.to_string(),
        };
        let message = format!("{} did not do it ({why})", words.join(" "));
        let hint = format!("once it does: {}", said(all));
        return Err(Failure::new(Exit::Unexpected, message, hint).into());
    }
    Ok(())
}

fn said(all: &[Vec<String>]) -> String {
    // Their options are options.
    let word = |word: &String| if word.starts_with('-') { word.clone() } else { show::word(word) };
    let lines = all.iter().map(|words| words.iter().map(word).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join(" && ")
}

fn text(file: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(file.display().to_string())),
    }
}

fn nowhere() -> Failure {
    Failure::new(Exit::Usage, "this system names no home for you", "set HOME")
}
