//! Calls that say that all is as it was: most of them. Taking one in decides nothing, so it need not wait for what others decided.

use super::Cluster;
use super::workers::Worker;
use osler_core::BUILD;
use osler_core::health::Health;
use osler_core::process::Report;
use osler_core::record::JobState;
use osler_core::sync::{NumberedReport, Observed, ProcessPhase, ProcessStatus};
use osler_core::time::Now;
use std::collections::BTreeSet;

impl Cluster {
    /// Whether the call changes no record, and nothing that any worker is told beside the number of its author's last report.
    ///
    /// True only if the same life of a worker says the same of itself as before, all its processes run as before, and they report how
    /// far they are, nothing else. Tests apply every such call and see that nothing was decided.
    pub fn is_heartbeat(&self, clock: Now, observed: &Observed) -> bool {
        let Some(worker) = self.author(observed) else { return false };
        let silence = self.time(clock).moment.since(worker.seen);
        silence <= self.workers.limits.suspect
            && same_node(worker, observed)
            && same_processes(worker, observed)
            && !self.any_ends_on(observed)
    }

    /// A call has come, though nobody takes it in yet: its author is not silent, nor are its processes.
    pub fn heard_of(&mut self, clock: Now, observed: &Observed) {
        if self.author(observed).is_some() {
            // Before it is noted: a pause of ours that is forgiven later would move this moment into the future.
            let now = self.advance(clock);
            self.workers.known.entry(observed.worker.clone()).and_modify(|worker| worker.seen = now.moment);
            self.hear_progress(now, observed);
        }
    }

    /// The worker that calls, if the call is of its known life and newer than all before.
    fn author(&self, observed: &Observed) -> Option<&Worker> {
        let worker = self.workers.known.get(&observed.worker).filter(|_| observed.epoch <= self.epoch)?;
        (worker.incarnation == observed.incarnation && worker.call < observed.call).then_some(worker)
    }

    /// Ending attempts wait for their processes to be gone, and a call may confirm it by what it does not say.
    fn any_ends_on(&self, observed: &Observed) -> bool {
        let mut jobs = self.on(&observed.worker).filter_map(|(run, key, _)| run.job(key));
        jobs.any(|job| matches!(job.status, JobState::Ending { .. }))
    }
}

pub(super) fn same_node(worker: &Worker, observed: &Observed) -> bool {
    let fit = |health: &Option<Health>| health.as_ref().and_then(|health| health.unfit_for(BUILD)).is_none();
    fit(&worker.health) == fit(&observed.health)
        && (worker.slots, worker.draining, &worker.labels) == (observed.slots, observed.draining, &observed.labels)
}

fn same_processes(worker: &Worker, observed: &Observed) -> bool {
    let runs = |process: &ProcessStatus| process.phase == ProcessPhase::Running && worker.listed.get(&process.process) == Some(&true);
    let distinct: BTreeSet<_> = observed.processes.iter().map(|process| &process.process).collect();
    let says_little = |report: &NumberedReport| report.seq <= worker.acknowledged || matches!(report.report, Report::Progress(_));
    distinct.len() == worker.listed.len() && observed.processes.iter().all(runs) && observed.reports.iter().all(says_little)
}
