//! The wire contract: generated code, and the conversions between it and core types. The only crate that knows protobuf.
#![forbid(unsafe_code)]

mod convert;

pub use convert::{InvalidMessage, MAX_REPORTS, document, from, may_report, object_path, reply_number, waivers};

/// Generated from `osler/v1/osler.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod v1 {
    tonic::include_proto!("osler.v1");
}

/// The largest reply: a record of some thousand jobs with their ledgers fits.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The largest request of a person: a run file whose globs named some ten thousand files fits.
pub const MAX_CONTROL_BYTES: usize = 8 << 20;
/// The largest Sync of an agent, which sends the rest of its reports with the next one.
pub const MAX_SYNC_BYTES: usize = 32 << 20;
