//! `wattle-rendezvous check --store` and `repair`: the store of a relay that doesn't run.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use clap::Args;
use rendezvous::{
    repair::{self, Repaired},
    store::{Anew, Damage, Survey},
};
use serde_json::json;

use super::{given, owner::Entered};

/// The exit code that says of a store that it is damaged.
const DAMAGED: u8 = 10;

#[derive(Args)]
pub(super) struct Repair {
    /// Where the relay's key and its store live [default: the data directory that `run` uses].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Have clients read their logs anew: for a store that was set back, by a snapshot of its disk or
    /// of the machine.
    #[arg(long)]
    new_generation: bool,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

/// Walks a store, and says what is wrong with it.
pub(super) fn check(dir: Option<PathBuf>, as_json: bool) -> anyhow::Result<ExitCode> {
    let dir = given::data_dir(dir)?;
    let entered = Entered::of(dir.clone())?;
    let found = repair::check(entered.path()).map_err(|error| entered.of_repair(error))?;
    if as_json {
        println!("{}", json!({"v": 1, "sound": found.is_sound(), "store": found}));
    } else {
        tell(&found);
    }
    if found.is_sound() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("To save what can be read: wattle-rendezvous repair --data-dir {}", dir.display());
    Ok(ExitCode::from(DAMAGED))
}

/// Mends a store, and says what was saved and what was lost.
pub(super) fn repair(asked: Repair) -> anyhow::Result<()> {
    let dir = Entered::of(given::data_dir(asked.data_dir)?)?;
    let anew = if asked.new_generation { Anew::Always } else { Anew::IfNeeded };
    let done = repair::repair(dir.path(), anew, SystemTime::now());
    let Repaired { found, kept_as, is_new_generation } =
        &done.map_err(|error| dir.of_repair(error))?;
    let kept_as = kept_as.as_ref().map(|path| dir.named(path));
    if asked.json {
        let kept_as = kept_as.map(|path| path.display().to_string());
        println!(
            "{}",
            json!({"v": 1, "repaired": kept_as.is_some(), "kept_as": kept_as,
                   "new_generation": is_new_generation, "store": found})
        );
        return Ok(());
    }
    tell(found);
    match kept_as {
        None => eprintln!("Nothing had to be repaired."),
        Some(path) => {
            println!(
                "saved: {} entries of {} logs, {} bytes",
                found.entries, found.logs, found.bytes
            );
            println!("lost: at least {} entries", lost(&found.damage));
            eprintln!("The store as it was is {}; delete it when you like.", path.display());
        }
    }
    if *is_new_generation {
        eprintln!("Clients read their logs anew.");
    }
    eprintln!("Next: wattle-rendezvous run");
    Ok(())
}

fn tell(found: &Survey) {
    println!(
        "{} logs, {} entries, {} bytes; {} blocks read",
        found.logs, found.entries, found.bytes, found.blocks
    );
    let damage = &found.damage;
    for (count, what) in [
        (damage.files, "files that say what the store consists of are damaged or missing"),
        (damage.blocks, "blocks of tables are damaged"),
        (damage.batches, "batches of journals are damaged"),
        (damage.lost_commits, "commits are lost"),
        (damage.entries, "entries are damaged"),
        (damage.missing, "entries are missing"),
        (damage.tallies, "logs have a record that does not fit them"),
        (damage.index, "records of the indexes are missing or too many, at least"),
        (damage.logs, "logs have lost entries"),
    ] {
        if count > 0 {
            println!("{count:>10} {what}");
        }
    }
    match found.is_sound() {
        true => eprintln!("The store is sound."),
        false => eprintln!("The store is damaged."),
    }
}

/// What is known to be lost: entries that don't verify are missing from their places, too.
fn lost(damage: &Damage) -> u64 {
    damage.missing.max(damage.entries).max(damage.lost_commits)
}
