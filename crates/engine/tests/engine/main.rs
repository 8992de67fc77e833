//! The engine's promises, tried with real tensors and real processes.
#![forbid(unsafe_code)]
// Helpers outside of test functions may fail a test too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accumulation;
mod elastic;
mod extend;
mod folders;
mod gradients;
mod guard;
mod losses;
mod modes;
mod ranks;
mod resume;
mod scoring;
mod support;
