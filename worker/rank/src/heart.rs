//! What a rank's heartbeat says of its steps: how far it is, what it waits for, how long its own work takes.

use osler_core::process::{Progress, phase};
use osler_engine::step::Activity;
use osler_worker::heart::Heart as Beat;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps over which the own work is averaged.
const STEPS: u32 = 20;

pub struct Heart {
    beat: Beat,
    activity: Arc<Activity>,
    busy: Busy,
}

impl Heart {
    /// From here on the job's heartbeat tells of steps.
    pub fn start(beat: Beat, activity: Arc<Activity>, total: u64) -> Self {
        let waiting = Arc::clone(&activity);
        beat.say_while(phase::WAITING, move || waiting.is_waiting());
        beat.set(Progress { phase: phase::TRAINING.into(), total, unit: "steps".into(), ..Progress::default() });
        let busy = Busy { since: Instant::now(), waited: activity.waited(), steps: 0, mean_ms: None };
        Self { beat, activity, busy }
    }

    /// After a step. Gives the word that the next beats repeat.
    pub fn step(&mut self, done: u64, loss: Option<f64>, tokens_per_second: Option<f64>) -> Progress {
        let busy_ms = self.busy.step(self.activity.waited());
        let word = Progress { phase: phase::TRAINING.into(), done, loss, tokens_per_second, busy_ms, ..self.beat.get() };
        self.beat.set(word.clone());
        word
    }

    /// Around something other than steps.
    pub fn during<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> T {
        self.beat.say(what);
        let began = Instant::now();
        let result = work();
        self.beat.say(phase::TRAINING);
        self.busy.leave_out(began.elapsed());
        result
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
