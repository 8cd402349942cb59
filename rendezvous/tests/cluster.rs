//! A relay of three processes on a cluster of three NATS servers, while some of them are killed under load:
//! nothing acknowledged is lost or there twice, and who follows goes on elsewhere at its cursor.
//!
//! `WATTLE_CLUSTER_KILLS`: how many kills, in turn of the leading server and of a process of the relay.
//! `WATTLE_CLUSTER_PARTITIONS`: how often the machine of the leading server is cut off, in turn from
//! the other machines and from everybody.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, time::Duration};

use async_nats::jetstream;
use protocol::relay_log::LogKeys;

use bare::Bare;
use load::Load;
use nats::{Nats, Place, Sync};
use netns::Cut;
use relays::Relays;

#[path = "common/bare.rs"]
mod bare;
#[path = "common/load.rs"]
mod load;
#[path = "common/log_client.rs"]
mod log_client;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "common/nats.rs"]
mod nats;
#[path = "common/netns.rs"]
mod netns;
#[path = "common/relays.rs"]
mod relays;

/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(240);
/// Acknowledgements for each writer between two faults.
const BETWEEN: u64 = 40;

fn count(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_servers_and_processes_are_killed() {
    let kills = count("WATTLE_CLUSTER_KILLS", 2);
    let Some(mut nats) = Nats::start(3, Sync::Always) else { return };
    let place = || (Vec::new(), "127.0.0.1:0".to_owned());
    let mut relays = Relays::start(&nats.urls(), &nats.monitors(), &[place(), place(), place()]);
    let client = bare::connect(&nats.urls()).await;
    let jet = jetstream::new(client.clone());
    let stream = bare::stream_of(&LogKeys::from_seeds([1; 32], [2; 32], None).publics().id());
    let beside = Bare::start(&client).await;
    let load = Load::start(&relays.addrs, 2);
    load.go_on(BETWEEN, PATIENCE).await;
    for kill in 0..kills {
        if kill % 2 == 0 {
            let leader = bare::leader(&jet, &stream).await;
            bare::lead(&client, "bare", leader).await;
            nats.kill(leader);
            load.go_on(BETWEEN, PATIENCE).await;
            nats.start_node(leader);
            tokio::task::block_in_place(|| nats.wait());
            bare::settled(&jet, &mut nats).await;
        } else {
            let process = (kill / 2) % 3;
            relays.kill(process);
            load.go_on(BETWEEN, PATIENCE).await;
            tokio::task::block_in_place(|| relays.start_again(process));
        }
        load.go_on(BETWEEN, PATIENCE).await;
    }
    let (gap, beside) = (load.gap(), beside.gap().await);
    let acknowledged = load.check().await;
    println!(
        "{kills} kills: {acknowledged} acknowledged, 0 lost, 0 twice; longest gap {gap:.2} s, bare \
         JetStream's {beside:.2} s"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_machines_are_cut_off() {
    let name = "nothing_acknowledged_is_lost_when_machines_are_cut_off";
    let partitions = count("WATTLE_CLUSTER_PARTITIONS", 1);
    if nats::program().is_none() {
        return;
    }
    let Some(machines) = tokio::task::block_in_place(|| netns::with(3, name)) else { return };
    let places = [0, 1, 2].map(|number| (machines.by(number), netns::ip(number)));
    let servers = places.clone().map(|(by, ip)| Place { by, ip });
    let Some(mut nats) = Nats::start_at(&servers, Sync::Always, "") else { return };
    let places = places.map(|(by, ip)| (by, format!("{ip}:4407")));
    let relays = Relays::start(&nats.urls(), &nats.monitors(), &places);
    let client = bare::connect(&nats.urls()).await;
    let jet = jetstream::new(client.clone());
    let stream = bare::stream_of(&LogKeys::from_seeds([1; 32], [2; 32], None).publics().id());
    let beside = Bare::start(&client).await;
    let load = Load::start(&relays.addrs, 3);
    load.go_on(BETWEEN, PATIENCE).await;
    for partition in 0..partitions {
        let leader = bare::leader(&jet, &stream).await;
        bare::lead(&client, "bare", leader).await;
        let cut = [Cut::Others, Cut::All][partition % 2];
        tokio::task::block_in_place(|| machines.cut(leader, cut));
        load.go_on(BETWEEN, PATIENCE).await;
        tokio::task::block_in_place(|| {
            machines.heal(leader);
            nats.wait();
        });
        bare::settled(&jet, &mut nats).await;
        load.go_on(BETWEEN, PATIENCE).await;
    }
    let (gap, beside) = (load.gap(), beside.gap().await);
    let acknowledged = load.check().await;
    println!(
        "{partitions} partitions: {acknowledged} acknowledged, 0 lost, 0 twice; longest gap {gap:.2} s, \
         bare JetStream's {beside:.2} s"
    );
}
