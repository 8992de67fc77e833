//! Placement: what a pass over the queue decided is done.

use super::schedule::Outcome;
use super::{Cluster, Effects, Run};
use osler_core::ids::{Generation, WorkerName};
use osler_core::job::JobKey;
use osler_core::record::{Attempt, EventKind, JobState, Place, RunState};
use osler_core::time::Now;
use std::collections::BTreeMap;

/// Workers that the event of a start names; the attempt's places hold them all.
const SHOWN: usize = 8;

impl Cluster {
    pub(super) fn place(&mut self, now: Now, effects: &mut Effects) {
        for (id, outcome) in self.decide(now, false) {
            match outcome {
                Outcome::Start { places, backfill } => {
                    if let Some(run) = self.runs.get_mut(&id.run) {
                        run.start(now, &id.job, places, backfill, effects);
                    }
                }
                Outcome::Wait { evict, .. } => {
                    for (victim, cause) in evict {
                        effects.notes.push(format!("{victim} is to leave: {cause}"));
                        if let Some(run) = self.runs.get_mut(&victim.run) {
                            run.ask_to_leave(now, &victim.job, cause);
                        }
                    }
                }
            }
        }
    }
}

impl Run {
    fn start(&mut self, now: Now, key: &JobKey, places: Vec<Place>, backfill: bool, effects: &mut Effects) {
        if self.record.state == RunState::Submitted {
            self.record.state = RunState::Running;
            self.happened(now, EventKind::Run, None, "running");
        }
        let generation = self.record.next_generation;
        self.record.next_generation = Generation(generation.0 + 1);
        let published =
            self.job(key).and_then(|job| job.planned.kind.stage()).filter(|_| self.is_train(key)).map(|s| self.record.published_steps(s));
        let published = published.unwrap_or(0);
        let mut ranks: BTreeMap<&WorkerName, u32> = BTreeMap::new();
        places.iter().for_each(|p| *ranks.entry(&p.worker).or_default() += 1);
        let on: Vec<String> =
            ranks.iter().map(|(worker, n)| if *n == 1 { worker.to_string() } else { format!("{worker} ({n} ranks)") }).collect();
        let from = if published > 0 { format!(", from step {published}") } else { String::new() };
        let planned = self.job(key).map_or(0, |job| job.planned.ranks as usize);
        let fewer = if places.len() < planned { format!(" with {} of {planned} ranks", places.len()) } else { String::new() };
        let lent = if backfill { ", until the gang that waits for its slot can start" } else { "" };
        let more = on.len().saturating_sub(SHOWN);
        let shown = on.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("generation {generation} on {shown}{more}{fewer}{from}{lent}");
        effects.notes.push(format!("{}/{key}: {message}", self.record.name()));
        self.happened(now, EventKind::Started, Some((key, Some(generation))), message);
        let attempt = Attempt {
            generation,
            places,
            started_at: now.wall,
            rendezvous: None,
            ended: BTreeMap::new(),
            parts: BTreeMap::new(),
            published,
            others: BTreeMap::new(),
            leave: None,
            backfill,
            began: Some(self.age(now)),
        };
        self.set(now, key, JobState::Active { attempt });
    }
}
