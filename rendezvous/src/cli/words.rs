//! What is said when something can't be done.

use std::{io, process::ExitCode};

use rendezvous::{
    DataDirError, ListenError, StartError, WatchError,
    client::ClientError,
    config::PORT,
    repair::RepairError,
    settings::SettingsError,
    store::{
        ClusterError, StoreError,
        jetstream::{Danger, Unsafe},
    },
    tokens::TokensError,
};

/// Says an error and what to do about it; answers with its exit code.
pub(super) fn tell(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", words(error));
    if let Some(TokensError::Unknown { .. }) = error.downcast_ref() {
        eprintln!("wattle-rendezvous token list shows which there are.");
    }
    let advice = error.downcast_ref().and_then(advice);
    let advice = advice.or_else(|| error.downcast_ref().and_then(repair_advice));
    if let Some(advice) = advice.or_else(|| others_file(error)) {
        eprintln!("{advice}");
    }
    match error.downcast_ref() {
        Some(StartError::Listen(_) | StartError::Watch(WatchError::Bind { .. })) => {
            ExitCode::from(4)
        }
        Some(StartError::Watch(_)) => ExitCode::from(2),
        Some(StartError::OpenCircuits) => ExitCode::from(2),
        _ if error.is::<SettingsError>() => ExitCode::from(2),
        _ if error.is::<ClientError>() => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}

/// An error and its causes; what layers repeat is said once.
pub(super) fn words(error: &anyhow::Error) -> String {
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
        StartError::Watch(WatchError::NoToken(_)) => {
            "From this machine alone (ssh -L brings it to yours): --watch 127.0.0.1:4408. Else put a long \
             random word into a file that others can't read, name it as watch.token_file or set \
             WATTLE_RENDEZVOUS_WATCH_TOKEN, and have a proxy with TLS in front: the token would go over the \
             network in the clear."
                .into()
        }
        StartError::Watch(WatchError::ShortToken) => {
            "This makes a good one: head -c 24 /dev/urandom | base64".into()
        }
        StartError::Watch(WatchError::Bind { .. }) => {
            "Name another address with --watch, or none: --watch \"\"".into()
        }
        StartError::DataDir(DataDirError::InUse) => {
            "Stop it, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Newer { .. }) => {
            "Use that version, or name another directory with --data-dir.".into()
        }
        StartError::DataDir(DataDirError::Damaged { .. }) => {
            "Restore the file from a backup; without the key the relay gets a new address.".into()
        }
        StartError::Damaged { data_dir } => format!(
            "What is wrong with it: wattle-rendezvous check --store {0}\n\
             To save what can be read: wattle-rendezvous repair --data-dir {0}",
            data_dir.display()
        ),
        StartError::Store(StoreError::Disk(_)) => {
            "Is the disk full or read-only? If not, look at the store: wattle-rendezvous check --store"
                .into()
        }
        StartError::Tokens(_) => {
            "Restore tokens.toml in the data directory from a backup, or move it away and make new \
             tokens: with none, nobody is served."
                .into()
        }
        StartError::OpenCircuits => {
            "Set circuits = 0 under [limits], or access = \"open\": libp2p's circuits know no tokens."
                .into()
        }
        StartError::Cluster(error) => return of_cluster(error),
        _ => return None,
    })
}

fn repair_advice(error: &RepairError) -> Option<String> {
    Some(match error {
        RepairError::DataDir(DataDirError::InUse) => "Stop the relay first.".into(),
        RepairError::NoStore(_) => "Name the relay's data directory with --data-dir.".into(),
        RepairError::NoRoom { .. } => {
            "Free some, or copy the data directory to a larger disk and repair it there. Nothing has \
             changed."
                .into()
        }
        _ => return None,
    })
}

/// What is in a data directory is touched as its owner, by whomever the command was given.
fn others_file(error: &anyhow::Error) -> Option<String> {
    let is_of_directory = error.is::<RepairError>() || error.is::<TokensError>();
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    let is_denied = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    (is_of_directory && causes.any(is_denied)).then(|| {
        "All that is in the data directory must belong to its owner, as whom root touches it, too: \
         ls -lnA shows what doesn't."
            .into()
    })
}

fn of_cluster(error: &ClusterError) -> Option<String> {
    Some(match error {
        ClusterError::Unreachable { .. } => {
            "Are the servers running, and reached from here? Each is named by --cluster nats://HOST:4222. \
             TLS and credentials stand under [cluster] in the settings: servers with verify: true ask for \
             certificate and key."
                .into()
        }
        ClusterError::Tls { .. } => {
            "Under [cluster], ca is the authority that signed the servers' certificates, in which each \
             HOST of urls stands, and certificate and key are this relay's own, for servers with \
             verify: true. docs/operations/cluster-certificates.sh makes them all."
                .into()
        }
        ClusterError::NoJetStream { .. } => {
            "Each server needs jetstream { store_dir: \"…\", sync_interval: always } and a cluster \
             block with the others' routes; two of three must run. docs/operations.md has the recipe."
                .into()
        }
        ClusterError::File(_) | ClusterError::Login => {
            "Look at credentials, login_file, ca, certificate and key under [cluster].".into()
        }
        ClusterError::Unsafe(Unsafe { danger, allow }) => {
            let what = match danger {
                Danger::Old { .. } => "Put a newer nats-server there (Debian 13 has one)",
                Danger::Unsynced { .. } => {
                    "Set sync_interval: always in its block jetstream, and start it again"
                }
                Danger::Unmonitored { .. } | Danger::Silent { .. } => {
                    "Set http: HOST:8222 in each server's settings, and name each: \
                     --cluster-monitor http://HOST:8222"
                }
                Danger::Copies { .. } => "Set replicas = 3 under [cluster], on three servers or more",
            };
            let name = allow.name();
            format!("{what}. To take it all the same, and lose entries: --cluster-allow {name}")
        }
        ClusterError::NoRoom { .. } => {
            "Lower limits.quota.total_bytes, of which the streams take twice as much together, or \
             raise max_file in the servers' block jetstream."
                .into()
        }
        ClusterError::OtherRelay { .. } => {
            "All processes of a relay have one key: copy the file \"key\" of the data directory from \
             one to the others. For another relay on the same servers: --cluster-name NAME"
                .into()
        }
        ClusterError::OtherStream { .. } => {
            "Look at it with nats stream info, or begin anew with --cluster-name NAME.".into()
        }
        ClusterError::Lost { .. } => {
            "Restore it from a backup (nats stream restore). Without one, give the cluster another name \
             in all processes, --cluster-name NAME: clients read anew, and append what they still have."
                .into()
        }
        ClusterError::WentBack { .. } => {
            "Were the servers restored from a backup? Give the cluster another name in all processes, \
             --cluster-name NAME: clients read anew, and append what they still have."
                .into()
        }
        ClusterError::Index(_) => {
            "Is the disk full or read-only? The directory \"index\" in the data directory can be \
             deleted: it is made anew from the cluster."
                .into()
        }
    })
}
