//! The memory of another process of this user, as Linux shows it under `/proc`.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// What the process `id` holds in writable memory.
pub(crate) fn of(id: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).expect("the process's maps");
    let memory = File::open(format!("/proc/{id}/mem")).expect("the process's memory");
    let mut bytes = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        let parse = |hex| u64::from_str_radix(hex, 16).expect("an address");
        if rights.starts_with("rw") {
            read(&memory, parse(start), parse(end), &mut bytes);
        }
    }
    bytes
}

const STEP: u64 = 1 << 20;

/// Reads what can be read of one range; pages that were never touched may be missing.
fn read(memory: &File, start: u64, end: u64, bytes: &mut Vec<u8>) {
    let mut at = start;
    while at < end {
        let step = STEP.min(end - at);
        let mut part = vec![0; usize::try_from(step).expect("a small step")];
        if let Ok(read) = memory.read_at(&mut part, at) {
            bytes.extend_from_slice(&part[..read]);
        }
        at += step;
    }
}

#[cfg(test)]
mod tests {
    use crate::Forms;

    #[test]
    fn a_process_is_seen_to_hold_what_it_holds() {
        let held: Vec<u8> = (0..32_u8).map(|n| n.wrapping_mul(73) ^ 0x5a).collect();
        let hex: String = held.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(Forms::hex("it", &hex).occurs_in(&super::of(std::process::id())));
    }
}
