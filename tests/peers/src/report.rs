//! Figures as a table, with ratios to iroh-relay and to the raw forwarder, round by round.

use std::fmt::Write as _;

use crate::work::Figures;

/// One line of the table.
type Line = (&'static str, Option<&'static str>, fn(&Figures) -> f64);

const LINES: [Line; 7] = [
    ("server CPU per delivery, one to many, us", Some("iroh-relay"), |it| it.cpu),
    ("deliveries per second, one to many", Some("nats-server"), |it| it.per_s),
    ("deliveries lost", None, |it| it.lost),
    ("median from one to one, us", Some("raw"), |it| it.p50),
    ("99 of 100 from one to one, us", Some("raw"), |it| it.p99),
    ("memory of a resting client, KiB", Some("iroh-relay"), |it| it.idle),
    ("server CPU per connection, us", Some("iroh-relay"), |it| it.connect),
];

/// All rounds.
#[derive(Default)]
pub struct Report(Vec<(u32, &'static str, Figures)>);

impl Report {
    pub fn add(&mut self, round: u32, system: &'static str, figures: Figures) {
        self.0.push((round, system, figures));
    }

    /// Medians with the least and the most; where there is an anchor, the median of the rounds' ratios to it.
    pub fn text(&self) -> String {
        let mut systems: Vec<&str> = Vec::new();
        for (_, system, _) in &self.0 {
            if !systems.contains(system) {
                systems.push(system);
            }
        }
        let mut text = String::new();
        for (title, anchor, figure) in LINES {
            if self.0.iter().all(|(_, _, figures)| figure(figures) == 0.0)
                && title != "deliveries lost"
            {
                continue;
            }
            let _ = writeln!(text, "\n{title}");
            for system in &systems {
                let all = self.of(system, figure);
                let _ = write!(text, "  {system:<18} {}", spread(&all, 1));
                if let Some(anchor) = anchor.filter(|anchor| anchor != system) {
                    let ratios: Vec<f64> = all
                        .iter()
                        .filter_map(|(round, value)| {
                            let of_it = self.of(anchor, figure);
                            let (_, other) = of_it.iter().find(|(other, _)| other == round)?;
                            (*other > 0.0).then_some(value / other)
                        })
                        .collect();
                    let ratios: Vec<_> = (0..).zip(ratios).collect();
                    if !ratios.is_empty() {
                        let _ = write!(text, "  {} of {anchor}", spread(&ratios, 2));
                    }
                }
                let _ = writeln!(text);
            }
        }
        text
    }

    fn of(&self, system: &str, figure: fn(&Figures) -> f64) -> Vec<(u32, f64)> {
        let of_it = self.0.iter().filter(|(_, other, _)| *other == system);
        of_it.map(|(round, _, figures)| (*round, figure(figures))).collect()
    }
}

fn spread(all: &[(u32, f64)], digits: usize) -> String {
    let mut values: Vec<f64> = all.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return String::new() };
    let median = values[values.len() / 2];
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}
