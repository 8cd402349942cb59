//! `wattle recovery`.

use super::{
    Place, exit,
    exit::{Exit, Failure},
    show,
};

/// Print this machine's recovery code
///
/// Keep it apart from this machine. When the machine is lost, `wattle group retire` on any other
/// member's node ends its membership with this code, also that of a founder, whom nobody else can
/// remove.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle recovery > code.txt", "wattle recovery --forget"]))]
pub struct Recovery {
    /// Forget the code here: do it once you keep it elsewhere
    #[arg(long)]
    forget: bool,
}

impl Recovery {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let client = place.client().await?;
        if self.forget {
            client.forget_recovery().await?;
            show::words("this node has forgotten its recovery code");
            return Ok(Exit::Done);
        }
        let view = client.recovery().await?;
        let Some(code) = &view.code else {
            let hint = "it is where you kept it; it can't be had again";
            return Err(Failure::new(Exit::Refused, "the code was forgotten here", hint).into());
        };
        if place.json {
            show::json(&view)?;
        } else {
            show::data(code)?;
        }
        show::words(
            "whoever has this code can end this machine's memberships: keep it apart from it",
        );
        show::next("wattle recovery --forget");
        Ok(Exit::Done)
    }
}
