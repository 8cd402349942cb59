//! A small disk of a process's own, which can be full: a tmpfs, which takes root.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The disk; it is gone when this ends.
pub struct Disk(PathBuf);

impl Disk {
    /// A disk of `size`, such as `64m`, at `dir`.
    pub fn new(dir: &Path, size: &str) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir);
        let done = mount.output().map_err(|error| error.to_string())?;
        match done.status.success() {
            true => Ok(Self(dir.to_owned())),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    /// Leaves no room on it.
    pub(super) fn fill(&self) {
        let Ok(mut file) = File::create(self.filler()) else { return };
        for piece in [1 << 20, 4096, 1] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    /// Undoes that.
    pub(super) fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    /// Whether it was filled.
    pub(super) fn is_full(&self) -> bool {
        self.filler().exists()
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
