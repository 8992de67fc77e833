//! `osler describe`: a run with all its jobs, attempts, checkpoints and gates. With -o json: the record itself.

use crate::client::{Access, Seen};
use crate::failure::Outcome;
use crate::render::cause;
use crate::show::{self, Format, Grid};
use crate::source::{Source, state_text};
use crate::status::reason;
use osler_core::ids::RunName;
use osler_core::record::{JobRecord, JobState, RunRecord};

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    match args.output {
        Format::Json => show::json(&serde_json::json!({ "coordinator": source.is_live(), "record": seen.record })),
        Format::Table => show::out(&text(&seen, source.is_live())),
    }
}

fn text(seen: &Seen, live: bool) -> String {
    let record = &seen.record;
    let mut text = format!("run          {}\n", record.name());
    text.push_str(&format!("description  {}\n", show::clean(&record.spec.description)));
    text.push_str(&format!("state        {}\n", state_text(record, live)));
    if let Some(reason) = reason(record) {
        text.push_str(&format!("reason       {}\n", show::clean(&reason)));
    }
    text.push_str(&format!("submitted    {}\n", show::time(record.submitted_at)));
    text.push_str(&format!("run file     sha256 {}\n", record.spec_digest));
    text.push_str(&format!("record       version {}, written under epoch {}\n", record.version, record.epoch));
    text.push_str(&format!("\n{}", jobs(seen)));
    for cause in record.jobs.iter().filter_map(|(key, job)| cause::of_job(record, key, job)) {
        text.push_str(&format!("\nfailed attempt: {cause}"));
    }
    let checkpoints = checkpoints(record);
    if !checkpoints.is_empty() {
        text.push_str(&format!("\n{}", checkpoints.text()));
    }
    if !record.gates.is_empty() {
        let mut grid = Grid::new(&["gate", "stage", "variant", "outcome", "evidence"]);
        for gate in &record.gates {
            let outcome = if gate.passed { "passed" } else { "failed" };
            grid.row([gate.exam.clone(), gate.stage.to_string(), gate.variant.to_string(), outcome.into(), gate.evidence.clone()]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    text
}

fn jobs(seen: &Seen) -> String {
    let mut grid = Grid::new(&["job", "state", ">ranks", ">attempts", "about"]);
    for (key, job) in &seen.record.jobs {
        let waits = seen.waiting.iter().find(|(waiting, _)| waiting == key).map(|(_, reason)| reason.clone());
        let current = usize::from(job.status.attempt().is_some());
        let attempts = (job.past.len() + current).to_string();
        grid.row([
            key.to_string(),
            job.status.as_str().into(),
            job.planned.ranks.to_string(),
            attempts,
            waits.map(|reason| reason.to_string()).unwrap_or_else(|| about(job)),
        ]);
    }
    grid.text()
}

fn about(job: &JobRecord) -> String {
    let last_fault = || job.past.iter().rev().find_map(|past| past.fault.as_ref()).map(|fault| format!("last failure: {fault}"));
    match &job.status {
        JobState::Active { attempt } | JobState::Ending { attempt, .. } => {
            let mut workers: Vec<&str> = attempt.places.iter().map(|p| p.worker.as_str()).collect();
            workers.dedup();
            format!("generation {} on {} since {}", attempt.generation, workers.join(" "), show::time(attempt.started_at))
        }
        JobState::Failed { fault, .. } => fault.to_string(),
        _ => last_fault().unwrap_or_default(),
    }
}

fn checkpoints(record: &RunRecord) -> Grid {
    let mut grid = Grid::new(&["checkpoint", ">step", ">generation", "published", "state"]);
    for (stage, published) in &record.checkpoints {
        for c in published {
            let state = if c.retired { "retired" } else { "kept" };
            grid.row([stage.to_string(), c.step.to_string(), c.generation.to_string(), show::time(c.at), state.into()]);
        }
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_job_and_its_failures_are_shown() {
        let (record, _) = fixture::finished();
        let shown = text(&Seen { record: record.clone(), words: vec![], waiting: vec![], budgets: Default::default() }, true);
        for key in record.jobs.keys() {
            assert!(shown.contains(key.as_str()), "{key} is missing from\n{shown}");
        }
        assert!(shown.contains("last failure: infrastructure: killed by signal 9 <b> (first at local/1)"), "{shown}");
        let block = "failed attempt: train/domain, generation 25 on local, failed 2026-11-23 05:00:15 UTC\n  \
                     first    local/1: infrastructure: killed by signal 9 <b>\n           | step 6\n           | \u{fffd}[31mlast words\n  \
                     then     local/0: infrastructure: connection closed by peer\n  more     osler logs tiny --job train/domain\n";
        assert!(shown.contains(block), "{shown}");
    }
}
