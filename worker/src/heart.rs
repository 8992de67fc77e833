//! A job process' heartbeat: a thread that says every second what the job is doing, also while that stands still.
//!
//! A process that is frozen or gone says nothing; one that hangs says the same thing again and again, and for how long it has done
//! nothing. The coordinator judges (`coordinator/src/cluster/pulse.rs`, and `hang.rs` for gangs).

use crate::harness::report;
use osler_core::process::{Progress, Report};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(1);

/// The word that is repeated. Clones share it; with the last one the heartbeat ends.
#[derive(Clone)]
pub struct Heart(Arc<Shared>);

#[derive(Default)]
struct Shared {
    word: Mutex<Progress>,
    /// What is said instead of the phase while this says so; the first that does.
    instead: Mutex<Vec<(&'static str, Holds)>>,
}

type Holds = Box<dyn Fn() -> bool + Send>;

impl Heart {
    /// Starts to beat.
    pub fn start(phase: &str) -> Self {
        let heart = Self(Arc::new(Shared::default()));
        heart.say(phase);
        let watched = Arc::downgrade(&heart.0);
        std::thread::spawn(move || beat(&watched));
        heart
    }

    /// What the job does from now on; how far it is stays as it was.
    pub fn say(&self, phase: &str) {
        phase.clone_into(&mut self.word().phase);
    }

    pub fn set(&self, word: Progress) {
        *self.word() = word;
    }

    pub fn get(&self) -> Progress {
        self.word().clone()
    }

    /// Says `phase` while `holds` is true; for what is not the job's to tell, or comes and goes too fast.
    pub fn say_while(&self, phase: &'static str, holds: impl Fn() -> bool + Send + 'static) {
        self.0.instead.lock().unwrap_or_else(PoisonError::into_inner).push((phase, Box::new(holds)));
    }

    /// What is to be said now.
    fn now(&self) -> Progress {
        let mut word = self.get();
        let instead = self.0.instead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((phase, _)) = instead.iter().find(|(_, holds)| holds()) {
            (*phase).clone_into(&mut word.phase);
        }
        word
    }

    fn word(&self) -> MutexGuard<'_, Progress> {
        self.0.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn beat(shared: &Weak<Shared>) {
    let mut stillness = Stillness::begin(Work::of_this_process());
    let mut before = Progress::default();
    loop {
        // The first word at once: whoever is frozen after it is known sooner.
        let Some(heart) = shared.upgrade().map(Heart) else { return };
        let mut word = heart.now();
        let news = word != before;
        before.clone_from(&word);
        word.still_ms = stillness.look(Instant::now(), Work::of_this_process(), news);
        drop(heart);
        report(&Report::Progress(word));
        std::thread::sleep(BEAT);
    }
}

/// What a process has used since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Work {
    cpu: Duration,
    /// Read and written, by calls or by the kernel for it.
    bytes: u64,
}

impl Work {
    /// Where the kernel does not tell, nothing.
    fn of_this_process() -> Self {
        let cpu = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default();
        let bytes = std::fs::read_to_string("/proc/self/io").map_or(0, |text| moved(&text));
        Self { cpu, bytes }
    }
}

/// Of `/proc/PID/io`: pages that are mapped are in `read_bytes` only.
fn moved(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let counted = lines.filter(|(name, _)| matches!(*name, "rchar" | "wchar" | "read_bytes"));
    counted.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).fold(0, u64::saturating_add)
}

/// Since when a process has done no more than its heartbeat needs.
#[derive(Debug)]
struct Stillness {
    since: Instant,
    at: Work,
}

impl Stillness {
    /// More than this is work: a part that anything real passes at once, and one that grows with what the beats cost.
    const CPU: (Duration, u32) = (Duration::from_millis(100), 500);
    const BYTES: (u64, u64) = (64 << 10, 4 << 10);

    fn begin(at: Work) -> Self {
        Self { since: Instant::now(), at }
    }

    /// Milliseconds since the last sign of work.
    fn look(&mut self, now: Instant, work: Work, news: bool) -> u64 {
        let passed = now.saturating_duration_since(self.since);
        let cpu = Self::CPU.0 + passed / Self::CPU.1;
        let bytes = Self::BYTES.0 + Self::BYTES.1 * passed.as_secs();
        if news || work.cpu.saturating_sub(self.at.cpu) > cpu || work.bytes.saturating_sub(self.at.bytes) > bytes {
            (self.since, self.at) = (now, work);
        }
        u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_reading_and_news_end_stillness_and_heartbeats_do_not() {
        let start = Instant::now();
        let mut stillness = Stillness { since: start, at: Work::default() };
        let second = |n: u64| start + Duration::from_secs(n);
        // What a thousand beats cost.
        let beats = |n: u64| Work { cpu: Duration::from_micros(200 * n), bytes: 1_000 * n };
        for n in 1..=1_000 {
            assert_eq!(stillness.look(second(n), beats(n), false), 1_000 * n, "after {n} beats");
        }
        let busy = Work { cpu: Duration::from_secs(3), ..beats(1_000) };
        assert_eq!(stillness.look(second(1_001), busy, false), 0);
        assert_eq!(stillness.look(second(1_002), busy, false), 1_000);
        let read = Work { bytes: busy.bytes + (1 << 20), ..busy };
        assert_eq!(stillness.look(second(1_003), read, false), 0);
        assert_eq!(stillness.look(second(1_013), read, false), 10_000);
        assert_eq!(stillness.look(second(1_014), read, true), 0, "it told of something new");
    }

    #[test]
    fn a_process_that_computes_or_reads_is_seen_to() {
        let before = Work::of_this_process();
        let file = std::env::current_exe().unwrap();
        let bytes = std::fs::read(file).unwrap();
        let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let after = Work::of_this_process();
        assert!(after.bytes >= before.bytes + bytes.len() as u64 && after.cpu > before.cpu, "{before:?} {after:?} {sum}");
        assert_eq!(moved("rchar: 10\nwchar: 5\nsyscr: 3\nread_bytes: 7\nwrite_bytes: 9\n"), 22);
        assert_eq!(moved("rchar: x\n"), 0);
    }
}
