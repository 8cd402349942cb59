//! The form in which texts are indexed, and in which words are looked for.
//!
//! > What is written without spaces between words is indexed by its characters, and found as a row of them: texts and words take the
//! > same form, so that where a hit is in the form says where it is in the text.

/// A word or a phrase is this long at most, in characters.
const WORD_MAX: usize = 256;
/// So many are looked for at once.
const WORDS_MAX: usize = 16;

/// Where a hit begins and ends in the form. Neither is in any form.
pub(super) const BEGINS: char = '\u{2}';
pub(super) const ENDS: char = '\u{3}';

/// Whether a character stands for itself: of scripts that have no spaces between words, and signs such as emoji.
const fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Myanmar
        | '\u{1100}'..='\u{11ff}' // Hangul in letters
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}' // signs
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{312f}'
        | '\u{3400}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// The form of a text.
pub(super) fn form(text: &str) -> String {
    let mut form = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        if stands_alone(c) {
            form.extend([' ', c, ' ']);
        } else {
            form.push(if c.is_control() { ' ' } else { c });
        }
    }
    form
}

/// Where the hits are that are marked in the form of a text: from which character to before which one.
pub(super) fn marks(text: &str, marked: &str) -> Vec<(u32, u32)> {
    let mut marks: Vec<(u32, u32)> = Vec::new();
    let (mut form, mut begun) = (marked.chars().peekable(), None);
    let mut at = 0;
    let signs = |at: u32,
                 form: &mut std::iter::Peekable<std::str::Chars<'_>>,
                 begun: &mut Option<u32>,
                 marks: &mut Vec<(u32, u32)>| {
        while let Some(sign) = form.next_if(|c| matches!(*c, BEGINS | ENDS)) {
            match begun.take() {
                None if sign == BEGINS => *begun = Some(at),
                Some(from) if sign == ENDS && from < at => match marks.last_mut() {
                    // What a row of characters says is one.
                    Some(last) if last.1 == from => last.1 = at,
                    _ => marks.push((from, at)),
                },
                other => *begun = other,
            }
        }
    };
    for c in text.chars() {
        let alone = stands_alone(c);
        signs(at, &mut form, &mut begun, &mut marks);
        if alone {
            form.next();
            signs(at, &mut form, &mut begun, &mut marks);
        }
        form.next();
        at += 1;
        signs(at, &mut form, &mut begun, &mut marks);
        if alone {
            form.next();
            signs(at, &mut form, &mut begun, &mut marks);
        }
    }
    marks
}

/// What is looked for: nothing that people type is taken for more than words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(pub(super) String);

/// Why nothing can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// No letter, digit or sign is in it.
    #[error("there is no word to look for")]
    Empty,
    /// Too many.
    #[error("that is too much to look for: {WORDS_MAX} words at most, of {WORD_MAX} characters")]
    TooMany,
}

impl Words {
    /// Reads what somebody typed: words, of which each is the beginning of one in the text, and rows of whole words between
    /// quotation marks.
    pub fn read(typed: &str) -> Result<Self, WordsError> {
        let mut parts: Vec<(String, bool)> = Vec::new();
        for (at, part) in typed.split('"').enumerate() {
            if at % 2 == 1 {
                parts.push((part.into(), true));
            } else {
                parts.extend(part.split_whitespace().map(|word| (word.into(), false)));
            }
        }
        parts.retain(|(part, _)| part.chars().any(|c| c.is_alphanumeric() || stands_alone(c)));
        if parts.is_empty() {
            return Err(WordsError::Empty);
        }
        if parts.len() > WORDS_MAX || parts.iter().any(|(part, _)| part.chars().count() > WORD_MAX)
        {
            return Err(WordsError::TooMany);
        }
        let part = |(part, is_whole): &(String, bool)| {
            format!("\"{}\"{}", form(part), if *is_whole { "" } else { " *" })
        };
        Ok(Self(parts.iter().map(part).collect::<Vec<_>>().join(" AND ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_words_and_nothing_else() {
        let read = |typed: &str| Words::read(typed).map(|words| words.0);
        let is = |typed, form: &str| assert_eq!(read(typed).as_deref(), Ok(form));
        is("deploy at", "\"deploy\" * AND \"at\" *");
        is("\"at noon\" x", "\"at noon\" AND \"x\" *");
        is("NEAR(a b)", "\"NEAR(a\" * AND \"b)\" *");
        is("text:a OR \"b", "\"text:a\" * AND \"OR\" * AND \"b\"");
        for nothing in ["", "  ", "\"\"", "!? -", "\u{0}"] {
            assert_eq!(read(nothing), Err(WordsError::Empty), "{nothing}");
        }
        assert_eq!(read(&"a ".repeat(17)), Err(WordsError::TooMany));
        assert_eq!(read(&"a".repeat(257)), Err(WordsError::TooMany));
    }

    #[test]
    fn marks_are_where_the_text_has_the_hit() {
        let marked = |text: &str, hits: &[&str]| {
            let mut form = super::form(text);
            for hit in hits {
                let begin = form.find(hit).unwrap();
                form.insert(begin + hit.len(), ENDS);
                form.insert(begin, BEGINS);
            }
            marks(text, &form)
        };
        assert_eq!(marked("we deploy at noon", &["deploy", "noon"]), [(3, 9), (13, 17)]);
        assert_eq!(marked("\u{e9}t\u{e9}\u{2}x now", &["now"]), [(6, 9)]);
        assert_eq!(marked("ok 東京 tower", &["東", "京"]), [(3, 5)]);
        assert_eq!(marked("東京tower", &["tower"]), [(2, 7)]);
        assert_eq!(marks("abc", "\u{2}abc"), []);
    }
}
