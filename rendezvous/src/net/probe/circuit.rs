//! A circuit between two clients, both of them here.

use std::{sync::Arc, time::Instant};

use futures::StreamExt as _;
use libp2p::{Multiaddr, Swarm, multiaddr::Protocol, swarm::SwarmEvent};

use super::{
    super::way::{self, Behaviour},
    Finding, PATIENCE, Trial,
};

const ADVICE: &str = "Nodes need circuits only for files of members to whom no direct path leads. If they shall be \
                      made: are they switched off in its settings (circuits under [limits]), or is its external \
                      address wrong?";

pub(super) async fn try_out(relay: &Multiaddr) -> Finding {
    match tokio::time::timeout(PATIENCE, meet(relay)).await {
        Ok(Ok(took)) => Finding::works(Trial::Circuit, format!("made in {took} ms")),
        Ok(Err(seen)) => Finding::fails(Trial::Circuit, seen, ADVICE),
        Err(_) => {
            let seen = format!("none within {} s", PATIENCE.as_secs());
            Finding::fails(Trial::Circuit, seen, ADVICE)
        }
    }
}

async fn meet(relay: &Multiaddr) -> Result<u128, &'static str> {
    const NONE: &str = "this way can't be gone twice";
    let client = || way::swarm(relay, &Arc::default()).ok_or(NONE);
    let (mut one, mut other) = (client()?, client()?);
    let circuit = relay.clone().with(Protocol::P2pCircuit);
    one.listen_on(circuit.clone()).map_err(|_| NONE)?;
    reserved(&mut one).await?;
    let start = Instant::now();
    let there = circuit.with(Protocol::P2p(*one.local_peer_id()));
    other.dial(there).map_err(|_| NONE)?;
    let one_id = *one.local_peer_id();
    loop {
        tokio::select! {
            _ = one.select_next_some() => {}
            event = other.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == one_id => {
                    return Ok(start.elapsed().as_millis());
                }
                SwarmEvent::OutgoingConnectionError { .. } => return Err("it was refused"),
                _ => {}
            }
        }
    }
}

async fn reserved(swarm: &mut Swarm<Behaviour>) -> Result<(), &'static str> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { .. } => return Ok(()),
            SwarmEvent::ListenerClosed { .. } | SwarmEvent::ListenerError { .. } => {
                return Err("no place is reserved");
            }
            _ => {}
        }
    }
}
