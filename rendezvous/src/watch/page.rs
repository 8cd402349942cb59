//! The dashboard: one page that is read without any script, and follows live with one.
//!
//! The server writes each figure as people read it, once: into the page at the place of its name, and
//! into `/live.json`, from which the script puts it at the element of that name.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    time::Duration,
};

use bytesize::ByteSize;
use qrcode::{EcLevel, QrCode, render::svg};

use super::{Facts, figures::Figures, history::STEPS, why::Why};

pub(super) const SCRIPT: &str = include_str!("page/live.js");
pub(super) const STYLE: &str = include_str!("page/look.css");
const TEMPLATE: &str = include_str!("page/index.html");

/// Width and height of an hour's picture.
const PICTURE: (f64, f64) = (720.0, 64.0);
/// Rows of an hour's table, each ten minutes.
const ROWS: usize = 6;

/// The page with all that does not change.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(facts: &Facts) -> Self {
        let mut addresses = String::new();
        for address in &facts.addrs {
            let _ = writeln!(addresses, "<li><code>{}</code></li>", escaped(address));
        }
        let where_kept = if facts.live { "in memory only" } else { "on disk" };
        let fixed = BTreeMap::from([
            ("addresses", addresses),
            ("code", facts.addrs.first().and_then(|it| code(it)).unwrap_or_default()),
            ("kept", format!("{where_kept}, for {}", span(facts.ttl))),
            ("refused_rows", Why::ALL.iter().map(refused_row).collect()),
            ("hour_rows", (0..ROWS).map(hour_row).collect()),
        ]);
        Self(filled(TEMPLATE, |name| fixed.get(name).cloned()))
    }

    /// The whole page, for a browser.
    pub(super) fn html(&self, figures: &Figures) -> String {
        let texts = texts(figures);
        filled(&self.0, |name| texts.get(name).map(|text| escaped(text)))
    }

    /// What changes of it, for its script.
    pub(super) fn live(&self, figures: &Figures) -> String {
        // A map of texts can always be written.
        serde_json::to_string(&texts(figures)).unwrap_or_default()
    }
}

/// Each figure by its name, as people read it.
fn texts(it: &Figures) -> BTreeMap<String, String> {
    let used = 100.0 * it.stored_bytes as f64 / it.quota_bytes.max(1) as f64;
    let takes = it.trouble.map_or("It takes new entries.", |trouble| trouble.words());
    let refused: u64 = it.refused.iter().map(|it| it.times).sum();
    let mut texts = BTreeMap::new();
    let mut put = |name: &str, text: String| drop(texts.insert(name.to_owned(), text));
    put("version", it.version.to_owned());
    put("uptime", span(Duration::from_secs(it.uptime_s)));
    put("well", if it.takes_entries { "yes" } else { "no" }.to_owned());
    put("takes", takes.to_owned());
    put("cluster", it.cluster.clone());
    put("connections", grouped(it.connections.unsigned_abs()));
    put("clients", grouped(it.clients.unsigned_abs()));
    put("logs", grouped(it.logs.unsigned_abs()));
    put("circuits", grouped(it.circuits));
    put("appends", grouped(it.appends));
    put("deliveries", grouped(it.deliveries));
    put("stored_entries", grouped(it.stored_entries.unsigned_abs()));
    put("stored", size(it.stored_bytes));
    put("quota", size(it.quota_bytes));
    put("used", format!("{used:.1}"));
    put("refused", grouped(refused));
    for it in &it.refused {
        put(&format!("refused_{}", it.reason), grouped(it.times));
    }
    for (of, rates) in [("appends", &it.hour.appends), ("deliveries", &it.hour.deliveries)] {
        put(&format!("{of}_rate"), rate(rates.back().copied().unwrap_or_default()));
        put(&format!("{of}_mean"), rate(mean(rates.iter()).unwrap_or_default()));
        put(&format!("{of}_most"), rate(rates.iter().copied().fold(0.0, f64::max)));
        put(&format!("{of}_line"), line(rates));
        for row in 0..ROWS {
            let newest_first = rates.iter().rev().skip(row * STEPS / ROWS).take(STEPS / ROWS);
            put(&format!("{of}_{row}"), mean(newest_first).map_or("–".into(), rate));
        }
    }
    texts
}

/// Fills a template's `{{names}}` that are known; leaves the others as they are.
fn filled(template: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = template.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}").map(|(name, rest)| (known(name), rest)) {
            Some((Some(value), rest)) => {
                text.push_str(&value);
                text.push_str(rest);
            }
            _ => {
                text.push_str("{{");
                text.push_str(part);
            }
        }
    }
    text
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('{', "&#123;")
}

fn refused_row(why: &Why) -> String {
    let (words, label) = (why.words(), why.label());
    format!(
        "<tr><th scope=\"row\">{words}</th><td id=\"refused_{label}\">{{{{refused_{label}}}}}</td></tr>\n"
    )
}

fn hour_row(row: usize) -> String {
    let (to, from) = (row * 60 / ROWS, (row + 1) * 60 / ROWS);
    let cell = |of: &str| format!("<td id=\"{of}_{row}\">{{{{{of}_{row}}}}}</td>");
    let (appends, deliveries) = (cell("appends"), cell("deliveries"));
    format!("<tr><th scope=\"row\">{from} to {to} minutes ago</th>{appends}{deliveries}</tr>\n")
}

fn mean<'a>(rates: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let (sum, count) = rates.fold((0.0, 0_u32), |(sum, count), rate| (sum + rate, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The points of an hour's rates, the newest at the right, as high as their most.
fn line(rates: &VecDeque<f64>) -> String {
    let most = rates.iter().copied().fold(1.0, f64::max);
    let first = STEPS.saturating_sub(rates.len()) + 1;
    let point = |(at, rate): (usize, &f64)| {
        let x = PICTURE.0 * (first + at) as f64 / STEPS as f64;
        format!("{x:.0},{:.1}", PICTURE.1 * (1.0 - rate / most))
    };
    rates.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

/// A time in words, its seconds left out where they say little.
fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] =
        [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let mut left = time.as_secs();
    let mut words = Vec::new();
    for (size, unit) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 && words.len() < 2 {
            words.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if words.is_empty() { "less than a second".into() } else { words.join(" ") }
}

fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

/// A number with a comma after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: i64) -> String {
    ByteSize::b(bytes.unsigned_abs()).display().iec().to_string()
}

/// A picture of the code, for those who see it.
fn code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let svg = code.render::<svg::Color<'_>>().build();
    // What stands before the picture, and its namespace, are for files.
    let picture = svg.split_once("<svg")?.1.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    Some(format!("<svg role=\"img\" aria-label=\"QR code of the first address\"{picture}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{counts::Trouble, figures::Refused, history::Hour};

    fn figures() -> Figures {
        let times = |why: &Why| if *why == Why::LogFull { 18 } else { 0 };
        let refused = |why: &Why| Refused { reason: why.label(), times: times(why) };
        Figures {
            v: 1,
            version: "9.9.9",
            uptime_s: 3661,
            takes_entries: true,
            trouble: None,
            addresses: Vec::new(),
            cluster: "One relay, no cluster.".into(),
            connections: 1_111,
            clients: 112,
            logs: 113,
            circuits: 114,
            appends: 115,
            deliveries: 1_000_116,
            appends_per_s: 1.0,
            deliveries_per_s: 2.5,
            stored_entries: 117,
            stored_bytes: 3 << 20,
            quota_bytes: 12 << 20,
            refused: Why::ALL.iter().map(refused).collect(),
            hour: Hour { appends: [1.0; 3].into(), deliveries: [0.1, 250.0, 2.5].into() },
        }
    }

    fn page() -> Page {
        let addrs = vec!["/ip4/192.0.2.1/tcp/4407/p2p/<b>{{uptime}}".to_owned()];
        let ttl = Duration::from_hours(24);
        Page::new(&Facts { addrs, live: false, ttl, token: None })
    }

    /// What stands in the element of this name.
    fn at<'a>(page: &'a str, id: &str) -> &'a str {
        let after = page.split_once(&format!("id=\"{id}\"")).unwrap().1;
        after.split_once('>').unwrap().1.split_once('<').unwrap().0
    }

    #[test]
    fn the_page_says_each_figure_and_leaves_no_place_empty() {
        let page = page().html(&figures());
        for (id, text) in [
            ("version", "9.9.9"),
            ("uptime", "1 hour 1 minute"),
            ("takes", "It takes new entries."),
            ("cluster", "One relay, no cluster."),
            ("connections", "1,111"),
            ("clients", "112"),
            ("logs", "113"),
            ("circuits", "114"),
            ("appends", "115"),
            ("deliveries", "1,000,116"),
            ("appends_rate", "1.0"),
            ("deliveries_rate", "2.5"),
            ("deliveries_mean", "84.2"),
            ("deliveries_most", "250"),
            ("deliveries_0", "84.2"),
            ("deliveries_1", "–"),
            ("stored_entries", "117"),
            ("stored", "3.0 MiB"),
            ("quota", "12.0 MiB"),
            ("refused", "18"),
            ("refused_log_full", "18"),
            ("refused_size", "0"),
        ] {
            assert_eq!(at(&page, id), text, "{id}");
        }
        assert!(page.contains("on disk, for 1 day<") && page.contains("value=\"25.0\""), "{page}");
        assert!(page.contains("&lt;b&gt;&#123;&#123;uptime}}") && !page.contains("<b>"));
        assert!(!page.contains("{{"), "{page}");
    }

    #[test]
    fn the_script_is_told_every_figure_that_has_a_place_and_no_other() {
        let live: BTreeMap<String, String> =
            serde_json::from_str(&page().live(&figures())).unwrap();
        let page = page().html(&figures());
        for (id, text) in &live {
            let has_place = page.contains(&format!("id=\"{id}\"")) || id == "well";
            assert!(has_place, "{id}: {text}");
        }
        assert_eq!(live["appends_line"], "716,0.0 718,0.0 720,0.0");
        assert_eq!(live["uptime"], "1 hour 1 minute");
    }

    #[test]
    fn nothing_in_the_page_runs_or_is_asked_of_another_place() {
        let page = page().html(&figures());
        for text in
            ["style=", "<style", "javascript:", "://", "onclick", "<form", "<img", "<iframe"]
        {
            assert!(!page.contains(text), "{text}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("<script src=\"live.js\" defer></script>"));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn the_page_has_an_outline_and_words_for_each_picture() {
        let page = page().html(&figures());
        for text in ["<html lang=\"en\">", "<title>", "<header>", "<main>", "<footer>"] {
            assert_eq!(page.matches(text).count(), 1, "{text}");
        }
        assert_eq!(page.matches("<h1>").count(), 1);
        let sections: Vec<_> = page.split("<section aria-labelledby=\"").skip(1).collect();
        assert!(sections.len() >= 6);
        for section in sections {
            let name = section.split_once('"').unwrap().0;
            assert!(section.contains(&format!("<h2 id=\"{name}\">")), "{name}");
        }
        for picture in page.split("<svg ").skip(1) {
            assert!(picture.starts_with("role=\"img\" aria-label"), "{picture}");
        }
        assert_eq!(page.matches("<svg ").count(), 3);
    }

    #[test]
    fn every_table_has_a_name_and_every_head_says_of_what_it_is() {
        let page = page().html(&figures());
        for table in page.split("<table").skip(1) {
            let (tag, rest) = table.split_once('>').unwrap();
            assert!(tag.contains("aria-labelledby") || rest.trim_start().starts_with("<caption>"));
        }
        for head in page.split("<th").skip(1).filter(|rest| !rest.starts_with("ead")) {
            assert!(head.starts_with(" scope=\"col\">") || head.starts_with(" scope=\"row\">"));
        }
    }

    /// A colour's luminance, as WCAG 2.2 reckons it.
    fn luminance(colour: &str) -> f64 {
        let digits = colour.strip_prefix('#').unwrap();
        let wide = |digit: char| if digits.len() == 3 { vec![digit; 2] } else { vec![digit] };
        let digits: String = digits.chars().flat_map(wide).collect();
        let part = |at: usize| {
            let part = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    #[test]
    fn words_and_lines_stand_out_in_both_themes() {
        let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let (dark, _) = rest.split_once("\n}").unwrap();
        for theme in [light, dark] {
            let colour = |name: &str| {
                let (_, value) = theme.split_once(&format!("--{name}: ")).unwrap();
                luminance(value.split_once(';').unwrap().0)
            };
            for (name, least) in [
                ("front", 7.0),
                ("soft", 4.5),
                ("link", 4.5),
                ("bad", 4.5),
                ("appends", 4.5),
                ("deliveries", 3.0),
            ] {
                for ground in ["back", "card"] {
                    let (one, other) = (colour(name), colour(ground));
                    let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                    assert!(contrast >= least, "{name} on {ground}: {contrast:.1}");
                }
            }
        }
    }

    #[test]
    fn a_store_that_takes_nothing_is_told_in_words() {
        let mut figures = figures();
        (figures.takes_entries, figures.trouble) = (false, Some(Trouble::Disk));
        let page = page().html(&figures);
        assert!(at(&page, "takes").contains("the disk is nearly full"));
        assert!(page.contains("data-well=\"no\""));
    }

    #[test]
    fn an_hour_is_drawn_from_right_to_left_as_high_as_its_most() {
        assert_eq!(line(&[0.0, 4.0].into()), "718,64.0 720,0.0");
        assert_eq!(line(&[0.5].into()), "720,32.0", "little stays little");
        assert_eq!(line(&VecDeque::new()), "");
        let full = line(&std::iter::repeat_n(1.0, STEPS).collect());
        assert!(full.starts_with("2,0.0 4,0.0 ") && full.ends_with(" 720,0.0"));
    }

    #[test]
    fn a_time_is_said_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (120, "2 minutes"),
            (3661, "1 hour 1 minute"),
            (86_405, "1 day 5 seconds"),
            (30 * 86_400, "30 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
