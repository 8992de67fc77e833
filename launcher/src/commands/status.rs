//! `osler status`: where a run stands, once or until it is over.

use crate::client::Access;
use crate::failure::{Failure, Outcome, failed};
use crate::show::{self, Format, Grid};
use crate::source::{Source, state_text};
use crate::status::Status;
use crate::watch::{Display, News, follow};
use osler_core::ids::RunName;
use osler_core::job::FaultClass;
use osler_core::record::{JobState, RunRecord, RunState};

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Go on showing it until the run is over.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    let live = source.is_live();
    if args.watch && live && seen.record.state.is_live() {
        return watch(args).await;
    }
    let status = Status::of(&seen, live);
    match args.output {
        Format::Json => show::json(&status),
        Format::Table => show::out(&text(&seen.record, &status)),
    }
}

async fn watch(args: &Args) -> Outcome {
    let mut display = (args.output == Format::Table).then(|| Display::new(false));
    let mut news = follow(args.access.clone(), args.run.to_string());
    let mut last = None;
    while let Some(news) = news.recv().await {
        match news {
            News::View(seen) => {
                match &mut display {
                    Some(display) => display.update(&seen, true),
                    None => show::json_line(&Status::of(&seen, true))?,
                }
                last = Some(seen.record);
            }
            News::Away { again: true } => {}
            News::Away { again: false } => {
                if let Some(display) = &display {
                    display.say("the coordinator does not answer; looking for it");
                }
            }
            News::Refused(failure) => return Err(failure),
        }
    }
    drop(display);
    let record = last.ok_or_else(|| failed("the coordinator ended before it answered"))?;
    if args.output == Format::Table {
        show::out(&format!("run {} is {}\n", record.name(), record.state))?;
    }
    ending(&record)
}

/// What a run's end means for the exit code of who watched it.
pub fn ending(record: &RunRecord) -> Outcome {
    match &record.state {
        RunState::Failed(reason) => {
            let message = format!("run {} failed: {reason}", record.name());
            Err(if machines_failed(record) { Failure::Stopped(message) } else { Failure::Hopeless(message) })
        }
        RunState::Stopped => Err(Failure::Stopped(format!("run {0} is stopped; go on with `osler resume {0}`", record.name()))),
        _ => Ok(()),
    }
}

/// Whether other machines, or these another time, may do what failed.
fn machines_failed(record: &RunRecord) -> bool {
    let mut classes = record.jobs.values().filter_map(|job| match &job.status {
        JobState::Failed { fault, .. } => Some(fault.class),
        _ => None,
    });
    let first = classes.next();
    first.is_some() && first.into_iter().chain(classes).all(|class| class == FaultClass::Infrastructure)
}

fn text(record: &RunRecord, status: &Status) -> String {
    let mut text = format!("run {}: {}\n", status.run, state_text(record, status.coordinator));
    if let Some(reason) = &status.reason {
        text.push_str(&format!("reason: {}\n", show::clean(reason)));
    }
    let mut grid = Grid::new(&["stage", "state", ">step", ">loss", ">tok/s", ">eta", ">checkpoint"]);
    for stage in &status.stages {
        grid.row([
            stage.name.clone(),
            stage.state.to_owned(),
            format!("{}/{}", stage.step, stage.planned_steps),
            show::maybe(stage.loss, 3),
            stage.tokens_per_second.map_or_else(|| "-".into(), show::short),
            stage.eta_seconds.map_or_else(|| "-".into(), show::duration),
            stage.last_checkpoint.map_or_else(|| "-".into(), |step| step.to_string()),
        ]);
    }
    text.push_str(&format!("\n{}", grid.text()));
    for stage in status.stages.iter().filter(|stage| stage.skipped_steps > 0 || stage.rewinds > 0) {
        let (skipped, back) = (show::plural(stage.skipped_steps, "update"), show::plural(stage.rewinds as u64, "return"));
        text.push_str(&format!("{}: {skipped} skipped, {back} to an earlier step: `osler events {}` tells why\n", stage.name, status.run));
    }
    let jobs: Vec<String> = status.jobs.iter().map(|(state, n)| format!("{n} {state}")).collect();
    text.push_str(&format!("\njobs: {}\n", jobs.join(", ")));
    if !status.running.is_empty() {
        let mut grid = Grid::new(&["running", ">generation", "worker", "phase", ">done"]);
        for job in &status.running {
            let done = if job.total > 0 { format!("{}/{} {}", job.done, job.total, job.unit) } else { "-".into() };
            grid.row([job.job.clone(), job.generation.to_string(), job.workers.join(" "), job.phase.clone(), done]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    if !status.waiting.is_empty() {
        let mut grid = Grid::new(&["waiting", "why"]);
        for w in &status.waiting {
            grid.row([w.job.clone(), w.reason.clone()]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::ids::Millis;
    use osler_core::job::Fault;

    #[test]
    fn a_run_without_its_coordinator_is_not_called_running() {
        let record = fixture::running().record;
        let shown = text(&record, &Status::of_record(&record));
        assert!(shown.starts_with("run tiny: running (no coordinator: as of 2026-11-23 05:00:02 UTC)\n"), "{shown}");
        let live = text(&record, &Status::of(&fixture::running(), true));
        assert!(live.starts_with("run tiny: running\n"), "{live}");
        assert!(live.contains("domain   running    7/10  2.500     32  3.0 s           5\n"), "{live}");
    }

    #[test]
    fn the_exit_code_tells_a_scheduler_whether_to_requeue() {
        let mut record = fixture::running().record;
        let mut code = |state, class: Option<FaultClass>| {
            record.state = state;
            let job = record.jobs.values_mut().next().unwrap();
            if let Some(class) = class {
                job.status = JobState::Failed { at: Millis(1), fault: Fault::new(class, "x") };
            }
            ending(&record).map_or_else(|failure| failure.code(), |()| 0)
        };
        let failed = || RunState::Failed("x".into());
        assert_eq!(code(failed(), None), 93, "a gate said stop");
        assert_eq!(code(RunState::Stopped, None), 75);
        assert_eq!(code(failed(), Some(FaultClass::Infrastructure)), 75);
        for class in [FaultClass::User, FaultClass::NoProgress, FaultClass::OutOfMemory, FaultClass::Internal, FaultClass::Divergence] {
            assert_eq!(code(failed(), Some(class)), 93, "{class}");
        }
        assert_eq!(code(RunState::Finished, None), 0);
    }
}
