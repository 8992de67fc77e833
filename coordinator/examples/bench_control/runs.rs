//! Runs to submit: one that trains with many ranks for longer than anybody waits, and one of many small jobs.

use crate::daemon::Client;
use crate::testing;
use anyhow::Result;
use osler_core::spec::{Length, RunSpec};
use osler_proto::v1::control_client::ControlClient;
use osler_proto::v1::{StopRunRequest, SubmitRequest};
use std::time::Instant;

/// Submits a run; gives the time just before.
pub async fn submit(control: &mut ControlClient<Client>, spec: &RunSpec) -> Result<Instant> {
    let spec_json = serde_json::to_vec(spec)?;
    let begun = Instant::now();
    control.submit(SubmitRequest { spec_json, ..Default::default() }).await?;
    Ok(begun)
}

pub async fn stop(control: &mut ControlClient<Client>, run: &str) -> Result<()> {
    control.stop_run(StopRunRequest { run: run.into(), ..Default::default() }).await?;
    Ok(())
}

/// A gang that trains for longer than anybody waits, after nine small jobs.
pub fn training(name: &str, ranks: u32) -> RunSpec {
    let mut spec = testing::spec(name);
    spec.stages.truncate(1);
    for stage in &mut spec.stages {
        stage.length = Length::Steps(1_000_000);
        stage.global_batch = ranks;
    }
    spec.checkpoint.every_steps = 1_000_000;
    spec.resources.ranks = ranks;
    (spec.exams, spec.quantize) = (vec![], vec![]);
    spec
}

/// A run whose first corpus has so many files, and thereby jobs.
pub fn cleaning(name: &str, files: usize) -> RunSpec {
    let mut spec = testing::spec(name);
    if let Some(corpus) = spec.corpora.values_mut().next() {
        corpus.files = (0..files).map(|file| format!("/data/{file:05}.jsonl")).collect();
    }
    spec
}
