//! `osler explain RUN[/JOB]`: why a run or a job does not run, failed or stopped, with the evidence.

use super::Context;
use crate::explain::{Around, Explained, Explanation};
use crate::failure::{Outcome, usage};
use crate::show;
use crate::source::Source;
use crate::terminal::{Cell, Line, Page, Style, Table, name, number, prose};
use osler_core::ids::RunName;
use osler_core::job::JobKey;

/// Attempts of a job that are shown, the newest ones.
const ATTEMPTS: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run, or one of its jobs: first-try, first-try/train/general.
    #[arg(value_name = "RUN[/JOB]")]
    what: String,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let (run, job) = match args.what.split_once('/') {
        Some((run, job)) => (run, Some(JobKey::from(job))),
        None => (args.what.as_str(), None),
    };
    let run = RunName::new(run).map_err(|e| usage(e.to_string()))?;
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&run).await?;
    let around = match &mut source {
        Source::Live(coordinator) => {
            let (queue, quotas) = coordinator.queue().await?;
            Around { live: true, workers: coordinator.workers().await?, queue, quotas }
        }
        Source::Waiting { .. } | Source::Stored(_) => Around::default(),
    };
    let Some(mut explanation) = Explanation::of(&seen, around, job.as_ref()) else {
        let job = job.map(|job| job.to_string()).unwrap_or_default();
        let near = show::nearest(&job, seen.record.jobs.keys().map(|key| key.as_str()));
        let meant = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        return Err(usage(format!("run {run} has no job {job:?}{meant}")).hint(format!("`osler describe {run}` lists them")));
    };
    let complete = |sentence: &mut String| *sentence = cx.access.complete(sentence);
    complete(&mut explanation.sentence);
    explanation.jobs.iter_mut().for_each(|job| complete(&mut job.sentence));
    cx.terminal().answer("explanation", &explanation, || cx.access.page(page(&explanation)))
}

pub(super) fn page(e: &Explanation) -> Page {
    let mut page = Page::new();
    page.line(Line::default().styled(e.sentence.clone(), Style::Strong)).blank();
    let team = e.team.as_ref().map(|team| format!(", team {team}")).unwrap_or_default();
    page.line(format!("priority {}{team}", e.priority));
    if let Some(quota) = &e.quota {
        let slots = quota.slots.map_or_else(|| "no quota".to_owned(), |slots| format!("a quota of {slots}"));
        page.line(format!("the team holds {} slots, with {slots}", quota.used));
    }
    if e.job.is_none() {
        let mut table = Table::new([name("job", 0), prose("why", 0)]);
        for job in &e.jobs {
            table.row([job.job.as_str().into(), job.sentence.as_str().into()]);
        }
        page.section(table);
    }
    let mut table = Table::new([name("ahead in the queue", 0), number("slots", 1), number("priority", 2), prose("waits because", 1)]);
    for line in &e.ahead {
        let (slots, priority) = (line.ranks.to_string(), line.priority.to_string());
        table.row([format!("{}/{}", line.run, line.job).into(), slots.into(), priority.into(), line.reason.as_str().into()]);
    }
    page.section(table);
    let mut table =
        Table::new([name("worker", 0), number("free", 0), number("slots", 1), name("state", 0), prose("why it takes no work", 1)]);
    for w in &e.workers {
        let [free, slots] = [w.slots.saturating_sub(w.used), w.slots].map(|n| Cell::from(n.to_string()));
        let why = w.why.clone().unwrap_or_default().into();
        table.row([w.worker.as_str().into(), free, slots, Cell::state(w.state.as_str()), why]);
    }
    page.section(table);
    for job in e.jobs.iter().filter(|job| !job.attempts.is_empty()) {
        attempts(&mut page, job);
    }
    page
}

fn attempts(page: &mut Page, job: &Explained) {
    let left_out = job.attempts.len().saturating_sub(ATTEMPTS);
    let mut table = Table::new([name("past attempt", 0), name("began", 2), number("took", 1), prose("on", 3), prose("why it ended", 0)]);
    for past in job.attempts.iter().skip(left_out) {
        let class = past.class.as_ref().map(|class| format!("{class}: ")).unwrap_or_default();
        let code = past.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        let origin = past.origin.as_ref().map(|origin| format!(" (first at {origin}{code})")).unwrap_or_default();
        let took = past.took_ms as f64 / 1e3;
        table.row([
            format!("{} g{}", job.job, past.generation).into(),
            show::time(past.started_at).into(),
            show::duration(took).into(),
            past.workers.join(" ").into(),
            format!("{class}{}{origin}", past.message).into(),
        ]);
    }
    page.section(table);
    if left_out > 0 {
        page.line(format!("and {} before", show::plural(left_out as u64, "attempt")));
    }
    if let Some(last) = job.attempts.last().filter(|past| !past.log.is_empty()) {
        page.line(format!("last log lines of g{}:", last.generation));
        for line in last.log.iter().flat_map(|line| line.lines()) {
            page.line(format!("  {line}"));
        }
    }
    if let Some(budget) = &job.budget {
        let next = job.next_try.map(|at| format!("; the next try comes at {}", show::time(at))).unwrap_or_default();
        page.line(format!(
            "tries left in a row: {} after infrastructure faults, {} internal, {} out of memory{next}",
            budget.infrastructure, budget.internal, budget.out_of_memory
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::View;

    #[test]
    fn the_sentence_comes_first_and_the_evidence_after_it() {
        let mut seen = fixture::running();
        seen.record.jobs = fixture::finished().0.jobs;
        let key = JobKey::from("train/domain");
        seen.record.jobs.get_mut(&key).unwrap().past[0].fault.as_mut().unwrap().log_tail = vec!["bus error".into()];
        seen.record.jobs.get_mut(&key).unwrap().past.truncate(1);
        let shown = page(&Explanation::of(&seen, Around { live: true, ..Around::default() }, Some(&key)).unwrap()).render(View::PLAIN);
        assert!(shown.starts_with("tiny/train/domain succeeded in generation "), "{shown}");
        assert!(shown.contains("infrastructure: killed by signal 9 <b> (first at local/1)"), "{shown}");
        assert!(shown.contains("last log lines of g25:\n  bus error\n"), "{shown}");
    }
}
