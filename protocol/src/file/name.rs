//! What a file is called: a name that can stand in a directory and on a line, or none at all.

use alloc::string::String;
use core::fmt;

use minicbor::{Decoder, Encoder, decode, encode};

use crate::{hidden::is_hidden, limits::FILE_NAME_BYTES};

/// A file's name: 1 to 255 bytes without separators of paths, control characters and such as change the
/// direction of what is shown; no `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileName(String);

/// No name for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no name for a file: at most {FILE_NAME_BYTES} bytes, without slashes and control characters"
)]
pub struct BadName;

impl FileName {
    /// Takes a name as it is.
    pub fn new(name: &str) -> Result<Self, BadName> {
        let good = !name.is_empty()
            && name.len() <= FILE_NAME_BYTES
            && name.chars().all(is_shown)
            && !matches!(name, "." | "..");
        good.then(|| Self(name.into())).ok_or(BadName)
    }

    /// The nearest name to any text: what may not be in it, and what is not seen, is `_`, and what is too much is
    /// left out, before the ending if there is a short one.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let shown = |c| if is_shown(c) && !is_hidden(c) { c } else { '_' };
        let name: String = text.chars().take(4 * FILE_NAME_BYTES).map(shown).collect();
        let ending = name.rfind('.').map_or("", |at| &name[at..]);
        let ending = if ending.len() <= ENDING { ending } else { "" };
        let mut stem = String::new();
        for c in name[..name.len() - ending.len()].chars() {
            if stem.len() + c.len_utf8() + ending.len() > FILE_NAME_BYTES {
                break;
            }
            stem.push(c);
        }
        stem.push_str(ending);
        Self::new(&stem).unwrap_or_else(|_| Self("_".into()))
    }

    /// The name to save it under: one that a shell's command takes for no option, that a list of files
    /// leaves out by no rule, and in which all is seen.
    #[must_use]
    pub fn to_save(&self) -> Self {
        let before = if self.0.starts_with(['-', '.']) { "_" } else { "" };
        Self::nearest(&[before, &self.0].concat())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The longest ending that is kept when a name is cut, in bytes, with its dot.
const ENDING: usize = 16;

/// Whether a character may be in a name that is offered. Those of direction, of no width and the ends of lines
/// of Unicode show another name than there is; those of [`is_hidden`] that are missing here may be in old offers.
const fn is_shown(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !hides && !matches!(c, '/' | '\\' | '\0'..='\x1f' | '\x7f'..='\u{9f}')
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> encode::Encode<C> for FileName {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> decode::Decode<'b, C> for FileName {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::new(d.str()?).map_err(|_| decode::Error::message("no name"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    #[test]
    fn what_leads_elsewhere_or_shows_another_name_is_no_name() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\x7f",
            "a\u{85}b",
            "gnp.\u{202e}exe",
            "a\u{200b}b",
            "a\u{2028}b",
            "\u{feff}a",
        ] {
            assert_eq!(FileName::new(bad), Err(BadName), "{bad:?}");
        }
        assert_eq!(FileName::new(&"x".repeat(256)), Err(BadName));
        for good in ["a", "...", ".profile", "Ärger 12:30.tar.gz", "写真.png", "-rf", "a b"] {
            assert_eq!(FileName::new(good).unwrap().as_str(), good);
        }
        assert!(FileName::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let long = FileName::nearest(&["ö".repeat(300).as_str(), ".jpeg"].concat());
        assert!(long.as_str().ends_with("ö.jpeg"));
        assert_eq!(long.as_str().len(), 255);
        assert_eq!(FileName::nearest("../up\n").as_str(), ".._up_");
        assert_eq!(FileName::nearest("..").as_str(), "_");
        assert_eq!(FileName::nearest("").as_str(), "_");
    }

    #[test]
    fn a_name_to_save_under_is_no_option_and_hides_nothing() {
        let saved = |name| FileName::new(name).unwrap().to_save().0;
        for (name, expected) in [
            ("plan.pdf", "plan.pdf"),
            ("-rf", "_-rf"),
            ("--help", "_--help"),
            (".bashrc", "_.bashrc"),
            ("...", "_..."),
            ("pl\u{ad}an\u{e0041}.pdf", "pl_an_.pdf"),
            ("\u{ad}", "_"),
        ] {
            assert_eq!(saved(name), expected);
        }
        let longest = ["-", &"x".repeat(250), ".txt"].concat();
        let saved = saved(&longest);
        assert!(saved.len() == 255 && saved.starts_with("_-x") && saved.ends_with("x.txt"));
    }

    proptest! {
        #[test]
        fn the_nearest_name_is_one(text in collection::vec(any::<char>(), 0..400)) {
            let text: String = text.into_iter().collect();
            let name = FileName::nearest(&text);
            prop_assert_eq!(FileName::new(name.as_str()), Ok(name.clone()));
            let saved = name.to_save();
            prop_assert!(!saved.as_str().starts_with(['-', '.']));
            prop_assert_eq!(FileName::new(saved.as_str()), Ok(saved.clone()));
            if let Ok(same) = FileName::new(&text)
                && !text.chars().any(is_hidden)
            {
                prop_assert_eq!(same, name);
            }
        }
    }
}
