//! People: they submit a run, stop it, ask again when no answer came, resume what failed, now and then remove it and begin anew, and look at it meanwhile.

use super::network::Network;
use super::world::Shared;
use crate::cluster::{RemoveRequest, RewindRequest, StopRequest};
use osler_core::ids::{RunName, StageName};
use osler_core::record::RunState;
use osler_core::spec::RunSpec;
use osler_core::stop::StopKind;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Looks after one run until the seed is over.
pub async fn operate(network: Network, spec: RunSpec) {
    let (world, run) = (&network.world, spec.name.clone());
    loop {
        let pause = Duration::from_millis(50) + world.lock().below(350);
        sleep(pause).await;
        let Some(door) = network.find() else { continue };
        let answered = async {
            if let Some(stage) = lost_all_checkpoints(world, &run) {
                *world.lock().struck.entry("run begins a stage again").or_default() += 1;
                let back = RewindRequest { run: run.clone(), stage, to: 0, skip: 0..0, ranks: None };
                let _refused_or_lost = door.handle.rewind(back).await;
                let _refused_or_lost = door.handle.resume(run.clone(), None).await;
            }
            if wants_to_submit(world, &run) {
                let _refused_or_lost = door.handle.submit(spec.clone()).await;
            }
            if world.lock().strikes("run is stopped", 120) {
                let stop = StopRequest { run: run.clone(), kind: StopKind::Interrupted, by: "a person".to_owned() };
                let _refused_or_lost = door.handle.stop(stop).await;
            }
            if is_over(world, &run) && world.lock().strikes("run is removed", 40) {
                let _refused_or_lost = door.handle.remove(RemoveRequest { run: run.clone(), by: "a person".to_owned() }).await;
            }
            let Ok(mut watcher) = door.handle.watch(run.clone()).await else { return };
            if let Some(view) = watcher.next().await {
                let mut world = world.lock();
                let judged = world.law.seen(&run, &view.reply);
                world.judge(judged);
            }
        };
        let _patience_ended = timeout(Duration::from_secs(3), answered).await;
    }
}

/// The stage that failed because its only checkpoint is damaged: the failure names the way out.
fn lost_all_checkpoints(world: &Shared, run: &RunName) -> Option<StageName> {
    let world = world.lock();
    let record = world.law.record(run)?;
    let RunState::Failed(why) = &record.state else { return None };
    record.spec.stages.iter().map(|stage| &stage.name).find(|stage| why.contains(&format!("--rewind {stage}@0"))).cloned()
}

fn is_over(world: &Shared, run: &RunName) -> bool {
    world.lock().law.record(run).is_some_and(|record| !record.state.is_live())
}

fn wants_to_submit(world: &Shared, run: &RunName) -> bool {
    let mut world = world.lock();
    match world.law.record(run).map(|record| record.state.clone()) {
        None | Some(RunState::Removed) => true,
        Some(RunState::Stopped | RunState::Failed(_)) => !world.misfortune() || world.rng.once_in(6),
        Some(_) => world.strikes("run is submitted again", 60),
    }
}
