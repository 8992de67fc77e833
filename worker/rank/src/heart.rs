//! A rank's heartbeat: a thread that says every second what the training thread is doing, also while that one is stuck.
//!
//! A process that is frozen or gone says nothing; one whose training thread hangs says the same thing again and again. The coordinator
//! judges (`coordinator/src/cluster/hang.rs`).

use osler_core::process::{Progress, Report, phase};
use osler_engine::step::Activity;
use osler_worker::harness::report;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(1);
/// Steps over which the own work is averaged.
const STEPS: u32 = 20;

/// Dropping it ends the thread.
pub struct Heart {
    shared: Arc<Shared>,
    busy: Busy,
}

struct Shared {
    word: Mutex<Progress>,
    activity: Arc<Activity>,
}

impl Heart {
    pub fn start(activity: Arc<Activity>, total: u64) -> Self {
        let word = Progress { phase: phase::TRAINING.into(), total, unit: "steps".into(), ..Progress::default() };
        let busy = Busy { since: Instant::now(), waited: activity.waited(), steps: 0, mean_ms: None };
        let shared = Arc::new(Shared { word: Mutex::new(word), activity });
        let watched = Arc::downgrade(&shared);
        std::thread::spawn(move || beat(&watched));
        Self { shared, busy }
    }

    /// After a step. Gives the word that the next beats repeat.
    pub fn step(&mut self, done: u64, loss: Option<f64>, tokens_per_second: Option<f64>) -> Progress {
        let busy_ms = self.busy.step(self.shared.activity.waited());
        let mut word = self.shared.word.lock().unwrap_or_else(PoisonError::into_inner);
        *word = Progress { phase: phase::TRAINING.into(), done, loss, tokens_per_second, busy_ms, ..word.clone() };
        word.clone()
    }

    /// Around something other than steps.
    pub fn during<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> T {
        self.say(what);
        let began = Instant::now();
        let result = work();
        self.say(phase::TRAINING);
        self.busy.leave_out(began.elapsed());
        result
    }

    fn say(&self, phase: &str) {
        phase.clone_into(&mut self.shared.word.lock().unwrap_or_else(PoisonError::into_inner).phase);
    }
}

fn beat(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(BEAT);
        let Some(shared) = shared.upgrade() else { return };
        let mut word = shared.word.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if shared.activity.is_waiting() {
            word.phase = phase::WAITING.into();
        }
        report(&Report::Progress(word));
    }
}

/// The own work of a step: its time without waits for other ranks.
struct Busy {
    since: Instant,
    waited: Duration,
    steps: u32,
    mean_ms: Option<f64>,
}

impl Busy {
    fn step(&mut self, waited: Duration) -> Option<f64> {
        self.steps += 1;
        if self.steps == STEPS {
            let own = self.since.elapsed().saturating_sub(waited.saturating_sub(self.waited));
            self.mean_ms = Some(own.as_secs_f64() * 1e3 / f64::from(STEPS));
            (self.since, self.waited, self.steps) = (Instant::now(), waited, 0);
        }
        self.mean_ms
    }

    /// Time that belongs to no step.
    fn leave_out(&mut self, time: Duration) {
        self.since += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_work_is_the_time_without_waits() {
        let mut busy = Busy { since: Instant::now() - Duration::from_secs(10), waited: Duration::ZERO, steps: 0, mean_ms: None };
        busy.leave_out(Duration::from_secs(4));
        for _ in 1..STEPS {
            assert_eq!(busy.step(Duration::from_secs(1)), None);
        }
        let mean = busy.step(Duration::from_secs(4)).unwrap();
        assert!((100.0..110.0).contains(&mean), "two of ten seconds over twenty steps: {mean}");
        assert_eq!(busy.step(Duration::from_secs(9)), Some(mean), "until the next twenty are over");
    }
}
