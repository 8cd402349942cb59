//! Which tables a keyspace has, by its manifest. A table that no manifest names was being made, or is
//! to be deleted.

use std::{
    fs,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{journal::array, table};
use crate::data_dir::open_file;

/// The tables of a keyspace.
pub(super) struct Tables {
    pub(super) paths: Vec<PathBuf>,
    /// Manifests that are not as they were written, and tables that are not there.
    pub(super) damaged: u64,
}

/// Finds the tables of the keyspace in a directory. Without a manifest that can be read: all that
/// are there.
pub(super) fn tables(dir: &Path) -> io::Result<Tables> {
    let folder = dir.join("tables");
    let mut there = numbered(&folder, "")?;
    let Some(current) = read(&dir.join("current"))? else {
        // It was being made, unless it has tables.
        let damaged = u64::from(!there.is_empty());
        return Ok(Tables { paths: there.into_iter().map(|(_, path)| path).collect(), damaged });
    };
    let (named, mut damaged) = match manifest(dir, &current)? {
        Some(named) => (Some(named), 0),
        // The newest is the one: those before it are deleted soon.
        None => (newest(dir)?, 1),
    };
    if let Some(named) = named {
        let before = there.len();
        there.retain(|(id, _)| named.contains(id));
        debug_assert!(there.len() <= before, "tables are only left out");
        damaged += named.iter().filter(|id| !there.iter().any(|(it, _)| it == *id)).count() as u64;
    }
    Ok(Tables { paths: there.into_iter().map(|(_, path)| path).collect(), damaged })
}

/// The ids of the tables that the manifest names which `current` means; none if either is damaged.
fn manifest(dir: &Path, current: &[u8]) -> io::Result<Option<Vec<u64>>> {
    let (Some(id), Some(sum)) = (array(current, 0), array(current, 8)) else { return Ok(None) };
    if current.len() != 25 || current[24] != 0 {
        return Ok(None);
    }
    let path = dir.join(format!("v{}", u64::from_le_bytes(id)));
    let bytes = read(&path)?.filter(|bytes| xxh3_128(bytes) == u128::from_le_bytes(sum));
    bytes.map_or(Ok(None), |bytes| named(&path, &bytes))
}

fn newest(dir: &Path) -> io::Result<Option<Vec<u64>>> {
    let newest = numbered(dir, "v")?.pop();
    let Some((_, path)) = newest else { return Ok(None) };
    let bytes = read(&path)?.unwrap_or_default();
    named(&path, &bytes)
}

/// The ids in a manifest: levels u8, of runs u8, of tables u32, each id 8 ‖ 0 ‖ sum 16 ‖ place 8.
fn named(path: &Path, bytes: &[u8]) -> io::Result<Option<Vec<u64>>> {
    let sections = table::sections(&mut BufReader::new(open_file(path)?))?;
    let section = sections.and_then(|all| all.into_iter().find(|(name, _)| name == b"tables"));
    let Some((_, (from, len))) = section else { return Ok(None) };
    let (Ok(from), Ok(len)) = (usize::try_from(from), usize::try_from(len)) else {
        return Ok(None);
    };
    let part = from.checked_add(len).and_then(|end| bytes.get(from..end));
    Ok(part.and_then(ids))
}

fn ids(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut ids = Vec::new();
    let [levels] = table::take(&mut bytes)?;
    for _ in 0..levels {
        let [runs] = table::take(&mut bytes)?;
        for _ in 0..runs {
            let tables = u32::from_le_bytes(table::take(&mut bytes)?);
            for _ in 0..tables {
                ids.push(u64::from_le_bytes(table::take(&mut bytes)?));
                let _: [u8; 25] = table::take(&mut bytes)?;
            }
        }
    }
    Some(ids)
}

/// The files of a directory whose names are a number after `before`, by that number.
pub(super) fn numbered(dir: &Path, before: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let items = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        items => items?,
    };
    for item in items {
        let path = item?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_prefix(before)?.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The bytes of a file, if there is one.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.read_to_end(&mut bytes)?,
    };
    Ok(Some(bytes))
}
