//! The only author of object names. Every name is below the store's prefix, built from checked names and numbers.
//!
//! ```text
//! coordinator/epoch/00000001.json                    created once: who leads
//! coordinator/lease/00000001.json                    renewed by the coordinator of that epoch: that it lives, and where
//! coordinator/tokens/0000000001.json                 created once per version: the book of tokens, without secrets
//! coordinator/audit/00000003/0000000001.json         created once: a call that changed something or was refused; by epoch and number
//! coordinator/cluster/0000000001.json                created once per version: quotas, drained nodes, strikes
//! coordinator/removed/RUN/0000000041.g57.json        created once: a run was removed, with these versions and generations
//! coordinator/probe/1795410030000-4711               made and deleted by a coordinator that starts
//! runs/RUN/state/0000000001.json                     created once per version: the run's record
//! runs/RUN/jobs/JOB/g3/NAME                          a job attempt's outputs, under its generation
//! runs/RUN/jobs/train/STAGE/g3/step-00000100/rank-00000.safetensors
//! runs/RUN/checkpoints/STAGE/step-00000100.g3.json   manifest; published only if the state names it
//! runs/RUN/history/checkpoints/STAGE/0000000640-v57-DIGEST.json   what does not change any more of the record; counts if the state names it
//! runs/RUN/history/events/0000000256-v31-DIGEST.json
//! runs/RUN/logs/JOB/g3/rank-00000.log                standard error of a process, kept by its agent
//! ```

use crate::digest::Digest;
use crate::ids::{Epoch, Generation, Millis, RunName, StageName};
use crate::job::{JobId, JobKey};

pub const EPOCHS: &str = "coordinator/epoch";
pub const TOKENS: &str = "coordinator/tokens";
pub const AUDIT: &str = "coordinator/audit";
pub const CLUSTER: &str = "coordinator/cluster";
/// Which runs were removed, and how far each had come.
pub const REMOVED: &str = "coordinator/removed";
pub const RUNS: &str = "runs";

pub fn epoch(epoch: Epoch) -> String {
    format!("{EPOCHS}/{:08}.json", epoch.0)
}

pub fn lease(epoch: Epoch) -> String {
    format!("coordinator/lease/{:08}.json", epoch.0)
}

/// A version of the book of tokens.
pub fn tokens(version: u64) -> String {
    format!("{TOKENS}/{version:010}.json")
}

/// What one coordinator noted of calls.
pub fn audits(epoch: Epoch) -> String {
    format!("{AUDIT}/{:08}", epoch.0)
}

pub fn audit(epoch: Epoch, number: u64) -> String {
    format!("{}/{number:010}.json", audits(epoch))
}

pub fn cluster(version: u64) -> String {
    format!("{CLUSTER}/{version:010}.json")
}

/// The note that a run was removed: by its last version, before its first unused generation.
pub fn removed(run: &RunName, version: u64, next: Generation) -> String {
    format!("{}/{version:010}.g{next}.json", removals(run))
}

/// The notes of all runs that were removed under one name.
pub fn removals(run: &RunName) -> String {
    format!("{REMOVED}/{run}")
}

/// An object that nobody else makes, to see whether a taken name is refused.
pub fn probe(now: Millis, pid: u32) -> String {
    format!("coordinator/probe/{}-{pid}", now.0)
}

/// Everything of a run is below this.
pub fn run(run: &RunName) -> String {
    format!("{RUNS}/{run}")
}

pub fn states(run: &RunName) -> String {
    format!("{RUNS}/{run}/state")
}

pub fn state(run: &RunName, version: u64) -> String {
    format!("{}/{version:010}.json", states(run))
}

/// The run that an object below [`RUNS`] is of.
pub fn run_of(path: &str) -> Option<RunName> {
    let (run, _) = path.strip_prefix(RUNS)?.strip_prefix('/')?.split_once('/')?;
    RunName::new(run).ok()
}

/// The number in an object's file name, for listings of [`EPOCHS`], [`TOKENS`], [`CLUSTER`], [`audits`] and [`states`].
pub fn number_of(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}

/// As [`number_of`], if the path is the one that this number has: file systems and their users leave other names in folders.
pub fn numbered(path: &str, name: impl Fn(u64) -> String) -> Option<u64> {
    number_of(path).filter(|number| name(*number) == path)
}

/// What the jobs of a run write is below this.
pub fn jobs(run: &RunName) -> String {
    format!("{RUNS}/{run}/jobs")
}

pub fn attempts(run: &RunName, job: &JobKey) -> String {
    format!("{}/{job}", jobs(run))
}

/// Everything that one attempt writes is below this.
pub fn attempt(id: &JobId, generation: Generation) -> String {
    format!("{}/g{generation}", attempts(&id.run, &id.job))
}

pub fn output(id: &JobId, generation: Generation, name: &str) -> String {
    format!("{}/{name}", attempt(id, generation))
}

pub fn part(id: &JobId, generation: Generation, step: u64, rank: u32) -> String {
    output(id, generation, &format!("step-{step:08}/rank-{rank:05}.safetensors"))
}

pub fn manifests(run: &RunName) -> String {
    format!("{RUNS}/{run}/checkpoints")
}

pub fn manifest(run: &RunName, stage: &StageName, step: u64, generation: Generation) -> String {
    format!("{}/{stage}/step-{step:08}.g{generation}.json", manifests(run))
}

pub fn checkpoint_pages(run: &RunName, stage: &StageName) -> String {
    format!("{}/checkpoints/{stage}", pages(run))
}

pub fn event_pages(run: &RunName) -> String {
    format!("{}/events", pages(run))
}

/// Pages of a run's record are below this.
pub fn pages(run: &RunName) -> String {
    format!("{RUNS}/{run}/history")
}

/// A page that ends with the entry given, by the version of the record that names it first.
pub fn page(folder: &str, last: u64, version: u64, digest: &Digest) -> String {
    format!("{folder}/{last:010}-v{version}-{}.json", digest.short())
}

/// The version in a page's name.
pub fn version_of_page(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.split('-').nth(1)?.strip_prefix('v')?.parse().ok()
}

/// The highest generation that a name of a run's object can be read as: of a manifest, or of something below an attempt's folder.
pub fn generation_of(path: &str) -> Option<Generation> {
    let number = |text: &str| text.strip_prefix('g')?.parse().ok().map(Generation);
    let of_manifest = |name: &str| number(name.split('.').nth(1)?);
    let (folders, name) = path.rsplit_once('/')?;
    folders.split('/').filter_map(number).chain(of_manifest(name)).max()
}

/// What the processes of a run logged is below this.
pub fn logs(run: &RunName) -> String {
    format!("{RUNS}/{run}/logs")
}

pub fn log(id: &JobId, generation: Generation, rank: u32) -> String {
    format!("{RUNS}/{}/logs/{}/g{generation}/rank-{rank:05}.log", id.run, id.job)
}

/// Whether a path that came from outside stays inside what this attempt may write.
pub fn belongs_to(path: &str, id: &JobId, generation: Generation) -> bool {
    let inside = path.strip_prefix(&attempt(id, generation)).and_then(|rest| rest.strip_prefix('/'));
    inside.is_some_and(|rest| !rest.is_empty() && rest.split('/').all(|s| !s.is_empty() && s != "." && s != ".." && !s.contains('\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_cannot_name_an_object_outside_its_attempt() {
        let id = JobId { run: RunName::new("r").unwrap(), job: JobKey::from("train/s") };
        let belongs = |path: &str| belongs_to(path, &id, Generation(3));
        assert!(belongs(&part(&id, Generation(3), 7, 0)));
        for outside in [
            "runs/r/jobs/train/s/g3/../g4/x",
            "runs/r/jobs/train/s/g33/x",
            "runs/r/jobs/train/s/g3",
            "runs/r/jobs/train/s/g3/",
            "/etc/passwd",
            "runs/r/jobs/train/s/g3//x",
            "",
        ] {
            assert!(!belongs(outside), "{outside}");
        }
    }

    #[test]
    fn numbers_come_back_out_of_names() {
        let run = RunName::new("r").unwrap();
        assert_eq!(number_of(&state(&run, 12)), Some(12));
        assert_eq!(number_of(&epoch(Epoch(3))), Some(3));
        assert_eq!(number_of(&cluster(4)), Some(4));
        assert_eq!(number_of("runs/r/state/tmp"), None);
        assert_eq!(numbered(&state(&run, 12), |v| state(&run, v)), Some(12));
        assert_eq!(numbered("runs/r/state/99.json", |v| state(&run, v)), None);
    }
}
