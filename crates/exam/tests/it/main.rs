//! The crate as its users see it: files in, prompts, scores and result files out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod outputs;
mod prompts;
mod runs;
mod shared;
mod shots;
mod tokens;
mod traps;
