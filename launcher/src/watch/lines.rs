//! What is said about a run in one line: its stage, an event, an exam's outcome.

use crate::render::exams::verdict;
use crate::show;
use crate::status::{StageLine, Status};
use crate::terminal::{Line, Style, elide, printable, width};
use osler_core::job::ExamSummary;
use osler_core::record::{Event, EventKind};

/// "2026-11-23 05:07:39 UTC  checkpoint  train/domain  published step 5": runs go on for days.
pub fn event_line(event: &Event) -> Line {
    let style = match event.kind {
        EventKind::Succeeded => Style::Good,
        EventKind::Failed => Style::Bad,
        EventKind::Retry | EventKind::Skipped | EventKind::Rewind | EventKind::Preempted | EventKind::Store => Style::Careful,
        _ => Style::Plain,
    };
    let job = event.job.as_ref().map(|job| format!("{job}  ")).unwrap_or_default();
    let head = Line::from(format!("{}  ", show::time(event.at))).styled(format!("{:<10}", kind(event.kind)), style);
    head.then(format!("  {job}{}", event.message)).hang(4)
}

pub fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Run => "run",
        EventKind::Started => "started",
        EventKind::Succeeded => "succeeded",
        EventKind::Retry => "retry",
        EventKind::Failed => "failed",
        EventKind::Checkpoint => "checkpoint",
        EventKind::Skipped => "skipped",
        EventKind::Rewind => "rewind",
        EventKind::Gate => "gate",
        EventKind::Worker => "worker",
        EventKind::Preempted => "preempted",
        EventKind::Store => "store",
    }
}

/// Whether somebody who watches a run wants to read it: starts and ends of the many small jobs are counted instead.
pub fn worth_saying(event: &Event) -> bool {
    let job = event.job.as_ref().map(|job| job.as_str()).unwrap_or_default();
    match event.kind {
        EventKind::Started => job.starts_with("train/"),
        // An exam's success is said with its marks, a file's only if it had bad lines.
        EventKind::Succeeded => (!job.starts_with("clean/") || event.message.contains("bad lines")) && !job.starts_with("exam/"),
        _ => true,
    }
}

/// "exam seen after domain (full, cloze): 96.50 % ± 0.92, majority 26.25 %, n = 400".
pub fn exam_line(stage: &str, exam: &ExamSummary) -> String {
    let head = format!("exam {} after {stage} ({}, {})", exam.task, exam.variant, exam.protocol);
    match exam.accuracy {
        Some(accuracy) => {
            let stderr = exam.stderr.map(|s| format!(" ± {s:.2}")).unwrap_or_default();
            let baseline = exam.majority_baseline.map(|b| format!(", majority {b:.2} %")).unwrap_or_default();
            let verdict = verdict(exam).map(|v| format!(" ({v})")).unwrap_or_default();
            format!("{head}: {accuracy:.2} %{stderr}{baseline}{verdict}, n = {}", show::count(exam.n))
        }
        None => format!(
            "{head}: perplexity {}, {} bits a byte, n = {}",
            show::maybe(exam.perplexity, 3),
            show::maybe(exam.bits_per_byte, 4),
            show::count(exam.n)
        ),
    }
}

/// A run in one line of at most `most` columns, if that is given: "domain  step 7/10  loss 2.500  32.0 tok/s  ETA 3.0 s  checkpoint 5".
/// Parts for which there is no room are left out whole, the last ones first.
pub fn run_text(status: &Status, stage: &StageLine, most: Option<usize>) -> String {
    let trains = stage.state == "running" || stage.step > 0;
    let mut parts = vec![if trains { stage.name.clone() } else { status.run.clone() }];
    if status.state != "running" {
        parts.insert(0, format!("[{}]", status.state));
    }
    if trains {
        parts.push(format!("step {}/{}", stage.step, stage.planned_steps));
        parts.extend(stage.loss.map(|loss| format!("loss {loss:.3}")));
        parts.extend(stage.eta_seconds.map(|s| format!("ETA {}", show::duration(s))));
        parts.extend(stage.tokens_per_second.map(|s| format!("{} tok/s", show::short(s))));
        parts.extend(stage.last_checkpoint.map(|step| format!("checkpoint {step}")));
    } else {
        parts.push("preparing".to_owned());
    }
    let beside = beside(status);
    if !beside.is_empty() {
        parts.push(format!("|  {beside}"));
    }
    let mut text = String::new();
    for part in parts {
        let part = printable(&part).replace('\n', " ");
        let gap = if text.is_empty() { "" } else { "  " };
        if most.is_some_and(|most| width(&text) + gap.len() + width(&part) > most) {
            // A name too long for the line is cut; what comes behind it has no room at all.
            return if text.is_empty() { elide(&part, most.unwrap_or_default()) } else { text };
        }
        text = format!("{text}{gap}{part}");
    }
    text
}

/// The other jobs that run, or why none does; empty when there is nothing to say.
pub fn beside(status: &Status) -> String {
    let shown = 3;
    let mut others: Vec<String> = vec![];
    for job in status.running.iter().filter(|job| !job.job.starts_with("train/")) {
        let counted =
            if job.total > 0 { format!(" {}/{} {}", show::count(job.done), show::count(job.total), job.unit) } else { String::new() };
        others.push(format!("{}{counted}", job.job));
    }
    let more = others.len().saturating_sub(shown);
    others.truncate(shown);
    if more > 0 {
        others.push(format!("{more} more"));
    }
    match (others.is_empty(), status.running.is_empty(), status.waiting.first()) {
        (false, _, _) => others.join(", "),
        (true, true, Some(waiting)) => format!("waiting: {} ({})", waiting.job, waiting.reason),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::status::Waiting;
    use crate::terminal::View;

    #[test]
    fn a_run_is_told_in_one_line_that_fits() {
        let status = Status::of(&fixture::running(), true);
        let shown = |most| run_text(&status, status.current_stage().unwrap(), most);
        assert_eq!(shown(None), "domain  step 7/10  loss 2.500  ETA 3.0 s  32 tok/s  checkpoint 5");
        assert_eq!(shown(Some(50)), "domain  step 7/10  loss 2.500  ETA 3.0 s  32 tok/s");
        assert_eq!(shown(Some(20)), "domain  step 7/10");
        assert_eq!(shown(Some(5)), "do…in");
    }

    #[test]
    fn when_nothing_runs_the_reason_is_shown() {
        let mut status = Status::of(&fixture::running(), true);
        assert_eq!(beside(&status), "");
        status.running.clear();
        status.waiting.push(Waiting {
            job: "train/domain".into(),
            reason: "1 of 2 slots free".into(),
            detail: osler_core::reason::Reason::Slots { needs: 2, free: 1, unusable: vec![] },
        });
        assert_eq!(beside(&status), "waiting: train/domain (1 of 2 slots free)");
    }

    #[test]
    fn events_name_time_kind_and_job() {
        let (record, _) = fixture::finished();
        let shown = event_line(&record.events[1]).render(View::PLAIN);
        assert_eq!(shown, "2026-11-23 05:00:02 UTC  checkpoint  train/domain  published step 5");
    }
}
