//! Files -> documents -> cleaned documents -> tokens -> shards -> packed sequences.
//!
//! Everything here works on local paths and is a function of the input's bytes and the arguments: the same bytes come out on any
//! machine with any number of threads. Moving objects to and from the store is the caller's work.
//!
//! In the order of the data: [`open`] parses files, with [`pubmed`] for PubMed's; [`clean_source`] applies the rules to one source file; [`merge`] brings all
//! files of a corpus together; [`tokenizer`] trains or loads; [`pack`] tokenizes into Megatron shards; [`Dataset`] reads sequences.
#![forbid(unsafe_code)]

mod clean;
#[cfg(test)]
mod damage;
mod dataset;
mod document;
mod error;
mod input;
mod inspect;
mod jsonl;
pub mod megatron;
mod merge;
mod normal;
mod output;
mod pack;
mod plain;
pub mod pubmed;
#[cfg(test)]
mod testing;
pub mod tokenizer;

pub use clean::{CLEANING_VERSION, CleanDocument, CleanOutput, Removed, Rule, Tombstone, clean_source};
pub use dataset::{Dataset, Verify};
pub use document::{Date, Dates, Document, Kind, OtherAbstract, Section};
pub use error::{Error, Result};
pub use inspect::{Documents, open, sniff};
pub use jsonl::JsonlReader;
pub use merge::{CHUNK_BYTES, CleanFiles, MergeOutput, merge};
pub use normal::{collapse, normalise, text_digest};
pub use output::{FileInfo, digest_file};
pub use pack::{DatasetManifest, Frame, Packed, Shard, Windows, pack, sequences_in};
pub use plain::TextReader;
pub use tokenizer::{BertPieces, Encoded, Tokenizer, TokenizerInfo, load_tokenizer, tokenizer_json, train_tokenizer, train_wordpiece};
