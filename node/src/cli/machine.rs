//! `wattle machine`.

use node::api::types::Machines;

use super::{Place, exit, exit::Exit, show};

/// Name your other machines, so that groups show them as one person
///
/// Each machine has to name each other one: what one side alone says shows nothing.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = exit::help(&["wattle machine", "wattle machine add 5f0c…"])
)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Show this machine's identity and those that it names
    #[command(after_help = exit::help(&["wattle machine list"]))]
    List,
    /// Name another machine as yours
    #[command(after_help = exit::help(&["wattle machine add 5f0c…"]))]
    Add {
        /// Its identity, 64 digits: `wattle machine` shows it there
        machine: String,
    },
    /// Name a machine no more
    #[command(after_help = exit::help(&["wattle machine remove 5f0c…"]))]
    Remove {
        /// Its identity, 64 digits
        machine: String,
    },
}

impl Arguments {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        let machines = match self.what.unwrap_or(What::List) {
            What::List => client.machines().await?,
            What::Add { machine } => client.add_machine(&machine).await?,
            What::Remove { machine } => client.remove_machine(&machine).await?,
        };
        if place.json {
            show::json(&machines)?;
            return Ok(Exit::Done);
        }
        for line in lines(&machines) {
            show::data(line)?;
        }
        if machines.machines.iter().any(|machine| !machine.linked) {
            show::next(format_args!("on the other machine: wattle machine add {}", machines.me.id));
        }
        Ok(Exit::Done)
    }
}

fn lines(machines: &Machines) -> Vec<String> {
    let mut lines = vec![format!("{}  this machine", show::safe(&machines.me.id))];
    lines.extend(machines.machines.iter().map(|machine| {
        let id = show::safe(&machine.machine.id);
        match machine.linked {
            true => format!("{id}  {}, linked", show::name(&machine.machine)),
            false => format!("{id}  named here, does not name this machine yet"),
        }
    }));
    lines
}
