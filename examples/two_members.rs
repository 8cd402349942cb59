//! Two members and no network: the protocol crate alone.
fn main() {}
