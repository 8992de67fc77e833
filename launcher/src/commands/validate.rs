//! `osler validate`: the run file alone, or with the files that it names.

use super::Context;
use crate::failure::Outcome;
use crate::run_file::RunFile;
use crate::show;
use crate::terminal::Page;
use osler_core::plan::plan;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
    /// Also expand globs and look into every file: whether it is there, what it holds, and whether it fits the run file.
    #[arg(long)]
    files: bool,
}

#[derive(Serialize)]
pub(super) struct Valid {
    pub run: String,
    pub digest: String,
    pub stages: usize,
    pub steps: u64,
    pub exams: usize,
    /// With --files only: before globs are expanded, jobs cannot be counted.
    pub jobs: Option<usize>,
}

pub fn run(args: &Args, cx: &Context) -> Outcome {
    let (spec, jobs) = if args.files {
        let resolved = args.file.resolve_all()?;
        let terminal = cx.terminal();
        resolved.warnings.iter().for_each(|warning| terminal.note(warning.as_str()));
        let jobs = plan(&resolved.spec).len();
        (resolved.spec, Some(jobs))
    } else {
        (args.file.read()?, None)
    };
    let valid = Valid {
        run: spec.name.to_string(),
        digest: spec.digest().to_string(),
        stages: spec.stages.len(),
        steps: spec.stages.iter().fold(0, |sum, stage| sum.saturating_add(stage.steps())),
        exams: spec.exams.len(),
        jobs,
    };
    cx.terminal().answer("validation", &valid, || {
        let jobs = valid.jobs.map(|n| format!(", {}", show::plural(n as u64, "job"))).unwrap_or_default();
        let [stages, steps, exams] =
            [(valid.stages as u64, "stage"), (valid.steps, "step"), (valid.exams as u64, "exam")].map(|(n, what)| show::plural(n, what));
        Page::from(format!("{}: run {} is valid: {stages}, {steps}, {exams}{jobs}", args.file.path.display(), valid.run))
    })
}
