//! What the demo says while it plays.

use std::time::{Duration, Instant};

use node::api::types::VERSION;
use serde::Serialize;

use crate::cli::{
    Place,
    exit::{Exit, Failure},
    show,
};

/// Says each step when it has held, with its time.
pub struct Report {
    json: bool,
    step: usize,
    began: Instant,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    step: usize,
    title: &'a str,
    held: bool,
    ms: u128,
    said: Vec<String>,
}

impl Report {
    /// Begins.
    pub fn new(place: &Place) -> Self {
        Self { json: place.json, step: 0, began: Instant::now() }
    }

    /// Says something beside the steps.
    pub fn say(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { Ok(show::data(text)?) }
    }

    /// Plays the step that sets the stage.
    pub async fn begin<T>(
        &mut self,
        title: &str,
        play: impl Future<Output = anyhow::Result<(T, Vec<String>)>>,
    ) -> anyhow::Result<T> {
        self.step += 1;
        let begun = Instant::now();
        match play.await {
            Ok((value, said)) => {
                self.line(title, true, begun.elapsed(), said)?;
                Ok(value)
            }
            Err(error) => {
                self.line(title, false, begun.elapsed(), vec![format!("{error:#}")])?;
                let message = format!("step {} did not hold: {title}", self.step);
                let hint = "WATTLE_LOG=node=debug wattle demo says more; please report it";
                Err(Failure::new(Exit::Unexpected, message, hint).into())
            }
        }
    }

    /// Plays a step, which answers what there is to say of it. One that does not hold is named, and
    /// is an error.
    pub async fn step(
        &mut self,
        title: &str,
        play: impl Future<Output = anyhow::Result<Vec<String>>>,
    ) -> anyhow::Result<()> {
        self.begin(title, async { Ok(((), play.await?)) }).await
    }

    /// How long it all took.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn line(
        &self,
        title: &str,
        held: bool,
        took: Duration,
        said: Vec<String>,
    ) -> anyhow::Result<()> {
        if self.json {
            let ms = took.as_millis();
            return show::json(&Line { v: VERSION, step: self.step, title, held, ms, said });
        }
        let mark = if held { "" } else { "  DID NOT HOLD" };
        let step = self.step;
        let title = show::toned(show::Tone::Bold, &format!("{title:<56}"));
        show::data(format_args!("{step:>2}  {title} {:>5.2} s{mark}", took.as_secs_f64()))?;
        for line in said {
            show::data(format_args!("    {line}"))?;
        }
        Ok(())
    }
}
