//! What `strace` saw a process do to files, in the order in which it was done.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// One thing done.
pub struct Step {
    /// When it began, since 1970.
    pub began: Duration,
    pub what: What,
}

pub enum What {
    Open { fd: i64, path: PathBuf, flags: String },
    Close { fd: i64 },
    Duplicate { fd: i64, to: i64 },
    Write { fd: i64, at: Option<u64>, bytes: Vec<u8> },
    Seek { fd: i64, to: u64 },
    Cut { fd: i64, len: u64 },
    Sync { fd: i64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    MakeDir { path: PathBuf },
}

/// The calls that are of interest.
pub const CALLS: &str = "trace=openat,open,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,\
    pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,msync,rename,\
    renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,\
    copy_file_range,sendfile";

/// Reads a trace written with `-f -ttt -xx`.
pub fn read(text: &str) -> Vec<Step> {
    let mut begun: BTreeMap<&str, (Duration, String)> = BTreeMap::new();
    let mut directories: BTreeMap<i64, PathBuf> = BTreeMap::new();
    let mut steps = Vec::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
        let time = Duration::from_secs_f64(time.parse().unwrap());
        if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, (time, first.to_owned()));
            continue;
        }
        let (began, whole) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let Some((began, first)) = begun.remove(pid) else { continue };
                let (_, last) = resumed.split_once(" resumed>").unwrap();
                (began, first + last)
            }
            None => (time, rest.to_owned()),
        };
        if let Some(what) = step(&whole, &mut directories) {
            steps.push(Step { began, what });
        }
    }
    steps
}

fn step(call: &str, directories: &mut BTreeMap<i64, PathBuf>) -> Option<What> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result: i64 = result.split_whitespace().next()?.parse().ok()?;
    if result < 0 {
        return None;
    }
    let arguments: Vec<_> = arguments.trim_end().strip_suffix(')')?.split(", ").collect();
    let number = |at: usize| arguments.get(at).and_then(|it| it.parse::<i64>().ok());
    let path =
        |at: usize| Some(PathBuf::from(String::from_utf8(bytes(arguments.get(at)?)).unwrap()));
    let below = |dir: usize, at: usize| {
        let path = path(at)?;
        let folder = number(dir).and_then(|fd| directories.get(&fd));
        Some(folder.map_or(path.clone(), |folder| folder.join(&path)))
    };
    let unsigned = |number: i64| u64::try_from(number).unwrap();
    Some(match name {
        // By name alone an allocator asks what the system has; nothing of the store.
        "open" => What::Open { fd: result, path: path(0)?, flags: arguments[1].to_owned() },
        "openat" => {
            let (path, flags) = (below(0, 1)?, arguments[2].to_owned());
            directories.insert(result, path.clone());
            What::Open { fd: result, path, flags }
        }
        "close" => What::Close { fd: number(0)? },
        "dup" | "dup2" | "dup3" => What::Duplicate { fd: number(0)?, to: result },
        "fcntl" if arguments[1].starts_with("F_DUPFD") => {
            What::Duplicate { fd: number(0)?, to: result }
        }
        "write" | "pwrite64" => {
            let mut bytes = bytes(arguments[1]);
            let len = usize::try_from(result).unwrap();
            assert!(bytes.len() >= len || number(0)? < 3, "strace has cut off what was written");
            bytes.truncate(len);
            let at = (name == "pwrite64").then(|| unsigned(number(3).unwrap()));
            What::Write { fd: number(0)?, at, bytes }
        }
        "lseek" => What::Seek { fd: number(0)?, to: unsigned(result) },
        "ftruncate" => What::Cut { fd: number(0)?, len: unsigned(number(1)?) },
        "fsync" | "fdatasync" => What::Sync { fd: number(0)? },
        "rename" => What::Rename { from: path(0)?, to: path(1)? },
        "renameat" | "renameat2" => What::Rename { from: below(0, 1)?, to: below(2, 3)? },
        "unlink" | "rmdir" => What::Remove { path: path(0)? },
        "unlinkat" => What::Remove { path: below(0, 1)? },
        "mkdir" => What::MakeDir { path: path(0)? },
        "mkdirat" => What::MakeDir { path: below(0, 1)? },
        // Sockets and pipes alone.
        "writev" | "fcntl" => return None,
        other => panic!("{other} is not modelled"),
    })
}

/// The bytes of a string that was written as `"\x2f\x…"`.
fn bytes(text: &str) -> Vec<u8> {
    let inner = text.trim_end_matches('.').trim_matches('"');
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    inner.as_bytes().chunks_exact(4).map(|it| digit(it[2]) << 4 | digit(it[3])).collect()
}

/// Whether a path is in a directory.
pub fn is_in(path: &Path, dir: &Path) -> bool {
    path.starts_with(dir)
}
