//! `wattle verify @MEMBER`: an identity, compared and marked.

use std::io::Read;

use anyhow::Context;
use node::api::types::{MemberIdentity, VerifyMember};

use super::{Place, exit::Exit, group, qr, show};

/// What is done with the member's identity.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct Act {
    /// Mark @MEMBER as verified: you have compared the number
    #[arg(long)]
    mark: bool,
    /// Take the mark back: the machine is lost or no longer theirs, or you were mistaken
    #[arg(long)]
    unmark: bool,
    /// You have seen that @MEMBER has a verified member's name and is another identity: send all the same
    #[arg(long)]
    accept: bool,
    /// What @MEMBER reads out or shows: the number, or the text of the QR code; - is standard input. Marks where it
    /// is equal, ends with 7 where it is not
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    compare: Vec<String>,
}

/// The longest text that is read to be compared, in bytes.
const TEXT_MAX: u64 = 4_096;

impl Act {
    /// Whether nothing is asked.
    pub fn is_none(&self) -> bool {
        !self.mark && !self.unmark && !self.accept && self.compare.is_empty()
    }

    fn asked(&self) -> anyhow::Result<Option<VerifyMember>> {
        let text = match self.compare.as_slice() {
            [] => None,
            [text] if text == "-" => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().take(TEXT_MAX).read_to_end(&mut bytes);
                read.context("can't read standard input")?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            words => Some(words.join(" ")),
        };
        Ok(match text {
            Some(text) => Some(VerifyMember::Compare { text }),
            None if self.mark => Some(VerifyMember::Mark),
            None if self.unmark => Some(VerifyMember::Unmark),
            None if self.accept => Some(VerifyMember::Accept),
            None => None,
        })
    }

    /// Shows a member's identity, or does what is asked.
    pub async fn run(self, member: &str, with_qr: bool, place: &Place) -> anyhow::Result<Exit> {
        let asked = self.asked()?;
        let client = place.client().await?;
        // What is accepted is not in question any more.
        let held_up = match asked {
            Some(VerifyMember::Accept) => !client.identity(member).await?.other_than.is_empty(),
            _ => false,
        };
        let identity = match &asked {
            Some(asked) => client.verify_member(member, asked).await?,
            None => client.identity(member).await?,
        };
        let ended = if identity.equal == Some(false) { Exit::KeyChanged } else { Exit::Done };
        if place.json {
            show::json(&identity)?;
            return Ok(ended);
        }
        match asked {
            Some(asked) => {
                let (said, next) = done(&asked, &identity, held_up);
                show::data(said)?;
                show::next(next);
            }
            None => {
                for line in lines(&identity) {
                    show::data(line)?;
                }
                if with_qr && qr::show(&identity.code) {
                    show::words(
                        "the QR code holds the text above: scan it at the other end, and compare the text",
                    );
                }
                let whom = show::digits(&identity.member.id);
                show::next(format_args!(
                    "ask what number their node shows for you, then: wattle verify @{whom} --compare THEIR NUMBER"
                ));
            }
        }
        Ok(ended)
    }
}

fn lines(identity: &MemberIdentity) -> Vec<String> {
    let mut lines = vec![format!("member       {}", show::identity(&identity.member))];
    lines.push(format!("verified     {}", standing(identity)));
    let digits = group::in_fives(&identity.number);
    let fives: Vec<&str> = digits.split(' ').collect();
    for (at, four) in fives.chunks(4).enumerate() {
        let title = if at == 0 { "number" } else { "" };
        lines.push(format!("{title:<11}  {}", four.join(" ")));
    }
    lines.push(format!("code         {}", show::safe(&identity.code)));
    for shared in &identity.groups {
        let (name, digits) = (show::safe(&shared.group.name), group::in_fives(&shared.fingerprint));
        lines.push(format!("group        {name}: fingerprint {digits}"));
    }
    lines
}

/// Whether it was compared, in words.
fn standing(identity: &MemberIdentity) -> String {
    if let Some(at) = &identity.verified_at {
        let has_name = identity.verified_as.contains(&identity.member.name);
        let names = identity.verified_as.iter().map(|name| show::safe(name)).collect::<Vec<_>>();
        let under = if has_name { String::new() } else { format!(", as {}", names.join(", ")) };
        return format!("yes, on {}{under}", show::moment(at));
    }
    if identity.other_than.is_empty() {
        return "no".into();
    }
    let others = identity.other_than.iter().map(show::identity).collect::<Vec<_>>().join(" or ");
    format!("NO: this is another identity than {others}, whom you verified under this name")
}

/// What was done, and what to do next; `held_up`: whether something waited for it to be accepted.
fn done(asked: &VerifyMember, identity: &MemberIdentity, held_up: bool) -> (String, String) {
    let (who, id) = (show::identity(&identity.member), show::digits(&identity.member.id));
    let next = format!("wattle verify @{id}");
    match asked {
        VerifyMember::Compare { .. } if identity.equal == Some(true) => {
            (format!("equal: {who} is verified"), next)
        }
        VerifyMember::Compare { .. } => {
            let kept = if identity.verified { "; the mark is as it was" } else { "" };
            (
                format!(
                    "NOT EQUAL: what was compared is not of {who} and you. It was mistyped, or one of you has \
                     another identity in view: perhaps somebody is between you{kept}"
                ),
                format!(
                    "{next}, and read it to one another again, by a way on which you know each other"
                ),
            )
        }
        VerifyMember::Mark => (format!("{who} is verified"), next),
        VerifyMember::Unmark => (format!("{who} is no longer verified"), next),
        VerifyMember::Accept if identity.verified => {
            (format!("{who} is verified: there is nothing to accept"), next)
        }
        VerifyMember::Accept if !held_up => {
            (format!("nothing is held up because of {who}: there is nothing to accept"), next)
        }
        VerifyMember::Accept => {
            (format!("seen: {who} is not verified, and holds nothing up any more"), next)
        }
    }
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    fn identity() -> MemberIdentity {
        MemberIdentity {
            v: 1,
            member: MemberRef { id: "ab".repeat(32), name: "b\u{1b}en".into() },
            verified: false,
            verified_at: None,
            verified_as: Vec::new(),
            number: ["12345"; 12].join(" "),
            code: "WATTLE-PAIR-1:AB".into(),
            fingerprint: String::new(),
            groups: Vec::new(),
            other_than: Vec::new(),
            equal: None,
        }
    }

    #[test]
    fn an_identity_is_shown_with_its_number_in_three_lines_and_safe() {
        let lines = lines(&identity());
        let four = "12345 12345 12345 12345";
        let expected = [
            "member       b\\u{1b}en (abababababababab)".to_owned(),
            "verified     no".into(),
            format!("number       {four}"),
            format!("             {four}"),
            format!("             {four}"),
            "code         WATTLE-PAIR-1:AB".into(),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn it_is_said_whose_name_somebody_has_and_as_whom_one_was_verified() {
        let ben = MemberRef { id: "cd".repeat(32), name: "ben".into() };
        let other = MemberIdentity { other_than: vec![ben], ..identity() };
        let said = standing(&other);
        assert!(said.starts_with("NO:") && said.contains("ben (cdcdcdcdcdcdcdcd)"), "{said}");
        let renamed = MemberIdentity {
            verified: true,
            verified_at: Some("2026-01-31T14:03:00Z".into()),
            verified_as: vec!["ben".into()],
            ..identity()
        };
        assert_eq!(standing(&renamed), "yes, on 2026-01-31 14:03 UTC, as ben");
    }
}
