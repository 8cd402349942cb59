//! Characters that change how a line looks without being seen.
//!
//! > One list, for names that are refused, for names of files that are saved and for all that is shown.

/// Whether a character is invisible, breaks a line or turns the direction of writing (Unicode Standard
/// Annex 9, and the format characters of width zero). Control characters are not among them: `char` knows
/// those. The joiners and variation selectors that scripts and emoji need are none of them either.
///
/// Names on cards and groups are refused by it, so that it can't change without a version of theirs.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_is_hidden_and_what_scripts_need_is_not() {
        for c in "\u{ad}\u{180e}\u{200b}\u{2029}\u{202e}\u{2066}\u{feff}\u{fffa}\u{e0041}".chars() {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in "aäع\u{200c}\u{200d}\u{fe0f}\u{e0100}\u{301}".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
    }
}
