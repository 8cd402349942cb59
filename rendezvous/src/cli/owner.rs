//! As whom a command touches a relay's directory: as its owner, also where root gives the command.
//!
//! > A relay's user may put what it likes into its directory: links, names of others' files. So root
//! > becomes the owner, for good, before it looks at anything in there: all is done with the owner's
//! > rights, and what is made is the owner's. The way there is walked by handles, and a link on it
//! > counts if root or the owner has made it, as the service manager's does.

use std::path::{Path, PathBuf};

use rendezvous::{repair::RepairError, tokens::TokensError};

/// A data directory that is touched as its owner from here on.
pub(super) struct Entered {
    named: PathBuf,
    path: PathBuf,
}

impl Entered {
    /// Becomes the owner of a directory, or of the one in which it is to be made, if root asks for it.
    /// To be called before there is another thread.
    pub(super) fn of(named: PathBuf) -> anyhow::Result<Self> {
        let path = enter(&named)?.unwrap_or_else(|| named.clone());
        Ok(Self { named, path })
    }

    /// By which path it is reached now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it, as whoever gave the command knows it.
    pub(super) fn named(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.path) {
            Ok(rest) if rest.as_os_str().is_empty() => self.named.clone(),
            Ok(rest) => self.named.join(rest),
            Err(_) => path.to_path_buf(),
        }
    }

    /// An error, with paths as whoever gave the command knows them.
    pub(super) fn of_repair(&self, error: RepairError) -> RepairError {
        match error {
            RepairError::NoStore(path) => RepairError::NoStore(self.named(&path)),
            other => other,
        }
    }

    /// The same for a list of tokens.
    pub(super) fn of_tokens(&self, error: TokensError) -> TokensError {
        match error {
            TokensError::Io { dir, source } => TokensError::Io { dir: self.named(&dir), source },
            TokensError::Damaged { path } => TokensError::Damaged { path: self.named(&path) },
            other => other,
        }
    }
}

/// Becomes the owner, and answers the path by which the directory is reached then. `None`: nothing has
/// changed, as root has not asked.
#[cfg(target_os = "linux")]
fn enter(named: &Path) -> anyhow::Result<Option<PathBuf>> {
    use anyhow::{Context as _, bail};
    use rustix::process::{fchdir, geteuid};

    if !geteuid().is_root() {
        return Ok(None);
    }
    let dir = named.display();
    let way = way::walk(named).with_context(|| format!("{dir} can't be reached"))?;
    if way.links.iter().any(|by| *by != 0 && *by != way.owner.user) {
        bail!(
            "{dir} is reached by a link that neither root nor the owner of the directory has made; \
             name the directory itself"
        );
    }
    if way.owner.user == 0 && way.is_open_to_others {
        bail!(
            "{dir} is, or is to be, in a directory of root's to which others may write; make it before, \
             for its owner alone (chmod go-w)"
        );
    }
    // From here on no path leads elsewhere. And its owner may be unable to come here by any: systemd
    // keeps such directories in one of root's.
    fchdir(&way.here).with_context(|| format!("{dir} can't be entered"))?;
    if way.owner.user != 0 {
        way.owner.assume().with_context(|| {
            let user = way.owner.user;
            format!("root can't become the owner of {dir}: give the command as user {user}")
        })?;
    }
    Ok(Some(way.rest.iter().rev().fold(PathBuf::from("/proc/self/cwd"), |path, it| path.join(it))))
}

/// Elsewhere root can't become somebody else for good.
#[cfg(not(target_os = "linux"))]
fn enter(named: &Path) -> anyhow::Result<Option<PathBuf>> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = named.ancestors().find_map(|dir| dir.metadata().ok()).map_or(0, |it| it.uid());
    if owner != 0 && rustix::process::geteuid().is_root() {
        anyhow::bail!("{} is not root's: give the command as user {owner}", named.display());
    }
    Ok(None)
}

#[cfg(target_os = "linux")]
mod way {
    use std::{
        ffi::{OsStr, OsString},
        io,
        os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
        path::Path,
    };

    use rustix::{
        fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat},
        io::Errno,
        process::{Gid, Uid},
        thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
    };

    /// How far a path leads.
    pub(super) struct Way {
        /// The last directory of it that is there.
        pub(super) here: OwnedFd,
        pub(super) owner: Owner,
        /// Whether somebody else than its owner may put something into it.
        pub(super) is_open_to_others: bool,
        /// What is not there yet, the last first.
        pub(super) rest: Vec<OsString>,
        /// Whose the links on it are.
        pub(super) links: Vec<u32>,
    }

    pub(super) struct Owner {
        pub(super) user: u32,
        group: u32,
    }

    /// As many as the kernel follows.
    const LINKS: usize = 40;
    /// Nobody's. A directory that was given to its owner alone, and is root's group's still, gives
    /// no right of that group.
    const NO_GROUP: u32 = 65_534;

    /// Walks from handle to handle; a link is read that was looked at, though another takes its place.
    pub(super) fn walk(path: &Path) -> io::Result<Way> {
        let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (mut rest, mut links) = (steps(path), Vec::new());
        let mut here = openat(CWD, ".", place, Mode::empty())?;
        while let Some(step) = rest.pop() {
            let next = match openat(&here, &step, place, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rest.push(step);
                    break;
                }
                next => next?,
            };
            let is = fstat(&next)?;
            match FileType::from_raw_mode(is.st_mode) {
                FileType::Directory => here = next,
                FileType::Symlink if links.len() < LINKS => {
                    links.push(is.st_uid);
                    let to = readlinkat(&next, "", Vec::<u8>::new())?;
                    rest.extend(steps(Path::new(OsStr::from_bytes(to.as_bytes()))));
                }
                FileType::Symlink => return Err(Errno::LOOP.into()),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        let Stat { st_uid: user, st_gid: group, st_mode: mode, .. } = fstat(&here)?;
        // Where an access control list names others, the group's bits are what it lets them do.
        let is_open_to_others = mode & 0o022 != 0;
        Ok(Way { here, owner: Owner { user, group }, is_open_to_others, rest, links })
    }

    /// The names of a path, the last first.
    fn steps(path: &Path) -> Vec<OsString> {
        path.components().rev().map(|step| step.as_os_str().to_owned()).collect()
    }

    impl Owner {
        /// Has this thread, and those that it starts, be the owner from now on.
        pub(super) fn assume(&self) -> io::Result<()> {
            let group = Gid::from_raw(if self.group == 0 { NO_GROUP } else { self.group });
            let user = Uid::from_raw(self.user);
            set_thread_groups(&[])?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
            // Whoever can come back has root's rights still.
            match set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
                Ok(()) => Err(Errno::PERM.into()),
                Err(_) => Ok(()),
            }
        }
    }
}
