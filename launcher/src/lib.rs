//! The `osler` command: reads run files, asks coordinators, starts daemons on one machine, and shows what is known about runs.
//!
//! It decides nothing about a run and never links libtorch: jobs that need it are other binaries. Each command is one file in
//! [`commands`]; what several of them share stands beside it.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod client;
mod closed;
pub mod commands;
pub mod daemons;
pub mod evidence;
pub mod explain;
pub mod failure;
pub mod hint;
pub mod leader;
pub mod machine;
pub mod manifests;
pub mod planning;
mod preflight;
pub mod render;
pub mod resolve;
pub mod run_file;
pub mod show;
pub mod source;
pub mod sources;
pub mod status;
pub mod stored;
pub mod terminal;
pub mod watch;

#[cfg(test)]
mod fixture;
