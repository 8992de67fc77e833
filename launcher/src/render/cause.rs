//! Why a job's attempt failed, in one block: the process that failed first, its last lines, and what the others saw of it.

use crate::show;
use crate::terminal::{Line, Page, Style};
use osler_core::job::JobKey;
use osler_core::record::{JobRecord, JobState, PastAttempt, RunRecord};

/// Log lines that are shown; the whole log is one command away.
const LINES: usize = 10;

/// Of the job that failed a run; else of the attempt that failed last.
pub fn of_run(record: &RunRecord) -> Option<Page> {
    let failed = record.jobs.iter().find(|(_, job)| matches!(job.status, JobState::Failed { .. }));
    let (key, job) = failed.or_else(|| {
        record.jobs.iter().filter(|(_, job)| last_failed(job).is_some()).max_by_key(|(_, job)| last_failed(job).map(|past| past.ended_at))
    })?;
    of_job(record, key, job)
}

/// Of a job's newest attempt that failed.
pub fn of_job(record: &RunRecord, key: &JobKey, job: &JobRecord) -> Option<Page> {
    let past = last_failed(job)?;
    let fault = past.fault.as_ref()?;
    let workers: Vec<&str> = past.workers.iter().map(|worker| worker.as_str()).collect();
    let mut page = Page::new();
    page.line(format!("{key}, generation {} on {}, failed {}", past.generation, workers.join(", "), show::time(past.ended_at)));
    let code = fault.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let first = fault.origin.as_deref().unwrap_or("the coordinator");
    let said = format!("{first}: {}: {}{code}", fault.class, fault.message);
    page.line(Line::from("  first    ").styled(said, Style::Bad).hang(11));
    let skipped = fault.log_tail.len().saturating_sub(LINES);
    for line in fault.log_tail.iter().skip(skipped).flat_map(|line| line.lines()) {
        page.line(Line::from(format!("           | {line}")).hang(13));
    }
    for (who, said) in &past.others {
        page.line(Line::from(format!("  then     {who}: {said}")).hang(11));
    }
    page.line(Line::from(format!("  more     `osler logs {} --job {key}`", record.name())).hang(11));
    Some(page)
}

fn last_failed(job: &JobRecord) -> Option<&PastAttempt> {
    job.past.iter().rev().find(|past| past.fault.is_some())
}
