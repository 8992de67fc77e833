//! What the crate promises, shown on real processes where several ranks are involved.

mod collectives;
mod faults;
mod gang;
mod hooks;
mod numeric;
mod optim;
mod views;
