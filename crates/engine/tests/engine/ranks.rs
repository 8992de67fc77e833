//! Gangs of real processes: a test starts this test binary again, once per rank.

use crate::support::{mask_row, options, rows, share, weights};
use osler_core::spec::{ComputeSpec, Determinism, GuardSpec, ModelSpec};
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::{Batch, Masked, Trainer};
use osler_torch_dist::{GroupOptions, ProcessGroup, Store};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const JOB: &str = "OSLER_ENGINE_TEST_JOB";
const LIMIT: Duration = Duration::from_secs(60);

/// What every rank of a gang does.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    pub model: ModelSpec,
    pub lr: f64,
    pub ranks: u32,
    pub global_batch: u32,
    pub micro_batch: u32,
    pub bucket_bytes: usize,
    /// Slices to begin from.
    pub load: Vec<PathBuf>,
    pub steps: u64,
    /// Folder for `slice-RANK` at the end.
    pub save: Option<PathBuf>,
    /// Each rank's control word, by rank; sent in every step.
    pub control: Vec<u32>,
    /// This rank spoils its weights before its steps.
    pub poison: Option<u32>,
    pub compute: ComputeSpec,
    pub determinism: Determinism,
    pub zero: bool,
    /// Every other target of rank 0 and every third of the others counts.
    pub masked: bool,
    pub guard: GuardSpec,
}

impl Job {
    /// Three steps of `model` from scratch in the peers' way.
    pub fn new(model: ModelSpec, ranks: u32) -> Self {
        Self {
            model,
            lr: 3e-4,
            ranks,
            global_batch: 2 * ranks,
            micro_batch: 2,
            bucket_bytes: BUCKET_BYTES,
            load: vec![],
            steps: 3,
            save: None,
            control: vec![],
            poison: None,
            compute: ComputeSpec::default(),
            determinism: Determinism::Fast,
            zero: true,
            masked: false,
            guard: GuardSpec::default(),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub losses: Vec<f64>,
    pub controls: Vec<u32>,
    /// Steps that the guard skipped.
    pub skipped: Vec<u64>,
    /// Of step, weights, and the moments that the rank holds.
    pub digest: String,
    /// Of the weights, which all ranks share.
    pub weights: String,
    pub error: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Seat {
    job: Job,
    rank: u32,
    port: u16,
    out: PathBuf,
}

/// Runs the gang and returns its outcomes by rank.
pub fn run(job: &Job) -> Vec<Outcome> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::host([127, 0, 0, 1].into(), 0, job.ranks as usize, LIMIT).unwrap();
    let start = |rank: u32| {
        let out = folder.path().join(rank.to_string());
        let seat = Seat { job: job.clone(), rank, port: store.port(), out: out.clone() };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "ranks::one_rank_of_a_gang"])
            .env(JOB, serde_json::to_string(&seat).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (child, out)
    };
    let children: Vec<_> = (0..job.ranks).map(start).collect();
    let read = |out: &Path| serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap();
    let finish = |(mut child, out): (std::process::Child, PathBuf)| {
        assert!(child.wait().unwrap().success(), "a rank failed");
        read(&out)
    };
    children.into_iter().map(finish).collect()
}

#[test]
#[ignore = "a rank's process, started by other tests"]
fn one_rank_of_a_gang() {
    let seat: Seat = serde_json::from_str(&std::env::var(JOB).expect("started by another test")).unwrap();
    let Seat { job, rank, port, out } = seat;
    osler_engine::set_threads(1).unwrap();
    let store = Store::connect("127.0.0.1", port, job.ranks as usize, LIMIT).unwrap();
    let group = ProcessGroup::gloo(&store, GroupOptions::new(rank as usize, job.ranks as usize, 1, LIMIT)).unwrap();
    let mut options = options(job.model.clone(), job.global_batch, job.micro_batch, job.lr);
    options.bucket_bytes = job.bucket_bytes;
    options.guard = job.guard.clone();
    (options.compute, options.determinism, options.zero) = (job.compute, job.determinism, job.zero);
    if job.poison == Some(rank) {
        options.seed += 1;
    }
    let mut outcome =
        Outcome { losses: vec![], controls: vec![], skipped: vec![], digest: String::new(), weights: String::new(), error: None };
    if let Err(error) = go(&job, rank, options, group, &mut outcome) {
        outcome.error = Some(error.to_string());
    }
    std::fs::write(out, serde_json::to_vec(&outcome).unwrap()).unwrap();
}

fn go(
    job: &Job,
    rank: u32,
    options: osler_engine::step::TrainerOptions,
    group: ProcessGroup,
    outcome: &mut Outcome,
) -> Result<(), osler_engine::EngineError> {
    let mut trainer = Trainer::new(options, Some(group))?;
    if !job.load.is_empty() {
        trainer.load_slices(&job.load)?;
    }
    let control = job.control.get(rank as usize).copied().unwrap_or_default();
    for _ in 0..job.steps {
        let share = share(trainer.steps_done(), job.global_batch.into(), rank.into(), job.ranks.into());
        let masked: Vec<Masked>;
        let rows = rows(&share);
        let batch = if job.masked {
            masked = share.iter().map(|row| mask_row(row, if rank == 0 { 2 } else { 3 })).collect();
            Batch::Masked(&masked)
        } else {
            Batch::Next(&rows)
        };
        let stats = trainer.step_on(batch, control)?;
        outcome.losses.push(stats.loss);
        outcome.controls.push(stats.control);
        outcome.skipped.extend(stats.skipped.map(|_| stats.step));
    }
    if let Some(folder) = &job.save {
        trainer.save_slice(&folder.join(format!("slice-{rank}")), rank, job.ranks)?;
    }
    outcome.digest = trainer.state_digest()?.to_string();
    outcome.weights = weights(&mut trainer);
    Ok(())
}
