//! How long jobs may take and how much memory their processes may have. The coordinator judges the times
//! (`coordinator/src/cluster/pulse.rs`), each process bounds its own memory (`worker/src/limits.rs`).

use crate::job::JobKind;
use serde::{Deserialize, Serialize};

const DAY: u64 = 86_400;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// A process that neither computes, reads nor writes for so long is stuck.
    pub still_seconds: u64,
    /// Until a gang has made its first step: fetching and loading a large model take their time.
    pub first_step_seconds: u64,
    /// One attempt of a job; a stage's training has none.
    pub seconds: ByKind,
    /// One process. Without a number: what the machine or its group has, for jobs that do not use libtorch.
    pub memory_mib: ByKind,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { still_seconds: 900, first_step_seconds: 1_800, seconds: ByKind::default(), memory_mib: ByKind::default() }
    }
}

impl LimitsSpec {
    /// Left out of the document then: run files that do not ask for it keep their digests.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Of one attempt; none for a stage's training, which is judged by its steps.
    pub fn seconds_of(&self, kind: &JobKind) -> Option<u64> {
        match kind {
            JobKind::Train { .. } => None,
            other => Some(self.seconds.of(other).unwrap_or(DAY)),
        }
    }
}

/// A number for each kind of job that has one of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ByKind {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exam: Option<u64>,
}

impl ByKind {
    pub fn of(&self, kind: &JobKind) -> Option<u64> {
        match kind {
            JobKind::Clean { .. } => self.clean,
            JobKind::Merge { .. } => self.merge,
            JobKind::Tokenizer => self.tokenizer,
            JobKind::Pack { .. } => self.pack,
            JobKind::Train { .. } => self.train,
            JobKind::Export { .. } => self.export,
            JobKind::Quantize { .. } => self.quantize,
            JobKind::Exam { .. } => self.exam,
        }
    }

    /// Each with its key.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("clean", self.clean),
            ("merge", self.merge),
            ("tokenizer", self.tokenizer),
            ("pack", self.pack),
            ("train", self.train),
            ("export", self.export),
            ("quantize", self.quantize),
            ("exam", self.exam),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }
}
