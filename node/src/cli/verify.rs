//! `wattle verify`: a group's view, or with an @ before it a member's identity.

use node::api::types::{Behind, Gap, Verified, Withheld};

use super::{
    Place, exit,
    exit::{Exit, Failure},
    group,
    identity::Act,
    show,
};

/// Compare a member's identity (@MEMBER), or check whether a group's members hold the same (GROUP)
///
/// @MEMBER: the number that you and the member share, to be compared by another way on which you know each other; and
/// its QR code, where standard error is a terminal. Once it is equal, --compare or --mark keeps that this identity is
/// verified; then whoever comes under its name and is another one is told, and nothing is sent to that group from
/// here (exit code 7) until you have looked: --accept, or --mark.
///
/// GROUP: its fingerprint, who has adopted the view, who is behind with your messages, what is missing here, what
/// relays withhold, forks and clones, as far as this node sees.
/// Ends with exit code 10 where something is missing or does not go together; not where only others than
/// its writer say that what is missing exists, and it was asked for an hour in vain.
#[derive(clap::Args)]
#[command(after_help = exit::help(&[
    "wattle verify @ben",
    "wattle verify @ben --compare 11111 22222 33333 44444 55555 66666 11111 22222 33333 44444 55555 66666",
    "zbarimg -q --raw photo.png | wattle verify @ben --compare -",
    "wattle verify @1a2b3c4d --accept",
    "wattle verify ops",
]))]
pub struct Verify {
    /// @ and a member's name or the first digits of its id; or a group's name, or the first digits of its id
    #[arg(value_name = "@MEMBER|GROUP", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    what: String,
    #[command(flatten)]
    act: Act,
    /// Don't show the QR code
    #[arg(long)]
    no_qr: bool,
}

impl Verify {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        if self.what.starts_with('@') {
            return self.act.run(&self.what, !self.no_qr, place).await;
        }
        if !self.act.is_none() {
            let hint = format!("wattle verify @{}", show::safe(&self.what));
            let message = "what is compared or marked is a member: put @ before its name";
            return Err(Failure::new(Exit::Usage, message, hint).into());
        }
        let verified = place.client().await?.verify(&self.what).await?;
        if place.json {
            show::json(&verified)?;
            return Ok(ended(&verified));
        }
        show::data(format_args!("fingerprint  {}", group::in_fives(&verified.fingerprint)))?;
        show::data(format_args!("view         {}", group::adopted(&verified.adopted)))?;
        for line in verified.behind.iter().map(behind) {
            show::data(format_args!("behind       {line}"))?;
        }
        for line in verified.gaps.iter().map(group::gap) {
            show::data(format_args!("missing      {line}"))?;
        }
        for line in verified.withheld.iter().map(withheld) {
            show::data(format_args!("withheld     {line}"))?;
        }
        for notice in &verified.notices {
            show::data(format_args!("look at this: {}", show::safe(&notice.text)))?;
        }
        show::next(format_args!("wattle delivery {}", show::word(&self.what)));
        Ok(ended(&verified))
    }
}

fn ended(verified: &Verified) -> Exit {
    // What its writer never said to exist, and nobody had in an hour, may never have been: it is shown.
    let is_doubtful = |gap: &Gap| gap.doubtful == gap.missing;
    let whole = verified.gaps.iter().all(is_doubtful)
        && verified.notices.is_empty()
        && verified.withheld.is_empty();
    if whole { Exit::Done } else { Exit::Integrity }
}

/// What a relay does not tell, and what to do about it.
pub fn withheld(withheld: &Withheld) -> String {
    let messages = show::count(withheld.messages, "message");
    let relay = show::safe(&withheld.relay);
    let (they, them) = if withheld.messages == 1 { ("it", "it") } else { ("they", "them") };
    if withheld.mine {
        return format!(
            "the relay {relay} said that it keeps {messages} of yours and does not tell {them}: \
             use another relay beside it"
        );
    }
    let from = show::name(&withheld.from);
    let way = match &withheld.shown_by {
        Some(by) if by.id == withheld.from.id => format!("{they} came directly"),
        Some(by) => format!("{} showed {them}", show::name(by)),
        None => format!("another relay told {them}"),
    };
    format!(
        "the relay {relay} said that it keeps {messages} from {from} and does not tell {them} ({way}): \
         use another relay beside it"
    )
}

fn behind(behind: &Behind) -> String {
    let messages = show::count(behind.messages, "message");
    let (who, since) = (show::name(&behind.member), show::moment(&behind.since));
    format!("{who} has not said to have {messages} of yours, the first of {since}")
}

#[cfg(test)]
mod tests {
    use node::api::types::MemberRef;

    use super::*;

    #[test]
    fn what_its_writer_never_said_to_exist_is_no_alarm_for_good() {
        let missing = |missing, given_up, doubtful| Verified {
            v: 1,
            group: Default::default(),
            fingerprint: String::new(),
            adopted: Default::default(),
            behind: Vec::new(),
            gaps: vec![Gap {
                from: MemberRef { id: "ben-id".into(), name: "ben".into() },
                missing,
                since: String::new(),
                given_up,
                doubtful,
                known_by: String::new(),
            }],
            notices: Vec::new(),
            withheld: Vec::new(),
        };
        let ended = |gap: Verified| ended(&gap) == Exit::Integrity;
        assert!(ended(missing(1, 0, 0)), "asked for still");
        assert!(ended(missing(2, 2, 1)), "one by its writer's own word");
        assert!(!ended(missing(2, 2, 2)));
    }
}
