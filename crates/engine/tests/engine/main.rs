//! The engine's promises, tried with real tensors and real processes.
#![forbid(unsafe_code)]

mod accumulation;
mod folders;
mod losses;
mod ranks;
mod resume;
mod scoring;
mod support;
