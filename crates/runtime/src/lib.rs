//! Process plumbing: the object store, the clock, logging, signals, tokens. Knows no run and no job.
#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
pub mod lease;
pub mod net;
pub mod shutdown;
pub mod store;
pub mod telemetry;
