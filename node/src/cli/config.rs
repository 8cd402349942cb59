//! `wattle config`.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use node::{
    api::types::{SettingOrigin, SettingValue, SettingView, VERSION},
    config::{self, DOCUMENTED, KEYS, Origin, SettingsError, changed, most_like},
};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    given::{Given, InForce},
    show,
};

/// Show the settings that the next start of the node here has, as a settings file
///
/// Flags come before the environment, that before the settings file, and the file before what the data directory
/// remembers. The file is node.toml in your place for settings, or where --config says; it need not be there.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle config", "wattle config --origin", "wattle config set mdns true"]))]
pub struct Config {
    /// Say of each where it comes from: a flag, the environment, the file, what is remembered, the default
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    given: Given,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Write a settings file that says of each key what it means, where there is none
    #[command(after_help = exit::help(&["wattle config init"]))]
    Init {},
    /// Set a key of the settings file, for the next start; `relays` and `listen` take several values
    #[command(after_help = exit::help(&[
        "wattle config set mdns true",
        "wattle config set relays host /dns/relay.example.org/tcp/4407/p2p/12D3…",
    ]))]
    Set {
        /// Which
        #[arg(value_parser = key)]
        key: &'static str,
        /// To what
        #[arg(required = true)]
        value: Vec<String>,
    },
    /// Take a key out of the settings file, so that it is as if nobody had set it there
    #[command(after_help = exit::help(&["wattle config unset mdns"]))]
    Unset {
        /// Which
        #[arg(value_parser = key)]
        key: &'static str,
    },
}

fn key(typed: &str) -> Result<&'static str, String> {
    KEYS.into_iter().find(|known| *known == typed).ok_or_else(|| match most_like(typed) {
        Some(like) => format!("no such key; did you mean {like}?"),
        None => format!("no such key; there are {}", KEYS.join(", ")),
    })
}

impl Config {
    pub fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match &self.what {
            None => self.tell(place),
            Some(What::Init {}) => {
                let path = path(place)?;
                if path.exists() {
                    let message = format!("{} is there already", path.display());
                    let hint = "wattle config set KEY VALUE changes it";
                    return Err(Failure::new(Exit::Refused, message, hint).into());
                }
                write(&path, DOCUMENTED)?;
                show::data(show::safe(&path.display().to_string()))?;
                show::next("wattle config set KEY VALUE, or an editor; then wattle config");
                Ok(Exit::Done)
            }
            Some(What::Set { key, value }) => change(place, key, Some(value)),
            Some(What::Unset { key }) => change(place, key, None),
        }
    }

    fn tell(&self, place: &Place) -> anyhow::Result<Exit> {
        for Setting { key, value, origin } in settings(&self.given.in_force(place)?, place) {
            if place.json {
                let (key, origin) = (key.into(), said(origin));
                show::json(&SettingView { v: VERSION, key, value, origin })?;
                continue;
            }
            let line = format!("{key} = {}", toml(&value));
            match self.origin {
                true => show::data(format_args!("{line}  # {}", words(origin)))?,
                false => show::data(line)?,
            }
        }
        if self.origin && !place.json {
            let path = place.settings_file.as_deref().map(|path| path.display().to_string());
            match path.map(|path| show::safe(&path)) {
                Some(path) if place.has_settings => {
                    show::words(format_args!("the settings file is {path}"));
                }
                Some(path) => {
                    show::words(format_args!("there is no settings file; it would be {path}"));
                }
                None => show::words("this system names no place for settings: --config FILE does"),
            }
        }
        Ok(Exit::Done)
    }
}

struct Setting {
    key: &'static str,
    value: SettingValue,
    origin: Origin,
}

/// Each key, in the order of the file.
fn settings(all: &InForce, place: &Place) -> Vec<Setting> {
    use SettingValue::{Flag, List, Text};
    let path = |path: &Option<PathBuf>| {
        Text(path.as_ref().map_or_else(String::new, |path| path.display().to_string()))
    };
    let relays = &all.relays;
    let name = all.name.value.clone().unwrap_or_else(config::default_name);
    let proxy = relays.proxy.clone();
    // What `none` says where nobody else would say anything is said by nothing, too.
    let proxy = proxy.unwrap_or_else(|| match relays.origins.proxy {
        Origin::Default => String::new(),
        _ => "none".into(),
    });
    // Local networks alone are asked, whatever else is said.
    let mdns = match relays.lan_only {
        true => (true, relays.origins.relays),
        false => (all.mdns.value, all.mdns.origin),
    };
    let rows = [
        ("data_dir", path(&Some(place.data_dir.clone())), place.data_dir_by),
        ("name", Text(name), all.name.origin),
        ("relays", List(relays.words()), relays.origins.relays),
        ("relay_proxy", Text(proxy), relays.origins.proxy),
        ("direct", Flag(!relays.relay_only), relays.origins.relay_only),
        ("map_port", Flag(relays.map_port), relays.origins.map_port),
        ("mdns", Flag(mdns.0), mdns.1),
        ("listen", List(all.listen.value.clone()), all.listen.origin),
        ("programs", path(&all.programs.value), all.programs.origin),
        ("passphrase_file", path(&all.passphrase_file.value), all.passphrase_file.origin),
    ];
    rows.into_iter().map(|(key, value, origin)| Setting { key, value, origin }).collect()
}

fn toml(value: &SettingValue) -> String {
    match value {
        SettingValue::Flag(flag) => flag.to_string(),
        SettingValue::Text(text) => toml::Value::from(text.as_str()).to_string(),
        SettingValue::List(list) => toml::Value::from(list.clone()).to_string(),
    }
}

fn words(origin: Origin) -> &'static str {
    match origin {
        Origin::Flag => "flag",
        Origin::Environment => "environment",
        Origin::File => "settings file",
        Origin::Remembered => "remembered",
        Origin::Default => "default",
    }
}

fn said(origin: Origin) -> SettingOrigin {
    match origin {
        Origin::Flag => SettingOrigin::Flag,
        Origin::Environment => SettingOrigin::Environment,
        Origin::File => SettingOrigin::File,
        Origin::Remembered => SettingOrigin::Remembered,
        Origin::Default => SettingOrigin::Default,
    }
}

fn change(place: &Place, key: &'static str, value: Option<&[String]>) -> anyhow::Result<Exit> {
    let path = path(place)?;
    if path.exists() && !path.is_file() {
        let message = format!("{} is no file that can be changed", path.display());
        return Err(Failure::new(Exit::Usage, message, "name another with --config FILE").into());
    }
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => DOCUMENTED.into(),
        Err(error) => return Err(SettingsError::Read { path, error }.into()),
    };
    let after = changed(&path, &before, key, value).map_err(refused)?;
    if after != before {
        write(&path, &after)?;
    }
    show::words(format_args!("it is so from the next start of the node on ({})", path.display()));
    show::next("wattle config --origin");
    Ok(Exit::Done)
}

/// What to do about a settings file that can't be used.
pub fn refused(error: SettingsError) -> anyhow::Error {
    let hint = match &error {
        SettingsError::Tangled { path, .. } => {
            format!("change it in an editor: {}", path.display())
        }
        SettingsError::Read { .. } | SettingsError::TooLong(_) => {
            "--config FILE, or WATTLE_CONFIG, names another".into()
        }
        _ => "wattle config --config /dev/null shows every key".into(),
    };
    Failure::new(Exit::Usage, error.to_string(), hint).into()
}

fn path(place: &Place) -> anyhow::Result<PathBuf> {
    place.settings_file.clone().ok_or_else(|| {
        let message = "this system names no place for settings";
        Failure::new(Exit::Usage, message, "name one with --config FILE").into()
    })
}

/// Writes the file so that it is there whole or as it was. A link stays one.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}
