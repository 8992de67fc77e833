//! The numbers of the cluster's policy, in one place. Durations are milliseconds.

use osler_core::history::{EVENTS, PageSize};

/// See the fields. [`Limits::default`] is what ships; tests use others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A worker that was not heard of for so long gets no new work.
    pub suspect: u64,
    /// A worker that was not heard of for so long has lost its processes.
    pub lost: u64,
    /// A worker without work that was not heard of for so long is forgotten.
    pub forgotten: u64,
    /// So many workers are known at most: a token for agents may name as many as its holder likes.
    pub workers: usize,
    /// No event for so long means that the coordinator itself stood still: silence of workers is not theirs.
    pub pause: u64,
    /// The wait before the second retry in a row; doubles with each one.
    pub first_backoff: u64,
    pub longest_backoff: u64,
    /// A gang hangs that makes no step for so many times its usual step, and for at least `hang_least`.
    pub hang_factor: u64,
    pub hang_least: u64,
    /// A process that has spoken and says nothing for so long is frozen, if its worker is heard.
    pub frozen: u64,
    /// A process that was started says its first word within this time: its libraries may come from a slow disk.
    pub first_word: u64,
    /// A rank of a gang without steps that says nothing for so long is to blame, if its worker is heard.
    pub silent: u64,
    /// A rank is slow whose own work takes so many times that of the others, in percent, for `slow_for`.
    pub slow_percent: u64,
    pub slow_for: u64,
    /// A gang that may run with fewer ranks waits so long for all of its slots.
    pub shrink_after: u64,
    /// A gang that runs with fewer ranks than planned starts again with more when there was room for so long.
    pub grow_after: u64,
    /// So often a stage goes back by itself.
    pub rewinds: usize,
    /// A gang that was started less than this ago is not preempted.
    pub least_hold: u64,
    /// A worker's clock that differs from ours by more is told of, or gets no work.
    pub skew_told: u64,
    pub skew_refused: u64,
    /// So many strikes within `strike_window` drain a node. Incidents closer than `strike_apart` are one.
    pub strikes: usize,
    pub strike_window: u64,
    pub strike_apart: u64,
    /// The newest events that a record keeps in memory.
    pub events: usize,
    /// How full a page of a record is.
    pub page: PageSize,
    /// A run that finished so long ago is swept for the last time and rests: only whoever was out of touch for longer still writes.
    pub rest_after: u64,
    /// So many of the finished runs are kept, the newest; none: all.
    pub keep_finished: Option<usize>,
    /// A run that finished longer ago is not kept; none: all are.
    pub keep_finished_for: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            suspect: 3_000,
            lost: 10_000,
            forgotten: 3_600_000,
            workers: 50_000,
            pause: 2_000,
            first_backoff: 250,
            longest_backoff: 10_000,
            hang_factor: 30,
            hang_least: 15_000,
            frozen: 30_000,
            first_word: 300_000,
            silent: 5_000,
            slow_percent: 150,
            slow_for: 30_000,
            shrink_after: 10_000,
            grow_after: 30_000,
            rewinds: 5,
            least_hold: 120_000,
            skew_told: 2_000,
            skew_refused: 30_000,
            strikes: 3,
            strike_window: 3_600_000,
            strike_apart: 10_000,
            events: EVENTS as usize,
            page: PageSize::default(),
            rest_after: 600_000,
            keep_finished: None,
            keep_finished_for: None,
        }
    }
}
