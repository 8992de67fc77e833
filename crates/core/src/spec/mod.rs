//! The run file: what a run is, in types. [`parse`] reads it (strictly, all problems at once), [`check()`] holds the rules,
//! for a spec from anywhere. Everything that affects a result is in here; a path is resolved by whoever submits.

mod check;
mod compute;
mod limits;
mod model;
mod outside;
mod parse;
mod queue;
mod reader;
mod reading;
mod retry;
mod schedule;
mod tokenizer;

pub use check::{check, check_shape};
pub use compute::{ComputeSpec, DecayOn, Determinism, Precision, Recompute};
pub use limits::{ByKind, LimitsSpec};
pub use model::{BERT_TOKEN_TYPES, Family, ModelSpec, RopeScaling};
pub use outside::Outside;
pub use parse::{Override, names_context, parse, parse_tier};
pub use queue::{Affinity, QueueSpec};
pub use reader::{Problem, Problems};
pub use reading::{BadLines, TextFields};
pub use retry::{RetryRule, RetrySpec};
pub use schedule::{DecayShape, ScheduleSpec};
pub use tokenizer::{ExtendRule, ExtendSpec, TokenizerSpec, WordpieceSpec};

use crate::digest::Digest;
pub use crate::guard::GuardSpec;
use crate::ids::{CorpusName, ExamName, LabelKey, LabelValue, RunName, StageName};
use crate::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One run: corpora, tokenizer, model, stages, and what happens after each stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    pub name: RunName,
    #[serde(default)]
    pub description: String,
    /// Keys the sample order, the weights' initialisation and what a bert guesses.
    pub seed: u64,
    /// Keys the held-out split, and through it a tokenizer trained here. Apart from `seed`, so that runs with other seeds have the same text
    /// and the same held-out exam.
    #[serde(default)]
    pub data_seed: u64,
    pub corpora: BTreeMap<CorpusName, CorpusSpec>,
    pub tokenizer: TokenizerSpec,
    pub model: ModelSpec,
    pub stages: Vec<StageSpec>,
    pub exams: Vec<ExamSpec>,
    pub quantize: Vec<QuantizeSpec>,
    pub gates: Vec<GateSpec>,
    #[serde(default, skip_serializing_if = "ExportSpec::is_default")]
    pub export: ExportSpec,
    pub checkpoint: CheckpointSpec,
    pub resources: ResourceSpec,
    #[serde(default, skip_serializing_if = "RetrySpec::is_default")]
    pub retry: RetrySpec,
    #[serde(default, skip_serializing_if = "LimitsSpec::is_default")]
    pub limits: LimitsSpec,
    #[serde(default, skip_serializing_if = "QueueSpec::is_default")]
    pub queue: QueueSpec,
}

impl RunSpec {
    /// The identity of the run file's meaning: equal for two files that differ in layout or comments only.
    pub fn digest(&self) -> Digest {
        // Serialization of these types cannot fail: all keys are strings and all numbers finite (checked by `parse`).
        Digest::of(json::text(self).as_bytes())
    }

    pub fn stage(&self, name: &StageName) -> Option<&StageSpec> {
        self.stages.iter().find(|s| s.name == *name)
    }

    pub fn exam(&self, name: &ExamName) -> Option<&ExamSpec> {
        self.exams.iter().find(|e| e.name == *name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CorpusFormat {
    /// NLM's PubMed baseline and update files, `.xml` or `.xml.gz`, in file-name order: later records replace earlier ones.
    PubmedXml,
    /// One JSON object a line; the text is in `text_field`.
    Jsonl,
    /// A file is one document, or many when `separator` is given.
    Text,
}

/// One corpus: where its files are and what is kept of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusSpec {
    pub format: CorpusFormat,
    /// Paths or globs, relative to the run file until submission makes them absolute.
    pub files: Vec<String>,
    /// Jsonl only: the fields that hold the text. A dot leads into an object.
    pub text_field: TextFields,
    /// Jsonl only: the field that holds the document's id; without one it is `id`, and may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_field: Option<String>,
    #[serde(default, skip_serializing_if = "BadLines::fails")]
    pub bad_lines: BadLines,
    /// Text only: a line equal to this ends a document.
    pub separator: Option<String>,
    pub rules: CleanRules,
    /// Share of documents kept out of training, chosen by a keyed hash of the document's id; 0 to 0.5.
    pub held_out: f64,
    /// Packing fails when more than this share of the characters is unknown to the tokenizer; 0 to 1.
    #[serde(default = "CorpusSpec::usual_unknown", skip_serializing_if = "CorpusSpec::is_usual_unknown")]
    pub max_unknown: f64,
}

impl CorpusSpec {
    /// A text with more unknown characters than this is in another script, or the tokenizer is for something else.
    pub const MAX_UNKNOWN: f64 = 0.1;

    /// A corpus of `files` with every default, nothing held out.
    pub fn new(format: CorpusFormat, files: Vec<String>) -> Self {
        Self {
            format,
            files,
            text_field: if format == CorpusFormat::Jsonl { "text".into() } else { TextFields::default() },
            id_field: None,
            bad_lines: BadLines::default(),
            separator: None,
            rules: CleanRules::default(),
            held_out: 0.0,
            max_unknown: Self::MAX_UNKNOWN,
        }
    }

    fn usual_unknown() -> f64 {
        Self::MAX_UNKNOWN
    }

    /// Left out of the document then: run files that do not ask for it keep their digests.
    fn is_usual_unknown(share: &f64) -> bool {
        *share == Self::MAX_UNKNOWN
    }
}

/// What is removed and why. Every removed document is logged with the rule's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanRules {
    /// Documents with fewer words (split on white space) are removed.
    pub min_words: u32,
    pub max_words: Option<u32>,
    /// PubMed's three-letter codes; empty keeps every language.
    pub languages: Vec<String>,
    /// PubMed publication types that are removed, compared without case.
    pub exclude_types: Vec<String>,
    pub drop_retracted: bool,
    pub require_abstract: bool,
    /// Remove "Copyright …" and "(c) …" tails of abstracts.
    pub strip_copyright: bool,
    /// Remove documents whose normalised text equals an earlier one's.
    pub dedup: bool,
}

impl Default for CleanRules {
    fn default() -> Self {
        Self {
            min_words: 1,
            max_words: None,
            languages: vec![],
            exclude_types: vec![],
            drop_retracted: true,
            require_abstract: true,
            strip_copyright: true,
            dedup: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "of")]
pub enum Init {
    Scratch,
    /// The weights of an earlier stage's final checkpoint; the optimizer starts anew.
    Stage(StageName),
    /// An earlier stage goes on as this one from one of its checkpoints: weights, moments and AdamW's own count of updates. Steps, schedule,
    /// data and the guard's memory are this stage's.
    Fork {
        stage: StageName,
        step: Option<u64>,
    },
    /// A Hugging Face folder.
    HuggingFace(String),
}

impl Init {
    /// The stage that this one builds on.
    pub fn earlier(&self) -> Option<&StageName> {
        match self {
            Self::Stage(stage) | Self::Fork { stage, .. } => Some(stage),
            Self::Scratch | Self::HuggingFace(_) => None,
        }
    }

    /// The model's folder that it begins with.
    pub fn folder(&self) -> Option<&str> {
        match self {
            Self::HuggingFace(path) => Some(path),
            Self::Scratch | Self::Stage(_) | Self::Fork { .. } => None,
        }
    }
}

/// How long a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "unit", content = "count")]
pub enum Length {
    Steps(u64),
    Tokens(u64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    pub name: StageName,
    pub from: Init,
    /// Corpus to its share, in whole parts: `{ general = 1, domain = 3 }`.
    pub mixture: BTreeMap<CorpusName, u32>,
    pub length: Length,
    /// Tokens a sequence.
    pub sequence_length: u32,
    /// Sequences a step, over all ranks.
    pub global_batch: u32,
    /// Sequences a rank runs at once; the rest of its share is accumulated.
    pub micro_batch: u32,
    pub optimizer: OptimizerSpec,
    pub schedule: ScheduleSpec,
    #[serde(default)]
    pub guard: GuardSpec,
    #[serde(default)]
    pub compute: ComputeSpec,
    /// What a bert has to guess; a decoder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlm: Option<MlmSpec>,
}

/// Masked-language modelling: see [`crate::mlm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlmSpec {
    /// Share of tokens that are chosen.
    pub probability: f64,
    /// All pieces of a word together.
    pub whole_word: bool,
}

impl Default for MlmSpec {
    fn default() -> Self {
        Self { probability: 0.15, whole_word: true }
    }
}

impl StageSpec {
    pub fn tokens_per_step(&self) -> u64 {
        u64::from(self.global_batch) * u64::from(self.sequence_length)
    }

    /// Why so many ranks cannot share a step's batch. [`check()`] says the same of the run file, key by key.
    pub fn shared_by(&self, ranks: u32, determinism: Determinism) -> Result<(), String> {
        if ranks == 0 || !self.global_batch.is_multiple_of(ranks) {
            let near = check::nearest_divisors(ranks, self.global_batch);
            return Err(format!("its global batch of {} sequences cannot be shared evenly: use {near}", self.global_batch));
        }
        let micro_batches = self.global_batch / self.micro_batch.max(1);
        if determinism == Determinism::Elastic && (!ranks.is_power_of_two() || ranks > micro_batches) {
            return Err(format!("determinism = \"elastic\" needs a power of two, of its {micro_batches} micro-batches at most"));
        }
        Ok(())
    }

    /// The number of optimizer steps; tokens are rounded up to whole steps.
    pub fn steps(&self) -> u64 {
        match self.length {
            Length::Steps(n) => n,
            Length::Tokens(n) => n.div_ceil(self.tokens_per_step().max(1)),
        }
    }
}

/// AdamW with decoupled weight decay, as torch.optim.AdamW defines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSpec {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    #[serde(default)]
    pub decay: DecayOn,
    /// Global gradient norm; 0 turns clipping off.
    pub clip: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExamFormat {
    Medmcqa,
    Medqa,
    Pubmedqa,
    Mmlu,
    /// Perplexity and bits per byte on the held-out documents of `corpus`.
    HeldOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The choices are listed in the prompt; the model scores the letters.
    Letter,
    /// The model scores each choice's text, normalised by its length in characters.
    Cloze,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Letter => "letter",
            Self::Cloze => "cloze",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamSpec {
    pub name: ExamName,
    pub format: ExamFormat,
    /// The official files; empty for `held-out`.
    pub files: Vec<String>,
    /// `held-out` only: whose held-out documents.
    pub corpus: Option<CorpusName>,
    pub protocol: Protocol,
    pub shots: u32,
    /// Where the shots come from (MMLU: the dev files).
    pub shots_files: Vec<String>,
    /// At most so many questions, taken at an even stride over the file.
    pub limit: Option<u32>,
    /// Stages after which it is held; empty means after each.
    pub stages: Vec<StageName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    #[serde(rename = "int8")]
    Int8,
    #[serde(rename = "gguf-q8_0")]
    GgufQ8_0,
}

impl Method {
    pub const ALL: [Self; 2] = [Self::Int8, Self::GgufQ8_0];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::GgufQ8_0 => "gguf-q8_0",
        }
    }
}

impl Method {
    /// Values of a row that are stored together: a matrix whose rows are no multiple of it is not quantized.
    pub const fn block(self) -> u32 {
        match self {
            Self::Int8 => 1,
            Self::GgufQ8_0 => 32,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizeSpec {
    pub method: Method,
    /// Stages after which it is made; empty means after each.
    pub stages: Vec<StageName>,
}

/// A model after a stage: as trained, or compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    Full,
    Quantized(Method),
}

impl Variant {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quantized(method) => method.as_str(),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Variant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "full" {
            return Ok(Self::Full);
        }
        let known = Method::ALL.iter().find(|m| m.as_str() == text);
        known.map(|m| Self::Quantized(*m)).ok_or_else(|| format!("unknown variant {text:?}: use full, int8 or gguf-q8_0"))
    }
}

impl Serialize for Variant {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Variant {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFail {
    /// The run fails; its evidence and checkpoints are kept.
    Stop,
    /// The report shows it; the run goes on.
    Warn,
}

/// A condition on an exam's outcome. Bounds that are absent are not checked; at least one is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    pub exam: ExamName,
    pub variant: Variant,
    /// Stages it applies to; empty means each.
    pub stages: Vec<StageName>,
    /// Accuracy in percent, at least.
    pub min_accuracy: Option<f64>,
    /// Percentage points below the full-precision model on the same questions, at most.
    pub max_drop: Option<f64>,
    /// Relative increase of perplexity over the full-precision model, at most (0.02 is 2 %).
    pub max_perplexity_increase: Option<f64>,
    pub on_fail: OnFail,
}

/// How a stage's model is written as a Hugging Face folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSpec {
    /// A model of more bytes is written in shards of at most so many.
    pub shard_bytes: u64,
    /// What the weights are rounded to; exams and quantization read the rounded ones.
    pub dtype: FloatType,
}

/// How weights are stored in files. Training keeps them in fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FloatType {
    Fp32,
    Bf16,
    Fp16,
}

impl FloatType {
    pub fn bytes(self) -> u64 {
        match self {
            Self::Fp32 => 4,
            Self::Bf16 | Self::Fp16 => 2,
        }
    }
}

impl Default for ExportSpec {
    /// As transformers cuts models.
    fn default() -> Self {
        Self { shard_bytes: 5_000_000_000, dtype: FloatType::Fp32 }
    }
}

impl ExportSpec {
    /// Left out of the document then: run files that do not ask for it keep their digests.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSpec {
    pub every_steps: u64,
    /// So many newest ones are kept; a stage's last is kept always.
    pub keep_last: u32,
    /// Checkpoints at multiples of this step are kept too.
    pub keep_every: Option<u64>,
    /// So many with the lowest mean training loss are kept too: the mean over the steps since the checkpoint before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub keep_best: u32,
    /// Checkpoints of any stage at these steps are kept too. Ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<u64>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// Ranks of a train job: one process each.
    pub ranks: u32,
    /// A train job goes on with as few when nodes are lost, and grows back; none: it waits for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ranks: Option<u32>,
    /// Where train jobs compute. Exports, exams and compression use the CPU.
    #[serde(default)]
    pub device: DeviceKind,
    /// Intra-op threads of a rank. Part of the result: bit-exactness holds for a fixed number.
    pub threads_per_rank: u32,
    #[serde(default)]
    pub determinism: Determinism,
    /// Each rank keeps and updates its share of the optimizer's moments only (ZeRO stage 1); without, each keeps all.
    #[serde(default = "yes")]
    pub zero: bool,
    /// Gangs are kept together by it, after they are kept on as few workers as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// All jobs of the run go only to workers that say this.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub require: BTreeMap<LabelKey, LabelValue>,
}

/// What a rank computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    #[default]
    Cpu,
    /// One NVIDIA GPU a rank.
    Cuda,
}

fn yes() -> bool {
    true
}
