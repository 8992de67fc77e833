//! The coordinator: decides what runs where, and what of it counts. It never links libtorch and never dials a worker.
//!
//! [`cluster`] decides purely, [`ledger`] makes its decisions durable and fences older coordinators, [`owner`] is the one task that
//! does both in turn, [`service`] is the door: gRPC in, events out.
//! [`access`] decides who may enter by it and notes what they did. [`metrics`] shows it all to Prometheus. [`leadership`] lets a standby take
//! over.
#![forbid(unsafe_code)]

pub mod access;
pub mod cluster;
mod document;
pub mod endpoint;
pub mod leadership;
pub mod ledger;
pub mod lookout;
pub mod metrics;
pub mod owner;
pub mod service;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
