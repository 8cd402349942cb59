//! How a name looks, so that one that imitates another is known.
//!
//! > A small list: it finds what is easily mistaken, and no more. What it doesn't know is two names.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// What names have in common that look alike: without case, accents, signs and spaces, with letters of other scripts
/// as the Latin ones that they look like; and without what stands in brackets, which could be a word of this program's.
pub fn look(name: &str) -> String {
    let plain = DecomposingNormalizerBorrowed::new_nfkd().normalize(name);
    let before = plain.split(['(', '[', '{', '<']).next().unwrap_or_default();
    // Of signs or brackets alone, as some names are.
    let looks = [letters(before), letters(&plain)].into_iter().find(|look| !look.is_empty());
    looks.unwrap_or_else(|| plain.into_owned())
}

fn letters(name: &str) -> String {
    let letters = name.chars().map(capital).flat_map(char::to_lowercase).map(small);
    let letters: String = letters.filter(|c| c.is_alphanumeric() && !is_blank(*c)).collect();
    letters.replace("rn", "m").replace("vv", "w")
}

/// Letters of which nothing is seen: those that fill a place of Hangul.
const fn is_blank(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

/// Greek capitals whose small letters look otherwise.
const fn capital(c: char) -> char {
    match c {
        'Η' => 'h',
        'Ν' => 'n',
        'Υ' => 'y',
        'Β' => 'b',
        'Ζ' => 'z',
        'Μ' => 'm',
        c => c,
    }
}

const fn small(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'в' | 'ь' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' | 'đ' => 'd',
        'е' | 'ε' | 'є' => 'e',
        'ɡ' => 'g',
        'н' | 'һ' | 'ħ' => 'h',
        // One can't be told from the others in many a typeface.
        'i' | '1' | 'і' | 'ι' | 'ı' | 'ӏ' | 'ł' | 'ǀ' => 'l',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'м' => 'm',
        'п' | 'η' => 'n',
        '0' | 'о' | 'ο' | 'σ' | 'ø' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' | 'ŧ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' | 'ү' => 'y',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_easily_mistaken_look_alike() {
        for (name, other) in [
            ("ben", "Ben"),
            ("ben", "b\u{435}n"),
            ("ben", "ｂｅｎ"),
            ("ben", "𝐛𝐞𝐧"),
            ("ben", "b.e n\u{200c}"),
            ("ben", "be\u{3164}n\u{ffa0}"),
            ("ana", "ΑΝΑ"),
            ("ana", "АΝΑ"),
            ("ren\u{e9}", "rene\u{301}"),
            ("arne", "ame"),
            ("Ilka", "1lka"),
            ("leo", "le0"),
            ("вера", "ВЕРА"),
            ("👍", "👍"),
            ("ben", "ben (1a2b3c4d)"),
            ("ben", "ben ［verified］"),
        ] {
            assert_eq!(look(name), look(other), "{name} {other}");
        }
        for (name, other) in
            [("ben", "bens"), ("ana", "anna"), ("👍", "👎"), ("林", "森"), ("(a)", "(b)")]
        {
            assert_ne!(look(name), look(other), "{name} {other}");
        }
    }
}
