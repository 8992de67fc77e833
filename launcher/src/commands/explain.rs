//! `osler explain RUN[/JOB]`: why a run or a job does not run, failed or stopped, with the evidence.

use crate::client::Access;
use crate::explain::{Around, Explained, Explanation};
use crate::failure::{Outcome, usage};
use crate::show::{self, Grid, Output};
use crate::source::Source;
use osler_core::ids::RunName;
use osler_core::job::JobKey;

/// Attempts of a job that are shown, the newest ones.
const ATTEMPTS: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run, or one of its jobs: first-try, first-try/train/general.
    #[arg(value_name = "RUN[/JOB]")]
    what: String,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args) -> Outcome {
    let (run, job) = match args.what.split_once('/') {
        Some((run, job)) => (run, Some(JobKey::from(job))),
        None => (args.what.as_str(), None),
    };
    let run = RunName::new(run).map_err(|e| usage(e.to_string()))?;
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&run).await?;
    let around = match &mut source {
        Source::Live(coordinator) => {
            let (queue, quotas) = coordinator.queue().await?;
            Around { live: true, workers: coordinator.workers().await?, queue, quotas }
        }
        Source::Stored(_) => Around::default(),
    };
    let Some(explanation) = Explanation::of(&seen, around, job.as_ref()) else {
        let job = job.map(|job| job.to_string()).unwrap_or_default();
        let near = show::nearest(&job, seen.record.jobs.keys().map(|key| key.as_str()));
        let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        return Err(usage(format!("run {run} has no job {job:?}{hint} (`osler describe {run}` lists them)")));
    };
    if args.output.is_json() { show::json(&explanation) } else { show::out(&text(&explanation)) }
}

fn text(e: &Explanation) -> String {
    let mut text = show::clean(&format!("{}\n", e.sentence));
    let team = e.team.as_ref().map(|team| format!(", team {team}")).unwrap_or_default();
    text.push_str(&format!("\npriority {}{team}\n", e.priority));
    if let Some(quota) = &e.quota {
        let slots = quota.slots.map_or_else(|| "no quota".to_owned(), |slots| format!("a quota of {slots}"));
        text.push_str(&format!("the team holds {} slots, with {slots}\n", quota.used));
    }
    if e.job.is_none() && !e.jobs.is_empty() {
        let mut grid = Grid::new(&["job", "why"]);
        for job in &e.jobs {
            grid.row([job.job.clone(), job.sentence.clone()]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    if !e.ahead.is_empty() {
        let mut grid = Grid::new(&["ahead in the queue", ">slots", ">priority", "waits because"]);
        for line in &e.ahead {
            grid.row([format!("{}/{}", line.run, line.job), line.ranks.to_string(), line.priority.to_string(), line.reason.clone()]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    if !e.workers.is_empty() {
        let mut grid = Grid::new(&["worker", ">free", ">slots", "state", "why it takes no work"]);
        for w in &e.workers {
            let free = w.slots.saturating_sub(w.used);
            grid.row([w.worker.clone(), free.to_string(), w.slots.to_string(), w.state.clone(), w.why.clone().unwrap_or_default()]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }
    e.jobs.iter().filter(|job| !job.attempts.is_empty()).for_each(|job| text.push_str(&attempts(job)));
    text
}

fn attempts(job: &Explained) -> String {
    let mut text = String::new();
    let left_out = job.attempts.len().saturating_sub(ATTEMPTS);
    let mut grid = Grid::new(&["past attempt", "began", ">took", "on", "why it ended"]);
    for past in job.attempts.iter().skip(left_out) {
        let class = past.class.as_ref().map(|class| format!("{class}: ")).unwrap_or_default();
        let code = past.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        let origin = past.origin.as_ref().map(|origin| format!(" (first at {origin}{code})")).unwrap_or_default();
        let took = past.ended_at.0.saturating_sub(past.started_at.0) as f64 / 1e3;
        grid.row([
            format!("{} g{}", job.job, past.generation),
            show::time(past.started_at),
            show::duration(took),
            past.workers.join(" "),
            format!("{class}{}{origin}", past.message),
        ]);
    }
    text.push_str(&format!("\n{}", grid.text()));
    if left_out > 0 {
        text.push_str(&format!("and {} before\n", show::plural(left_out as u64, "attempt")));
    }
    if let Some(last) = job.attempts.last().filter(|past| !past.log.is_empty()) {
        let log: String = last.log.iter().map(|line| show::clean(line) + "\n").collect();
        text.push_str(&format!("last log lines of g{}:\n{}", last.generation, show::indented(&log)));
    }
    if let Some(budget) = &job.budget {
        let next = job.next_try.map(|at| format!("; the next try comes at {}", show::time(at))).unwrap_or_default();
        text.push_str(&format!(
            "tries left in a row: {} after infrastructure faults, {} internal, {} out of memory{next}\n",
            budget.infrastructure, budget.internal, budget.out_of_memory
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_sentence_comes_first_and_the_evidence_after_it() {
        let mut seen = fixture::running();
        seen.record.jobs = fixture::finished().0.jobs;
        let key = JobKey::from("train/domain");
        seen.record.jobs.get_mut(&key).unwrap().past[0].fault.as_mut().unwrap().log_tail = vec!["bus error".into()];
        seen.record.jobs.get_mut(&key).unwrap().past.truncate(1);
        let shown = text(&Explanation::of(&seen, Around { live: true, ..Around::default() }, Some(&key)).unwrap());
        assert!(shown.starts_with("tiny/train/domain succeeded in generation "), "{shown}");
        assert!(shown.contains("infrastructure: killed by signal 9 <b> (first at local/1)"), "{shown}");
        assert!(shown.contains("last log lines of g25:\n  bus error\n"), "{shown}");
    }
}
