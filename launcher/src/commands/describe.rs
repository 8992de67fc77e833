//! `osler describe`: a run with all its jobs, attempts, checkpoints and gates. With -o json: the record itself.

use super::Context;
use crate::client::Seen;
use crate::failure::Outcome;
use crate::render::{cause, gates};
use crate::show;
use crate::source::{Source, state_text};
use crate::status::reason;
use crate::terminal::{Cell, Line, Page, Style, Table, name, number, prose, state};
use osler_core::ids::RunName;
use osler_core::record::{JobRecord, JobState, RunRecord};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
}

#[derive(Serialize)]
pub(super) struct Described<'a> {
    pub coordinator: bool,
    /// As it is stored; its own `format` says of which version.
    pub record: &'a RunRecord,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    let live = source.is_live();
    cx.terminal().answer("run", &Described { coordinator: live, record: &seen.record }, || cx.access.page(page(&seen, live)))
}

pub(super) fn page(seen: &Seen, live: bool) -> Page {
    let record = &seen.record;
    let mut page = Page::new();
    let mut fact = |what: &str, text: String, style: Style| {
        page.line(Line::from(format!("{what:<13}")).styled(text, style).hang(13));
    };
    fact("run", record.name().to_string(), Style::Plain);
    fact("description", record.spec.description.clone(), Style::Plain);
    fact("state", state_text(record, live), state(record.state.as_str()));
    if let Some(reason) = reason(record) {
        fact("reason", reason, Style::Plain);
    }
    if let Some(stop) = record.stopped_by() {
        fact("stop", stop, Style::Plain);
    }
    fact("submitted", show::time(record.submitted_at), Style::Plain);
    fact("identity", record.spec_digest.to_string(), Style::Plain);
    fact("record", format!("version {}, written under epoch {}", record.version, record.epoch), Style::Plain);
    page.section(jobs(seen));
    for cause in record.jobs.iter().filter_map(|(key, job)| cause::of_job(record, key, job)) {
        page.blank().line(Line::default().styled("failed attempt:", Style::Bad)).extend(cause);
    }
    page.section(checkpoints(record)).section(gates::table(&record.gates));
    page
}

fn jobs(seen: &Seen) -> Table {
    let mut table = Table::new([name("job", 0), name("state", 0), number("ranks", 3), number("attempts", 2), prose("about", 1)]);
    for (key, job) in &seen.record.jobs {
        let waits = seen.waiting.iter().find(|(waiting, _)| waiting == key).map(|(_, reason)| reason.to_string());
        let current = usize::from(job.status.attempt().is_some());
        table.row([
            key.as_str().into(),
            Cell::state(job.status.as_str()),
            job.planned.ranks.to_string().into(),
            (job.past.len() + current).to_string().into(),
            waits.unwrap_or_else(|| about(job)).into(),
        ]);
    }
    table
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

fn checkpoints(record: &RunRecord) -> Table {
    let columns = [name("checkpoint", 0), number("step", 0), number("generation", 2), name("published", 1), name("state", 0)];
    let mut table = Table::new(columns);
    for (stage, published) in &record.checkpoints {
        for c in published {
            let state = if c.retired { "retired" } else { "kept" };
            let [stage, step, generation, at] = [stage.to_string(), c.step.to_string(), c.generation.to_string(), show::time(c.at)];
            table.row([stage.into(), step.into(), generation.into(), at.into(), Cell::state(state)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::View;

    #[test]
    fn every_job_and_its_failures_are_shown() {
        let (record, _) = fixture::finished();
        let seen = Seen::of_record(record.clone());
        let shown = page(&seen, true).render(View::PLAIN);
        for key in record.jobs.keys() {
            assert!(shown.contains(key.as_str()), "{key} is missing from\n{shown}");
        }
        assert!(shown.contains("last failure: infrastructure: killed by signal 9 <b> (first at local/1)"), "{shown}");
        let block = "failed attempt:\ntrain/domain, generation 25 on local, failed 2026-11-23 05:00:15 UTC\n  \
                     first    local/1: infrastructure: killed by signal 9 <b>\n           | step 6\n           | \u{fffd}[31mlast words\n  \
                     then     local/0: infrastructure: connection closed by peer\n  more     `osler logs tiny --job train/domain`\n";
        assert!(shown.contains(block), "{shown}");
    }
}
