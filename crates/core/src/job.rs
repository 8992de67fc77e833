//! Jobs: the units that a coordinator schedules. What kinds there are, what each yields, and why one failed.

use crate::checkpoint::ObjectRef;
use crate::digest::Digest;
use crate::ids::{CorpusName, ExamName, RunName, StageName};
use crate::order::Component;
use crate::spec::{Method, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A job's name within its run, derived from its kind: `clean/domain/00003`, `train/general`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobKey(String);

impl JobKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For looking a job up by what a user typed; an unknown key simply is not found.
impl From<&str> for JobKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

/// A job of a run: names are unique per run, a run's name unique per store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    pub run: RunName,
    pub job: JobKey,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.job)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum JobKind {
    /// One source file to cleaned documents.
    Clean {
        corpus: CorpusName,
        source: u32,
    },
    /// All cleaned files of a corpus to training and held-out documents: updates, deletions, duplicates, split.
    Merge {
        corpus: CorpusName,
    },
    /// Training documents to `tokenizer.json`.
    Tokenizer,
    /// Training documents to packed token shards.
    Pack {
        corpus: CorpusName,
        sequence_length: u32,
    },
    /// The gang: one process per rank.
    Train {
        stage: StageName,
    },
    /// A stage's final checkpoint to a Hugging Face folder.
    Export {
        stage: StageName,
    },
    Quantize {
        stage: StageName,
        method: Method,
    },
    Exam {
        stage: StageName,
        variant: Variant,
        exam: ExamName,
    },
}

impl JobKind {
    pub fn key(&self) -> JobKey {
        JobKey(match self {
            Self::Clean { corpus, source } => format!("clean/{corpus}/{source:05}"),
            Self::Merge { corpus } => format!("merge/{corpus}"),
            Self::Tokenizer => "tokenizer".to_owned(),
            Self::Pack { corpus, sequence_length } => format!("pack/{corpus}/{sequence_length}"),
            Self::Train { stage } => format!("train/{stage}"),
            Self::Export { stage } => format!("export/{stage}"),
            Self::Quantize { stage, method } => format!("quantize/{stage}/{method}"),
            Self::Exam { stage, variant, exam } => format!("exam/{stage}/{variant}/{exam}"),
        })
    }

    /// How many parts the key of a job has that begins with this word; none for a word that begins no key.
    pub fn key_parts(first: &str) -> Option<usize> {
        match first {
            "tokenizer" => Some(1),
            "merge" | "train" | "export" => Some(2),
            "clean" | "pack" | "quantize" => Some(3),
            "exam" => Some(4),
            _ => None,
        }
    }

    /// The stage that the job serves; corpus work serves the run.
    pub fn stage(&self) -> Option<&StageName> {
        match self {
            Self::Train { stage } | Self::Export { stage } | Self::Quantize { stage, .. } | Self::Exam { stage, .. } => Some(stage),
            Self::Clean { .. } | Self::Merge { .. } | Self::Tokenizer | Self::Pack { .. } => None,
        }
    }

    /// Whether its process needs libtorch (and so the `osler-rank` binary).
    pub fn needs_torch(&self) -> bool {
        matches!(self, Self::Train { .. } | Self::Export { .. } | Self::Exam { .. })
    }
}

/// What a job left behind: objects by name, and what reports need to know without opening them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobResult {
    pub outputs: BTreeMap<String, ObjectRef>,
    pub summary: Summary,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of", deny_unknown_fields)]
pub enum Summary {
    /// Outputs `documents.jsonl`, `removed.jsonl` and `tombstones.jsonl` (what merge needs of the records that were not kept).
    Clean {
        source: String,
        source_bytes: u64,
        source_digest: Digest,
        documents: u64,
        removed: BTreeMap<String, u64>,
        /// Some of the lines that were left out, and what is wrong with them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bad_lines: Vec<String>,
    },
    /// Outputs `train-NNNNN`, `held-out`, `removed`. `identity` is the corpus's: sources, rules and versions.
    Merge { documents: u64, held_out: u64, words: u64, removed: BTreeMap<String, u64>, identity: Digest },
    /// Output `tokenizer.json` and the files that belong to it. `front` is what documents begin with; earlier versions did not say.
    Tokenizer {
        vocab_size: u32,
        end_of_text: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        front: Option<Vec<u32>>,
    },
    /// Outputs `dataset.json` and the shards that it names.
    Pack {
        component: Component,
        tokens: u64,
        documents: u64,
        dropped_tokens: u64,
        vocab_size: u32,
        #[serde(default, skip_serializing_if = "Unknown::is_nothing")]
        unknown: Unknown,
    },
    /// The published checkpoints are the run's, not the job's: no outputs.
    Train { steps: u64, tokens: u64, final_loss: f64 },
    /// Outputs: the files of the folder.
    Export { step: u64, parameters: u64, bytes: u64 },
    /// Outputs: the file, or the files of the folder.
    Quantize { method: Method, tensors: u64, kept: u64, bytes_before: u64, bytes_after: u64, bits_per_weight: f64 },
    /// Outputs `report.json` (per question) and `samples.jsonl`.
    Exam(ExamSummary),
}

/// What a tokenizer did not know of the texts that it packed. White space does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unknown {
    /// How often the tokenizer's unknown token stands in the dataset.
    pub tokens: u64,
    /// Characters for which that token stands, or nothing at all.
    pub characters: u64,
    /// Of so many in all texts.
    pub of_characters: u64,
    /// Documents in which there are any.
    pub documents: u64,
}

impl Unknown {
    pub fn is_nothing(&self) -> bool {
        self.tokens == 0 && self.characters == 0
    }

    /// Of all characters; 0 to 1.
    pub fn share(&self) -> f64 {
        self.characters as f64 / self.of_characters.max(self.characters).max(1) as f64
    }

    pub fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.characters += other.characters;
        self.of_characters += other.of_characters;
        self.documents += other.documents;
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 100.0 * self.share();
        let Self { tokens, characters, of_characters, documents } = self;
        write!(f, "{characters} of {of_characters} characters ({share:.2} %) are unknown to the tokenizer, in {documents} documents")?;
        write!(f, "; {tokens} unknown tokens stand for them")
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamSummary {
    pub task: ExamName,
    pub variant: Variant,
    pub protocol: String,
    /// Questions, or documents for `held-out`.
    pub n: u64,
    /// Percent; absent for `held-out`. By the protocol's own rule: cloze is normalised by length.
    pub accuracy: Option<f64>,
    /// Percentage points.
    pub stderr: Option<f64>,
    /// Percent that the most frequent answer alone would score.
    pub majority_baseline: Option<f64>,
    /// Prompts that lost their beginning because they are longer than the model's context.
    pub truncated: u64,
    pub perplexity: Option<f64>,
    pub bits_per_byte: Option<f64>,
    /// `held-out` of a compressed model: relative to the full-precision one.
    pub perplexity_increase: Option<f64>,
    /// Against the full-precision model on the same questions; absent for the full model itself.
    pub paired: Option<PairedSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedSummary {
    pub n: u64,
    /// Percentage points: this variant minus the full model.
    pub delta: f64,
    pub ci95: (f64, f64),
    pub mcnemar_p: f64,
    /// Questions that only this variant, or only the full model, got right.
    pub gained: u64,
    pub lost: u64,
}

/// Who has to act on a fault. The class decides whether trying again is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// The run file or the data: the same inputs fail the same way, so it is never retried.
    User,
    /// Training spiked again and again. The stage goes back and leaves the data out, a limited number of times.
    Divergence,
    OutOfMemory,
    /// A process, node, link or store went away.
    Infrastructure,
    /// A disk was full, for longer than the process waits. Nobody is to blame; it is tried again until there is room.
    NoRoom,
    /// Our own bug or a broken promise (ranks disagree, digest mismatch): retried once, reported loudly.
    Internal,
    /// Attempts in a row published nothing: found by the coordinator, of no process.
    NoProgress,
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user error",
            Self::Divergence => "divergence",
            Self::OutOfMemory => "out of memory",
            Self::Infrastructure => "infrastructure",
            Self::NoRoom => "no room",
            Self::Internal => "internal",
            Self::NoProgress => "no progress",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub class: FaultClass,
    pub message: String,
    /// The process that failed first, as `worker/rank`.
    pub origin: Option<String>,
    pub exit_code: Option<i32>,
    /// Its last lines of log.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// The process could not use an object that the record names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Box<Damage>>,
}

/// An object that is not what was written, as its reader found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    pub path: String,
    /// In words: missing, or size and digest.
    pub found: String,
}

impl Fault {
    pub fn new(class: FaultClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), origin: None, exit_code: None, log_tail: vec![], damage: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, " (first at {origin})")?;
        }
        Ok(())
    }
}
