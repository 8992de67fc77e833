//! Training documents to packed token shards.

use super::{corpus_failure, corpus_spec, publish_all, tokenizer, train_files};
use crate::harness::{Failure, Job, user};
use anyhow::{Context as _, anyhow};
use osler_core::ids::CorpusName;
use osler_core::job::{JobResult, Summary};
use osler_core::order::Component;
use osler_corpus::{Frame, Packed, Tokenizer};

/// The dataset's manifest among the outputs; it names the shards beside it.
pub const MANIFEST: &str = "dataset.json";

pub fn run(job: &Job, corpus: &CorpusName, sequence_length: u32) -> Result<JobResult, Failure> {
    job.say("fetching");
    let tokenizer = tokenizer::load(job)?;
    let files = train_files(job, corpus)?;
    job.say("packing");
    let frame = if job.assignment.spec.model.family.causal() { None } else { Some(frame(&tokenizer)?) };
    let Packed { dataset, unknown } =
        osler_corpus::pack(&files, &tokenizer, sequence_length, frame, &job.scratch).map_err(corpus_failure)?;
    let most = corpus_spec(job, corpus)?.max_unknown;
    if unknown.share() > most {
        let way_out = "use a tokenizer that knows this text, or raise max_unknown";
        return Err(user(anyhow!("corpus {corpus}: {unknown}; more than {} % of a text is too much: {way_out}", 100.0 * most)));
    }
    let manifest = serde_json::to_vec_pretty(&dataset).context("write dataset manifest")?;
    std::fs::write(job.scratch.join(MANIFEST), manifest).context("write dataset manifest")?;
    let shards = dataset.shards.iter().flat_map(|s| [s.bin.name.as_str(), s.idx.name.as_str()]);
    let outputs = publish_all(job, &job.scratch, &shards.chain([MANIFEST]).collect::<Vec<_>>())?;
    let summary = Summary::Pack {
        // The share in a mixture is the stage's, not the corpus's: whoever builds an order sets it.
        component: Component { corpus: corpus.clone(), sequences: dataset.sequences, parts: 1, fingerprint: dataset.fingerprint },
        tokens: dataset.tokens,
        documents: dataset.documents,
        dropped_tokens: dataset.dropped_tokens,
        vocab_size: dataset.vocab_size,
        unknown,
    };
    Ok(JobResult { outputs, summary })
}

/// A bert reads each window between its two tokens.
fn frame(tokenizer: &Tokenizer) -> Result<Frame, Failure> {
    let pieces =
        tokenizer.pieces().ok_or_else(|| user(anyhow!("a bert model needs a WordPiece tokenizer with [CLS], [SEP], [MASK] and [PAD]")))?;
    Ok(Frame { begin: pieces.begin, end: pieces.end })
}
