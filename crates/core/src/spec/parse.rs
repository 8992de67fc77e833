//! From the text of a run file and its overrides to a [`RunSpec`]: which keys there are and what they default to.
//!
//! The rules about values are in `check`; this reads shapes. Pure: paths and globs stay as they were written.

mod after;
mod corpus;
mod limits;
mod model;
mod retry;
mod set;
mod stage;
mod tier;

pub use set::Override;

use super::check::{self, Labels};
use super::reader::{Node, Problems, Read, Report, Section, Value, Word};
use super::{Affinity, CheckpointSpec, Determinism, DeviceKind, Family, QueueSpec, ResourceSpec, RunSpec};
use crate::ids::{LabelKey, LabelValue, RunName};
use std::collections::BTreeMap;

/// Reads a run file strictly. `file` is what problems call it; overrides apply in order, a later one over an earlier.
///
/// Errors: every problem at once, in file order.
pub fn parse(text: &str, file: &str, overrides: &[Override]) -> Result<RunSpec, Problems> {
    parse_tier(text, file, None, overrides)
}

/// As [`parse`], with one of the file's `[tier.NAME]` tables applied before the overrides.
pub fn parse_tier(text: &str, file: &str, tier: Option<&str>, overrides: &[Override]) -> Result<RunSpec, Problems> {
    let report = Report::new(file);
    let Some(mut document) = Node::document(text, &report) else {
        return report.finish(None);
    };
    tier::apply(&mut document, tier, &report);
    for change in overrides {
        change.apply(&mut document, &report);
    }
    let spec = read_run(document, &report);
    report.finish(spec)
}

/// Whether the file, its tier or an override says how long the context is. Without, a continued model keeps that of its folder, which only
/// those can know who read folders.
pub fn names_context(text: &str, tier: Option<&str>, overrides: &[Override]) -> bool {
    let report = Report::new("");
    let Some(mut document) = Node::document(text, &report) else { return false };
    tier::apply(&mut document, tier, &report);
    overrides.iter().for_each(|change| change.apply(&mut document, &report));
    match document.value {
        Value::Table(root) => {
            root.get("model").is_some_and(|model| matches!(&model.value, Value::Table(model) if model.contains_key("max_positions")))
        }
        _ => false,
    }
}

fn read_run(document: Node, report: &Report) -> Option<RunSpec> {
    let mut root = Section::new(document, String::new(), report);
    let mut labels = Labels::default();
    let name = root.need("name", stand_in()?, "name = \"first-try\"");
    let description = root.or("description", String::new());
    let seed = root.need("seed", 0, "seed = 1");
    let data_seed = root.or("data_seed", 0);
    let corpora = corpus::read_corpora(&mut root, report);
    let tokenizer = corpus::read_tokenizer(&mut root, corpora.keys());
    let resources = read_resources(&mut root, report);
    let queue = read_queue(&mut root);
    let mut stages = stage::read_stages(&mut root, resources.ranks, report, &mut labels);
    let model = model::read_model(&mut root, stages.iter().map(|stage| stage.sequence_length).max());
    if model.family == Family::Bert {
        // Masking needs no words of its own in the file.
        for stage in &mut stages {
            stage.mlm.get_or_insert_default();
        }
    }
    let after::AfterStage { quantize, exams, gates, export } = after::read_after_stage(&mut root, &stages, report, &mut labels);
    let checkpoint = read_checkpoint(&mut root);
    let retry = retry::read_retry(&mut root, report);
    let limits = limits::read_limits(&mut root);
    root.finish();
    let spec = RunSpec {
        name,
        description,
        seed,
        data_seed,
        corpora,
        tokenizer,
        model,
        stages,
        exams,
        quantize,
        gates,
        export,
        checkpoint,
        resources,
        retry,
        limits,
        queue,
    };
    check::rules(&spec, &labels, report);
    Some(spec)
}

/// Stands in for a run name that is missing or wrong; never leaves `parse`, because the problem was reported.
fn stand_in() -> Option<RunName> {
    RunName::new("unnamed").ok()
}

fn read_checkpoint(root: &mut Section<'_>) -> CheckpointSpec {
    let mut section = root.section_or_default("checkpoint");
    let spec = CheckpointSpec {
        every_steps: section.or("every_steps", 500),
        keep_last: section.or("keep_last", 2),
        keep_every: section.take("keep_every"),
        keep_best: section.or("keep_best", 0),
        pinned: section.or("pinned", vec![]),
    };
    section.finish();
    spec
}

fn read_resources(root: &mut Section<'_>, report: &Report) -> ResourceSpec {
    let mut section = root.section_or_default("resources");
    let spec = ResourceSpec {
        ranks: section.or("ranks", 1),
        min_ranks: section.take("min_ranks"),
        device: section.or("device", DeviceKind::default()),
        threads_per_rank: section.or("threads_per_rank", 1),
        determinism: section.or("determinism", Determinism::default()),
        zero: section.or("zero", true),
        affinity: read_affinity(&mut section),
        require: read_require(&mut section, report),
    };
    section.finish();
    spec
}

fn read_affinity(resources: &mut Section<'_>) -> Option<Affinity> {
    let label = resources.take("affinity");
    let required = resources.take("affinity_required");
    if let (None, Some(_)) = (&label, required) {
        resources.problem("affinity_required", "says nothing without affinity: add affinity = \"switch\", or remove it");
    }
    label.map(|label| Affinity { label, required: required.unwrap_or(false) })
}

fn read_require(resources: &mut Section<'_>, report: &Report) -> BTreeMap<LabelKey, LabelValue> {
    let mut section = resources.section_or_default("require");
    let labels = named_entries(&mut section, report, |node, path| LabelValue::read(node, &path, report));
    labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn read_queue(root: &mut Section<'_>) -> QueueSpec {
    let mut section = root.section_or_default("queue");
    let spec = QueueSpec { priority: section.or("priority", 0), team: section.take("team") };
    section.finish();
    spec
}

impl Word for DeviceKind {
    const ALL: &'static [(&'static str, Self)] = &[("cpu", Self::Cpu), ("cuda", Self::Cuda)];
}

impl Word for Determinism {
    const ALL: &'static [(&'static str, Self)] = &[("fast", Self::Fast), ("elastic", Self::Elastic)];
}

/// A table whose keys are names of one type: those that are no names are problems, and left out.
fn named_entries<N: Ord + std::str::FromStr<Err: std::fmt::Display>, T>(
    section: &mut Section<'_>,
    report: &Report,
    mut read: impl FnMut(Node, String) -> T,
) -> BTreeMap<N, T> {
    let mut out = BTreeMap::new();
    for (path, key, node) in section.entries() {
        report.saw(&path, &node.origin);
        // The value first: a problem with the key would hide the problems inside.
        let value = read(node, path.clone());
        match key.parse() {
            Ok(name) => drop(out.insert(name, value)),
            Err(error) => {
                report.problem(&path, format!("{error}"));
                // References to what was left out must not become problems of their own.
                report.mark_bad(&section.path_of("*"));
            }
        }
    }
    out
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
