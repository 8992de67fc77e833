//! What is kept so that a heartbeat is cheap, beside the slow computation that it must equal; after every event of every test here.

use super::*;
use crate::cluster::index::Index;
use osler_core::sync::ProcessId;

/// What every worker was to do before an event.
pub struct Before {
    told: BTreeMap<WorkerName, u64>,
    caller: Option<WorkerName>,
    heartbeat: bool,
    changed: bool,
}

impl Before {
    pub fn of(now: Now, cluster: &Cluster, event: &Event) -> Self {
        let caller = if let Event::Sync(observed) = event { Some(observed.worker.clone()) } else { None };
        let heartbeat = matches!(event, Event::Sync(observed) if cluster.is_heartbeat(now, observed));
        Self { told: told(cluster), caller, heartbeat, changed: cluster.has_changed() }
    }

    pub fn compare(self, cluster: &mut Cluster, answer: &Result<Answer, Refused>, effects: &Effects) {
        for run in cluster.runs.values() {
            assert_eq!(*run.index(), Index::of(&run.record), "the index of {}", run.record.name());
        }
        let mut holders: BTreeMap<WorkerName, BTreeSet<RunName>> = BTreeMap::new();
        for (name, run) in &cluster.runs {
            for worker in run.index().workers() {
                holders.entry(worker.clone()).or_default().insert(name.clone());
            }
        }
        assert_eq!(cluster.holders, holders, "which runs have ranks where");
        let used: BTreeMap<_, _> = cluster.used_slots().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(used, used_slots(cluster), "used slots");
        let news = cluster.take_news();
        if self.heartbeat {
            assert!(answer.is_ok() && news.is_empty(), "a heartbeat is refused, or news: {answer:?} {news:?}");
            assert_eq!(cluster.has_changed(), self.changed, "{effects:?}");
            assert!(effects.puts.is_empty() && effects.persist.is_empty() && effects.deletes.is_empty(), "{effects:?}");
        }
        for (worker, number) in told(cluster) {
            let same = self.told.get(&worker).is_none_or(|before| *before == number);
            assert!(same || news.contains(&worker) || self.caller.as_ref() == Some(&worker), "{worker} has news that nobody noticed");
        }
    }
}

fn told(cluster: &Cluster) -> BTreeMap<WorkerName, u64> {
    cluster.workers.known.keys().map(|name| (name.clone(), osler_proto::reply_number(&cluster.desired(name)))).collect()
}

/// Every process that an attempt holds a slot for or that is listed as running, counted once.
fn used_slots(cluster: &Cluster) -> BTreeMap<WorkerName, u32> {
    let mut held: BTreeSet<(&WorkerName, ProcessId)> = BTreeSet::new();
    for run in cluster.runs.values().filter(|run| run.record.state.is_live()) {
        for (key, attempt) in run.record.jobs.iter().filter_map(|(key, job)| Some((key, job.status.attempt()?))) {
            for (rank, place) in attempt.places.iter().enumerate().filter(|(_, place)| cluster.workers.at(place).is_some()) {
                held.insert((&place.worker, ProcessId { id: run.record.id(key), generation: attempt.generation, rank: rank as u32 }));
            }
        }
    }
    for (name, worker) in &cluster.workers.known {
        held.extend(worker.listed.iter().filter(|(_, running)| **running).map(|(process, _)| (name, process.clone())));
    }
    let mut used = BTreeMap::new();
    held.into_iter().for_each(|(name, _)| *used.entry(name.clone()).or_default() += 1);
    used
}
