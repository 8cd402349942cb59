//! The forms of an export.

use node::api::types::Message;
use time::Date;

use crate::cli::show::{self, Parts};

/// How messages are written down.
pub(super) trait Form {
    /// What stands first.
    fn begin(&self, _group: &str) -> String {
        String::new()
    }

    /// Before the first message of a day.
    fn day(&self, _day: Date) -> String {
        String::new()
    }

    /// A message.
    fn message(&self, message: &Message) -> anyhow::Result<String>;

    /// Whether what was written after its writer's removal stands behind all else.
    fn keeps_apart(&self) -> bool {
        true
    }

    /// Before that.
    fn apart(&self) -> String {
        String::new()
    }

    /// What stands last.
    fn end(&self, _messages: u64) -> String {
        String::new()
    }
}

/// A message a line, as the API tells it.
pub(super) struct Ndjson;

/// Markdown in which all of what others wrote is text.
pub(super) struct Markdown;

/// One page.
pub(super) struct Html;

const APART: &str = "Kept apart: written after the writer's removal";

impl Form for Ndjson {
    fn message(&self, message: &Message) -> anyhow::Result<String> {
        Ok(show::json_line(message)? + "\n")
    }

    fn keeps_apart(&self) -> bool {
        false
    }
}

impl Form for Markdown {
    fn begin(&self, group: &str) -> String {
        format!("# {}\n\nTimes are UTC.\n", markdown(&show::safe(group)))
    }

    fn day(&self, day: Date) -> String {
        format!("\n## {day}\n")
    }

    fn message(&self, message: &Message) -> anyhow::Result<String> {
        let Parts { name, answers, text, signs, remarks } = Parts::of(message);
        let clock = show::clock(&message.at);
        let [name, answers] = [name, answers].map(|part| markdown(&part));
        let text = markdown(&format!("{text}{signs}{remarks}"));
        Ok(format!("\n**{clock} {name}**{answers}: {text}\n"))
    }

    fn apart(&self) -> String {
        format!("\n# {APART}\n")
    }

    fn end(&self, messages: u64) -> String {
        format!("\n---\n\n{}\n", show::count(messages, "message"))
    }
}

/// Text that Markdown shows as it is: no emphasis, link, image, tag, entity, heading, list, table, code or footnote.
fn markdown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut begins = false;
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\\n"),
            // Four spaces would be code; and an empty line another paragraph.
            ' ' | '\t' if begins => shown.push('\u{a0}'),
            c if c.is_ascii_punctuation() && !"\"%',/;?".contains(c) => {
                shown.extend(['\\', c]);
            }
            c => shown.push(c),
        }
        begins = c == '\n' || (begins && matches!(c, ' ' | '\t'));
    }
    shown.replace("\\\n\\\n", "\\\n\u{a0}\\\n").replace("\\\n\\\n", "\\\n\u{a0}\\\n")
}

impl Form for Html {
    fn begin(&self, group: &str) -> String {
        let group = html(&show::safe(group));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{group}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1><bdi>{group}</bdi></h1>\n<p>Times are UTC.</p>\n"
        )
    }

    fn day(&self, day: Date) -> String {
        format!("<h2>{day}</h2>\n")
    }

    fn message(&self, message: &Message) -> anyhow::Result<String> {
        let Parts { name, answers, text, signs, remarks } = Parts::of(message);
        let (at, clock) = (html(&message.at), show::clock(&message.at));
        let [name, answers, text, notes] =
            [name, answers, text, format!("{signs}{remarks}")].map(|part| html(&part));
        let answers = aside(&answers);
        let notes = aside(&notes);
        Ok(format!(
            "<article><header><time datetime=\"{at}\">{clock}</time> <b><bdi>{name}</bdi></b>{answers}</header>\
             <p dir=\"auto\">{text}</p>{notes}</article>\n"
        ))
    }

    fn apart(&self) -> String {
        format!("<h1>{}</h1>\n", html(APART))
    }

    fn end(&self, messages: u64) -> String {
        format!(
            "<footer>{}</footer>\n</main>\n</body>\n</html>\n",
            show::count(messages, "message")
        )
    }
}

/// What is said beside a text; nothing where there is none of it.
fn aside(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!(" <small dir=\"auto\">{text}</small>"),
    }
}

/// Nothing is loaded, nothing runs, nothing is sent.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 44rem; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; border-bottom: 1px solid }
article { margin: .6rem 0 } article p { margin: 0 }
article p, bdi, small { white-space: pre-wrap; overflow-wrap: anywhere }
small, footer { font-size: .85rem }
@media print {
  :root { color-scheme: light } body { max-width: none; padding: 0; font-size: 10.5pt }
  article { break-inside: avoid } h1, h2 { break-after: avoid }
}
@page { margin: 2cm }
";

/// Text that HTML shows as it is, in elements and in attributes with quotes.
fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use node::api::types::{Answered, Class, GroupRef, MemberRef, More, Reaction};

    use super::*;

    fn message(name: &str, text: &str) -> Message {
        let by = |name: &str| MemberRef { id: "00".into(), name: name.into() };
        Message {
            v: 1,
            id: "01".into(),
            seq: 1,
            place: "05".into(),
            group: GroupRef::default(),
            from: by(name),
            mine: false,
            text: text.into(),
            at: "2026-01-31T14:03:00Z".into(),
            class: Class::Ok,
            late: false,
            ahead: false,
            shared_by: Some(by(name)),
            file: None,
            more: More {
                reply: Some(Answered { id: None, from: Some(by(name)), text: text.into() }),
                reactions: vec![Reaction { text: text.into(), by: vec![by(name)] }],
                edits: 1,
                ..More::default()
            },
            delivery: None,
        }
    }

    const HOSTILE: [&str; 8] = [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "\"><style>*{display:none}</style><meta http-equiv=refresh content='0;url=//x'>",
        "</title></p></main>' onmouseover='x",
        "&lt;b&gt; &amp; &#60;",
        "[a](javascript:alert(1)) ![b](https://x/y.png) <https://x> https://x www.x.y a@b.c",
        "# no\n- no\n1. no\n    no\n> no\n```\nno\n---\n\n\n| a |\n|---|\n[^1]: no\n===",
        "*a* _b_ `c` ~~d~~ $e$ :f: @g \\* \\",
        "a\x1b[2J\u{202e}b\u{200b}\r\nc\u{2028}d",
    ];

    #[test]
    fn nothing_that_others_write_is_more_than_text_in_html() {
        for hostile in HOSTILE {
            let page = Html.begin(hostile) + &Html.message(&message(hostile, hostile)).unwrap();
            let plain = Html.begin("tea") + &Html.message(&message("ben", "hello")).unwrap();
            let tags = |page: &str| {
                let tags =
                    page.split('<').skip(1).map(|tag| tag.split('>').next().unwrap().to_owned());
                tags.collect::<Vec<_>>()
            };
            assert_eq!(tags(&page), tags(&plain), "{hostile:?}");
            assert_eq!(page.matches(['"', '\'']).count(), plain.matches(['"', '\'']).count());
            assert!(!page.contains("&lt;b&gt; &amp; &#60;"), "what looks escaped is escaped again");
            assert_safe(&page);
        }
    }

    #[test]
    fn nothing_that_others_write_is_more_than_text_in_markdown() {
        for hostile in HOSTILE {
            let page =
                Markdown.begin(hostile) + &Markdown.message(&message(hostile, hostile)).unwrap();
            assert_safe(&page);
            let (mut escaped, mut marks) = (false, Vec::new());
            for c in page.chars() {
                if !escaped && c != '\\' && c.is_ascii_punctuation() && !"\"%',/;?".contains(c) {
                    marks.push(c);
                }
                escaped = c == '\\' && !escaped;
            }
            // The heading, `Times are UTC.`, the emphasis, the clock and the end of who it is.
            assert_eq!(marks.iter().collect::<String>(), "#.**:**:", "{hostile:?}: {page}");
            for line in page.lines() {
                assert!(!line.starts_with([' ', '\t']), "{hostile:?}: {line:?}");
            }
            let body = page.split_once("\n**").unwrap().1;
            assert!(!body.trim_end().contains("\n\n"), "one paragraph: {page}");
        }
    }

    fn assert_safe(page: &str) {
        let bad = |c: char| (c.is_control() && c != '\n') || protocol::hidden::is_hidden(c);
        assert!(!page.contains(bad), "{page:?}");
    }

    #[test]
    fn a_message_looks_as_in_the_history() {
        let mut said = message("ben", "tea");
        said.shared_by = None;
        said.more.pinned_by = Some(said.from.clone());
        let line = Markdown.message(&said).unwrap();
        assert_eq!(
            line,
            "\n**14:03 ben** \\(to ben\\: “tea”\\)\\: tea \\(edited\\) \\[tea ben\\] \\(pinned by ben\\)\n"
                .replace("\\)\\: tea", "\\): tea")
        );
        said.more.deleted_by = Some(said.from.clone());
        let page = Html.message(&said).unwrap();
        assert!(page.contains("<p dir=\"auto\">(deleted by ben)</p>") && !page.contains(">tea<"));
        let line = Ndjson.message(&said).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), said);
    }
}
