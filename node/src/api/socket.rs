//! Where a node's API is found: a Unix socket that only its owner can open.
//!
//! > A socket file that a dead node left is replaced; a living node's never is.
//!
//! The socket is `<data-dir>/api.sock`. Where that path is longer than the system can bind, it is
//! in a directory of its own (0700) under `XDG_RUNTIME_DIR` or the system's temporary directory,
//! and its path is in the file `<data-dir>/api.path`.

use std::{
    env, fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::net::UnixListener;

/// The longest path that is bound, in bytes: the systems' own bounds are 104 and 108.
const PATH_MAX: usize = 100;

/// A bound socket. Its file goes when this is dropped, which is to be before its listener: until
/// then no other file can have the same inode.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: u64,
    /// The directory and the pointer to it, where the usual place was too long.
    elsewhere: Option<(PathBuf, PathBuf)>,
}

/// Why no socket could be had.
#[derive(Debug, Error)]
pub enum BindError {
    /// What is there is no socket.
    #[error("{0} is there, and is no socket: it is left alone")]
    NoSocket(PathBuf),
    /// Somebody else's socket, for programs.
    #[error("somebody answers at {0} already")]
    Taken(PathBuf),
    /// A living node answers there.
    #[error("a node is already running on this data directory")]
    InUse,
    /// The system refused.
    #[error("the socket for the local API can't be made: {0}")]
    Io(#[from] io::Error),
}

/// The path at which a data directory's node is to be asked.
#[must_use]
pub fn find(data_dir: &Path) -> PathBuf {
    match fs::read_to_string(data_dir.join("api.path")) {
        Ok(path) => path.trim_end_matches('\n').into(),
        Err(_) => data_dir.join("api.sock"),
    }
}

/// Binds the socket of a data directory, which exists and is its owner's alone (0700).
pub fn bind(data_dir: &Path) -> Result<(UnixListener, Socket), BindError> {
    clear(&find(data_dir))?;
    let usual = data_dir.join("api.sock");
    if usual.as_os_str().len() <= PATH_MAX {
        clear(&usual)?;
        remove(&data_dir.join("api.path"))?;
        return open(usual, None);
    }
    let base = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = base.filter(|dir| dir.is_dir() && dir.as_os_str().len() < PATH_MAX / 2);
    let dir = tempfile::Builder::new()
        .prefix("wattle-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(base.unwrap_or_else(|| "/tmp".into()))?
        .keep();
    let path = dir.join("api.sock");
    let pointer = data_dir.join("api.path");
    let bound = open(path.clone(), Some((dir, pointer.clone())))?;
    fs::write(&pointer, format!("{}\n", path.display()))?;
    Ok(bound)
}

/// Binds the socket for programs with tokens. Who may write to it (0660) is up to its directory's owner and group: a token is
/// asked for in any case.
pub fn bind_programs(path: &Path) -> Result<(UnixListener, Socket), BindError> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.into()));
        }
        Ok(_) => clear(path).map_err(|error| match error {
            BindError::InUse => BindError::Taken(path.into()),
            error => error,
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let bound = open(path.into(), None)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(bound)
}

impl Socket {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if inode(&self.path).ok() == Some(self.inode) {
            drop(fs::remove_file(&self.path));
        }
        if let Some((dir, pointer)) = &self.elsewhere {
            let ours = self.path.to_str();
            if fs::read_to_string(pointer).ok().as_deref().map(str::trim_end) == ours {
                drop(fs::remove_file(pointer));
            }
            drop(fs::remove_dir(dir));
        }
    }
}

fn open(
    path: PathBuf,
    elsewhere: Option<(PathBuf, PathBuf)>,
) -> Result<(UnixListener, Socket), BindError> {
    let listener = UnixListener::bind(&path)?;
    let socket = Socket { inode: inode(&path)?, path, elsewhere };
    fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, socket))
}

/// Removes what a dead node left at a path.
fn clear(path: &Path) -> Result<(), BindError> {
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(remove(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Too long a path was never bound.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    Ok(fs::symlink_metadata(path)?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_nodes_socket_is_left_alone_and_a_dead_ones_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (listener, socket) = bind(dir.path()).unwrap();
        assert_eq!(fs::metadata(socket.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(dir.path()), Err(BindError::InUse)));
        let path = socket.path().to_owned();
        drop(listener);
        std::mem::forget(socket);
        assert!(path.exists());
        let (_listener, socket) = bind(dir.path()).unwrap();
        assert_eq!((find(dir.path()), socket.path()), (path.clone(), &*path));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_long_data_directory_gets_a_short_socket_that_is_found() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("x".repeat(120));
        fs::create_dir(&dir).unwrap();
        let (_listener, socket) = bind(&dir).unwrap();
        let short = socket.path().parent().unwrap().to_owned();
        assert!(socket.path().as_os_str().len() <= PATH_MAX);
        assert_eq!(find(&dir), socket.path());
        assert_eq!(fs::metadata(&short).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(bind(&dir), Err(BindError::InUse)));
        drop(socket);
        assert!(!short.exists() && !dir.join("api.path").exists());
    }

    #[tokio::test]
    async fn programs_get_a_socket_where_there_is_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (path, file) = (dir.path().join("programs.sock"), dir.path().join("notes.txt"));
        fs::write(&file, "mine").unwrap();
        assert!(matches!(bind_programs(&file), Err(BindError::NoSocket(_))));
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        let (listener, socket) = bind_programs(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_programs(&path), Err(BindError::Taken(_))));
        drop(listener);
        std::mem::forget(socket);
        drop(bind_programs(&path).unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn another_nodes_socket_is_not_removed_with_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (_listener, socket) = bind(dir.path()).unwrap();
        fs::remove_file(socket.path()).unwrap();
        let (_other, second) = bind(dir.path()).unwrap();
        drop(socket);
        assert!(second.path().exists());
    }
}
