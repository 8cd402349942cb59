//! The service manager of a system: where its files are, what stands in them, and how it is told.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use directories::BaseDirs;

/// Who starts a user's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Systemd,
    Launchd,
}

/// With what files of ours begin, or what stands in them: others are not written over.
pub const OURS: &str = "written by `wattle service install`";

const UNIT: &str = include_str!("wattle.service");
const PLIST: &str = include_str!("wattle.plist");

/// What the service is called.
const NAME: &str = "wattle.service";
const LABEL: &str = "org.wattle.node";

impl Manager {
    /// The one of this system.
    pub fn here() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    /// Where its file of the service is.
    pub fn file(self) -> Option<PathBuf> {
        let dirs = BaseDirs::new()?;
        Some(match self {
            Self::Systemd => dirs.config_dir().join("systemd/user").join(NAME),
            Self::Launchd => {
                dirs.home_dir().join("Library/LaunchAgents").join(format!("{LABEL}.plist"))
            }
        })
    }

    /// What stands in it, for this command line.
    pub fn text(self, command: &[String], home: &Path) -> String {
        match self {
            Self::Systemd => {
                let words: Vec<String> = command.iter().map(|word| word_of_a_unit(word)).collect();
                UNIT.replace("{command}", &words.join(" "))
            }
            Self::Launchd => {
                let word = |word: &String| {
                    format!("    <string>{}</string>", quick_xml::escape::escape(word.as_str()))
                };
                let words: Vec<String> = command.iter().map(word).collect();
                let log = home.join("Library/Logs/wattle.log").display().to_string();
                let log = quick_xml::escape::escape(log.as_str()).into_owned();
                PLIST.replace("{command}", &words.join("\n")).replace("{log}", &log)
            }
        }
    }

    /// What has the service started, now and whenever the user's session begins.
    pub fn start(self, file: &Path) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![
                words(&["systemctl", "--user", "daemon-reload"]),
                words(&["systemctl", "--user", "enable", NAME]),
                words(&["systemctl", "--user", "restart", NAME]),
            ],
            Self::Launchd => {
                let file = file.display().to_string();
                vec![words(&["launchctl", "bootstrap", &domain(), &file])]
            }
        }
    }

    /// What has it ended, and not started again.
    pub fn stop(self) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![words(&["systemctl", "--user", "disable", "--now", NAME])],
            Self::Launchd => {
                vec![words(&["launchctl", "bootout", &format!("{}/{LABEL}", domain())])]
            }
        }
    }

    /// What is done once its file is gone.
    pub fn forget(self) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![words(&["systemctl", "--user", "daemon-reload"])],
            Self::Launchd => Vec::new(),
        }
    }

    /// Its own word for how the service stands.
    pub fn state(self) -> Option<String> {
        let asked = match self {
            Self::Systemd => words(&["systemctl", "--user", "is-active", NAME]),
            Self::Launchd => words(&["launchctl", "print", &format!("{}/{LABEL}", domain())]),
        };
        let output = Command::new(&asked[0]).args(&asked[1..]).output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match self {
            Self::Systemd => said.lines().next().map(Into::into),
            Self::Launchd => {
                let state = said.lines().find_map(|line| line.trim().strip_prefix("state = "));
                Some(state.unwrap_or("not loaded").into())
            }
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// The domain of the user who asks, as launchctl names it.
fn domain() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

/// A word as ExecStart= takes it: systemd.syntax(7), systemd.service(5).
fn word_of_a_unit(word: &str) -> String {
    let mut said = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => said.extend(['\\', c]),
            '%' | '$' => said.extend([c, c]),
            '\n' => said.push_str("\\n"),
            c => said.push(c),
        }
    }
    said.push('"');
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Vec<String> {
        words(&["/opt/a b/wattle", "--data-dir", "/home/a&b/50%\"$x\\", "up"])
    }

    #[test]
    fn a_unit_names_the_command_so_that_systemd_reads_it_as_it_is() {
        let text = Manager::Systemd.text(&command(), Path::new("/home/ana"));
        let line = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        let wanted = r#"ExecStart="/opt/a b/wattle" "--data-dir" "/home/a&b/50%%\"$$x\\" "up""#;
        assert_eq!(line, wanted);
        assert!(text.contains(OURS));
    }

    #[test]
    fn a_property_list_names_it_as_xml() {
        let text = Manager::Launchd.text(&command(), Path::new("/Users/a&b"));
        assert!(text.contains("<string>/home/a&amp;b/50%&quot;$x\\</string>"), "{text}");
        assert!(text.contains("<string>/Users/a&amp;b/Library/Logs/wattle.log</string>"));
        assert!(text.contains(OURS) && !text.contains("{command}"));
        let mut reader = quick_xml::Reader::from_str(&text);
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Eof => break,
                _ => continue,
            }
        }
    }
}
