//! Whether a rank computes or waits for others, for a thread that watches it: what tells the rank that hangs from those that wait for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Written by the training thread alone.
#[derive(Debug, Default)]
pub struct Activity {
    waiting: AtomicBool,
    waited_ns: AtomicU64,
}

impl Activity {
    /// In a wait for another rank right now.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// In all waits so far that are over.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    pub(super) fn wait<T>(&self, for_others: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        self.waiting.store(true, Ordering::Relaxed);
        let result = for_others();
        self.waiting.store(false, Ordering::Relaxed);
        self.waited_ns.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seen_while_it_lasts_and_counted_when_it_is_over() {
        let activity = Activity::default();
        let (during, before) = activity.wait(|| {
            std::thread::sleep(Duration::from_millis(2));
            (activity.is_waiting(), activity.waited())
        });
        assert!(during && before == Duration::ZERO);
        assert!(!activity.is_waiting() && activity.waited() >= Duration::from_millis(2));
    }
}
