//! What happens when an attempt ends: which fault counts, whether to try again and when, and what is left once its processes are gone.
//!
//! An attempt never goes straight back to the queue. It is `Ending` until every one of its processes is confirmed gone, so two
//! generations of a job are never alive together.

use super::Effects;
use super::budget::{self, Budget, Failure, Verdict, severity, verdict};
use super::limits::Limits;
use super::run::{Run, pending};
use super::workers::Workers;
use osler_core::digest::Digest;
use osler_core::ids::{Generation, Millis};
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::reason::Cause;
use osler_core::record::{Attempt, EventKind, JobState, PastAttempt, Then};
use osler_core::sync::ProcessId;
use osler_core::time::{Now, Span};
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
    pub fn fail(&mut self, now: Now, key: &JobKey, fault: Fault, workers: &Workers) {
        let fault = self.record.spec.retry.classify(fault);
        let Some(job) = self.job(key) else { return };
        match &job.status {
            JobState::Active { attempt } => {
                let attempt = attempt.clone();
                let looks = self.suspect(now, key, &attempt, &fault);
                let next = looks.unwrap_or_else(|| self.decide(now, key, &attempt, fault, &workers.limits));
                self.end(now, key, next, workers);
            }
            // A neighbour whose link broke may be heard first.
            JobState::Ending { attempt, next: Then::Retry { fault: known, .. } } if fault.damage.is_some() && known.damage.is_none() => {
                let attempt = attempt.clone();
                if let Some(next) = self.suspect(now, key, &attempt, &fault) {
                    self.then(now, key, next);
                }
            }
            JobState::Ending { attempt, next: Then::Retry { fault: known, .. } } => {
                let graver = severity(fault.class) > severity(known.class);
                let witness = if graver { known.clone() } else { fault.clone() };
                let next = graver.then(|| self.decide(now, key, attempt, fault, &workers.limits));
                if let Some(JobState::Ending { attempt, .. }) = self.record.jobs.get_mut(key).map(|job| &mut job.status) {
                    self.changed |= note_witness(&mut attempt.others, witness);
                }
                if let Some(next) = next {
                    self.then(now, key, next);
                }
            }
            _ => {}
        }
    }

    /// Changes what follows once the processes of an ending attempt are gone.
    pub(super) fn then(&mut self, now: Now, key: &JobKey, then: Then) {
        if let Some(JobState::Ending { next, .. }) = self.record.jobs.get_mut(key).map(|job| &mut job.status) {
            self.times.note_next(now, key, &then);
            *next = then;
            self.changed = true;
        }
    }

    /// Ends the attempt on request: the job goes back to the queue.
    pub fn requeue(&mut self, now: Now, key: &JobKey, cause: Cause, workers: &Workers) {
        self.end(now, key, Then::Requeue { cause: Some(cause) }, workers);
    }

    pub(super) fn decide(&self, now: Now, key: &JobKey, attempt: &Attempt, fault: Fault, limits: &Limits) -> Then {
        let this = Failure { class: fault.class, progressed: self.steps_published(key, attempt) > 0 };
        let counts = usize::from(this.class != FaultClass::NoRoom);
        let (row, total) = (self.failures_in_a_row(key, this), self.faults_in_all(key) + counts);
        let generation = attempt.generation.0.to_le_bytes();
        let draw = Digest::of_parts([self.record.name().as_str().as_bytes(), key.as_str().as_bytes(), &generation]);
        match verdict(&row, total, &self.record.spec.retry, limits, draw) {
            Verdict::Again(wait) => Then::Retry { fault, not_before: Millis(now.wall.0.saturating_add(wait)) },
            over => Then::Fail { fault: over.last(fault, self.is_train(key).then_some(attempt.published)) },
        }
    }

    /// Faults of a job that no attempt has forgiven that made progress and lived long enough.
    fn faults_in_all(&self, key: &JobKey) -> usize {
        let forgiven = self.forgiven_before(key);
        let healthy = self.record.spec.retry.healthy_seconds.saturating_mul(1000);
        let past = self.job(key).map_or(&[][..], |job| &job.past);
        let counted = past.iter().rev().take_while(|a| a.generation >= forgiven);
        let counted = counted.take_while(|a| a.steps_published == 0 || a.watched_millis() < healthy);
        counted.filter(|a| a.fault.as_ref().is_some_and(|fault| fault.class != FaultClass::NoRoom)).count()
    }

    /// How often a job may still fail, by class; none for jobs that are over or have never failed.
    pub fn budget(&self, key: &JobKey) -> Option<Budget> {
        let job = self.job(key)?;
        let over = matches!(job.status, JobState::Succeeded { .. } | JobState::Failed { .. });
        if over || job.past.iter().all(|past| past.fault.is_none()) {
            return None;
        }
        let next = |class| Failure { class, progressed: false };
        let left = |class| budget::left(&self.failures_in_a_row(key, next(class)), self.faults_in_all(key), &self.record.spec.retry);
        Some(Budget {
            infrastructure: left(FaultClass::Infrastructure),
            internal: left(FaultClass::Internal),
            out_of_memory: left(FaultClass::OutOfMemory),
        })
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

    pub(super) fn end(&mut self, now: Now, key: &JobKey, next: Then, workers: &Workers) {
        let Some(attempt) = self.active(key).cloned() else { return };
        let id = self.record.id(key);
        let generation = attempt.generation;
        let process = |rank: usize| ProcessId { id: id.clone(), generation, rank: rank as u32 };
        let confirmed = |(rank, place)| workers.at(place).and_then(|w| w.listed.get(&process(rank))) == Some(&false);
        let gone = attempt.places.iter().enumerate().filter(|(rank, place)| confirmed((*rank, place))).map(|(rank, _)| rank as u32);
        self.gone.insert(key.clone(), gone.collect());
        if let Then::Retry { fault, .. } | Then::Fail { fault } = &next {
            let message = format!("generation {generation} is ended: {fault}");
            let cause = Cause::Fault { class: fault.class };
            self.happened_because(now, EventKind::Retry, Some((key, Some(generation))), message, Some(cause));
        }
        self.set(now, key, JobState::Ending { attempt, next });
    }

    /// Moves on the attempts whose processes are all gone.
    pub fn finish_endings(&mut self, now: Now, workers: &Workers, effects: &mut Effects) {
        for key in self.held(|job| matches!(job.status, JobState::Ending { .. })) {
            if self.is_looked_at(&key) {
                continue;
            }
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

    fn finish_ending(&mut self, now: Now, key: &JobKey, attempt: &Attempt, next: Then, effects: &mut Effects) {
        // Parts of a checkpoint that will never be complete.
        effects.deletes.extend(attempt.parts.values().flatten().map(|part| part.object.path.clone()));
        let about = Some((key, Some(attempt.generation)));
        let (status, fault, cause) = match next {
            Then::Retry { fault, .. } => {
                let wait = self.times.due(key).since(now.moment);
                let cause = Cause::Fault { class: fault.class };
                let message = format!("its processes are gone; tried again in {wait} ms");
                self.happened_because(now, EventKind::Retry, about, message, Some(cause));
                (self.waiting(now, key, wait), Some(fault), None)
            }
            Then::Fail { fault } => {
                let cause = Cause::Fault { class: fault.class };
                self.happened_because(now, EventKind::Failed, about, fault.to_string(), Some(cause));
                self.fail_run(now, format!("{key} failed: {fault}"));
                (JobState::Failed { at: now.wall, fault: fault.clone() }, Some(fault), None)
            }
            Then::Rewind { skipped } => {
                self.past(now, key, attempt, Some(Self::divergence(&skipped)), Some(Cause::Rewind));
                self.rewind_to_before(now, key, attempt, &skipped, effects);
                self.set(now, key, pending(now, 0));
                return;
            }
            Then::Requeue { cause } => (self.waiting(now, key, 0), None, cause),
        };
        self.past(now, key, attempt, fault, cause);
        self.set(now, key, status);
    }

    /// How a job waits that is to be tried again after so many milliseconds: what it needs may be on its way to being made again.
    pub(super) fn waiting(&self, now: Now, key: &JobKey, wait: u64) -> JobState {
        match self.needs_are_met(key) {
            true => pending(now, wait),
            false => JobState::Blocked,
        }
    }

    /// Closes the books of an attempt.
    pub fn past(&mut self, now: Now, key: &JobKey, attempt: &Attempt, fault: Option<Fault>, cause: Option<Cause>) {
        let past = PastAttempt {
            generation: attempt.generation,
            workers: attempt.places.iter().map(|p| p.worker.clone()).collect(),
            started_at: attempt.started_at,
            ended_at: now.wall,
            fault,
            steps_published: self.steps_published(key, attempt),
            others: attempt.others.clone(),
            cause,
            span: attempt.began.map(|from| Span { from, to: self.age(now) }),
        };
        self.untidy = true;
        self.gone.remove(key);
        self.paces.remove(key);
        self.pulses.forget(key);
        self.roomy_since.remove(key);
        self.progress.retain(|(job, _), _| job != key);
        if let Some(job) = self.record.jobs.get_mut(key) {
            job.past.push(past);
            self.changed = true;
        }
    }

    /// Ends attempts whose workers or incarnations are gone.
    pub fn fail_lost(&mut self, now: Now, workers: &Workers) {
        for key in self.held(|job| matches!(job.status, JobState::Active { .. })) {
            let Some(attempt) = self.active(&key) else { continue };
            let lost = attempt.places.iter().enumerate().find_map(|(rank, place)| {
                let why = workers.why_gone(now, place)?;
                let origin = Some(format!("{}/{rank}", place.worker));
                let fault = Fault { origin, ..Fault::new(FaultClass::Infrastructure, why) };
                Some((place.worker.clone(), attempt.generation, fault))
            });
            if let Some((worker, generation, fault)) = lost {
                self.blame(&worker, &key, generation, &fault);
                self.happened(now, EventKind::Worker, Some((&key, None)), fault.message.clone());
                self.fail(now, &key, fault, workers);
            }
        }
    }
}
