//! A store's disk that damages objects: outputs of jobs, parts and manifests of checkpoints, those that something may still read. Records
//! and their pages are left alone here: damage to these is tested in the ledger's own tests.

use super::disk::Disk;
use super::world::Shared;
use osler_core::record::RunRecord;
use std::time::Duration;
use tokio::time::sleep;

pub async fn decay(world: Shared, disk: Disk) {
    loop {
        let pause = Duration::from_millis(200) + world.lock().below(3_000);
        sleep(pause).await;
        let found = {
            let mut world = world.lock();
            let newest = world.rng.once_in(2);
            let objects: Vec<String> = world.law.records().filter(|r| r.state.is_live()).flat_map(|r| readable(r, newest)).collect();
            let at = world.rng.below(objects.len().max(1) as u64) as usize;
            objects.get(at).cloned().filter(|_| world.misfortune())
        };
        if let Some(path) = found {
            disk.damage(&path).await;
        }
    }
}

/// What processes of a run may read: parts of its newest checkpoints, or outputs.
fn readable(record: &RunRecord, newest: bool) -> Vec<String> {
    if !newest {
        let results = record.jobs.values().filter_map(|job| job.status.result());
        return results.flat_map(|result| result.outputs.values().map(|output| output.path.clone())).collect();
    }
    let stages = record.spec.stages.iter();
    let newest = stages.filter_map(|stage| Some((&stage.name, record.newest_checkpoint(&stage.name)?)));
    newest.flat_map(|(stage, checkpoint)| record.parts(stage, checkpoint)).collect()
}
