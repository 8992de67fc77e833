//! What the crate promises, shown on real processes where several ranks are involved.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise; its helpers are not #[test] functions themselves")]

mod collectives;
mod endings;
mod faults;
mod fused;
mod gang;
mod hooks;
mod memory;
mod numeric;
mod optim;
mod stack;
mod views;
