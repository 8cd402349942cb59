//! `wattle group show`.

use node::api::types::{Path, Person, Role};

use super::list;
use crate::cli::{Place, exit, exit::Exit, show};

/// Show a group and its members
///
/// The fingerprint is the same for all members that hold the same view: read it to one another to
/// be sure of it.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[]))]
pub struct Show {
    /// The group's name, or the first digits of its id
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    group: String,
}

impl Show {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let group = place.client().await?.group(&self.group).await?;
        if place.json {
            show::json(&group)?;
            return Ok(Exit::Done);
        }
        show::data(list::row(&group.summary).join("  ").trim_end())?;
        show::data(format_args!("fingerprint  {}", in_fives(&group.fingerprint)))?;
        for relay in &group.relays {
            show::data(format_args!("relay        {}", show::safe(relay)))?;
        }
        for line in show::table(&group.people.iter().map(row).collect::<Vec<_>>()) {
            show::data(format_args!("  {line}"))?;
        }
        Ok(Exit::Done)
    }
}

fn row(person: &Person) -> Vec<String> {
    let role = match person.role {
        Role::Founder => "founder",
        Role::Admin => "admin",
        Role::Member => "member",
    };
    let path = if person.me { "you" } else { path(person.path) };
    let id = show::short(&person.member.id);
    vec![show::name(&person.member), id.into(), role.into(), path.into()]
}

/// How somebody is reached, in words.
pub fn path(path: Path) -> &'static str {
    match path {
        Path::Direct => "direct",
        Path::Relay => "through the relay",
        Path::None => "not reachable",
    }
}

/// Digits as people read them to one another.
fn in_fives(digits: &str) -> String {
    let digits: Vec<char> = digits.chars().filter(char::is_ascii_alphanumeric).collect();
    digits.chunks(5).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_shown_in_groups_of_five() {
        assert_eq!(in_fives("123456789012"), "12345 67890 12");
        assert_eq!(in_fives("12345 67890"), "12345 67890");
    }
}
