//! A relay watched for long: whether its memory and its open files grow.

use std::time::Duration;

use serde::Serialize;

/// How it was at one moment.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    /// Since the load began.
    pub(super) at: Duration,
    pub(super) memory: u64,
    pub(super) files: Option<u64>,
}

/// What its samples say.
#[derive(Serialize)]
pub(super) struct Trend {
    pub(super) samples: usize,
    /// Between the first and the last.
    pub(super) span_s: f64,
    pub(super) memory_first: u64,
    pub(super) memory_last: u64,
    /// The slope of the line that lies closest, by least squares, in per cent of their mean.
    pub(super) memory_percent_per_hour: f64,
    /// How far the true slope may be from it: of twenty runs one is farther.
    pub(super) memory_error_percent_per_hour: f64,
    pub(super) slope_max: f64,
    /// The same for open files, in files.
    pub(super) files_per_hour: Option<f64>,
    pub(super) files_flat: Option<bool>,
    /// Whether it was long enough to say anything.
    pub(super) judged: bool,
    pub(super) holds: bool,
    /// Whether a longer run could end otherwise: the most that is allowed is within the error.
    pub(super) near: bool,
}

/// Below this a slope says nothing: caches fill, and tables are merged.
const LEAST: Duration = Duration::from_mins(10);

/// Parts of the time whose means tell how far the slope can be trusted. One sample says much of the
/// next, as tables fill and are merged; such a mean says little.
const PARTS: usize = 8;

/// By how many standard errors a slope through so many means is off once in twenty times (Student's t).
const TRUSTED: f64 = 2.447;

/// By how many files, and by what part of them, the line may rise over all of the time: a store opens and
/// closes tables.
const FILES_RISE: (f64, f64) = (4.0, 0.05);

impl Trend {
    /// What is said of samples; `None` of fewer than three.
    pub(super) fn of(samples: &[Sample], slope_max: f64) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let span = last.at.saturating_sub(first.at);
        if samples.len() < 3 || span.is_zero() {
            return None;
        }
        let points: Vec<_> = samples.iter().map(|it| (it.at, it.memory as f64)).collect();
        let memory = Line::through(points.iter().copied());
        let percent = |slope: f64| slope * 3600.0 / memory.mean.max(1.0) * 100.0;
        let (percent, error) = (percent(memory.slope), percent(error_of_slope(&points)));
        let files: Option<Vec<_>> =
            samples.iter().map(|it| it.files.map(|files| (it.at, files as f64))).collect();
        let files = files.map(|files| Line::through(files.into_iter()));
        let is_flat = files.as_ref().map(|line| {
            let rise = line.slope * span.as_secs_f64();
            rise < FILES_RISE.0.max(line.mean * FILES_RISE.1)
        });
        let judged = span >= LEAST;
        Some(Self {
            samples: samples.len(),
            span_s: span.as_secs_f64(),
            memory_first: first.memory,
            memory_last: last.memory,
            memory_percent_per_hour: percent,
            memory_error_percent_per_hour: error,
            slope_max,
            files_per_hour: files.map(|line| line.slope * 3600.0),
            files_flat: is_flat,
            judged,
            holds: !judged || (percent <= slope_max && is_flat != Some(false)),
            near: (percent - slope_max).abs() < error,
        })
    }
}

/// The line closest to some points, by least squares.
struct Line {
    /// By the second.
    slope: f64,
    mean: f64,
}

impl Line {
    fn through(points: impl Iterator<Item = (Duration, f64)> + Clone) -> Self {
        let count = points.clone().count().max(1) as f64;
        let seconds = |(at, _): (Duration, f64)| at.as_secs_f64();
        let middle = points.clone().map(seconds).sum::<f64>() / count;
        let mean = points.clone().map(|(_, value)| value).sum::<f64>() / count;
        let [mut both, mut square] = [0.0; 2];
        for (at, value) in points {
            let aside = at.as_secs_f64() - middle;
            both += aside * (value - mean);
            square += aside * aside;
        }
        let slope = if square > 0.0 { both / square } else { 0.0 };
        Self { slope, mean }
    }
}

/// How far the slope of the line through some points may be off, by how far the means of some parts lie
/// from a line.
fn error_of_slope(points: &[(Duration, f64)]) -> f64 {
    if points.len() < 2 * PARTS {
        return f64::INFINITY;
    }
    let means: Vec<_> = (0..PARTS)
        .map(|part| {
            let part = &points[part * points.len() / PARTS..(part + 1) * points.len() / PARTS];
            let count = part.len() as f64;
            let at = part.iter().map(|(at, _)| at.as_secs_f64()).sum::<f64>() / count;
            let value = part.iter().map(|(_, value)| value).sum::<f64>() / count;
            (Duration::from_secs_f64(at), value)
        })
        .collect();
    let line = Line::through(means.iter().copied());
    let middle = means.iter().map(|(at, _)| at.as_secs_f64()).sum::<f64>() / PARTS as f64;
    let [mut off, mut square] = [0.0; 2];
    for (at, value) in &means {
        let aside = at.as_secs_f64() - middle;
        off += (value - line.mean - line.slope * aside).powi(2);
        square += aside * aside;
    }
    TRUSTED * (off / (PARTS - 2) as f64 / square).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(minutes: u64, memory: fn(u64) -> u64, files: fn(u64) -> u64) -> Trend {
        let samples: Vec<_> = (0..=minutes)
            .map(|minute| Sample {
                at: Duration::from_mins(minute),
                memory: memory(minute),
                files: Some(files(minute)),
            })
            .collect();
        Trend::of(&samples, 1.0).unwrap()
    }

    #[test]
    fn memory_that_grows_is_seen_through_what_comes_and_goes() {
        let flat = trend(60, |minute| 100_000 + (minute % 2) * 400, |_| 50);
        assert!(flat.judged && flat.holds && flat.memory_percent_per_hour.abs() < 0.1);
        assert_eq!(flat.files_flat, Some(true));
        // 2 % of the mean in an hour.
        let grows = trend(60, |minute| 99_000 + minute * 2000 / 60, |_| 50);
        assert!((grows.memory_percent_per_hour - 2.0).abs() < 0.05);
        assert!(grows.judged && !grows.holds && !grows.near);
    }

    #[test]
    fn what_wavers_too_much_to_be_told_is_said_to() {
        // Ups and downs of 10 % in 17 minutes, without order; none is a trend.
        let wavers = trend(60, |minute| 100_000 + minute * 7919 % 17 * 600, |_| 50);
        assert!(wavers.near && wavers.memory_error_percent_per_hour > 0.5);
        let still = trend(60, |minute| 100_000 + minute * 7919 % 17, |_| 50);
        assert!(!still.near && still.holds && still.memory_error_percent_per_hour < 0.1);
    }

    #[test]
    fn files_that_are_left_open_are_seen() {
        let leaks = trend(60, |_| 100_000, |minute| 50 + minute);
        assert!(leaks.files_flat == Some(false) && !leaks.holds);
        assert!((leaks.files_per_hour.unwrap() - 60.0).abs() < 0.01);
    }

    #[test]
    fn nothing_is_judged_before_its_time() {
        let short = trend(9, |minute| 1000 + minute * 100, |_| 50);
        assert!(!short.judged && short.holds && short.memory_percent_per_hour > 1.0);
        assert!(Trend::of(&[], 1.0).is_none());
    }
}
