//! JSON to be read by people and other programs, written without a library.

use std::fmt::Write;

/// A value. Objects keep the order in which they were written.
pub enum Json {
    Text(String),
    Number(u64),
    Flag(bool),
    Null,
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Bytes, in hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> Json {
    let mut text = String::new();
    for byte in bytes.as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    Json::Text(text)
}

pub fn text(text: impl Into<String>) -> Json {
    Json::Text(text.into())
}

pub fn number(number: impl Into<u64>) -> Json {
    Json::Number(number.into())
}

pub fn list(items: impl IntoIterator<Item = Json>) -> Json {
    Json::List(items.into_iter().collect())
}

/// `object([("name", value), …])`.
pub fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

pub fn option(value: Option<Json>) -> Json {
    value.unwrap_or(Json::Null)
}

/// The bytes of hexadecimal text.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

impl Json {
    /// The texts in fields of these names, wherever they stand.
    pub fn find<'a>(&'a self, names: &[&str], found: &mut Vec<(&'a str, &'a str)>) {
        match self {
            Self::List(items) => items.iter().for_each(|item| item.find(names, found)),
            Self::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Self::Text(text) if names.contains(&name.as_str()) => {
                            found.push((name, text));
                        }
                        other => other.find(names, found),
                    }
                }
            }
            _ => {}
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text.push('\n');
        text
    }

    fn write(&self, out: &mut String, depth: usize) {
        let close = |out: &mut String, end: char| {
            write!(out, "\n{:1$}{end}", "", 2 * depth).unwrap();
        };
        let next = |out: &mut String, first: bool| {
            let comma = if first { "" } else { "," };
            write!(out, "{comma}\n{:1$}", "", 2 * depth + 2).unwrap();
        };
        match self {
            Self::Text(text) => {
                assert!(text.chars().all(|c| c >= ' ' && c != '"' && c != '\\'), "{text:?}");
                write!(out, "\"{text}\"").unwrap();
            }
            Self::Number(number) => write!(out, "{number}").unwrap(),
            Self::Flag(flag) => write!(out, "{flag}").unwrap(),
            Self::Null => out.push_str("null"),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    next(out, at == 0);
                    item.write(out, depth + 1);
                }
                close(out, ']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    next(out, at == 0);
                    write!(out, "\"{name}\": ").unwrap();
                    value.write(out, depth + 1);
                }
                close(out, '}');
            }
        }
    }
}
