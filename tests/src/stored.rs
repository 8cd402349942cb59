//! What a stopped relay has on its disk, read with other eyes than its own.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions};

/// Bytes before an entry in the relay's store: its time and its checksum.
const HEADER: usize = 24;

/// Every entry in the store below a relay's data directory.
pub(crate) fn entries(data_dir: &Path) -> Vec<Vec<u8>> {
    let db = Database::builder(data_dir.join("store")).open().expect("the relay's store");
    let keyspace = db.keyspace("entries", KeyspaceCreateOptions::default).expect("its entries");
    keyspace.iter().map(|item| item.value().expect("an entry")[HEADER..].to_vec()).collect()
}
