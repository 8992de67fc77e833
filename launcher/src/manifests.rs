//! The published manifests of a run, read back and verified: reports and audits rest on nothing else.

use crate::failure::{Outcome, failed};
use osler_core::checkpoint::Manifest;
use osler_core::ids::StageName;
use osler_core::record::{Published, RunRecord};
use osler_runtime::store::Store;
use std::collections::BTreeMap;

pub type Manifests = BTreeMap<StageName, Vec<Manifest>>;

/// Every manifest that the record names, also of retired checkpoints. One that does not fit is an error.
pub async fn read_all(store: &Store, record: &RunRecord) -> Outcome<Manifests> {
    let mut all = Manifests::new();
    for (stage, published) in &record.checkpoints {
        let mut read = vec![];
        for checkpoint in published {
            read.push(read_one(store, record, stage, checkpoint).await?);
        }
        all.insert(stage.clone(), read);
    }
    Ok(all)
}

pub async fn read_one(store: &Store, record: &RunRecord, stage: &StageName, checkpoint: &Published) -> Outcome<Manifest> {
    let path = &checkpoint.manifest.path;
    let bytes = store.read(&checkpoint.manifest).await?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| failed(format!("{path}: not a manifest: {e}")))?;
    let fits = manifest.format == Manifest::FORMAT
        && manifest.run == *record.name()
        && manifest.stage == *stage
        && manifest.step == checkpoint.step
        && manifest.generation == checkpoint.generation
        && manifest.spec == record.spec_digest;
    if fits {
        Ok(manifest)
    } else {
        Err(failed(format!("{path}: it is not the manifest of stage {stage} at step {} of this run", checkpoint.step)))
    }
}
