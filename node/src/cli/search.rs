//! `wattle search`.

use node::api::types::{Found, Hit, SearchFor};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Place, args, exit, exit::Exit, history::PAGE, show};

/// Characters that are shown before the first hit, and of a text in all.
const BEFORE: usize = 40;
const SHOWN: usize = 160;

/// Find messages by their words, in all groups, those that came last first
///
/// A message is found that has all the words; "deploy" finds deployed, too. Between quotation marks words are found as they stand. Large and small
/// letters are the same, and so are e and é. Names of files are texts, too. Times are UTC.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle search deploy",
    "wattle search --group ops --from @ana --since 7d '\"at noon\"' deploy",
    "wattle --json search deploy | jq -r .message.id",
]))]
pub struct Search {
    /// The words
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    /// In this group alone: its name, or the first digits of its id
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// Only what this person wrote: a name, with or without @, or the first digits of an id
    #[arg(long, value_name = "MEMBER")]
    from: Option<String>,
    /// Only what was written from this time on: 2026-01-31, 2026-01-31T14:03:00Z, or 7d ago
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    since: Option<OffsetDateTime>,
    /// Only what was written before this time
    #[arg(long, value_name = "TIME", value_parser = args::moment)]
    until: Option<OffsetDateTime>,
    /// How many at most
    #[arg(short, value_name = "N", default_value_t = 20)]
    n: u32,
}

impl Search {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let rfc3339 = |at: Option<OffsetDateTime>| at.map(|at| at.format(&Rfc3339)).transpose();
        let mut asked = SearchFor {
            q: self.words.join(" "),
            group: self.group,
            from: self.from,
            since: rfc3339(self.since)?,
            until: rfc3339(self.until)?,
            ..SearchFor::default()
        };
        let client = place.client().await?;
        let (mut left, mut found) = (self.n, 0);
        let mut unindexed;
        let mut is_more;
        loop {
            // One more than is shown says whether there are more.
            let limit = left.saturating_add(1).min(PAGE);
            asked.limit = Some(limit);
            let Found { hits, unindexed: lacks, .. } = client.search(&asked).await?;
            (unindexed, is_more) = (lacks, hits.len() > left as usize);
            let is_last = hits.len() < limit as usize;
            for hit in hits.iter().take(left as usize) {
                if place.json {
                    show::json(hit)?
                } else {
                    show::data(line(hit))?
                }
                asked.before = Some(hit.message.seq);
                (left, found) = (left - 1, found + 1);
            }
            if left == 0 || is_last {
                break;
            }
        }
        if unindexed > 0 {
            let lacking = show::count(unindexed, "older message");
            show::words(format_args!(
                "{lacking} not looked at yet: the index is being made; search again later"
            ));
        }
        if found == 0 {
            show::words(
                "no message has these words: fewer of them, or their beginnings, find more",
            );
        }
        if is_more {
            show::words(
                "there are more: -n shows more of them; --group, --from, --since and --until find fewer",
            );
        }
        Ok(Exit::Done)
    }
}

/// When, where, who, by which id it is named, and what is around the first hit; on a terminal the hits are bold.
fn line(hit: &Hit) -> String {
    let message = &hit.message;
    let text: Vec<char> = message.text.chars().collect();
    let first = hit.marks.first().map_or(0, |mark| mark.from as usize).min(text.len());
    let from = first.saturating_sub(BEFORE);
    let to = (from + SHOWN).min(text.len());
    let mut shown = String::new();
    let mut at = from;
    let plain = |from: usize, to: usize| {
        let part: String = text.get(from..to).unwrap_or_default().iter().collect();
        show::safe(&part.replace(['\n', '\r', '\t'], " "))
    };
    for mark in &hit.marks {
        let begin = (mark.from as usize).clamp(at, to);
        let end = (mark.to as usize).clamp(begin, to);
        shown += &plain(at, begin);
        if end > begin {
            shown += &show::toned(show::Tone::Bold, &plain(begin, end));
        }
        at = end;
    }
    shown += &plain(at, to);
    format!(
        "{}  {}  {}  {}: {}{shown}{}",
        show::moment(&message.at),
        show::safe(&message.group.name),
        show::short(&message.id),
        show::name(&message.from),
        if from > 0 { "…" } else { "" },
        if to < text.len() { "…" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use node::api::types::{Mark, Message};

    use super::*;

    fn hit(text: &str, marks: &[(u32, u32)]) -> Hit {
        let message = serde_json::json!({
            "v": 1, "id": "3f9a1c2b00", "seq": 7, "place": "", "group": {"id": "aa", "name": "ops"},
            "from": {"id": "bb", "name": "ben"}, "mine": false, "text": text,
            "at": "2026-01-31T14:03:00Z", "class": "ok", "late": false, "ahead": false,
            "shared_by": null, "file": null, "delivery": null
        });
        Hit {
            message: serde_json::from_value::<Message>(message).unwrap(),
            marks: marks.iter().map(|(from, to)| Mark { from: *from, to: *to }).collect(),
        }
    }

    #[test]
    fn what_is_around_the_first_hit_is_shown_on_one_line() {
        let head = "2026-01-31 14:03 UTC  ops  3f9a1c2b  ben: ";
        assert_eq!(line(&hit("we deploy\nat noon", &[(3, 9)])), format!("{head}we deploy at noon"));
        let long = format!("{}needle{}", "x".repeat(100), "y".repeat(300));
        let shown = line(&hit(&long, &[(100, 106)]));
        let (x, y) = ("x".repeat(40), "y".repeat(114));
        assert_eq!(shown, format!("{head}…{x}needle{y}…"));
        assert_eq!(line(&hit("\u{1b}[2J", &[(90, 70)])), format!("{head}\\u{{1b}}[2J"));
    }
}
