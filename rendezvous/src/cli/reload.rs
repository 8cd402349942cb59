//! Settings that are read again while the relay runs: SIGHUP, `systemctl reload`.
//!
//! > All of it is looked at before any of it is taken over. Keys are named in the log, values are not.
//! > It goes on beside the relay, which waits for none of it: neither for the file nor for the store.

use rendezvous::{
    Config, Controls,
    settings::{Changes, Settings},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{given::Given, supervisor, words};

/// By what a relay runs, and from where its settings are read again.
#[derive(Clone)]
pub(super) struct Running {
    given: Given,
    settings: Settings,
    config: Config,
}

/// Has settings be read again, one time after the other. Dropped, it lets go of one that is under way.
pub(super) struct Reloads {
    asks: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Reloads {
    /// Has them read again: once more after this time if that is under way.
    pub(super) fn ask(&self) {
        match self.asks.try_send(()) {
            Ok(()) => tracing::info!("the settings are to be read again"),
            Err(_) => tracing::info!("the settings are to be read again, as they are already"),
        }
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came of reading the settings again.
struct Read {
    config: Config,
    changes: Changes,
}

impl Running {
    pub(super) fn new(given: Given, settings: Settings) -> anyhow::Result<Self> {
        let config = settings.clone().config()?;
        Ok(Self { given: given.of_that_file(), settings, config })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Reads them again whenever that is asked for, beside the relay.
    pub(super) fn beside(mut self, relay: Controls) -> Reloads {
        let (asks, mut asked) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            while asked.recv().await.is_some() {
                self.reload(&relay).await;
            }
        });
        Reloads { asks, task }
    }

    /// Reads the settings again and takes over what can be; says what came of it.
    async fn reload(&mut self, relay: &Controls) {
        supervisor::reloading();
        let running = self.clone();
        // A file may keep whoever reads it waiting.
        let read =
            tokio::task::spawn_blocking(move || running.given.has_file().then(|| running.read()));
        match read.await {
            Ok(Some(Ok(read))) => self.take(read, relay).await,
            Ok(None) => {
                tracing::warn!(
                    "there is no settings file to read again: the relay was started without --config"
                );
                supervisor::reloaded("there is no settings file to read again");
            }
            // Where the call panicked, the panic has been reported.
            Err(_) => supervisor::reloaded("the settings could not be read: nothing has changed"),
            Ok(Some(Err(error))) => {
                let why = words::words(&error);
                tracing::error!("the settings can't be followed, and nothing has changed: {why}");
                supervisor::reloaded("the settings can't be followed: nothing has changed");
            }
        }
    }

    /// Reads and looks, and changes nothing.
    fn read(&self) -> anyhow::Result<Read> {
        let mut read = self.given.clone().settings()?;
        if read.data_dir.as_os_str().is_empty() {
            read.data_dir.clone_from(&self.settings.data_dir);
        }
        let wanted = read.clone().config()?;
        wanted.watch.check()?;
        if read.store != self.settings.store {
            // What ships for another kind of store is nothing for this one.
            let data_dir = std::mem::take(&mut read.data_dir);
            read = self.given.clone().settings_of(Some(self.settings.store))?;
            (read.store, read.data_dir) = (wanted.storage, data_dir);
        }
        let mut changes = self.settings.changes(&read);
        let config = changes.settings.clone().config()?;
        config.watch.check()?;
        let token = "watch.token_file";
        if config.watch.token != self.config.watch.token
            && !changes.taken.iter().any(|key| key == token)
        {
            changes.taken.push(token.into());
        }
        Ok(Read { config, changes })
    }

    async fn take(&mut self, Read { config, changes }: Read, relay: &Controls) {
        let Changes { settings, taken, waiting } = changes;
        if !taken.is_empty() {
            relay.set(&config).await;
            (self.settings, self.config) = (settings, config);
        }
        for key in &taken {
            tracing::info!(key, "holds as it was set anew");
        }
        for key in &waiting {
            tracing::warn!(key, "needs a restart");
        }
        let said = match (taken.len(), waiting.len()) {
            (0, 0) => "the settings are as they were".into(),
            (taken, 0) => format!("{taken} settings changed"),
            (taken, waiting) => format!("{taken} settings changed, {waiting} need a restart"),
        };
        tracing::info!("{said}");
        supervisor::reloaded(&said);
    }
}
