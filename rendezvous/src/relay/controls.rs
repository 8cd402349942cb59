//! What has a relay that runs go by other settings.
//!
//! > It may take as long as the store does, beside the relay: who sets holds up nobody who is served,
//! > nor the relay's end.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot};

use super::Place;
use crate::{config::Config, log_service::LogService, net::Ask, strain::Strain, watch::Signboard};

/// Has a relay go by other settings while it runs. It keeps no relay running.
#[derive(Clone)]
pub struct Controls {
    place: Arc<Place>,
    service: Weak<LogService>,
    strain: Arc<Strain>,
    asks: mpsc::Sender<Ask>,
    signboard: Option<Arc<Signboard>>,
}

impl std::fmt::Debug for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controls").finish_non_exhaustive()
    }
}

impl Controls {
    pub(super) fn new(
        place: &Arc<Place>,
        service: &Arc<LogService>,
        strain: Arc<Strain>,
        asks: mpsc::Sender<Ask>,
        signboard: Option<Signboard>,
    ) -> Self {
        let (place, service) = (Arc::clone(place), Arc::downgrade(service));
        Self { place, service, strain, asks, signboard: signboard.map(Arc::new) }
    }

    /// Goes by other settings from now on, as far as a relay that runs can: by the limits that
    /// [`Settings::changes`](crate::settings::Settings::changes) takes over, the external addresses and
    /// the token of the dashboard. The rest is passed over. Who is connected keeps what it was granted.
    pub async fn set(&self, config: &Config) {
        let (service, strain) = (self.service.clone(), Arc::clone(&self.strain));
        let limits = config.limits.clone();
        let set = move || {
            // While the store is waited for, its service is not held: it may end meanwhile.
            let Some(store) = service.upgrade().map(|service| service.store()) else { return };
            store.set_quota(limits.quota);
            drop(store);
            if let Some(service) = service.upgrade() {
                service.set(&limits);
            }
            strain.set(&limits);
        };
        // Where the call panics, the panic is reported.
        let _ = tokio::task::spawn_blocking(set).await;
        let (done, set) = oneshot::channel();
        let limits = Box::new(config.limits.clone());
        let ask = Ask::Set { limits, external: config.external.clone(), done };
        if self.asks.send(ask).await.is_ok() {
            let _ = set.await;
        }
        self.place.external().clone_from(&config.external);
        if let Some(signboard) = &self.signboard {
            signboard.show(self.place.facts(config));
        }
    }
}
