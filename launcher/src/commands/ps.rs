//! `osler ps`: the runs of a store, and the workers of its coordinator.

use super::Context;
use crate::client::{RunLine, WorkerLine};
use crate::failure::Outcome;
use crate::show;
use crate::source::Source;
use crate::terminal::{Cell, Line, Page, Style, Table, name, number, prose};
use osler_core::record::RunState;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
pub(super) struct Runs {
    pub coordinator: bool,
    pub alarm: Option<String>,
    pub runs: Vec<RunLine>,
    pub workers: Vec<WorkerLine>,
}

pub async fn run(_: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let coordinator = source.is_live();
    let runs = source.runs().await?;
    let workers = match &mut source {
        Source::Live(coordinator) => coordinator.workers().await?,
        Source::Waiting { .. } | Source::Stored(_) => vec![],
    };
    let runs = Runs { coordinator, alarm: source.alarm().map(str::to_owned), runs, workers };
    cx.terminal().answer("runs", &runs, || cx.access.page(page(&runs)))
}

pub(super) fn page(runs: &Runs) -> Page {
    let mut page = Page::new();
    if let Some(alarm) = &runs.alarm {
        page.line(Line::default().styled(alarm.clone(), Style::Bad)).blank();
    }
    if runs.runs.is_empty() {
        page.line("no runs");
    } else {
        page.table(listed(runs));
    }
    if runs.workers.is_empty() && runs.coordinator && runs.alarm.is_none() {
        page.blank().line("no workers: start one with osler-worker");
    }
    let mut table = Table::new([name("worker", 0), name("state", 0), number("slots", 0), name("host", 1), name("seen", 2)]);
    for worker in &runs.workers {
        let (slots, seen) = (format!("{}/{}", worker.used, worker.slots), show::time(worker.seen_at));
        table.row([
            worker.worker.as_str().into(),
            Cell::state(worker.state.as_str()),
            slots.into(),
            worker.host.as_str().into(),
            seen.into(),
        ]);
    }
    page.section(table);
    if !runs.coordinator {
        page.blank().line("no coordinator is running: this is what the store recorded last");
    }
    page
}

fn listed(runs: &Runs) -> Table {
    let mut table =
        Table::new([name("run", 0), name("state", 0), name("stage", 1), number("step", 1), name("submitted", 2), prose("reason", 3)]);
    let ended = [RunState::Stopped, RunState::Finished].map(|state| state.as_str());
    for run in &runs.runs {
        let unreadable = run.state == RunLine::UNREADABLE;
        let over = ended.contains(&run.state.as_str()) || run.state == "failed" || unreadable;
        let state = if runs.coordinator || over { run.state.clone() } else { format!("{} (no coordinator)", run.state) };
        table.row([
            run.run.as_str().into(),
            Cell::state(state),
            known(unreadable, || run.stage.clone()),
            known(unreadable, || format!("{}/{}", run.step, run.planned_steps)),
            known(unreadable, || show::time(run.submitted_at)),
            run.reason.as_str().into(),
        ]);
    }
    table
}

/// Of a run whose record cannot be read nothing is known.
fn known(unreadable: bool, shown: impl FnOnce() -> String) -> Cell {
    if unreadable { "-".into() } else { shown().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::View;
    use osler_core::ids::Millis;

    #[test]
    fn of_an_unreadable_run_only_the_reason_is_shown() {
        let line = RunLine {
            run: "tiny".into(),
            state: RunLine::UNREADABLE.into(),
            reason: "its record is torn".into(),
            stage: String::new(),
            step: 0,
            planned_steps: 0,
            submitted_at: Millis(0),
        };
        let shown = page(&Runs { coordinator: false, alarm: None, runs: vec![line], workers: vec![] }).render(View::PLAIN);
        let row: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["tiny", "unreadable", "-", "-", "-", "its", "record", "is", "torn"], "{shown}");
    }
}
