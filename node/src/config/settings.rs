//! The settings file: what a person may set for each start of a node without a flag.
//!
//! > It need not be there. What it leaves out, or leaves empty, is as others say; a key that is none is an error and says which
//! > it may have meant.
//!
//! [`DOCUMENTED`] is the file with each key, what it means, and what it is if nobody sets it; a test holds it against
//! the code.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value};

use super::RelayFlags;

/// The settings file with every key and its default, each commented out.
pub const DOCUMENTED: &str = include_str!("documented.toml");

/// Every key.
pub const KEYS: [&str; 10] = [
    "data_dir",
    "name",
    "relays",
    "relay_proxy",
    "direct",
    "map_port",
    "mdns",
    "listen",
    "programs",
    "passphrase_file",
];

/// The most that is read of it, in bytes.
const MAX: u64 = 64 * 1024;

/// How like a key has to be to be proposed, by Jaro and Winkler.
const LIKE: f64 = 0.85;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// The name that others see, at the first start.
    pub name: String,
    /// Relays' addresses, `host`, `none`, `lan-only`.
    pub relays: Vec<String>,
    /// A proxy, or `none`.
    pub relay_proxy: String,
    /// Whether there are direct connections.
    pub direct: Option<bool>,
    /// Whether the router is asked for a port.
    pub map_port: Option<bool>,
    /// Whether local networks are asked for members.
    pub mdns: Option<bool>,
    /// Where to listen for members.
    pub listen: Vec<String>,
    /// The socket for programs with tokens.
    pub programs: PathBuf,
    /// The file that the passphrase is in.
    pub passphrase_file: PathBuf,
}

/// Why a settings file can't be used, or changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It can't be read.
    #[error("{} can't be read: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is longer than any such file.
    #[error("{} is no settings file: it has more than {MAX} bytes", .0.display())]
    TooLong(PathBuf),
    /// It is no TOML.
    #[error("{} is not written as it should be:\n{said}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        said: String,
    },
    /// It has a key that is none.
    #[error("{} has a key that is none: {key}{}", .path.display(), meant(.like))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// One that is like it.
        like: Option<&'static str>,
    },
    /// A value is none of its key.
    #[error("{} can't be followed: {key}: {why}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What it has to be.
        why: String,
    },
    /// It is written in a way that is not changed line by line.
    #[error("{} can't be changed from here: {key} stands in more than a line of its own", .path.display())]
    Tangled {
        /// The file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
}

fn meant(like: &Option<&'static str>) -> String {
    like.map_or_else(String::new, |like| format!("; did you mean {like}?"))
}

impl Settings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        Self::parse(path, &text(path)?)
    }

    /// Reads what stands in a file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let set = table(path, text)?;
        for (key, value) in &set {
            let Some(key) = KEYS.into_iter().find(|known| known == key) else {
                let (key, like) = (key.clone(), most_like(key));
                return Err(SettingsError::Unknown { path: path.into(), key, like });
            };
            // Each key by itself, so that the error can name it.
            let alone = Table::from_iter([(key.to_owned(), value.clone())]);
            let alone = alone.try_into::<Self>().map_err(|error| error.message().to_owned());
            if let Err(why) = alone.and_then(|alone| alone.possible()) {
                return Err(SettingsError::Value { path: path.into(), key, why });
            }
        }
        set.try_into().map_err(|error: toml::de::Error| {
            let said = error.message().to_owned();
            SettingsError::Syntax { path: path.into(), said }
        })
    }

    /// What it says of relays.
    #[must_use]
    pub fn relays(&self) -> RelayFlags {
        RelayFlags {
            proxy: Some(self.relay_proxy.clone()).filter(|proxy| !proxy.is_empty()),
            direct: self.direct,
            map_port: self.map_port,
            ..RelayFlags::of_words(&self.relays.join(" "))
        }
    }

    fn possible(&self) -> Result<(), String> {
        let paths = [&self.data_dir, &self.programs, &self.passphrase_file];
        if paths.into_iter().any(|path| path.is_relative() && !path.as_os_str().is_empty()) {
            return Err("the path has to begin with /: a node starts from anywhere".into());
        }
        let words = RelayFlags::of_words(&self.relays.join(" "));
        let others = words.proxy.is_some() || words.direct.is_some() || words.map_port.is_some();
        if others {
            return Err("relays are addresses, \"host\", \"none\" or \"lan-only\"".into());
        }
        if self.listen.iter().chain(&self.relays).any(String::is_empty) {
            return Err("an address is empty".into());
        }
        Ok(())
    }
}

/// What stands in a file.
fn text(path: &Path) -> Result<String, SettingsError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX + 1).read_to_string(&mut text));
    read.map_err(|error| SettingsError::Read { path: path.into(), error })?;
    if text.len() as u64 > MAX {
        return Err(SettingsError::TooLong(path.into()));
    }
    Ok(text)
}

fn table(path: &Path, text: &str) -> Result<Table, SettingsError> {
    toml::from_str(text).map_err(|error| {
        let said = error.to_string().trim_end().to_owned();
        SettingsError::Syntax { path: path.into(), said }
    })
}

/// The key that is most like this one.
#[must_use]
pub fn most_like(key: &str) -> Option<&'static str> {
    let likeness = |known: &&str| strsim::jaro_winkler(known, &key.to_lowercase());
    let known = KEYS.into_iter().filter(|known| likeness(known) > LIKE);
    known.max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// A file's text with a key set to what is typed, or to nothing, and all else as it is; `path` is for errors.
pub fn changed(
    path: &Path,
    before: &str,
    key: &'static str,
    typed: Option<&[String]>,
) -> Result<String, SettingsError> {
    let value = typed.map(|typed| value(path, key, typed)).transpose()?;
    let mut wanted = table(path, before)?;
    let starts = |line: &str, mark: &str| {
        let rest = line.strip_prefix(mark).and_then(|line| line.strip_prefix(key));
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let line = value.as_ref().map(|value| format!("{key} = {value}"));
    let shown = || DOCUMENTED.lines().find(|line| starts(line, "#")).unwrap_or_default().to_owned();
    let mut lines: Vec<String> = before.lines().map(Into::into).collect();
    let place = lines.iter().position(|line| starts(line, ""));
    let place = place.or_else(|| lines.iter().position(|line| starts(line, "#")));
    match (place, line) {
        (Some(at), line) => lines[at] = line.unwrap_or_else(shown),
        (None, Some(line)) => lines.push(line),
        (None, None) => {}
    }
    let after = lines.into_iter().map(|line| line + "\n").collect::<String>();
    match value {
        Some(value) => drop(wanted.insert(key.into(), value)),
        None => drop(wanted.remove(key)),
    }
    if table(path, &after).ok() != Some(wanted) {
        return Err(SettingsError::Tangled { path: path.into(), key });
    }
    Settings::parse(path, &after)?;
    Ok(after)
}

/// What is typed, as a value of its key.
fn value(path: &Path, key: &'static str, typed: &[String]) -> Result<Value, SettingsError> {
    let refused = |why: &str| SettingsError::Value { path: path.into(), key, why: why.into() };
    match (key, typed) {
        ("relays" | "listen", typed) => {
            Ok(Value::Array(typed.iter().map(|one| one.as_str().into()).collect()))
        }
        ("direct" | "map_port" | "mdns", [one]) => {
            one.parse().map(Value::Boolean).map_err(|_| refused("it is true or false"))
        }
        (_, [one]) => Ok(Value::String(one.clone())),
        _ => Err(refused("it has one value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("node.toml"), text).map_err(|error| error.to_string())
    }

    fn change(before: &str, key: &'static str, typed: Option<&[&str]>) -> Result<String, String> {
        let typed = typed.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>());
        let after = changed(Path::new("node.toml"), before, key, typed.as_deref());
        after.map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_file_has_each_key_in_its_order_and_says_nothing_itself() {
        assert_eq!(read(DOCUMENTED), Ok(Settings::default()));
        let is_key = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        let keys: Vec<&str> = DOCUMENTED.lines().filter(is_key).collect();
        let names: Vec<&str> =
            keys.iter().map(|line| line[1..].split(" = ").next().unwrap()).collect();
        assert_eq!(names, KEYS);
        let all = keys.iter().map(|line| format!("{}\n", &line[1..])).collect::<String>();
        let set = read(&all).unwrap();
        let said = [set.direct, set.map_port, set.mdns];
        assert_eq!(said, [Some(true), Some(false), Some(false)]);
        assert_eq!(
            Settings { direct: None, map_port: None, mdns: None, ..set },
            Settings::default()
        );
    }

    #[test]
    fn what_can_not_be_followed_is_said_with_its_key() {
        for (text, words) in [
            ("relay = 1", "a key that is none: relay; did you mean relays?"),
            ("Map_Prot = true", "did you mean map_port?"),
            ("xyz = 1", "a key that is none: xyz"),
            ("[relays]\na = 1", "relays: invalid type"),
            ("mdns = \"yes\"", "mdns: invalid type"),
            ("data_dir = \"here\"", "data_dir: the path has to begin with /"),
            ("relays = [\"relay-only\"]", "relays: relays are addresses"),
            ("listen = [\"\"]", "listen: an address is empty"),
            ("listen = [", "node.toml is not written as it should be"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_key_is_set_and_unset_and_all_else_stays() {
        let one = change(DOCUMENTED, "mdns", Some(&["true"])).unwrap();
        let two = change(&one, "relays", Some(&["host", "/a\"b"])).unwrap();
        let set = read(&two).unwrap();
        assert_eq!((set.mdns, set.relays), (Some(true), vec!["host".into(), "/a\"b".into()]));
        assert_eq!(two.lines().count(), DOCUMENTED.lines().count());
        let back = change(&change(&two, "relays", None).unwrap(), "mdns", None).unwrap();
        assert_eq!(back, DOCUMENTED);
        assert_eq!(change("", "name", Some(&["ana"])).unwrap(), "name = \"ana\"\n");
        assert_eq!(change("# mine\n", "name", None).unwrap(), "# mine\n");
    }

    #[test]
    fn what_is_written_over_lines_is_left_to_its_writer() {
        let before = "listen = [\n  \"a\",\n]\n";
        let said = change(before, "listen", Some(&["b"])).unwrap_err();
        assert!(said.contains("more than a line"), "{said}");
        assert!(change(before, "listen", None).is_err());
        assert!(change(before, "mdns", Some(&["true"])).unwrap().starts_with(before));
        for (key, typed) in [("mdns", "yes"), ("programs", "here"), ("relays", "")] {
            assert!(change("", key, Some(&[typed])).is_err(), "{key}");
        }
        assert!(change("", "name", Some(&["a", "b"])).unwrap_err().contains("one value"));
    }
}
