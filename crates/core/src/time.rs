//! Two clocks. By one that only runs forward everything waits, times out and is measured; the wall clock's stamps are for people.
//!
//! A wall clock may jump by any amount, and back. So nothing is decided by the difference of two of its stamps, and what has to last
//! longer than a coordinator is told as an [`Age`].

use crate::ids::Millis;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Milliseconds on a clock that only runs forward. Its zero means nothing and differs from machine to machine, so it is never stored.
/// Negative: before the machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

impl Moment {
    /// Milliseconds from an earlier moment to this one; 0 if it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }

    pub fn before(self, ms: u64) -> Self {
        Self(self.0.saturating_sub_unsigned(ms))
    }
}

/// What both clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    pub moment: Moment,
    pub wall: Millis,
}

impl Now {
    /// The stamp of a moment, by the wall clock as it is now.
    pub fn stamp(self, moment: Moment) -> Millis {
        match moment.cmp(&self.moment) {
            Ordering::Greater => Millis(self.wall.0.saturating_add(moment.since(self.moment))),
            _ => Millis(self.wall.0.saturating_sub(self.moment.since(moment))),
        }
    }

    /// The moment of a stamp that somebody wrote before, perhaps by another clock: one that lies ahead was made just now.
    pub fn moment_of(self, stamp: Millis) -> Moment {
        self.moment.before(self.wall.0.saturating_sub(stamp.0))
    }
}

/// How old a run is, in time that its coordinators counted. Differences of it are the lengths of what happened to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Age {
    /// Milliseconds in which a coordinator was there, by clocks that only run forward.
    pub watched: u64,
    /// Milliseconds between two coordinators. Only wall clocks know them, which are believed up to [`Age::ALONE_AT_MOST`] at a time.
    pub alone: u64,
}

impl Age {
    /// A run without a coordinator ages by no more than a day: of a longer time nobody can say whether it passed, or a clock was set.
    pub const ALONE_AT_MOST: u64 = 24 * 3_600_000;

    pub fn total(self) -> u64 {
        self.watched.saturating_add(self.alone)
    }

    /// So much older, under a coordinator's eyes.
    pub fn watched_for(self, ms: u64) -> Self {
        Self { watched: self.watched.saturating_add(ms), ..self }
    }
}

/// The age of a run when its record was written, and what the wall clock showed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Aged {
    pub age: Age,
    pub at: Millis,
}

impl Aged {
    /// The age when the next coordinator begins, by whose wall clock it is `now`.
    pub fn taken_over(self, now: Millis) -> Age {
        let alone = if self.at == Millis::default() { 0 } else { now.0.saturating_sub(self.at.0).min(Age::ALONE_AT_MOST) };
        Age { alone: self.age.alone.saturating_add(alone), ..self.age }
    }
}

/// The part of a run's life that an attempt took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from: Age,
    pub to: Age,
}

impl Span {
    pub fn millis(self) -> u64 {
        self.to.total().saturating_sub(self.from.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    #[test]
    fn stamps_follow_the_wall_clock_and_those_ahead_of_it_were_made_just_now() {
        let now = Now { moment: Moment(5_000), wall: Millis(1_000_000) };
        assert_eq!((now.stamp(Moment(4_000)), now.stamp(Moment(7_000))), (Millis(999_000), Millis(1_002_000)));
        assert_eq!((now.moment_of(Millis(999_000)), now.moment_of(Millis(2_000_000))), (Moment(4_000), Moment(5_000)));
        // Before the machine was started.
        assert_eq!(now.moment_of(Millis(900_000)), Moment(-95_000));
        assert_eq!((Moment(3).since(Moment(5)), Moment(5).since(Moment(3))), (0, 2));
    }

    #[test]
    fn a_run_ages_by_a_day_at_most_between_two_coordinators() {
        let aged = Aged { age: Age { watched: 70, alone: 5 }, at: Millis(10 * DAY) };
        for (now, alone) in [(10 * DAY + 400, 405), (410 * DAY, DAY + 5), (9 * DAY, 5)] {
            assert_eq!(aged.taken_over(Millis(now)), Age { watched: 70, alone }, "at {now}");
        }
        // A record of an older version.
        assert_eq!(Aged::default().taken_over(Millis(10 * DAY)), Age::default());
    }
}
