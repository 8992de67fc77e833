//! Training documents to packed token shards.

use super::{corpus_failure, publish_all, tokenizer, train_files};
use crate::harness::{Failure, Job};
use osler_core::ids::CorpusName;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_core::order::Component;

/// The dataset's manifest among the outputs; it names the shards beside it.
pub const MANIFEST: &str = "dataset.json";
