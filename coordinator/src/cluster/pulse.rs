//! Processes that say nothing, stand still or take too long: those of every job, and of a gang also before its first step.
//!
//! Every process says each second what it does (`worker/src/heart.rs`). One that says nothing although its worker is heard is frozen. One
//! that says itself that it has done nothing for long is stuck: on a disk that does not answer, on a lock. One that is busy for ever is
//! ended by the time that its kind of job has. How fast a gang's steps should be is `hang.rs`' matter.

use super::limits::Limits;
use super::run::Run;
use super::workers::Workers;
use osler_core::ids::WorkerName;
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::process::{Progress, phase};
use osler_core::record::{Attempt, JobState};
use osler_core::time::{Moment, Now};
use std::collections::BTreeMap;

/// Processes speak each second; to look more often shows nothing new.
const LOOK_EVERY: u64 = 1_000;

/// When silence began to count.
#[derive(Debug, Clone, Default)]
pub struct Pulses {
    looked: Moment,
    /// This coordinator was not there, or stood still, before.
    awake: Moment,
    /// Not all workers of an attempt were heard of at this time.
    unheard: BTreeMap<JobKey, Moment>,
}

impl Pulses {
    /// Silence before this is not the processes'.
    pub fn wake(&mut self, now: Moment) {
        *self = Self { looked: now, awake: now, unheard: BTreeMap::new() };
    }

    pub fn forget(&mut self, key: &JobKey) {
        self.unheard.remove(key);
    }

    fn silent_since(&self, key: &JobKey, started: Moment) -> Moment {
        let unheard = self.unheard.get(key).copied().unwrap_or_default();
        started.max(self.awake).max(unheard)
    }
}

impl Run {
    /// Looks at every process that should be alive, and ends the attempts of those that are not well.
    pub(super) fn watch_processes(&mut self, now: Now, workers: &Workers) {
        if now.moment.since(self.pulses.looked) < LOOK_EVERY {
            return;
        }
        self.pulses.looked = now.moment;
        for key in self.held(|job| matches!(job.status, JobState::Active { .. })) {
            let Some(attempt) = self.active(&key) else { continue };
            let generation = attempt.generation;
            if !workers.all_heard(now, attempt) {
                self.pulses.unheard.insert(key, now.moment);
                continue;
            }
            let Some((fault, worker)) = self.unwell(now, &key, attempt, &workers.limits) else { continue };
            if let Some(worker) = worker {
                self.blame(&worker, &key, generation, &fault);
            }
            self.fail(now, &key, fault, workers);
        }
    }

    /// What is wrong with an attempt, and on which worker.
    fn unwell(&self, now: Now, key: &JobKey, attempt: &Attempt, limits: &Limits) -> Option<(Fault, Option<WorkerName>)> {
        let of_run = &self.record.spec.limits;
        let started = self.times.started(key);
        let since = self.pulses.silent_since(key, started);
        for (rank, place) in attempt.places.iter().enumerate() {
            let rank = rank as u32;
            if attempt.ended.contains_key(&rank) {
                continue;
            }
            let said = self.progress.get(&(key.clone(), rank)).filter(|(_, at)| *at >= started);
            let who = if attempt.places.len() > 1 { format!("rank {rank}") } else { "its process".to_owned() };
            let Some(message) = silent(now.moment, since, said, limits).or_else(|| still(said, of_run.still_seconds)) else { continue };
            let origin = Some(format!("{}/{rank}", place.worker));
            let fault = Fault { origin, ..Fault::new(FaultClass::Infrastructure, format!("{who} {message}")) };
            return Some((fault, Some(place.worker.clone())));
        }
        let most = of_run.seconds_of(&self.job(key)?.planned.kind)?;
        let took = self.watched(now, key, attempt) / 1000;
        let kind = key.as_str().split('/').next().unwrap_or_default();
        (took > most).then(|| {
            let message = format!("it took longer than the {most} s that limits.seconds.{kind} allows");
            (Fault::new(FaultClass::Internal, message), None)
        })
    }
}

/// A process that is frozen, or has not come to its first word.
fn silent(now: Moment, since: Moment, said: Option<&(Progress, Moment)>, limits: &Limits) -> Option<String> {
    let last = said.map_or(since, |(_, at)| (*at).max(since));
    let silence = now.since(last);
    match said {
        Some((progress, _)) if silence > limits.frozen => {
            Some(format!("is frozen: it has said nothing for {} s; its last word was {}", silence / 1000, doing(progress)))
        }
        None if silence > limits.first_word => Some(format!("has not said a word in {} s", silence / 1000)),
        _ => None,
    }
}

/// A process that says that it does nothing. One that waits for the store has the store's patience.
fn still(said: Option<&(Progress, Moment)>, most: u64) -> Option<String> {
    let (progress, _) =
        said.filter(|(progress, _)| !phase::is_patient(&progress.phase) && progress.still_ms > most.saturating_mul(1000))?;
    let stuck = progress.still_ms / 1000;
    Some(format!(
        "is stuck: {}, it has neither computed, read nor written anything for {stuck} s (limits.still_seconds: {most})",
        doing(progress)
    ))
}

fn doing(progress: &Progress) -> String {
    let Progress { phase, done, total, unit, .. } = progress;
    if *total > 0 { format!("{phase} at {done} of {total} {unit}") } else { phase.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(phase: &str, still_ms: u64, at: u64) -> (Progress, Moment) {
        (Progress { phase: phase.into(), still_ms, ..Progress::default() }, Moment(at as i64))
    }

    #[test]
    fn silence_counts_from_the_last_word_or_from_when_somebody_could_hear_it() {
        let limits = Limits::default();
        let said = word("merging", 0, 5_000);
        let at = |now: u64, since: u64| silent(Moment(now as i64), Moment(since as i64), Some(&said), &limits);
        assert_eq!(at(5_000 + limits.frozen, 0), None);
        assert!(at(5_001 + limits.frozen, 0).unwrap().contains("its last word was merging"));
        assert_eq!(at(5_001 + limits.frozen, 20_000), None, "its worker was not heard until then");
        assert_eq!(silent(Moment(limits.first_word as i64), Moment(0), None, &limits), None);
        assert!(silent(Moment(limits.first_word as i64 + 1), Moment(0), None, &limits).is_some());
    }

    #[test]
    fn whoever_waits_for_the_store_may_stand_still() {
        assert!(still(Some(&word("packing", 900_001, 0)), 900).unwrap().contains("packing, it has neither"));
        assert_eq!(still(Some(&word("packing", 900_000, 0)), 900), None);
        for patient in [phase::SAVING, phase::NO_ROOM, phase::STORE] {
            assert_eq!(still(Some(&word(patient, u64::MAX, 0)), 900), None);
        }
        assert_eq!(still(None, 900), None);
    }
}
