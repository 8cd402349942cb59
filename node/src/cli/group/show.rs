//! `wattle group show`.

use node::api::{
    conduct::{ConductView, PolicyView},
    types::{Adopted, Gap, GroupRelay, Path, Person, Role},
};

use super::list;
use crate::cli::{Place, exit, exit::Exit, show};

/// Show a group and its members
///
/// The fingerprint is the same for all members that hold the same view: read it to one another to
/// be sure of it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group show ops"]))]
pub struct Show {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
}

impl Show {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let group = client.group(&self.group).await?;
        if place.json {
            show::json(&group)?;
            return Ok(Exit::Done);
        }
        show::data(list::row(&group.summary).join("  ").trim_end())?;
        show::data(format_args!("fingerprint  {}", in_fives(&group.fingerprint)))?;
        for relay in &group.relays {
            show::data(format_args!("relay        {}", show::safe(relay)))?;
        }
        for relay in group.summary.relay_states.iter().filter(|relay| !relay.hint.is_empty()) {
            show::data(closed(relay))?;
        }
        show::data(format_args!("view         {}", adopted(&group.adopted)))?;
        if group.unconfirmed {
            show::data("             unconfirmed: the word of the admin who let you in, so far")?;
        }
        // A program that may only send is not told.
        if let Ok(conduct) = client.conduct(&group.summary.id).await {
            show::data(format_args!("messages     {}", kept(&conduct)))?;
        }
        if let Ok(policy) = client.policy(&group.summary.id).await {
            show::data(format_args!("newcomers    {}", newcomers(&policy)))?;
        }
        for line in show::table(&rows(&group.people)) {
            show::data(format_args!("  {line}"))?;
        }
        for line in group.gaps.iter().map(gap) {
            show::data(format_args!("missing      {line}"))?;
        }
        for it in &group.returned {
            let (who, by) = (show::name(&it.member), show::name(&it.removed_by));
            let until = show::clock(&it.until);
            show::data(format_args!(
                "back         {who}, whose removal by {by} does not count; nothing is sent before \
                 {until} UTC, or an admin's readmit or remove"
            ))?;
        }
        for who in &group.retired {
            show::data(format_args!("retired      {}: that machine is lost", show::name(who)))?;
        }
        for it in &group.void {
            let (by, what) = (show::name(&it.by), show::safe(&it.what));
            let at = show::moment(&it.at);
            show::data(format_args!("void         {by} {what}, {at}: it does not count"))?;
        }
        for it in &group.moves {
            let (by, to) = (show::name(&it.by), show::short(&it.to));
            let how = match (it.followed, it.ready) {
                (true, _) => "you have moved",
                (false, true) => "follow with: wattle group follow",
                (false, false) => "not all of it has come yet",
            };
            show::data(format_args!("moved        to {to} by {by}; {how}"))?;
        }
        for notice in &group.notices {
            show::data(format_args!("look at this: {}", show::safe(&notice.text)))?;
        }
        Ok(Exit::Done)
    }
}

/// For how long messages are to be kept, and what may be told of who reads and writes them.
fn kept(conduct: &ConductView) -> String {
    let kept = conduct.disappear.map_or_else(
        || "stay".into(),
        |seconds| {
            format!("disappear after {}, where members' nodes do so", show::span(seconds.into()))
        },
    );
    let told = if conduct.receipts { "may be told" } else { "is not told" };
    let typing = if conduct.typing { "is" } else { "is not" };
    format!("{kept}; that one was read {told}, who is typing {typing}")
}

/// What whoever comes in is given.
fn newcomers(policy: &PolicyView) -> &'static str {
    match (policy.pair, policy.share_history) {
        (true, _) => "none: this is a conversation of two",
        (false, true) => "may be given by members what was said before they came",
        (false, false) => "read what is said from then on, and nothing of before",
    }
}

/// The members, the machines of one person below one another.
fn rows(people: &[Person]) -> Vec<Vec<String>> {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for person in people {
        let first = rows.iter().position(|(id, _)| person.machines.iter().any(|it| it == id));
        let mut cells = row(person);
        let Some(first) = first else {
            if !person.machines.is_empty() {
                cells[0] += &format!(" ({} machines)", person.machines.len() + 1);
            }
            rows.push((&person.member.id, cells));
            continue;
        };
        cells[0].insert_str(0, "  ");
        let of = |(id, _): &(&str, _)| person.machines.iter().any(|it| it == id);
        let end = rows.iter().rposition(of).unwrap_or(first) + 1;
        rows.insert(end, (&person.member.id, cells));
    }
    rows.into_iter().map(|(_, cells)| cells).collect()
}

fn row(person: &Person) -> Vec<String> {
    let role = match person.role {
        Role::Founder => "founder",
        Role::Admin => "admin",
        Role::Member => "member",
    };
    let path = if person.me { "you" } else { path(person.path) };
    let id = show::short(&person.member.id);
    let digits = show::safe(&person.fingerprint);
    let mark = show::mark(person.verified, &person.verified_as, person.other_key);
    let alike = person.alike.then(|| "another one's name looks like this: go by the id".into());
    let mark = mark.into_iter().chain(alike).collect::<Vec<_>>().join("; ");
    vec![show::name(&person.member), id.into(), role.into(), path.into(), digits, mark]
}

/// A relay that wants a token and does not take the group's.
fn closed(relay: &GroupRelay) -> String {
    let [address, reason, hint] =
        [&relay.address, &relay.reason, &relay.hint].map(|it| show::safe(it));
    format!("closed       {address}: {reason}; {hint}")
}

/// How far the members have come with this view.
pub fn adopted(adopted: &Adopted) -> String {
    let all = adopted.under.len() + adopted.waiting.len();
    if adopted.waiting.is_empty() {
        return format!("all {all} members send under it");
    }
    let names: Vec<_> =
        adopted.waiting.iter().take(NAMES).map(|it| format!("@{}", show::name(it))).collect();
    let more = match adopted.waiting.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let under = adopted.under.len();
    format!("{under} of {all} members send under it; waiting for {}{more}", names.join(", "))
}

/// What is missing of somebody.
pub fn gap(gap: &Gap) -> String {
    let missing = show::count(gap.missing, "message");
    let from = show::name(&gap.from);
    let vain = match gap.given_up {
        0 => String::new(),
        n if n == gap.doubtful => {
            format!("; asked an hour in vain for {n}: that they exist is not {from}'s own word")
        }
        n => format!("; asked an hour in vain for {n}"),
    };
    let known = show::safe(&gap.known_by);
    format!("{missing} from {from} since {}: {known}{vain}", show::safe(&gap.since))
}

/// Names shown of those who are waited for.
const NAMES: usize = 5;

/// How somebody is reached, in words.
pub fn path(path: Path) -> &'static str {
    match path {
        Path::Direct => "direct",
        Path::Relay => "through the relay",
        Path::None => "not reachable",
    }
}

/// Digits as people read them to one another.
pub fn in_fives(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_alphanumeric).collect();
    digits.chunks(5).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_of_one_person_stand_below_one_another() {
        let person = |name: &str, id: &str, machines: &[&str]| Person {
            member: node::api::types::MemberRef { id: id.into(), name: name.into() },
            role: Role::Member,
            me: false,
            path: Path::None,
            fingerprint: String::new(),
            pair: String::new(),
            machines: machines.iter().map(ToString::to_string).collect(),
            verified: false,
            verified_as: Vec::new(),
            other_key: false,
            alike: false,
        };
        let people = [
            person("ana", "aaaaaaaa", &["cccccccc"]),
            person("ben", "bbbbbbbb", &[]),
            person("ana's laptop", "cccccccc", &["aaaaaaaa"]),
        ];
        let names: Vec<String> = rows(&people).into_iter().map(|row| row[0].clone()).collect();
        assert_eq!(names, ["ana (2 machines)", "  ana's laptop", "ben"]);
    }

    #[test]
    fn a_fingerprint_is_shown_in_groups_of_five() {
        assert_eq!(in_fives("123456789012"), "12345 67890 12");
        assert_eq!(in_fives("12345 67890"), "12345 67890");
    }
}
