//! `wattle join`.

use std::{path::PathBuf, time::Duration};

use node::{
    api::types::{JoinState, JoinView, What},
    client::{Client, ClientError, EventStream},
};

use super::{
    Place, args, exit,
    exit::{Exit, Failure},
    input, show,
};

/// Join a group by an invite code
///
/// The code is read from standard input, a file, or the variable WATTLE_INVITE; never from an
/// argument, which every program on this machine could see.
///
/// It says what it waits for. Where it is interrupted the node goes on, also after a restart.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle join", "wattle join --code-file code.txt"]))]
pub struct Join {
    /// Read the code from a file
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// Don't wait until joined
    #[arg(long)]
    no_wait: bool,
    /// Wait at most so long: 30s, 10m
    #[arg(long, value_name = "TIME", value_parser = args::duration, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// `-` for standard input, which is the default
    #[arg(hide = true)]
    code: Vec<String>,
}

impl Join {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        if !self.code.is_empty() && self.code != ["-"] {
            return Err(Failure::new(
                Exit::Usage,
                "a code is a secret, and an argument is no place for one: it stands in the \
                 shell's history and in the list of processes",
                "wattle join, then paste the code; in scripts --code-file FILE or WATTLE_INVITE",
            )
            .into());
        }
        tokio::select! {
            biased; // It is listened for before the code is asked for.
            _ = tokio::signal::ctrl_c() => {
                show::words("interrupted; a join that has begun goes on in the node");
                show::next("wattle status");
                Ok(Exit::Interrupted)
            }
            ended = self.join(place) => ended,
        }
    }

    async fn join(&self, place: &Place) -> anyhow::Result<Exit> {
        let node = place.client().await;
        let source = input::Source::of(self.code_file.as_deref());
        // Nobody is asked for a code that nothing can be done with.
        let (client, code) = match source {
            input::Source::Person => (node?, source.code().await?),
            _ => {
                let code = source.code().await?;
                (node?, code)
            }
        };
        let mut events = client.events_from_now().await?;
        let join = client.join(&code).await?;
        drop(code);
        if self.no_wait && join.state < JoinState::Joined {
            return began(&join, place);
        }
        let ended = follow(join, &mut events);
        let ended = match self.timeout {
            None => ended.await?,
            Some(patience) => match tokio::time::timeout(patience, ended).await {
                Ok(ended) => ended?,
                Err(_) => return Err(late(patience).into()),
            },
        };
        joined(&client, &ended, place).await
    }
}

/// Shows each state, until it is the last.
async fn follow(mut join: JoinView, events: &mut EventStream) -> Result<JoinView, ClientError> {
    loop {
        if join.state >= JoinState::Joined {
            return Ok(join);
        }
        show::words(waits_for(&join));
        let before = join.clone();
        join = events
            .wait_for(|event| match &event.what {
                What::Join { join: now } if now.id == before.id && *now != before => {
                    Some(now.clone())
                }
                _ => None,
            })
            .await?;
    }
}

/// What a join waits for, in words.
pub fn waits_for(join: &JoinView) -> String {
    let waits = match join.state {
        JoinState::Connecting => "looking for the relay or the inviter's node …",
        JoinState::RelayReached => "reached it; waiting for the inviter's node to answer …",
        JoinState::InviterFound => "the inviter's node answers; opening a channel to it …",
        JoinState::ChannelOpen => "the channel is open, end to end; showing the invite …",
        JoinState::InviteProven => "the invite is good; waiting for the group's keys …",
        JoinState::WaitingForApproval => "an admin of the group is being asked …",
        JoinState::Joined | JoinState::Failed => "",
    };
    if join.detail.is_empty() { waits.into() } else { show::safe(&join.detail) }
}

async fn joined(client: &Client, join: &JoinView, place: &Place) -> anyhow::Result<Exit> {
    if place.json {
        show::json(join)?;
    }
    let Some(group) = join.group.as_ref().filter(|_| join.state == JoinState::Joined) else {
        let exit = join.exit.map_or(Exit::Refused, Exit::from_code);
        let hint = match exit {
            Exit::Network => "wattle status; then join again",
            _ => "ask for a new invite code",
        };
        return Err(Failure::new(exit, join.detail.clone(), hint).into());
    };
    if !place.json {
        let members = client.group(&group.id).await?.summary.members;
        let members = show::count(members, "member");
        show::data(format_args!("joined {}, {members}", show::safe(&group.name)))?;
    }
    show::next(format_args!("wattle tail {}", show::word(&group.name)));
    Ok(Exit::Done)
}

fn began(join: &JoinView, place: &Place) -> anyhow::Result<Exit> {
    if place.json {
        show::json(join)?;
    } else {
        show::data(show::safe(&join.id))?;
    }
    show::words("the node is joining");
    show::next("wattle status");
    Ok(Exit::Done)
}

fn late(patience: Duration) -> Failure {
    let message = format!("not joined after {} s; the node goes on trying", patience.as_secs());
    Failure::new(Exit::Network, message, "see that the inviter's node is up, then: wattle status")
}
