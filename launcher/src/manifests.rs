//! The published manifests of a run, read back and verified: reports and audits rest on nothing else.

use crate::failure::Outcome;
use osler_core::checkpoint::Manifest;
use osler_core::evidence::Finding;
use osler_core::ids::StageName;
use osler_core::record::{Published, RunRecord};
use osler_runtime::store::{Store, StoreError};
use std::collections::BTreeMap;

pub type Manifests = BTreeMap<StageName, Vec<Manifest>>;

/// Every manifest that the record names, also of retired checkpoints, and those that are missing or are not what the record names.
pub async fn read_all(store: &Store, record: &RunRecord) -> Outcome<(Manifests, Vec<Finding>)> {
    let (mut all, mut missing) = (Manifests::new(), vec![]);
    for (stage, published) in &record.checkpoints {
        let mut read = vec![];
        for checkpoint in published {
            match read_one(store, record, stage, checkpoint).await? {
                Ok(manifest) => read.push(manifest),
                Err(why) => missing.push(Finding { path: checkpoint.manifest.path.clone(), why: format!("it {why}") }),
            }
        }
        all.insert(stage.clone(), read);
    }
    Ok((all, missing))
}

/// `Err` within: what is wrong with the object.
pub async fn read_one(store: &Store, record: &RunRecord, stage: &StageName, checkpoint: &Published) -> Outcome<Result<Manifest, String>> {
    let bytes = match store.read(&checkpoint.manifest).await {
        Ok(bytes) => bytes,
        Err(StoreError::Missing { .. }) => return Ok(Err("is missing from the store".to_owned())),
        Err(StoreError::Corrupt { found, recorded, .. }) => {
            return Ok(Err(format!("is not what was written: {found}, recorded as {recorded}")));
        }
        Err(other) => return Err(other.into()),
    };
    let manifest: Manifest = match serde_json::from_slice(&bytes) {
        Ok(manifest) => manifest,
        Err(e) => return Ok(Err(format!("is not a manifest: {e}"))),
    };
    let fits = manifest.format == Manifest::FORMAT
        && manifest.run == *record.name()
        && manifest.stage == *stage
        && manifest.step == checkpoint.step
        && manifest.generation == checkpoint.generation
        && manifest.spec == record.spec_digest;
    Ok(if fits { Ok(manifest) } else { Err(format!("is not the manifest of stage {stage} at step {} of this run", checkpoint.step)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::paths;

    #[tokio::test]
    async fn a_missing_manifest_is_found_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let (mut record, manifests) = fixture::finished();
        for (stage, all) in &manifests {
            for (at, manifest) in all.iter().enumerate() {
                let path = paths::manifest(record.name(), stage, manifest.step, manifest.generation);
                let object = store.put(&path, serde_json::to_vec(manifest).unwrap().into()).await.unwrap();
                record.checkpoints.get_mut(stage).unwrap()[at].manifest = object;
            }
        }
        assert_eq!(read_all(&store, &record).await.unwrap(), (manifests, vec![]));
        let path = record.checkpoints[&StageName::new("domain").unwrap()][0].manifest.path.clone();
        store.delete(&path).await.unwrap();
        let (read, missing) = read_all(&store, &record).await.unwrap();
        assert_eq!(read.values().map(Vec::len).sum::<usize>(), 2);
        assert_eq!(missing, [Finding { path, why: "it is missing from the store".into() }]);
    }
}
