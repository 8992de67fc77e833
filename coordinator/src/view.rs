//! A run as watchers see it, built once per change and shared by all of them.

use crate::cluster::{Cluster, Run};
use osler_core::ids::Millis;
use osler_proto::v1;

#[derive(Debug, Clone, Default)]
pub struct RunView {
    pub reply: v1::GetRunReply,
    /// Nothing will change any more unless somebody resumes the run.
    pub over: bool,
}

impl RunView {
    pub fn of(cluster: &Cluster, run: &Run, now: Millis) -> Self {
        let progress = run.progress.iter().map(|((job, rank), (progress, at))| v1::JobProgress {
            job: job.to_string(),
            rank: *rank,
            progress_json: serde_json::to_vec(progress).unwrap_or_default(),
            at_ms: at.0,
        });
        let waiting = cluster.waiting(now, run).into_iter().map(|(job, reason)| v1::Waiting { job: job.to_string(), reason });
        let record_json = crate::document::public(&run.record);
        let reply = v1::GetRunReply { record_json, progress: progress.collect(), waiting: waiting.collect() };
        Self { reply, over: !run.record.state.is_live() }
    }
}

pub fn run_line(run: &Run) -> v1::RunLine {
    let line = run.line();
    v1::RunLine {
        run: run.record.name().to_string(),
        state: run.record.state.to_string(),
        reason: crate::cluster::reason(&run.record).to_owned(),
        submitted_at_ms: run.record.submitted_at.0,
        stage: line.stage.map(|s| s.to_string()).unwrap_or_default(),
        step: line.step,
        planned_steps: line.planned_steps,
    }
}

pub fn worker_lines(cluster: &Cluster, now: Millis) -> Vec<v1::WorkerLine> {
    let lines = cluster.worker_lines(now).into_iter().map(|line| v1::WorkerLine {
        worker: line.worker.to_string(),
        incarnation: line.incarnation.0,
        host: line.host,
        state: line.state.to_string(),
        slots: line.slots,
        used: line.used,
        seen_at_ms: line.seen_at.0,
    });
    lines.collect()
}
