//! End to end, with the shipped binaries as real processes. `make test` builds them first; a test that misses one says so.
//!
//! Tests whose names begin with `slow_` take minutes and have a lane of their own (`make test-slow`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic where it stands

mod bert;
mod changes;
mod chaos;
mod cluster;
mod disk;
mod evidence;
mod golden;
mod hang;
mod kills;
mod layout;
mod load;
mod memory;
mod metrics;
mod outside;
mod people;
mod pipeline;
mod preempt;
mod queue;
mod remove;
mod rng;
mod saves;
mod secrets;
mod soak;
mod squat;
mod standby;
mod tidy;
mod tiers;
