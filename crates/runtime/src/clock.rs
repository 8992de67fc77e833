//! The only place that reads clocks for what is decided or written. Everything else is handed a [`Clock`], a [`Now`] or a [`Millis`].

use nix::time::{ClockId, clock_gettime};
use osler_core::ids::Millis;
use osler_core::time::{Moment, Now};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub trait Clock: Send + Sync {
    /// The wall clock: for stamps that people read. It may jump by any amount, and back.
    fn now(&self) -> Millis;

    /// A clock that only runs forward: for everything that waits, times out or is measured.
    fn moment(&self) -> Moment;

    fn both(&self) -> Now {
        Now { moment: self.moment(), wall: self.now() }
    }
}

/// The machine's clocks. A wall time before 1970 reads as 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Since the machine was started, the time in which it slept included: what ran on other machines did not sleep.
    fn moment(&self) -> Moment {
        // Both clocks are always there on Linux; a kernel that knew neither would have stopped `Instant` long before.
        let read = |clock| clock_gettime(clock).map(Duration::from);
        let since = read(ClockId::CLOCK_BOOTTIME).or_else(|_| read(ClockId::CLOCK_MONOTONIC)).unwrap_or_default();
        Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_running_clock_runs() {
        let first = SystemClock.moment();
        assert!(first > Moment(0), "{first:?}");
        let later = std::iter::repeat_with(|| SystemClock.moment()).find(|moment| *moment > first);
        assert!(later.is_some_and(|moment| moment.since(first) < 10_000));
    }
}
