//! Deletes entries at the end of their time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use protocol::ids::Timestamp;
use tokio::time::Instant;

use super::LogService;
use crate::{limits::EXPIRY_STEP, store::StoreError};

/// How often it is noted at least how the store is, which whoever watches the relay is told.
const LOOK: Duration = Duration::from_secs(10);

/// Deletes what has become too old, every minute or ten times in a lifetime, whichever is oftener.
pub(super) async fn run(service: Weak<LogService>) {
    loop {
        let pause = {
            let Some(service) = service.upgrade() else { return };
            if let Err(error) = sweep(&service).await {
                tracing::error!(%error, "could not delete old entries");
            }
            (service.limits().ttl / 10).clamp(Duration::from_millis(10), Duration::from_mins(1))
        };
        let end = Instant::now() + pause;
        while Instant::now() < end {
            tokio::time::sleep_until((Instant::now() + LOOK).min(end)).await;
            let Some(service) = service.upgrade() else { return };
            note(&service).await;
        }
    }
}

/// Notes how the store is: it may have changed though nobody appends. What came last is held no longer.
async fn note(service: &LogService) {
    service.followers.forget();
    let (store, counts) = (Arc::clone(&service.store), Arc::clone(&service.counts));
    let noted = service.blocking(move || {
        counts.stored(store.as_ref());
        Ok(())
    });
    if let Err(error) = noted.await {
        tracing::debug!(%error, "could not look at the store");
    }
}

async fn sweep(service: &LogService) -> Result<(), StoreError> {
    let ttl = u64::try_from(service.limits().ttl.as_millis()).unwrap_or(u64::MAX);
    loop {
        let now = service.clock.now();
        let before = Timestamp(now.0.saturating_sub(ttl));
        let store = Arc::clone(&service.store);
        let counts = Arc::clone(&service.counts);
        let expire = move || {
            let gone = store.expire(before, now, EXPIRY_STEP)?;
            counts.expired.inc_by(gone as u64);
            counts.stored(store.as_ref());
            Ok(gone)
        };
        let gone = service.blocking(expire).await?;
        service.followers.forget();
        if gone < EXPIRY_STEP {
            return Ok(());
        }
    }
}
