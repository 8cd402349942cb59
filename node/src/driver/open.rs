//! Before the loop: what was given is read, and the store taken up.

use std::{io, path::PathBuf};

use protocol::ids::MemberId;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use zeroize::Zeroizing;

use super::{StartError, now};
use crate::{
    core::{Core, Options, init, is_initialised},
    net::{Multiaddr, listen_addresses, peer_id, relay::RelayPeer},
    store::{Reader, Store, Unlock},
};

/// A core, and what is to be known of it before it disappears in its thread.
pub(super) struct Opened {
    pub(super) core: Core,
    pub(super) reader: Reader,
    pub(super) node_key: Zeroizing<[u8; 32]>,
    pub(super) member: MemberId,
    pub(super) name: String,
    pub(super) peer: String,
}

/// Takes the data directory for this process and opens its store, before anything else is started
/// in it.
pub(super) async fn store(data_dir: PathBuf, unlock: Unlock) -> Result<Store, StartError> {
    // A passphrase is slow on purpose, and the disk by nature.
    blocking(move || Ok(Store::open(&data_dir, &unlock)?)).await
}

/// Takes up the core; makes an identity where there is none.
pub(super) async fn core(
    mut store: Store,
    name: String,
    options: Options,
) -> Result<Opened, StartError> {
    let open = move || {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| io::Error::other("no randomness"))?;
        let mut rng = ChaCha20Rng::from_seed(*seed);
        if !is_initialised(&mut store)? {
            init(&mut store, &name, &mut rng)?;
        }
        let core = Core::open(store, rng, options, now())?;
        let node_key = Zeroizing::new(*core.node_key());
        let peer = peer_id(&node_key).ok_or_else(|| io::Error::other("the node key is no key"))?;
        let reader = core.reader()?;
        let card = core.endpoint().card().card().clone();
        let (member, name, peer) = (card.member, card.name, peer.to_string());
        Ok(Opened { core, reader, node_key, member, name, peer })
    };
    blocking(open).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| io::Error::other("the store could not be opened"))?
}

/// Reads the addresses to listen on.
pub(super) fn listen(given: Vec<String>) -> Result<Vec<Multiaddr>, StartError> {
    let mut all = Vec::new();
    for address in given {
        match listen_addresses(&address) {
            Ok(read) => all.extend(read),
            Err(reason) => return Err(StartError::Listen { address, reason }),
        }
    }
    Ok(all)
}

/// Refuses addresses that name no relay.
pub(super) fn check_relays(given: &[String]) -> Result<(), StartError> {
    for address in given {
        if let Err(reason) = address.parse::<RelayPeer>() {
            return Err(StartError::Relay { address: address.clone(), reason });
        }
    }
    Ok(())
}
