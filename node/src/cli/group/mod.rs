//! `wattle group`.

mod conduct;
mod create;
mod follow;
mod leave;
mod list;
mod migrate;
mod policy;
mod promote;
mod readmit;
mod relay_token;
mod remove;
mod retire;
mod rotate;
mod share_history;
mod shelf;
mod show;

use clap::Subcommand;

pub use self::{
    list::row,
    show::{adopted, gap, in_fives, path},
};

use super::{Place, exit, exit::Exit};

/// Make and look after groups
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle group create ops", "wattle group list", "wattle group show ops"]))]
pub struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Remove(remove::Remove),
    Promote(promote::Promote),
    Demote(promote::Demote),
    Readmit(readmit::Readmit),
    Retire(retire::Retire),
    Migrate(migrate::Migrate),
    Follow(follow::Follow),
    Leave(leave::Leave),
    Rotate(rotate::Rotate),
    Policy(policy::Policy),
    Conduct(conduct::Conduct),
    Mute(shelf::Mute),
    Unmute(shelf::Unmute),
    Archive(shelf::Archive),
    Unarchive(shelf::Unarchive),
    Read(shelf::Read),
    ShareHistory(share_history::ShareHistory),
}

impl Group {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        match self.command {
            Command::Create(create) => create.run(place).await,
            Command::List(list) => list.run(place).await,
            Command::Show(show) => show.run(place).await,
            Command::Remove(remove) => remove.run(place).await,
            Command::Promote(promote) => promote.run(place).await,
            Command::Demote(demote) => demote.run(place).await,
            Command::Readmit(readmit) => readmit.run(place).await,
            Command::Retire(retire) => retire.run(place).await,
            Command::Migrate(migrate) => migrate.run(place).await,
            Command::Follow(follow) => follow.run(place).await,
            Command::Leave(leave) => leave.run(place).await,
            Command::Rotate(rotate) => rotate.run(place).await,
            Command::Policy(policy) => policy.run(place).await,
            Command::Mute(mute) => mute.run(place).await,
            Command::Unmute(unmute) => unmute.run(place).await,
            Command::Archive(archive) => archive.run(place).await,
            Command::Unarchive(unarchive) => unarchive.run(place).await,
            Command::Read(read) => read.run(place).await,
            Command::Conduct(conduct) => conduct.run(place).await,
            Command::ShareHistory(share) => share.run(place).await,
        }
    }
}
