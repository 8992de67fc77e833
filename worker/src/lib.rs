//! Performs: the node agent, and what every job process shares. Does not link libtorch; `osler-rank` beside it does.
#![forbid(unsafe_code)]

pub mod agent;
pub mod harness;
pub mod heart;
pub mod jobs;
mod limits;
