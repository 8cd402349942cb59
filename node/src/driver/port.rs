//! The port that was used the last time, in the file `port` of a directory: others have noted it.

use std::{fs, io, path::Path};

use crate::net::{free_port, is_free};

const FILE: &str = "port";

/// The port to listen on for members: the one of the last time if it is free, and any other if not.
pub(super) fn of_node(data_dir: &Path) -> io::Result<Option<u16>> {
    let kept = kept(data_dir)?;
    let port = kept.filter(|port| is_free(*port)).or_else(free_port);
    match (kept, port) {
        // Where it is taken today it may be free tomorrow.
        (Some(_), _) | (None, None) => {}
        (None, Some(port)) => keep(data_dir, port)?,
    }
    Ok(port)
}

pub(super) fn kept(dir: &Path) -> io::Result<Option<u16>> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn keep(dir: &Path, port: u16) -> io::Result<()> {
    fs::write(dir.join(FILE), format!("{port}\n"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A free port that the system gives nobody who asks for any: it stays free.
    pub(in super::super) fn lasting() -> u16 {
        let ports = std::iter::repeat_with(|| 10_000 + getrandom::u32().unwrap() % 20_000);
        ports.map(|port| port.try_into().unwrap()).find(|port| is_free(*port)).unwrap()
    }

    #[test]
    fn a_port_is_kept_and_given_back_when_it_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let port = lasting();
        keep(dir.path(), port).unwrap();
        assert_eq!(of_node(dir.path()).unwrap(), Some(port));
        let taken = TcpListener::bind(("0.0.0.0", port)).unwrap();
        assert_ne!(of_node(dir.path()).unwrap(), Some(port));
        drop(taken);
        assert_eq!(of_node(dir.path()).unwrap(), Some(port));
    }

    #[test]
    fn the_first_port_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let port = of_node(dir.path()).unwrap().unwrap();
        assert_eq!(kept(dir.path()).unwrap(), Some(port));
    }

    #[test]
    fn a_damaged_note_is_no_note() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "any").unwrap();
        let port = of_node(dir.path()).unwrap();
        assert_eq!(kept(dir.path()).unwrap(), port);
    }
}
