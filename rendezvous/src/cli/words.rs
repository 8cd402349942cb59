//! What is said when something can't be done.

use std::{io, process::ExitCode};

use rendezvous::{
    DataDirError, ListenError, StartError, config::PORT, settings::SettingsError, store::StoreError,
};

/// Says an error and what to do about it; answers with its exit code.
pub(super) fn tell(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", words(error));
    if let Some(advice) = error.downcast_ref().and_then(advice) {
        eprintln!("{advice}");
    }
    match error.downcast_ref() {
        Some(StartError::Listen(_)) => ExitCode::from(4),
        _ if error.is::<SettingsError>() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// An error and its causes; what layers repeat is said once.
fn words(error: &anyhow::Error) -> String {
    let mut words: Vec<_> = error.chain().map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

fn advice(error: &StartError) -> Option<String> {
    Some(match error {
        StartError::Listen(ListenError::Bind { source, .. })
            if source.kind() == io::ErrorKind::AddrNotAvailable =>
        {
            format!("This machine has no such address; for all that it has: --listen 0.0.0.0:{PORT}")
        }
        StartError::Listen(_) => format!(
            "Is another relay running, or port {PORT} taken? Name another: --listen 0.0.0.0:PORT"
        ),
        StartError::DataDir(DataDirError::InUse) => {
            "Stop it, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Newer { .. }) => {
            "Use that version, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Damaged { .. }) => {
            "Restore the file from a backup; without the key the relay gets a new address.".into()
        }
        StartError::Store(StoreError::Disk(_)) => {
            "Is the disk full or read-only? If the files are damaged, move the directory \"store\" in \
             the data directory away: the relay starts empty, at the same address."
                .into()
        }
        _ => return None,
    })
}
