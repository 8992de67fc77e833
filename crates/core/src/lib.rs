//! Osler's pure vocabulary and rules: names, the run file, the order of samples, jobs and their states, checkpoints, reports.
//!
//! Nothing here does I/O, reads a clock or draws a random number; every other crate may import this one, and it imports none of ours.
#![forbid(unsafe_code)]

pub mod access;
/// Which build this is: what its maker called it (`OSLER_BUILD` when it was compiled, for example 0.1.0+4a4c14c), or the version. All
/// daemons of a cluster are of one build: only then is it known that they compute the same bits.
pub const BUILD: &str = match option_env!("OSLER_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};

pub mod accounting;
pub mod audit;
pub mod checkpoint;
pub mod cluster;
pub mod digest;
pub mod estimate;
pub mod evidence;
pub mod gate;
pub mod guard;
pub mod health;
pub mod history;
pub mod identity;
pub mod ids;
pub mod job;
pub mod json;
pub mod leftover;
pub mod mlm;
pub mod mutate;
mod number;
pub mod order;
pub mod output;
pub mod paths;
pub mod plan;
pub mod process;
pub mod reason;
pub mod record;
pub mod removal;
pub mod report;
pub mod rest;
pub mod retention;
pub mod rewind;
pub mod seal;
pub mod spec;
pub mod splitmix;
pub mod stop;
pub mod sync;
pub mod time;
pub mod way_out;
