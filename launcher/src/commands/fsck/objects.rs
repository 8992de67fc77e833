//! The objects that a run's record names: outputs, manifests, and the parts that these name.

use super::{Check, Finding, Kind, Mend};
use crate::failure::Outcome;
use crate::manifests;
use crate::show;
use crate::stored;
use osler_core::checkpoint::ObjectRef;
use osler_core::ids::StageName;
use osler_core::job::JobKey;
use osler_core::paths;
use osler_core::record::{Published, RunRecord, RunState};
use osler_core::way_out;
use osler_runtime::store::{Store, StoreError};
use std::collections::BTreeMap;

pub(super) async fn of_run(store: &Store, record: &RunRecord, quick: bool, check: &mut Check) -> Outcome {
    let sizes: BTreeMap<String, u64> = store.sizes(&paths::run(record.name())).await?.into_iter().collect();
    let look = Look { store, sizes, quick };
    let mut found = vec![];
    for (job, result) in record.jobs.iter().filter_map(|(job, record)| Some((job, record.status.result()?))) {
        for object in result.outputs.values() {
            if let Some(what) = look.at(object, check).await? {
                found.push(output(record, job, object, &what));
            }
        }
    }
    for (stage, checkpoint) in record.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c))) {
        of_checkpoint(&look, record, stage, checkpoint, check, &mut found).await?;
    }
    for page in record.history.of_events() {
        if let Some(what) = look.at(&page.object, check).await? {
            let costs = format!("{} of what happened, and nothing of the run itself", show::plural(page.entries as u64, "event"));
            let finding = Finding::new(Kind::Events, Some(record.name()), &page.object.path, what).costs(costs);
            found.push(finding.way_out(Mend::ByHand, way_out::EVENTS));
        }
    }
    if !found.is_empty() {
        // Of a run that goes on, what was named a moment ago may have been deleted by right.
        let now = stored::newest_record(store, record.name()).await.ok().flatten();
        found.retain(|finding| now.as_ref().is_none_or(|now| needs(now, &finding.object)));
    }
    check.findings.extend(found);
    Ok(())
}

/// Whether a record names an object that something may still read, a person included.
pub(super) fn needs(record: &RunRecord, path: &str) -> bool {
    let outputs = record.jobs.values().filter_map(|job| job.status.result()).flat_map(|result| result.outputs.values());
    let of_checkpoint = |(stage, c): (&StageName, &Published)| {
        c.manifest.path == path || (!c.retired && record.parts(stage, c).iter().any(|part| part == path))
    };
    let mut events = record.history.of_events();
    let mut checkpoints = record.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c)));
    outputs.map(|object| &object.path).any(|named| named == path)
        || checkpoints.any(of_checkpoint)
        || events.any(|page| page.object.path == path)
}

async fn of_checkpoint(
    look: &Look<'_>,
    record: &RunRecord,
    stage: &StageName,
    checkpoint: &Published,
    check: &mut Check,
    found: &mut Vec<Finding>,
) -> Outcome {
    check.objects += 1;
    check.bytes += checkpoint.manifest.bytes;
    let read = manifests::read_one(look.store, record, stage, checkpoint).await;
    let manifest = match read.unwrap_or_else(|failure| Err(format!("cannot be read: {}", failure.message()))) {
        Ok(manifest) => manifest,
        Err(what) => {
            found.push(damaged_checkpoint(record, stage, checkpoint, &checkpoint.manifest.path, &what));
            return Ok(());
        }
    };
    for part in manifest.parts.iter().filter(|_| !checkpoint.retired) {
        if let Some(what) = look.at(part, check).await? {
            found.push(damaged_checkpoint(record, stage, checkpoint, &part.path, &what));
        }
    }
    Ok(())
}

struct Look<'a> {
    store: &'a Store,
    sizes: BTreeMap<String, u64>,
    quick: bool,
}

impl Look<'_> {
    /// What is there instead of the object.
    async fn at(&self, object: &ObjectRef, check: &mut Check) -> Outcome<Option<String>> {
        check.objects += 1;
        check.bytes += object.bytes;
        match self.sizes.get(&object.path) {
            None => return Ok(Some("is missing".to_owned())),
            Some(bytes) if *bytes != object.bytes => return Ok(Some(format!("has {bytes} bytes, recorded are {}", object.bytes))),
            Some(_) if self.quick => return Ok(None),
            Some(_) => {}
        }
        match self.store.verify(object).await {
            Ok(()) => Ok(None),
            Err(StoreError::Missing { .. }) => Ok(Some("is missing".to_owned())),
            Err(StoreError::Corrupt { .. }) => Ok(Some("is not what was written".to_owned())),
            Err(other) => Err(other.into()),
        }
    }
}

fn output(record: &RunRecord, job: &JobKey, object: &ObjectRef, what: &str) -> Finding {
    let run = record.name();
    let finding = Finding::new(Kind::Output, Some(run), &object.path, what).costs(format!("doing {job} again, once"));
    let resume = format!("then `osler resume {run}`");
    let way_out = match &record.state {
        state if state.is_live() => "its reader has it made again, or `osler fsck --repair` does".to_owned(),
        RunState::Finished => format!("`osler fsck --repair` notes that it is to be made again, {resume}"),
        _ => format!("`osler resume {run}` makes it again as soon as a job cannot use it, `osler fsck --repair` notes that now"),
    };
    finding.way_out(Mend::Doubt, way_out)
}

fn damaged_checkpoint(record: &RunRecord, stage: &StageName, checkpoint: &Published, path: &str, what: &str) -> Finding {
    let (run, step) = (record.name(), checkpoint.step);
    let finding = |kind| Finding::new(kind, Some(run), path, what);
    let copy = "restore it from a copy";
    if checkpoint.retired {
        let proof = format!("the proof of what stage {stage} consumed up to step {step}");
        let costs = format!("{proof}: `osler audit {run}` is not clean, and `osler report {run}` goes without these steps");
        return finding(Kind::RetiredManifest).costs(costs).way_out(Mend::ByHand, format!("{copy}; it cannot be made again"));
    }
    let finding = finding(Kind::Checkpoint);
    let before = record.checkpoints.get(stage).into_iter().flatten().rev().find(|c| c.step < step && !c.retired);
    let is_newest = record.newest_checkpoint(stage).is_some_and(|newest| newest.step == step);
    match (is_newest, before) {
        (false, _) => finding
            .costs(format!("step {step} of stage {stage} as a place to go back to"))
            .way_out(Mend::Doubt, format!("{copy}, or `osler fsck --repair` gives it up")),
        (true, _) if record.state == RunState::Finished => {
            finding.costs(format!("training stage {stage} on from its end; what was made of it is there")).way_out(Mend::ByHand, copy)
        }
        (true, Some(before)) => finding.costs(format!("steps {} to {step} of stage {stage}, once more", before.step)).way_out(
            Mend::Doubt,
            format!("{copy}, or go on from step {}: `osler resume {run}` finds that, `osler fsck --repair` notes it now", before.step),
        ),
        (true, None) => finding
            .costs(format!("{step} steps of stage {stage}: no older checkpoint is kept"))
            .way_out(Mend::ByHand, format!("{copy}, or begin the stage again: `osler resume {run} --rewind {stage}@0`")),
    }
}
