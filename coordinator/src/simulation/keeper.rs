//! Whoever runs the cluster: drains nodes, has them looked at, sets a team's quota; and takes everything back when misfortune ends.

use super::network::{Door, Network};
use super::plan::team;
use crate::cluster::Refused;
use crate::owner::HandleError;
use osler_core::ids::WorkerName;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(3);

/// Looks after the cluster until the seed is over.
pub async fn keep(network: Network, nodes: Vec<WorkerName>) {
    loop {
        let pause = Duration::from_millis(100) + network.world.lock().below(900);
        sleep(pause).await;
        let Some(door) = network.find() else { continue };
        let _patience_ended = timeout(PATIENCE, turn(&network, &door, &nodes)).await;
    }
}

async fn turn(network: &Network, door: &Door, nodes: &[WorkerName]) {
    let world = &network.world;
    if !world.lock().misfortune() {
        for node in nodes {
            drain(network, door, node, false).await;
        }
        return quota(network, door, None).await;
    }
    let node = &nodes[world.lock().rng.below(nodes.len() as u64) as usize];
    if world.lock().strikes("node is drained", 12) {
        drain(network, door, node, true).await;
    }
    if world.lock().strikes("node is undrained", 6) {
        drain(network, door, node, false).await;
    }
    if world.lock().strikes("node is looked at", 12) {
        let _refused_or_lost = door.handle.check_node(node.clone()).await;
    }
    if world.lock().strikes("quota is set", 8) {
        let slots = world.lock().rng.below(4) as u32;
        quota(network, door, Some(slots).filter(|slots| *slots > 0)).await;
    }
}

/// From when it is asked until it is answered, nobody knows whether the node is drained.
async fn drain(network: &Network, door: &Door, node: &WorkerName, drained: bool) {
    network.world.lock().law.is_drained(node, false);
    let answer = door.handle.drain(node.clone(), drained.then(|| "maintenance".to_owned())).await;
    let mut world = network.world.lock();
    if answer.is_ok() {
        if world.misfortune() {
            world.note(|| format!("keeper: node {node} is {}", if drained { "drained" } else { "undrained" }));
        }
        world.law.is_drained(node, drained);
    } else if let Err(HandleError::Refused(refused)) = answer
        && !matches!(refused, Refused::NoSuchWorker(_))
    {
        world.broken(format!("draining {node} is refused: {refused}"));
    }
}

async fn quota(network: &Network, door: &Door, slots: Option<u32>) {
    network.world.lock().law.has_quota(&team(), None);
    let answer = door.handle.quota(team(), slots).await;
    let mut world = network.world.lock();
    if answer.is_ok() {
        if world.misfortune() {
            world.note(|| format!("keeper: the team's quota is {slots:?}"));
        }
        world.law.has_quota(&team(), slots);
    } else if let Err(HandleError::Refused(refused)) = answer
        && !matches!(refused, Refused::NoSuchTeam(_))
    {
        world.broken(format!("a quota is refused: {refused}"));
    }
}
