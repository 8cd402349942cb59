//! What was measured: tables in Markdown, or a line of JSON for each row.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

/// The tables, in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// From sending to reading, and many messages at once.
    Latency,
    /// What a node takes from its start.
    Start,
    /// What breaks, and how long until it is whole.
    Healing,
    /// What was said while somebody was away.
    CatchUp,
    /// What goes over the wire.
    Bytes,
}

/// One cell.
#[derive(Clone)]
pub enum Figure {
    /// What was measured.
    Number(f64),
    /// What is said.
    Words(String),
}

/// The figures of a row, or why there are none.
pub type Outcome = Result<Vec<Figure>, String>;

/// All rows.
#[derive(Default)]
pub struct Report(Vec<(Table, String, Outcome)>);

impl Table {
    const ALL: [Self; 5] = [Self::Latency, Self::Start, Self::Healing, Self::CatchUp, Self::Bytes];

    fn title(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Start => "start",
            Self::Healing => "healing",
            Self::CatchUp => "catch-up",
            Self::Bytes => "bytes",
        }
    }

    /// What stands above the figures.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Latency => &["p50 ms", "p90 ms", "p99 ms", "burst per s", "status says"],
            Self::Start => &["ready ms", "first message ms", "direct path ms", "status says"],
            Self::Healing => &["median ms", "least ms", "most ms"],
            Self::CatchUp => &["messages", "seconds", "messages per s"],
            Self::Bytes => &["text B", "envelope B", "there B", "back B"],
        }
    }
}

impl Report {
    /// Takes one more row.
    pub fn add(&mut self, table: Table, row: &str, outcome: Outcome) {
        self.0.push((table, row.into(), outcome));
    }

    /// All of it as Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in Table::ALL {
            let rows: Vec<Vec<String>> = self.rows(table).map(|(row, it)| cells(row, it)).collect();
            if rows.is_empty() {
                continue;
            }
            let columns = table.columns().iter().map(|column| (*column).to_owned());
            let head: Vec<String> =
                std::iter::once(table.title().to_owned()).chain(columns).collect();
            let rule = vec!["---".to_owned(); head.len()];
            for cells in [head, rule].into_iter().chain(rows) {
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
            text.push('\n');
        }
        text
    }

    /// A line of JSON for each row.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::new();
        for table in Table::ALL {
            for (row, outcome) in self.rows(table) {
                let mut line = Map::new();
                line.insert("v".into(), json!(1));
                line.insert("table".into(), json!(table.title()));
                line.insert("row".into(), json!(row));
                match outcome {
                    Ok(figures) => {
                        for (column, figure) in table.columns().iter().zip(figures) {
                            line.insert(column.replace(' ', "_"), figure.json());
                        }
                    }
                    Err(why) => drop(line.insert("why_not".into(), json!(why))),
                }
                let _ = writeln!(text, "{}", Value::Object(line));
            }
        }
        text
    }

    fn rows(&self, table: Table) -> impl Iterator<Item = (&str, &Outcome)> {
        let rows = self.0.iter().filter(move |(of, _, _)| *of == table);
        rows.map(|(_, row, outcome)| (row.as_str(), outcome))
    }
}

impl Figure {
    /// Milliseconds.
    #[must_use]
    pub fn ms(span: Duration) -> Self {
        Self::Number(span.as_secs_f64() * 1000.0)
    }

    fn json(&self) -> Value {
        match self {
            Self::Number(number) => json!((number * 1000.0).round() / 1000.0),
            Self::Words(words) => json!(words),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) if number.abs() < 10.0 && number.fract() != 0.0 => {
                format!("{number:.2}")
            }
            Self::Number(number) if number.abs() < 100.0 && number.fract() != 0.0 => {
                format!("{number:.1}")
            }
            Self::Number(number) => format!("{number:.0}"),
            Self::Words(words) => words.replace('|', "/"),
        }
    }
}

fn cells(row: &str, outcome: &Outcome) -> Vec<String> {
    let figures = match outcome {
        Ok(figures) => figures.iter().map(Figure::text).collect(),
        Err(why) => vec![why.replace(['|', '\n'], " ")],
    };
    std::iter::once(row.to_owned()).chain(figures).collect()
}

/// The sample below which this share of all of them lies, in percent: one that was measured.
#[must_use]
pub fn share(samples: &[Duration], percent: usize) -> Duration {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    let place = (samples.len() * percent).div_ceil(100).clamp(1, samples.len());
    samples[place - 1]
}

/// The median of some numbers.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_tails_are_samples_that_were_measured() {
        let samples: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let shares = [50, 90, 99].map(|percent| share(&samples, percent).as_millis());
        assert_eq!(shares, [100, 180, 198]);
        assert_eq!(share(&samples[..1], 99).as_millis(), 200);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }

    #[test]
    fn each_row_is_printed_with_its_figures_or_why_it_has_none() {
        let mut report = Report::default();
        report.add(Table::Bytes, "there", Ok(vec![Figure::Number(140.0), Figure::Number(512.25)]));
        report.add(Table::Latency, "punched", Err("not reached: path is relay: a|b".into()));
        let text = report.text();
        assert!(text.contains("| punched | not reached: path is relay: a b |\n"), "{text}");
        assert!(text.contains("| there | 140 | 512 |\n"), "{text}");
        assert!(text.find("| latency |") < text.find("| bytes |"), "{text}");
        let lines: Vec<Value> =
            report.json().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["why_not"], "not reached: path is relay: a|b");
        assert_eq!((&lines[1]["text_B"], &lines[1]["envelope_B"]), (&json!(140.0), &json!(512.25)));
    }
}
