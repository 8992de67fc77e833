//! The wire contract: generated code, and the conversions between it and core types. The only crate that knows protobuf.
#![forbid(unsafe_code)]

mod convert;

pub use convert::{InvalidMessage, reply_number};

/// Generated from `osler/v1/osler.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod v1 {
    tonic::include_proto!("osler.v1");
}

/// The largest message that either side accepts: a record of some thousand jobs with their ledgers fits.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
