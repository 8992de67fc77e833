//! The report of a run: computed from the record and the published manifests only, so that each number can be traced to an object.

mod cost;
mod goodput;
mod time;

pub use cost::{CostReport, EnergyBasis, EnergyReport, Utilisation};
pub use goodput::Goodput;
pub use time::TimeReport;

use crate::audit::{Audit, audit_stage};
use crate::checkpoint::Manifest;
use crate::gate::GateOutcome;
use crate::guard;
use crate::ids::{CorpusName, Millis, RunName, StageName};
use crate::job::{ExamSummary, JobKind, Summary, Unknown};
use crate::plan::train_key;
use crate::record::{Published, RunRecord};
use crate::rewind::Rewind;
use crate::spec::StageSpec;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub run: RunName,
    pub description: String,
    pub state: String,
    pub reason: Option<String>,
    pub spec_digest: String,
    pub submitted_at: Millis,
    /// Where the run's wall time went; none until something of it is over.
    pub goodput: Option<Goodput>,
    pub stages: Vec<StageReport>,
    pub corpora: BTreeMap<CorpusName, CorpusReport>,
    pub quantized: Vec<QuantizedReport>,
    pub gates: Vec<GateOutcome>,
    pub audit: Audit,
    /// Attempts of any job that ended in a fault.
    pub failures: Vec<FailureReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    pub name: StageName,
    pub state: &'static str,
    /// Published, not merely computed.
    pub steps: u64,
    pub planned_steps: u64,
    pub tokens: u64,
    /// Of these, steps whose update the guard did not apply.
    pub skipped_steps: u64,
    /// Of the steps of the published checkpoints, 0 to 1.
    pub skipped_share: f64,
    /// What a reader should know before believing the stage's numbers.
    pub warnings: Vec<String>,
    pub rewinds: Vec<RewindReport>,
    /// Loss of the last published step, before its update.
    pub final_loss: Option<f64>,
    pub losses: Vec<LossPoint>,
    /// How often each corpus of the mixture was gone through.
    pub epochs: BTreeMap<CorpusName, f64>,
    pub checkpoints: Vec<CheckpointReport>,
    pub time: Option<TimeReport>,
    pub cost: Option<CostReport>,
    pub exams: Vec<ExamSummary>,
    pub audit: Audit,
}

/// A return of the stage to an earlier step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewindReport {
    pub at: Millis,
    pub to: u64,
    /// Published steps that were given up; their manifests are still there.
    pub abandoned_steps: u64,
    /// Sequences that were left out, in no step of the stage's line.
    pub left_out_sequences: u64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossPoint {
    pub step: u64,
    pub loss: f64,
    pub grad_norm: f64,
    pub lr: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointReport {
    pub step: u64,
    pub generation: u64,
    pub manifest: String,
    pub digest: String,
    pub retired: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CorpusReport {
    pub identity: String,
    pub sources: Vec<SourceReport>,
    pub documents: u64,
    pub held_out: u64,
    pub words: u64,
    /// Rule to number of documents.
    pub removed: BTreeMap<String, u64>,
    /// Some of the lines that were left out because they could not be read.
    pub bad_lines: Vec<String>,
    /// Tokens of the training documents, by sequence length that it was packed to.
    pub packed: BTreeMap<u32, PackedReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceReport {
    pub path: String,
    pub bytes: u64,
    pub digest: String,
    pub documents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackedReport {
    pub tokens: u64,
    pub sequences: u64,
    pub dropped_tokens: u64,
    pub unknown: Unknown,
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizedReport {
    pub stage: StageName,
    pub method: String,
    pub tensors: u64,
    pub kept: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub bits_per_weight: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureReport {
    pub job: String,
    pub generation: u64,
    pub at: Millis,
    pub fault: String,
}

/// Builds the report. `manifests` are those that the record's checkpoints name, read back and verified by the caller.
pub fn build(record: &RunRecord, manifests: &BTreeMap<StageName, Vec<Manifest>>) -> Report {
    let none = vec![];
    let stages: Vec<_> = record.spec.stages.iter().map(|s| stage_report(record, s, manifests.get(&s.name).unwrap_or(&none))).collect();
    let mut audit = Audit::default();
    stages.iter().for_each(|s| audit.add(&s.audit));
    let reason = match &record.state {
        crate::record::RunState::Failing(why) | crate::record::RunState::Failed(why) => Some(why.clone()),
        _ => None,
    };
    Report {
        run: record.name().clone(),
        description: record.spec.description.clone(),
        state: record.state.to_string(),
        reason,
        spec_digest: record.spec_digest.to_string(),
        submitted_at: record.submitted_at,
        goodput: goodput::goodput(record, stages.iter().filter_map(|stage| stage.time.as_ref())),
        stages,
        corpora: corpora(record),
        quantized: quantized(record),
        gates: record.gates.clone(),
        audit,
        failures: failures(record),
    }
}

fn stage_report(record: &RunRecord, stage: &StageSpec, manifests: &[Manifest]) -> StageReport {
    let steps = record.published_steps(&stage.name);
    let mut losses: Vec<LossPoint> = manifests
        .iter()
        .flat_map(|m| m.ledger.iter().map(|r| LossPoint { step: r.step, loss: r.loss, grad_norm: r.grad_norm, lr: r.lr }))
        .collect();
    losses.sort_by_key(|p| p.step);
    let order = record.order(stage).ok();
    let batches = record.batches(&stage.name);
    let audit = order.as_ref().map(|order| audit_stage(manifests, steps, |step| order.expected(batches.of(step)))).unwrap_or_default();
    let epochs = order.map(|order| {
        let names = order.components().iter().map(|c| c.corpus.clone());
        names.zip(order.epochs(steps + batches.left_out_before(steps))).collect()
    });
    let checkpoints = record.checkpoints.get(&stage.name).map(Vec::as_slice).unwrap_or_default();
    let job = record.jobs.get(&train_key(&stage.name));
    let time = job.and_then(|job| time::time(job, manifests, stage.tokens_per_step()));
    let cost = job.zip(time).and_then(|(job, time)| {
        let ended: Vec<&Manifest> = time::of_ended(job, manifests).collect();
        cost::cost(&ended, &time, stage.tokens_per_step())
    });
    let skipped_steps: u64 = manifests.iter().map(Manifest::skipped).sum();
    let skipped_share = skipped_steps as f64 / losses.len().max(1) as f64;
    StageReport {
        name: stage.name.clone(),
        state: record.stage_state(&stage.name),
        steps,
        planned_steps: stage.steps(),
        tokens: steps * stage.tokens_per_step(),
        skipped_steps,
        skipped_share,
        warnings: missing_ledgers(record, checkpoints, manifests).chain(warnings(skipped_steps, skipped_share, cost.as_ref())).collect(),
        rewinds: rewinds(record, stage),
        final_loss: losses.last().map(|p| p.loss),
        losses,
        epochs: epochs.unwrap_or_default(),
        checkpoints: checkpoints
            .iter()
            .map(|c| CheckpointReport {
                step: c.step,
                generation: c.generation.0,
                manifest: c.manifest.path.clone(),
                digest: c.manifest.digest.to_string(),
                retired: c.retired,
            })
            .collect(),
        time,
        cost,
        exams: exams(record, &stage.name),
        audit,
    }
}

/// The checkpoints of which no manifest was read: what the stage consumed between them and those before is in no number of the report.
fn missing_ledgers(record: &RunRecord, checkpoints: &[Published], manifests: &[Manifest]) -> impl Iterator<Item = String> {
    let has = move |c: &Published| manifests.iter().any(|m| (m.step, m.generation) == (c.step, c.generation));
    let before = move |at: usize| at.checked_sub(1).and_then(|at| checkpoints.get(at)).map_or(0, |c| c.step);
    checkpoints.iter().enumerate().filter(move |(_, c)| !has(c)).map(move |(at, c)| {
        let (from, to, object, run) = (before(at), c.step, &c.manifest.path, record.name());
        format!(
            "the ledger between steps {from} and {to} is missing, and with it the losses, times and samples of these steps: {object} \
             is not there or not what was written; `osler audit {run}` shows it"
        )
    })
}

fn warnings(skipped_steps: u64, skipped_share: f64, cost: Option<&CostReport>) -> Vec<String> {
    let skipped = (skipped_share > guard::USUAL_SHARE).then(|| {
        let (share, usual) = (100.0 * skipped_share, 100.0 * guard::USUAL_SHARE);
        let look = "osler events says when; look at the data of these steps, or at the learning rate";
        format!("the guard skipped {skipped_steps} updates, {share:.2} % of the steps (usual: below {usual} %): {look}")
    });
    let doubt =
        cost.and_then(|cost| cost.utilisation.as_ref()?.doubt.as_ref()).map(|why| format!("MFU and HFU are not trustworthy: {why}"));
    skipped.into_iter().chain(doubt).collect()
}

fn rewinds(record: &RunRecord, stage: &StageSpec) -> Vec<RewindReport> {
    let all = record.rewinds.get(&stage.name).map_or(&[][..], Vec::as_slice);
    let one = |rewind: &Rewind| RewindReport {
        at: rewind.at,
        to: rewind.to,
        abandoned_steps: rewind.abandoned.last().map_or(0, |c| c.step - rewind.to),
        left_out_sequences: (rewind.left_out.end - rewind.left_out.start) * u64::from(stage.global_batch),
        reason: rewind.reason.clone(),
    };
    all.iter().map(one).collect()
}

fn exams(record: &RunRecord, stage: &StageName) -> Vec<ExamSummary> {
    let of_stage = record.jobs.values().filter(|j| j.planned.kind.stage() == Some(stage));
    let summaries = of_stage.filter_map(|j| match &j.status.result()?.summary {
        Summary::Exam(summary) => Some(summary.clone()),
        _ => None,
    });
    summaries.collect()
}

fn corpora(record: &RunRecord) -> BTreeMap<CorpusName, CorpusReport> {
    let mut found = BTreeMap::new();
    for job in record.jobs.values() {
        let (JobKind::Merge { corpus }, Some(result)) = (&job.planned.kind, job.status.result()) else { continue };
        let Summary::Merge { documents, held_out, words, removed, identity } = &result.summary else { continue };
        let (mut removed, mut bad_lines) = (removed.clone(), vec![]);
        let sources = sources(record, corpus, &mut removed, &mut bad_lines);
        let packed = packed(record, corpus);
        let report = CorpusReport {
            identity: identity.to_string(),
            sources,
            documents: *documents,
            held_out: *held_out,
            words: *words,
            removed,
            bad_lines,
            packed,
        };
        found.insert(corpus.clone(), report);
    }
    found
}

/// So many bad lines of a corpus are shown.
const BAD_LINES: usize = 10;

fn sources(
    record: &RunRecord,
    of: &CorpusName,
    removed_in_all: &mut BTreeMap<String, u64>,
    bad_in_all: &mut Vec<String>,
) -> Vec<SourceReport> {
    let mut found = vec![];
    for job in record.jobs.values() {
        let (JobKind::Clean { corpus, .. }, Some(result)) = (&job.planned.kind, job.status.result()) else { continue };
        let Summary::Clean { source, source_bytes, source_digest, documents, removed, bad_lines } = &result.summary else { continue };
        if corpus == of {
            bad_in_all.extend(bad_lines.iter().take(BAD_LINES.saturating_sub(bad_in_all.len())).cloned());
            removed.iter().for_each(|(rule, n)| *removed_in_all.entry(rule.clone()).or_default() += n);
            found.push(SourceReport {
                path: source.clone(),
                bytes: *source_bytes,
                digest: source_digest.to_string(),
                documents: *documents,
            });
        }
    }
    found
}

fn packed(record: &RunRecord, of: &CorpusName) -> BTreeMap<u32, PackedReport> {
    let mut found = BTreeMap::new();
    for job in record.jobs.values() {
        let (JobKind::Pack { corpus, sequence_length }, Some(result)) = (&job.planned.kind, job.status.result()) else { continue };
        let Summary::Pack { component, tokens, dropped_tokens, unknown, .. } = &result.summary else { continue };
        if corpus == of {
            let fingerprint = component.fingerprint.to_string();
            let (sequences, tokens, dropped_tokens) = (component.sequences, *tokens, *dropped_tokens);
            let report = PackedReport { tokens, sequences, dropped_tokens, unknown: *unknown, fingerprint };
            found.insert(*sequence_length, report);
        }
    }
    found
}

fn quantized(record: &RunRecord) -> Vec<QuantizedReport> {
    let made = record.jobs.values().filter_map(|job| {
        let JobKind::Quantize { stage, .. } = &job.planned.kind else { return None };
        let Summary::Quantize { method, tensors, kept, bytes_before, bytes_after, bits_per_weight } = &job.status.result()?.summary else {
            return None;
        };
        Some(QuantizedReport {
            stage: stage.clone(),
            method: method.to_string(),
            tensors: *tensors,
            kept: *kept,
            bytes_before: *bytes_before,
            bytes_after: *bytes_after,
            bits_per_weight: *bits_per_weight,
        })
    });
    made.collect()
}

fn failures(record: &RunRecord) -> Vec<FailureReport> {
    let mut found: Vec<_> = record
        .jobs
        .iter()
        .flat_map(|(key, job)| job.past.iter().filter_map(move |past| Some((key, past, past.fault.as_ref()?))))
        .map(|(key, past, fault)| FailureReport {
            job: key.to_string(),
            generation: past.generation.0,
            at: past.ended_at,
            fault: fault.to_string(),
        })
        .collect();
    found.sort_by_key(|f| (f.at, f.generation));
    found
}

#[cfg(test)]
mod tests;
