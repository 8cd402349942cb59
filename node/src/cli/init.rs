//! `wattle init`.

use std::path::Path;

use node::{
    config,
    core::{self, InitError},
    store::{Store, StoreError},
};
use protocol::{endpoint::BadName, identity::is_name};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::{
    Place, exit,
    exit::{Exit, Failure},
    passphrase::Lock,
    show,
};

/// Make this node's identity, without starting it
///
/// `wattle up` does it by itself at its first start.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle init --name ana", "wattle init --ask-passphrase"]))]
pub struct Init {
    /// The name that others see [default: yours on this machine]
    #[arg(long, value_name = "NAME", env = "WATTLE_NAME")]
    name: Option<String>,
    #[command(flatten)]
    lock: Lock,
}

/// What to do about a name that can't be.
const OTHER_NAME: &str = "choose another with --name NAME";

impl Init {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let of_file = Some(place.settings.name.clone()).filter(|name| !name.is_empty());
        let name = self.name.or(of_file).unwrap_or_else(config::default_name);
        if !is_name(&name) {
            return Err(Failure::new(Exit::Usage, BadName.to_string(), OTHER_NAME).into());
        }
        let unlock = self.lock.unlock(place).await?;
        let store = Store::open(&place.data_dir, &unlock);
        let mut store = store.map_err(|error| locked_out(&error, &place.data_dir))?;
        if let Err(error) = core::init(&mut store, &name, &mut seeded()?) {
            let (exit, hint) = match error {
                InitError::Exists => {
                    (Exit::Refused, "wattle up starts its node; --data-dir DIR names another place")
                }
                InitError::Name(_) => (Exit::Usage, OTHER_NAME),
                InitError::Store(error) => return Err(locked_out(&error, &place.data_dir)),
            };
            return Err(Failure::new(exit, error.to_string(), hint).into());
        }
        show::words(format_args!("made an identity for {}", show::safe(&name)));
        show::next("wattle up");
        Ok(Exit::Done)
    }
}

/// A data directory that can't be used.
pub fn locked_out(error: &StoreError, dir: &Path) -> anyhow::Error {
    let exit = match error {
        StoreError::PassphraseNeeded | StoreError::PassphraseUnknown => Exit::Usage,
        StoreError::WrongKey | StoreError::KeyMissing => Exit::Refused,
        StoreError::Damaged => Exit::Integrity,
        _ => Exit::Unexpected,
    };
    let hint = match error {
        StoreError::Locked => String::new(),
        _ => format!("the data directory is {}", dir.display()),
    };
    Failure::new(exit, error.to_string(), hint).into()
}

/// Randomness, seeded from the system.
pub fn seeded() -> anyhow::Result<ChaCha20Rng> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
