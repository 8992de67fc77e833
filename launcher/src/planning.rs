//! What a run will take, put together from the resolved run file, core's estimate and this machine. Pure: the machine is an argument.

use crate::resolve::Resolved;
use osler_core::estimate::{Estimate, estimate, planned_vocab};
use osler_core::ids::CorpusName;
use osler_core::job::{JobKind, Summary};
use osler_core::plan::{plan, variants};
use osler_core::record::RunRecord;
use osler_core::spec::{CorpusFormat, RunSpec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// GPT-2's vocabulary, for a tokenizer file that cannot be read: large, so that what follows errs on the safe side.
const VOCAB_GUESS: u32 = 50_257;

/// What the machine has; None is unknown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    pub cores: u32,
    pub available_memory: Option<u64>,
    pub free_disk: Option<u64>,
    /// Why daemons could not listen on the loopback address.
    pub no_port: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub run: String,
    pub description: String,
    pub spec_digest: String,
    pub ranks: u32,
    pub threads_per_rank: u32,
    pub corpora: BTreeMap<CorpusName, CorpusPlan>,
    /// Jobs by kind, and all of them.
    pub jobs: BTreeMap<&'static str, usize>,
    pub jobs_total: usize,
    pub estimate: Estimate,
    /// Of the host; a GPU's is its own.
    pub memory_all_ranks: u64,
    pub exams: Vec<ExamPlan>,
    pub machine: Machine,
    /// What would make it fail, one sentence each.
    pub would_fail: Vec<String>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CorpusPlan {
    pub files: usize,
    pub bytes: u64,
    pub tokens: u64,
    pub basis: Basis,
}

/// Where a number of tokens comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The store has this corpus packed.
    Packed,
    /// A rough guess from file sizes, before cleaning.
    FileSizes,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExamPlan {
    pub stage: String,
    pub exam: String,
    pub variants: Vec<String>,
}

/// `earlier`: the same run in the store, if it was begun there.
pub fn planned(resolved: &Resolved, earlier: Option<&RunRecord>, machine: Machine) -> Plan {
    let spec = &resolved.spec;
    let corpora = corpora(resolved, earlier);
    let tokens = corpora.iter().filter(|(_, c)| c.tokens > 0).map(|(name, c)| (name.clone(), c.tokens)).collect();
    let vocab = resolved.vocab.or(planned_vocab(spec)).unwrap_or(VOCAB_GUESS);
    let estimate = estimate(spec, vocab, &tokens);
    let mut jobs = BTreeMap::new();
    let graph = plan(spec);
    for job in graph.values() {
        *jobs.entry(kind_word(&job.kind)).or_default() += 1;
    }
    let per_rank = estimate.stages.iter().map(|stage| stage.memory_per_rank.on_host()).max().unwrap_or(0);
    let mut plan = Plan {
        run: spec.name.to_string(),
        description: spec.description.clone(),
        spec_digest: spec.digest().to_string(),
        ranks: spec.resources.ranks,
        threads_per_rank: spec.resources.threads_per_rank,
        corpora,
        jobs,
        jobs_total: graph.len(),
        memory_all_ranks: per_rank.saturating_mul(u64::from(spec.resources.ranks)),
        exams: exams(spec),
        machine,
        would_fail: resolved.problems.clone(),
        warnings: estimate.warnings.iter().chain(&resolved.warnings).cloned().collect(),
        estimate,
    };
    judge(&mut plan);
    plan
}

fn judge(plan: &mut Plan) {
    let gib = |bytes: u64| crate::show::bytes(bytes);
    if let Some(available) = plan.machine.available_memory.filter(|available| *available < plan.memory_all_ranks) {
        plan.would_fail.push(format!(
            "memory: {} ranks need up to {} together and this machine has {} available: lower micro_batch, the model's size or resources.ranks",
            plan.ranks,
            gib(plan.memory_all_ranks),
            gib(available)
        ));
    }
    if let Some(free) = plan.machine.free_disk.filter(|free| *free < plan.estimate.disk.total) {
        plan.would_fail.push(format!(
            "disk: up to {} are needed and {} are free: choose another --store, or lower checkpoint.keep_last",
            gib(plan.estimate.disk.total),
            gib(free)
        ));
    }
    if let Some(why) = &plan.machine.no_port {
        plan.would_fail.push(format!("network: the coordinator cannot listen on 127.0.0.1: {why}"));
    }
    let threads = plan.ranks.saturating_mul(plan.threads_per_rank);
    if threads > plan.machine.cores {
        plan.warnings.push(format!(
            "{} ranks of {} threads want {threads} cores and this machine has {}: it works, but slowly",
            plan.ranks, plan.threads_per_rank, plan.machine.cores
        ));
    }
}

fn corpora(resolved: &Resolved, earlier: Option<&RunRecord>) -> BTreeMap<CorpusName, CorpusPlan> {
    let plan = |(name, files): (&CorpusName, &Vec<(std::path::PathBuf, u64)>)| {
        let format = resolved.spec.corpora.get(name).map_or(CorpusFormat::Text, |c| c.format);
        let guess: f64 = files.iter().map(|(path, bytes)| *bytes as f64 / bytes_per_token(format, path)).sum();
        let (tokens, basis) = match earlier.and_then(|record| packed_tokens(record, name)) {
            Some(tokens) => (tokens, Basis::Packed),
            None => (guess as u64, Basis::FileSizes),
        };
        let bytes = files.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        (name.clone(), CorpusPlan { files: files.len(), bytes, tokens, basis })
    };
    resolved.corpora.iter().map(plan).collect()
}

fn packed_tokens(record: &RunRecord, corpus: &CorpusName) -> Option<u64> {
    record.jobs.values().find_map(|job| match (&job.planned.kind, &job.status.result()?.summary) {
        (JobKind::Pack { corpus: packed, .. }, Summary::Pack { tokens, .. }) if packed == corpus => Some(*tokens),
        _ => None,
    })
}

/// Bytes of a source file for each token that is trained on. Measured on two whole NLM files: 57 MB of .xml.gz gave 8.8 M GPT-2 tokens
/// of abstracts, and XML is about eight times as large uncompressed. English text has about 4.4 bytes a token, a third of it compressed.
fn bytes_per_token(format: CorpusFormat, path: &Path) -> f64 {
    let compressed = path.extension().is_some_and(|extension| ["gz", "zst", "bz2", "xz"].iter().any(|known| extension == *known));
    match (format, compressed) {
        (CorpusFormat::PubmedXml, true) => 6.5,
        (CorpusFormat::PubmedXml, false) => 52.0,
        (CorpusFormat::Jsonl | CorpusFormat::Text, true) => 1.5,
        (CorpusFormat::Jsonl | CorpusFormat::Text, false) => 4.4,
    }
}

fn kind_word(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::Clean { .. } => "clean",
        JobKind::Merge { .. } => "merge",
        JobKind::Tokenizer => "tokenizer",
        JobKind::Pack { .. } => "pack",
        JobKind::Train { .. } => "train",
        JobKind::Export { .. } => "export",
        JobKind::Quantize { .. } => "quantize",
        JobKind::Exam { .. } => "exam",
    }
}

fn exams(spec: &RunSpec) -> Vec<ExamPlan> {
    let mut planned = vec![];
    for stage in &spec.stages {
        let variants: Vec<String> = variants(spec, &stage.name).iter().map(ToString::to_string).collect();
        for exam in spec.exams.iter().filter(|e| e.stages.is_empty() || e.stages.contains(&stage.name)) {
            planned.push(ExamPlan { stage: stage.name.to_string(), exam: exam.name.to_string(), variants: variants.clone() });
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn resolved() -> Resolved {
        let corpora = BTreeMap::from([
            (CorpusName::new("general").unwrap(), vec![("/data/general.jsonl".into(), 44_000)]),
            (CorpusName::new("domain").unwrap(), vec![("/data/1.xml.gz".into(), 6_500), ("/data/2.xml.gz".into(), 6_500)]),
        ]);
        Resolved { spec: fixture::spec(), problems: vec![], warnings: vec![], corpora, vocab: None }
    }

    fn machine() -> Machine {
        Machine { cores: 2, available_memory: Some(1 << 40), free_disk: Some(1 << 40), no_port: None }
    }

    #[test]
    fn jobs_exams_and_estimates_come_from_the_run_file() {
        let plan = planned(&resolved(), None, machine());
        assert_eq!(
            plan.jobs,
            BTreeMap::from([
                ("clean", 3),
                ("merge", 2),
                ("tokenizer", 1),
                ("pack", 2),
                ("train", 2),
                ("export", 2),
                ("quantize", 2),
                ("exam", 8)
            ])
        );
        assert_eq!(plan.jobs_total, 22);
        assert_eq!(plan.exams.len(), 4);
        assert_eq!(plan.exams[0].variants, ["full", "int8"]);
        let domain = &plan.corpora[&CorpusName::new("domain").unwrap()];
        assert_eq!((domain.files, domain.bytes, domain.tokens, domain.basis), (2, 13_000, 2_000, Basis::FileSizes));
        assert_eq!(plan.would_fail, [] as [String; 0]);
    }

    #[test]
    fn tokens_of_a_packed_corpus_are_known() {
        let plan = planned(&resolved(), Some(&fixture::finished().0), machine());
        let domain = &plan.corpora[&CorpusName::new("domain").unwrap()];
        assert_eq!((domain.tokens, domain.basis), (400, Basis::Packed));
    }

    #[test]
    fn what_the_machine_lacks_would_make_it_fail() {
        for (machine, word) in [
            (Machine { available_memory: Some(1), ..machine() }, "memory:"),
            (Machine { free_disk: Some(1), ..machine() }, "disk:"),
            (Machine { no_port: Some("denied".into()), ..machine() }, "network:"),
        ] {
            let plan = planned(&resolved(), None, machine);
            assert!(plan.would_fail.len() == 1 && plan.would_fail[0].starts_with(word), "{:?}", plan.would_fail);
        }
        let plan = planned(&resolved(), None, Machine { cores: 1, ..machine() });
        assert!(plan.would_fail.is_empty() && plan.warnings.iter().any(|w| w.contains("2 cores")), "{:?}", plan.warnings);
        let unknown = Machine { available_memory: None, free_disk: None, ..machine() };
        assert!(planned(&resolved(), None, unknown).would_fail.is_empty());
    }
}
