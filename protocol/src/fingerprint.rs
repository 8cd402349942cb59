//! Digits that people compare: of one member, of two, and of a group's view.
//!
//! ```text
//! member  h_1 = H("wt1 fp", ik)   h_n+1 = H("wt1 fp", h_n ‖ ik)   h_1024, 6 × 5 digits
//! pair    both members' digits, the smaller first                60 digits
//! group   H("wt1 fp", group ‖ roster ‖ op heads, sorted), 8 × 5 digits
//! code    "WATTLE-PAIR-1:" ‖ both identities in hexadecimal, the smaller first: for a QR code
//! ```
//!
//! Five digits are the remainder of a big-endian number by 100,000: of five bytes each for a member,
//! of four for a group. docs/spec/identity.md.

use alloc::string::String;
use core::fmt::Write;

use subtle::ConstantTimeEq;

use crate::{
    hash::{Label, hash32},
    ids::{GroupId, MemberId, OpId, RosterHash},
};

/// How often a member's hash is taken: each try to find a key with like digits costs as much.
const ROUNDS: usize = 1024;

/// How the text of a pair's QR code begins.
const CODE: &str = "WATTLE-PAIR-1:";

/// How many digits a pair has.
const PAIR_DIGITS: usize = 60;

/// The 30 digits of one member, in groups of five.
#[must_use]
pub fn of_member(member: &MemberId) -> String {
    let first = hash32(Label::Fingerprint, &[&member.0]);
    let last = (1..ROUNDS).fold(first, |hash, _| hash32(Label::Fingerprint, &[&hash, &member.0]));
    digits(last.chunks_exact(5).take(6))
}

/// The 60 digits of two members, alike at both.
#[must_use]
pub fn of_pair(a: &MemberId, b: &MemberId) -> String {
    Own::of(a).pair(b)
}

/// One's own digits, for pairs with many.
pub struct Own(String);

impl Own {
    /// Those of this member.
    #[must_use]
    pub fn of(me: &MemberId) -> Self {
        Self(of_member(me))
    }

    /// The 60 digits of this member and another one, alike at both.
    #[must_use]
    pub fn pair(&self, other: &MemberId) -> String {
        let other = of_member(other);
        let (first, second) = if self.0 <= other { (&self.0, &other) } else { (&other, &self.0) };
        [first.as_str(), second].join(" ")
    }
}

/// The text of a pair's QR code, alike at both: the identities themselves, and of characters that make a
/// small code.
#[must_use]
pub fn code_of_pair(a: &MemberId, b: &MemberId) -> String {
    let mut code = String::from(CODE);
    for byte in a.min(b).0.iter().chain(&a.max(b).0) {
        // Writing to a string does not fail.
        let _ = write!(code, "{byte:02X}");
    }
    code
}

/// How what the other one has compares with a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// It is of these two identities.
    Equal,
    /// It is of two others.
    Different,
    /// It is neither 60 digits nor the text of a pair's code.
    Unreadable,
}

/// Compares a pair with what the other one reads out or shows: its 60 digits, whatever stands between them, or the
/// text of its code, in letters of either case. The time that it takes says nothing of where the two differ.
#[must_use]
pub fn compare(text: &str, a: &MemberId, b: &MemberId) -> Compared {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let text = text.to_ascii_uppercase();
    let (theirs, ours) = if let Some(ids) = text.strip_prefix(CODE) {
        if ids.len() != 128 || !ids.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Compared::Unreadable;
        }
        (text, code_of_pair(a, b))
    } else {
        let is_between = |c: char| "-.,;:/".contains(c);
        let theirs: String = text.chars().filter(|c| !is_between(*c)).collect();
        if theirs.len() != PAIR_DIGITS || !theirs.bytes().all(|digit| digit.is_ascii_digit()) {
            return Compared::Unreadable;
        }
        (theirs, of_pair(a, b).replace(' ', ""))
    };
    if theirs.as_bytes().ct_eq(ours.as_bytes()).into() {
        Compared::Equal
    } else {
        Compared::Different
    }
}

/// The 40 digits of a group's view, alike at all who hold the same ops.
#[must_use]
pub fn of_view(group: &GroupId, roster: &RosterHash, heads: &[OpId]) -> String {
    let mut heads = alloc::vec::Vec::from(heads);
    heads.sort_unstable();
    let heads: alloc::vec::Vec<u8> = heads.iter().flat_map(|head| head.0).collect();
    digits(hash32(Label::Fingerprint, &[&group.0, &roster.0, &heads]).chunks_exact(4))
}

fn digits<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut digits = String::new();
    for part in parts {
        let number = part.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let space = if digits.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(digits, "{space}{:05}", number % 100_000);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_thirty_digits_and_a_pair_sixty_alike_at_both() {
        let (a, b) = (MemberId([1; 32]), MemberId([2; 32]));
        let count = |text: &str| text.chars().filter(char::is_ascii_digit).count();
        assert_eq!(count(&of_member(&a)), 30);
        assert_eq!(of_member(&a).split(' ').count(), 6);
        assert_ne!(of_member(&a), of_member(&b));
        assert_eq!(of_pair(&a, &b), of_pair(&b, &a));
        assert_eq!(count(&of_pair(&a, &b)), 60);
        assert!(of_pair(&a, &b).contains(&of_member(&a)));
    }

    #[test]
    fn what_the_other_one_has_is_compared_whole() {
        let (a, b, c) = (MemberId([1; 32]), MemberId([0xab; 32]), MemberId([3; 32]));
        let (digits, code) = (of_pair(&a, &b), code_of_pair(&a, &b));
        assert_eq!((code.len(), &code), (142, &code_of_pair(&b, &a)));
        let spoken = digits.replace(' ', "-\n");
        for text in
            [&digits, &code, &spoken, &code.to_ascii_lowercase(), &std::format!(" {code}\n")]
        {
            assert_eq!(compare(text, &b, &a), Compared::Equal, "{text}");
            assert_eq!(compare(text, &a, &c), Compared::Different, "{text}");
        }
        let last = if digits.ends_with('1') { "2" } else { "1" };
        let mistyped = [&digits[..digits.len() - 1], last].concat();
        assert_eq!(compare(&mistyped, &a, &b), Compared::Different);
        let halves = digits.split_at(35);
        let turned = [halves.1, halves.0].concat();
        assert_eq!(compare(&turned, &a, &b), Compared::Different, "they are said in one order");
        for text in ["", &digits[1..], &code[..140], "WATTLE-PAIR-1:", "equal", &of_member(&b)] {
            assert_eq!(compare(text, &a, &b), Compared::Unreadable, "{text}");
        }
        let wide = digits.replace('0', "\u{ff10}").replace('1', "\u{661}");
        assert_eq!(compare(&wide, &a, &b), Compared::Unreadable, "other scripts' digits");
    }

    #[test]
    fn the_order_of_heads_changes_no_view() {
        let (group, roster) = (GroupId([1; 32]), RosterHash([2; 32]));
        let (a, b) = (OpId([3; 32]), OpId([4; 32]));
        assert_eq!(of_view(&group, &roster, &[a, b]), of_view(&group, &roster, &[b, a]));
        assert_ne!(of_view(&group, &roster, &[a]), of_view(&group, &roster, &[b]));
    }
}
