//! Looking for what must not be there: a value in every form in which it could stand in bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One value, and the forms in which it would betray itself.
pub struct Forms {
    /// What it is, for the message of a failure.
    pub name: String,
    /// The forms: raw, hexadecimal, base58, base64.
    pub forms: Vec<Vec<u8>>,
}

impl Forms {
    /// A text: its UTF-8 bytes, and these in base64.
    #[must_use]
    pub fn text(name: &str, text: &str) -> Self {
        Self::of(name, text.as_bytes())
    }

    /// A key or id, given in hexadecimal.
    #[must_use]
    pub fn hex(name: &str, hex: &str) -> Self {
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        Self::of(name, &bytes)
    }

    fn of(name: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![
            bytes.to_vec(),
            hex.to_ascii_uppercase().into_bytes(),
            hex.into_bytes(),
            base58(bytes).into_bytes(),
        ];
        forms.extend(base64_cores(bytes));
        Self { name: name.into(), forms }
    }

    /// Whether a form of this value stands in `bytes`.
    #[must_use]
    pub fn occurs_in(&self, bytes: &[u8]) -> bool {
        found(std::slice::from_ref(self), bytes).is_some()
    }
}

/// Fails where a form of one of these values stands in `bytes`.
#[track_caller]
pub fn absent(values: &[Forms], what: &str, bytes: &[u8]) {
    if let Some((value, form)) = found(values, bytes) {
        panic!("{what} holds {} as {:?}", value.name, String::from_utf8_lossy(form));
    }
}

/// The first form that stands in `bytes`: one pass, whatever the number of forms.
fn found<'a>(values: &'a [Forms], bytes: &[u8]) -> Option<(&'a Forms, &'a [u8])> {
    let mut by_beginning: Vec<Vec<(&Forms, &[u8])>> = vec![Vec::new(); 1 << 16];
    for value in values {
        for form in &value.forms {
            by_beginning[beginning(form[0], form[1])].push((value, form));
        }
    }
    let mut before = *bytes.first()?;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        for (value, form) in &by_beginning[beginning(before, *byte)] {
            if bytes[at - 1..].starts_with(form) {
                return Some((value, form));
            }
        }
        before = *byte;
    }
    None
}

fn beginning(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Every file below `dir`.
#[must_use]
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base58(bytes: &[u8]) -> String {
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let letters = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
    letters.map(|digit| char::from(BASE58[digit as usize])).collect()
}

/// What of the base64 of `bytes` is the same whatever stands around it, for each of the three
/// places in which it can begin, in both alphabets.
fn base64_cores(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut cores = Vec::new();
    for skip in 0..3 {
        let whole = &bytes[skip.min(bytes.len())..];
        let core: Vec<u8> = whole
            .chunks_exact(3)
            .flat_map(|three| {
                let bits =
                    u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
                [18, 12, 6, 0].map(|shift| BASE64[(bits >> shift & 63) as usize])
            })
            .collect();
        // Fewer than 8 characters would be found by accident.
        if core.len() >= 8 {
            let url = core.iter().map(|c| match c {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            });
            cores.push(url.collect());
            cores.push(core);
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_each_of_its_forms() {
        let forms = Forms::hex("key", "00ff10a5b6c7d8e9f0010203");
        let raw = [0, 255, 0x10, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9, 0xf0, 1, 2, 3];
        assert_eq!(forms.forms[0], raw);
        assert_eq!(forms.forms[2], b"00ff10a5b6c7d8e9f0010203");
        // `printf … | base64` of the same bytes, alone and after one other byte.
        assert!(forms.forms.iter().any(|form| form == b"AP8QpbbH2OnwAQID"));
        assert!(forms.occurs_in(b"QQD/EKW2x9jp8AECAw=="));
        assert!(forms.occurs_in(b"....00ff10a5b6c7d8e9f0010203"));
        assert!(!forms.occurs_in(b"....00ff10a5b6c7d8e9f001020_"));
    }

    #[test]
    fn base58_agrees_with_its_published_vectors() {
        assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(base58(&[0, 0, 0x28, 0x7f, 0xb4, 0xcd]), "11233QC4");
    }

    #[test]
    #[should_panic(expected = "the store holds the secret")]
    fn a_value_that_is_there_fails() {
        absent(&[Forms::text("the secret", "kettle")], "the store", b"my kettle sings");
    }
}
