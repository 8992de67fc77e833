//! What happens when an attempt ends: which fault counts, whether to try again and when, and what is left once its processes are gone.
//!
//! An attempt never goes straight back to the queue. It is `Ending` until every one of its processes is confirmed gone, so two
//! generations of a job are never alive together.

use super::Effects;
use super::budget::{Failure, Verdict, severity, verdict};
use super::limits::Limits;
use super::run::Run;
use super::workers::Workers;
use osler_core::digest::Digest;
use osler_core::ids::{Generation, Millis};
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::record::{Attempt, EventKind, JobState, PastAttempt, Then};
use osler_core::sync::ProcessId;
use std::collections::BTreeMap;

/// What one more process says of an attempt that is ending. A few are enough: in a large gang they all say the same.
fn note_witness(others: &mut BTreeMap<String, String>, fault: Fault) -> bool {
    const MOST: usize = 8;
    const LONGEST: usize = 300;
    let Some(origin) = fault.origin.filter(|origin| others.len() < MOST && !others.contains_key(origin)) else { return false };
    others.insert(origin, format!("{}: {}", fault.class, fault.message).chars().take(LONGEST).collect());
    true
}

impl Run {
    /// Ends the attempt because of a fault, or lets a graver fault explain an attempt that is ending already.
    pub fn fail(&mut self, now: Millis, key: &JobKey, fault: Fault, workers: &Workers) {
        let fault = self.record.spec.retry.classify(fault);
        let Some(job) = self.job(key) else { return };
        match &job.status {
            JobState::Active { attempt } => {
                let next = self.decide(now, key, attempt, fault, &workers.limits);
                self.end(now, key, next, workers);
            }
            JobState::Ending { attempt, next: Then::Retry { fault: known, .. } } => {
                let graver = severity(fault.class) > severity(known.class);
                let witness = if graver { known.clone() } else { fault.clone() };
                let next = graver.then(|| self.decide(now, key, attempt, fault, &workers.limits));
                if let Some(JobState::Ending { attempt, next: then }) = self.record.jobs.get_mut(key).map(|job| &mut job.status) {
                    self.changed |= note_witness(&mut attempt.others, witness) || next.is_some();
                    *then = next.unwrap_or_else(|| then.clone());
                }
            }
            _ => {}
        }
    }

    /// Ends the attempt on request: the job goes back to the queue.
    pub fn requeue(&mut self, now: Millis, key: &JobKey, workers: &Workers) {
        self.end(now, key, Then::Requeue, workers);
    }

    fn decide(&self, now: Millis, key: &JobKey, attempt: &Attempt, fault: Fault, limits: &Limits) -> Then {
        let this = Failure { class: fault.class, progressed: self.steps_published(key, attempt) > 0 };
        let (row, total) = (self.failures_in_a_row(key, this), self.faults_in_all(key) + 1);
        let generation = attempt.generation.0.to_le_bytes();
        let draw = Digest::of_parts([self.record.name().as_str().as_bytes(), key.as_str().as_bytes(), &generation]);
        match verdict(&row, total, &self.record.spec.retry, limits, draw) {
            Verdict::Again(wait) => Then::Retry { fault, not_before: Millis(now.0 + wait) },
            over => Then::Fail { fault: over.last(fault, self.is_train(key).then_some(attempt.published)) },
        }
    }

    /// Faults of a job that no attempt has forgiven that made progress and lived long enough.
    fn faults_in_all(&self, key: &JobKey) -> usize {
        let forgiven = self.forgiven_before(key);
        let healthy = self.record.spec.retry.healthy_seconds.saturating_mul(1000);
        let past = self.job(key).map_or(&[][..], |job| &job.past);
        let counted = past.iter().rev().take_while(|a| a.generation >= forgiven);
        let counted = counted.take_while(|a| a.steps_published == 0 || a.ended_at.0.saturating_sub(a.started_at.0) < healthy);
        counted.filter(|a| a.fault.is_some()).count()
    }

    fn failures_in_a_row(&self, key: &JobKey, this: Failure) -> Vec<Failure> {
        let forgiven = self.forgiven_before(key);
        let past = self.job(key).map_or(&[][..], |job| &job.past);
        let mut row = vec![this];
        for attempt in past.iter().rev().take_while(|a| a.generation >= forgiven) {
            let Some(fault) = attempt.fault.as_ref().filter(|_| !row.last().is_some_and(|f| f.progressed)) else { break };
            row.push(Failure { class: fault.class, progressed: attempt.steps_published > 0 });
        }
        row
    }

    /// Attempts before this generation do not count any more: somebody resumed the run after the job had failed.
    ///
    /// The mark is the resume's event (kind `Run`, with a job), so it is as durable as the record.
    fn forgiven_before(&self, key: &JobKey) -> Generation {
        let resumed = |e: &&osler_core::record::Event| e.kind == EventKind::Run && e.job.as_ref() == Some(key) && e.generation.is_some();
        self.record.events.iter().rev().find(resumed).and_then(|e| e.generation).unwrap_or_default()
    }

    pub(super) fn end(&mut self, now: Millis, key: &JobKey, next: Then, workers: &Workers) {
        let Some(attempt) = self.active(key).cloned() else { return };
        let id = self.record.id(key);
        let generation = attempt.generation;
        let process = |rank: usize| ProcessId { id: id.clone(), generation, rank: rank as u32 };
        let confirmed = |(rank, place)| workers.at(place).and_then(|w| w.listed.get(&process(rank))) == Some(&false);
        let gone = attempt.places.iter().enumerate().filter(|(rank, place)| confirmed((*rank, place))).map(|(rank, _)| rank as u32);
        self.gone.insert(key.clone(), gone.collect());
        if let Then::Retry { fault, .. } | Then::Fail { fault } = &next {
            self.happened(now, EventKind::Retry, Some((key, Some(generation))), format!("generation {generation} is ended: {fault}"));
        }
        self.set(key, JobState::Ending { attempt, next });
    }

    /// Moves on the attempts whose processes are all gone.
    pub fn finish_endings(&mut self, now: Millis, workers: &Workers, effects: &mut Effects) {
        for key in self.held(|job| matches!(job.status, JobState::Ending { .. })) {
            let Some(JobState::Ending { attempt, next }) = self.job(&key).map(|job| &job.status) else { continue };
            let confirmed = self.gone.get(&key);
            let gone =
                |(rank, place)| confirmed.is_some_and(|ranks| ranks.contains(&(rank as u32))) || workers.why_gone(now, place).is_some();
            if attempt.places.iter().enumerate().all(gone) {
                let (attempt, next) = (attempt.clone(), next.clone());
                self.finish_ending(now, &key, &attempt, next, effects);
            }
        }
    }

    fn finish_ending(&mut self, now: Millis, key: &JobKey, attempt: &Attempt, next: Then, effects: &mut Effects) {
        // Parts of a checkpoint that will never be complete.
        effects.deletes.extend(attempt.parts.values().flatten().map(|part| part.object.path.clone()));
        let about = Some((key, Some(attempt.generation)));
        let (status, fault) = match next {
            Then::Retry { fault, not_before } => {
                let wait = not_before.0.saturating_sub(now.0);
                self.happened(now, EventKind::Retry, about, format!("its processes are gone; tried again in {wait} ms"));
                (JobState::Pending { since: now, not_before }, Some(fault))
            }
            Then::Fail { fault } => {
                self.happened(now, EventKind::Failed, about, fault.to_string());
                self.fail_run(now, format!("{key} failed: {fault}"));
                (JobState::Failed { at: now, fault: fault.clone() }, Some(fault))
            }
            Then::Rewind { skipped } => {
                self.past(now, key, attempt, Some(Self::divergence(&skipped)));
                self.rewind_to_before(now, key, attempt, &skipped, effects);
                self.set(key, JobState::Pending { since: now, not_before: now });
                return;
            }
            Then::Requeue => (JobState::Pending { since: now, not_before: now }, None),
        };
        self.past(now, key, attempt, fault);
        self.set(key, status);
    }

    /// Closes the books of an attempt.
    pub fn past(&mut self, now: Millis, key: &JobKey, attempt: &Attempt, fault: Option<Fault>) {
        let past = PastAttempt {
            generation: attempt.generation,
            workers: attempt.places.iter().map(|p| p.worker.clone()).collect(),
            started_at: attempt.started_at,
            ended_at: now,
            fault,
            steps_published: self.steps_published(key, attempt),
            others: attempt.others.clone(),
        };
        self.gone.remove(key);
        self.paces.remove(key);
        self.growing.remove(key);
        self.progress.retain(|(job, _), _| job != key);
        if let Some(job) = self.record.jobs.get_mut(key) {
            job.past.push(past);
            self.changed = true;
        }
    }

    /// Ends attempts whose workers or incarnations are gone.
    pub fn fail_lost(&mut self, now: Millis, workers: &Workers) {
        for key in self.held(|job| matches!(job.status, JobState::Active { .. })) {
            let Some(attempt) = self.active(&key) else { continue };
            let lost = attempt.places.iter().enumerate().find_map(|(rank, place)| {
                let why = workers.why_gone(now, place)?;
                Some(Fault { origin: Some(format!("{}/{rank}", place.worker)), ..Fault::new(FaultClass::Infrastructure, why) })
            });
            if let Some(fault) = lost {
                self.happened(now, EventKind::Worker, Some((&key, None)), fault.message.clone());
                self.fail(now, &key, fault, workers);
            }
        }
    }
}
