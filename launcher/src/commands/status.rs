//! `osler status`: where a run stands, once or until it is over.

use super::Context;
use crate::client::Access;
use crate::failure::{Outcome, by_hand, failed, hopeless, stopped};
use crate::show;
use crate::source::{Source, state_text};
use crate::status::Status;
use crate::terminal::{Cell, Line, Page, Style, Table, name, number, prose, state};
use crate::watch::{Display, News, follow};
use osler_core::gate::GateOutcome;
use osler_core::ids::RunName;
use osler_core::job::FaultClass;
use osler_core::record::{JobState, RunRecord, RunState};
use osler_core::stop::{Stop, StopKind};

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Go on showing it until the run is over.
    #[arg(short, long)]
    watch: bool,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    let live = source.is_live();
    if args.watch && live && seen.alarm.is_none() && seen.record.state.is_live() {
        return watch(args, cx).await;
    }
    let mut status = Status::of(&seen, live);
    status.waiting.iter_mut().for_each(|waiting| waiting.reason = cx.access.complete(&waiting.reason));
    let terminal = cx.terminal();
    match (args.watch, terminal.is_json()) {
        (true, true) => terminal.json_line("status", &status)?,
        _ => terminal.answer("status", &status, || cx.access.page(page(&seen.record, &status)))?,
    }
    match (args.watch, seen.record.state.is_live()) {
        (false, _) => Ok(()),
        (true, false) => ending(&seen.record, &cx.access),
        (true, true) => Err(failed(format!("run {} does not go on: no coordinator is running", args.run))
            .hint(cx.access.command(&format!("resume {}", args.run)))),
    }
}

async fn watch(args: &Args, cx: &Context) -> Outcome {
    let terminal = cx.terminal();
    let mut display = Display::new(terminal, false);
    let mut news = follow(cx.access.clone(), args.run.to_string());
    let mut last = None;
    while let Some(news) = news.recv().await {
        match news {
            News::View(seen) => {
                display.update(&seen, true)?;
                last = Some(seen.record);
            }
            News::Away { again: true } => {}
            News::Away { again: false } => display.say("the coordinator does not answer; looking for it"),
            News::Refused(failure) => return Err(failure),
        }
    }
    drop(display);
    let record = last.ok_or_else(|| failed("the coordinator ended before it answered"))?;
    if !terminal.is_json() {
        terminal.page(&Page::from(format!("run {} is {}", record.name(), state_text(&record, true))))?;
    }
    ending(&record, &cx.access)
}

/// What a run's end means for the exit code of who watched it, or would have it go on.
pub fn ending(record: &RunRecord, access: &Access) -> Outcome {
    let name = record.name();
    let go_on = || format!("go on with {}", access.command(&format!("resume {name}")));
    match (&record.state, record.stop.as_ref()) {
        (RunState::Failed(reason), _) => {
            let message = format!("run {name} failed: {reason}");
            match record.shut_gates().next().map(GateOutcome::name) {
                Some(gate) => {
                    let waive = access.command(&format!("resume {name} --waive-gate {gate} --reason WHY"));
                    Err(hopeless(message).hint(format!("{waive} lets it pass, and the run's report will say so")))
                }
                None if machines_failed(record) => Err(stopped(message).hint(go_on())),
                None => Err(hopeless(message).hint(format!("mend that, then {}", go_on()))),
            }
        }
        (RunState::Stopped, Some(Stop { kind: StopKind::ByHand, by, at })) => {
            Err(by_hand(format!("run {name} was stopped by {by}, {}; what it published is kept", show::time(*at))).hint(go_on()))
        }
        (RunState::Stopped, _) => Err(stopped(format!("run {name} is stopped; what it published is kept")).hint(go_on())),
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
    first.is_some() && first.into_iter().chain(classes).all(|class| matches!(class, FaultClass::Infrastructure | FaultClass::NoRoom))
}

pub(super) fn page(record: &RunRecord, status: &Status) -> Page {
    let mut page = Page::new();
    let now = state_text(record, status.coordinator);
    page.line(Line::from(format!("run {}: ", status.run)).styled(now, state(&status.state)));
    if let Some(alarm) = &status.alarm {
        page.line(Line::default().styled(alarm.clone(), Style::Bad));
    }
    if let Some(reason) = &status.reason {
        page.line(format!("reason: {reason}"));
    }
    if let Some(stop) = record.stopped_by() {
        page.line(stop);
    }
    page.section(stages(status));
    for stage in status.stages.iter().filter(|stage| stage.skipped_steps > 0 || stage.rewinds > 0) {
        let (skipped, back) = (show::plural(stage.skipped_steps, "update"), show::plural(stage.rewinds as u64, "return"));
        let text = format!("{}: {skipped} skipped, {back} to an earlier step: `osler events {}` tells why", stage.name, status.run);
        page.line(Line::default().styled(text, Style::Careful));
    }
    let jobs: Vec<String> = status.jobs.iter().map(|(state, n)| format!("{n} {state}")).collect();
    page.blank().line(format!("jobs: {}", jobs.join(", ")));
    let mut table = Table::new([name("running", 0), number("generation", 3), prose("worker", 2), name("phase", 0), number("done", 1)]);
    for job in &status.running {
        let done = if job.total > 0 { format!("{}/{} {}", job.done, job.total, job.unit) } else { "-".into() };
        let workers = job.workers.join(" ").into();
        table.row([job.job.as_str().into(), job.generation.to_string().into(), workers, job.phase.as_str().into(), done.into()]);
    }
    page.section(table);
    let mut table = Table::new([name("waiting", 0), prose("why", 0)]);
    for w in &status.waiting {
        table.row([w.job.as_str().into(), w.reason.as_str().into()]);
    }
    page.section(table);
    page
}

fn stages(status: &Status) -> Table {
    let mut table = Table::new([
        name("stage", 0),
        name("state", 0),
        number("step", 0),
        number("loss", 1),
        number("tok/s", 2),
        number("eta", 1),
        number("checkpoint", 3),
    ]);
    for stage in &status.stages {
        table.row([
            stage.name.as_str().into(),
            Cell::state(stage.state),
            format!("{}/{}", stage.step, stage.planned_steps).into(),
            show::maybe(stage.loss, 3).into(),
            stage.tokens_per_second.map_or_else(|| "-".into(), show::short).into(),
            stage.eta_seconds.map_or_else(|| "-".into(), show::duration).into(),
            stage.last_checkpoint.map_or_else(|| "-".into(), |step| step.to_string()).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::View;
    use osler_core::ids::Millis;
    use osler_core::job::Fault;

    #[test]
    fn a_run_without_its_coordinator_is_not_called_running() {
        let record = fixture::running().record;
        let shown = page(&record, &Status::of_record(&record)).render(View::PLAIN);
        assert!(shown.starts_with("run tiny: running (no coordinator: as of 2026-11-23 05:00:02 UTC)\n"), "{shown}");
        let live = page(&record, &Status::of(&fixture::running(), true)).render(View::PLAIN);
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
            ending(&record, &Access::local("s")).map_or_else(|failure| failure.code(), |()| 0)
        };
        let failed = || RunState::Failed("x".into());
        assert_eq!(code(failed(), None), 93, "a gate said stop");
        assert_eq!(code(RunState::Stopped, None), 75);
        assert_eq!(code(failed(), Some(FaultClass::Infrastructure)), 75);
        assert_eq!(code(failed(), Some(FaultClass::NoRoom)), 75);
        for class in [FaultClass::User, FaultClass::NoProgress, FaultClass::OutOfMemory, FaultClass::Internal, FaultClass::Divergence] {
            assert_eq!(code(failed(), Some(class)), 93, "{class}");
        }
        assert_eq!(code(RunState::Finished, None), 0);
        record.state = RunState::Stopped;
        let stop = |kind| Some(Stop { kind, by: "owner (ann@desk)".into(), at: Millis(1) });
        record.stop = stop(StopKind::ByHand);
        let failure = ending(&record, &Access::local("s")).unwrap_err();
        assert_eq!(failure.code(), 94, "a requeued job would undo what somebody decided");
        assert!(failure.message().contains("stopped by owner (ann@desk), 1970-01-01"), "{failure}");
        assert_eq!(failure.hint_text(), Some("go on with `osler resume tiny --store s`"));
        record.stop = stop(StopKind::Interrupted);
        assert_eq!(ending(&record, &Access::local("s")).unwrap_err().code(), 75);
    }
}
