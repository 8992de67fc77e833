//! A run as watchers see it, built once per change and shared by all of them.

use crate::cluster::{Budget, Cluster, QueueLine, QuotaLine, Run};
use osler_core::ids::{Millis, RunName};
use osler_core::job::JobKey;
use osler_core::json;
use osler_core::reason::Reason;
use osler_core::record::RunState;
use osler_core::rest::{AtRest, Line};
use osler_core::time::Now;
use osler_proto::v1;

#[derive(Debug, Clone, Default)]
pub struct RunView {
    pub reply: v1::GetRunReply,
    /// Nothing will change any more unless somebody resumes the run.
    pub over: bool,
}

impl RunView {
    pub fn of(cluster: &Cluster, run: &Run, now: Now) -> Self {
        let progress = run.progress.iter().map(|((job, rank), (progress, at))| v1::JobProgress {
            job: job.to_string(),
            rank: *rank,
            progress_json: json::bytes(progress),
            at_ms: now.stamp(*at).0,
        });
        let waiting = cluster.waiting(now, run).into_iter().map(|(job, reason)| waiting(&job, &reason));
        let budget = |key: &JobKey| {
            let Budget { infrastructure, internal, out_of_memory } = cluster.budget(run, key)?;
            Some(v1::Budget { job: key.to_string(), infrastructure, internal, out_of_memory })
        };
        let budgets = run.record.jobs.keys().filter_map(budget).collect();
        let record_json = crate::document::public(&run.record);
        let reply = v1::GetRunReply {
            record_json,
            progress: progress.collect(),
            waiting: waiting.collect(),
            budgets,
            alarm: String::new(),
            doubted: run.doubted.iter().cloned().collect(),
        };
        Self { reply, over: !run.record.state.is_live() }
    }
}

fn waiting(job: &JobKey, reason: &Reason) -> v1::Waiting {
    let detail = json::value(reason);
    let code = detail.get("code").and_then(|code| code.as_str()).unwrap_or_default().to_owned();
    v1::Waiting { job: job.to_string(), reason: reason.to_string(), code, detail_json: detail.to_string().into_bytes() }
}

pub fn queue(cluster: &Cluster, now: Now) -> v1::ListQueueReply {
    let line = |line: QueueLine| {
        let queue = cluster.run(&line.id.run).map(|run| run.record.spec.queue.clone()).unwrap_or_default();
        v1::QueueLine {
            run: line.id.run.to_string(),
            job: line.id.job.to_string(),
            ranks: line.ranks,
            priority: queue.priority,
            team: queue.team.map(|team| team.to_string()).unwrap_or_default(),
            reason: line.reason.to_string(),
        }
    };
    let quota = |quota: QuotaLine| v1::QuotaLine { team: quota.team.to_string(), slots: quota.slots, used: quota.used };
    v1::ListQueueReply {
        queue: cluster.queue(now).into_iter().map(line).collect(),
        quotas: cluster.quota_lines().into_iter().map(quota).collect(),
    }
}

pub fn run_line(run: &Run) -> v1::RunLine {
    let record = &run.record;
    line(record.name(), record.state.as_str(), crate::cluster::reason(record), record.submitted_at, run.line())
}

pub fn line_at_rest(run: &RunName, at_rest: &AtRest) -> v1::RunLine {
    let AtRest { submitted_at, reason, line: trained, .. } = at_rest.clone();
    line(run, RunState::Finished.as_str(), reason, submitted_at, trained)
}

fn line(run: &RunName, state: &str, reason: String, submitted_at: Millis, trained: Line) -> v1::RunLine {
    let Line { stage, step, planned_steps } = trained;
    v1::RunLine {
        run: run.to_string(),
        state: state.to_owned(),
        reason,
        submitted_at_ms: submitted_at.0,
        stage: stage.map(|stage| stage.to_string()).unwrap_or_default(),
        step,
        planned_steps,
    }
}

/// Of a run whose record cannot be read.
pub fn unreadable_line(run: &RunName, why: &str) -> v1::RunLine {
    v1::RunLine { run: run.to_string(), state: "unreadable".to_owned(), reason: why.to_owned(), ..v1::RunLine::default() }
}

/// Cannot fail: keys are strings.
fn document(value: &impl serde::Serialize) -> Vec<u8> {
    json::bytes(value)
}

pub fn worker_lines(cluster: &Cluster, now: Now) -> Vec<v1::WorkerLine> {
    let lines = cluster.worker_lines(now).into_iter().map(|line| v1::WorkerLine {
        worker: line.worker.to_string(),
        incarnation: line.incarnation.0,
        host: line.host,
        state: line.state.to_string(),
        slots: line.slots,
        used: line.used,
        seen_at_ms: line.seen_at.0,
        labels: line.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        why: line.why.unwrap_or_default(),
        drain_json: line.drain.map(|drain| document(&drain)).unwrap_or_default(),
        strikes_json: document(&line.strikes),
        health_json: line.health.map(|health| document(&health)).unwrap_or_default(),
        skew_ms: line.skew,
    });
    lines.collect()
}
