//! Process plumbing: the object store, the clock, logging, signals, tokens, transport security. Knows no run and no job.
#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
pub mod connect;
pub mod files;
pub mod lease;
pub mod listen;
pub mod memory;
pub mod net;
pub mod pki;
pub mod process;
pub mod shutdown;
pub mod sign;
pub mod store;
pub mod telemetry;
pub mod tls;
