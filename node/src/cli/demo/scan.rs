//! Looking for what a relay must not have.

use std::{fs, io, path::Path};

/// Something that must not be there, and in which forms it would show itself.
pub struct Secret {
    /// What it is, for people.
    pub what: String,
    forms: Vec<Vec<u8>>,
}

/// What was looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What was found, and should not be there.
    pub found: Vec<String>,
}

impl Secret {
    /// A text, of at least six bytes: shorter ones occur by chance.
    pub fn text(what: &str, text: &str) -> Self {
        Self { what: what.into(), forms: vec![text.into()] }
    }

    /// A key or id, from its hexadecimal digits: as bytes and as digits.
    pub fn id(what: &str, digits: &str) -> Self {
        let bytes = node::store::unhex(digits).unwrap_or_default();
        let forms = vec![bytes, digits.into(), digits.to_uppercase().into()];
        Self { what: what.into(), forms: forms.into_iter().filter(|form| form.len() > 5).collect() }
    }

    fn stands_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
    }
}

/// Reads every byte of every file below a directory.
pub fn scan(dir: &Path, secrets: &[Secret]) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    look(dir, secrets, &mut scanned)?;
    Ok(scanned)
}

fn look(dir: &Path, secrets: &[Secret], scanned: &mut Scanned) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            look(&path, secrets, scanned)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        scanned.files += 1;
        scanned.bytes += bytes.len() as u64;
        let found = secrets.iter().filter(|secret| secret.stands_in(&bytes));
        scanned.found.extend(found.map(|secret| secret.what.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_in_each_form_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        let id = "00ff10a5b6c7";
        let secrets = [Secret::text("text", "kettle"), Secret::id("id", id)];
        let file = dir.path().join("deep/file");
        let stored: [(&[u8], &[&str]); 4] = [
            (b"nothing of it", &[]),
            (b"xxkettlexx", &["text"]),
            (b"x\x00\xff\x10\xa5\xb6\xc7", &["id"]),
            (b"00FF10A5B6C7 kettle", &["text", "id"]),
        ];
        for (bytes, found) in stored {
            fs::write(&file, bytes).unwrap();
            let scanned = scan(dir.path(), &secrets).unwrap();
            assert_eq!(scanned.found, found);
            assert_eq!((scanned.files, scanned.bytes), (1, bytes.len() as u64));
        }
    }
}
