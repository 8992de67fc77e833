//! `[[stage]]`.

use super::named_entries;
use crate::ids::{CorpusName, StageName};
use crate::spec::check::{Labels, MAX_STAGES};
use crate::spec::reader::{Node, Read, Report, Section, Tokens, Value, Word, quoted};
use crate::spec::{
    ComputeSpec, DecayOn, DecayShape, GuardSpec, Init, Length, MlmSpec, OptimizerSpec, Precision, Recompute, ScheduleSpec, StageSpec,
};
use std::collections::BTreeMap;

pub(super) fn read_stages(root: &mut Section<'_>, ranks: u32, report: &Report, labels: &mut Labels) -> Vec<StageSpec> {
    if !root.has("stage") {
        root.problem("stage", "missing: add at least one [[stage]] table");
    }
    let mut stages: Vec<StageSpec> = vec![];
    for (path, node) in root.items("stage", MAX_STAGES, true) {
        let mut section = Section::new(node, path.clone(), report);
        let Ok(stand_in) = StageName::new(format!("unnamed-{}", stages.len())) else { continue };
        let before = stages.last().map(|stage| stage.name.clone());
        stages.push(read_stage(&mut section, stand_in, before, ranks, report));
        section.finish();
        if !report.sound(&format!("{path}.name")) {
            // References to a stage whose name could not be read must not become problems of their own.
            report.mark_bad("stage.*");
        }
        labels.stages.push(path);
    }
    stages
}

fn read_stage(section: &mut Section<'_>, stand_in: StageName, before: Option<StageName>, ranks: u32, report: &Report) -> StageSpec {
    let name = section.need("name", stand_in, "name = \"general\"");
    let from = section.take("from").unwrap_or(before.map_or(Init::Scratch, Init::Stage));
    let mixture = read_mixture(section, report);
    let length = match section.one_of(["steps", "tokens"], "steps = 1000 or tokens = \"300B\"") {
        Some("tokens") => Length::Tokens(section.take("tokens").map_or(0, |Tokens(n)| n)),
        _ => Length::Steps(section.or("steps", 0)),
    };
    let sequence_length = section.need("sequence_length", 0, "sequence_length = 1024");
    let global_batch = section.need("global_batch", 0, "global_batch = 64");
    let micro_batch = section.or("micro_batch", (global_batch / ranks.max(1)).max(1));
    let optimizer = read_optimizer(section.need_section("optimizer", "optimizer = { lr = 3e-4 }"));
    let schedule = read_schedule(section.need_section("schedule", "schedule = { kind = \"cosine\", warmup_steps = 100 }"));
    let guard = read_guard(section.section_or_default("guard"));
    let compute = read_compute(section);
    let mlm = section.section("mlm").map(read_mlm);
    StageSpec { name, from, mixture, length, sequence_length, global_batch, micro_batch, optimizer, schedule, guard, compute, mlm }
}

fn read_mlm(mut section: Section<'_>) -> MlmSpec {
    let MlmSpec { probability, whole_word } = MlmSpec::default();
    let spec = MlmSpec { probability: section.or("probability", probability), whole_word: section.or("whole_word", whole_word) };
    section.finish();
    spec
}

fn read_mixture(section: &mut Section<'_>, report: &Report) -> BTreeMap<CorpusName, u32> {
    match section.one_of(["mixture", "corpus"], "mixture = { general = 1, domain = 3 }") {
        Some("corpus") => section.take("corpus").map(|name| (name, 1)).into_iter().collect(),
        _ => {
            let mut table = section.section_or_default("mixture");
            // A part that could not be read counts as one, so that its corpus is still checked.
            named_entries(&mut table, report, |node, path| u32::read(node, &path, report).unwrap_or(1))
        }
    }
}

impl Read for Init {
    fn expected() -> String {
        "\"scratch\", \"stage:NAME\", \"fork:NAME\", \"fork:NAME@STEP\" or \"hf:PATH\"".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        let Value::String(text) = &node.value else {
            report.problem(path, format!("found {}, expected {}", node.describe(), Self::expected()));
            return None;
        };
        match text.split_once(':') {
            None if text == "scratch" => Some(Self::Scratch),
            Some(("stage", name)) => StageName::new(name).map(Self::Stage).map_err(|error| report.problem(path, error.to_string())).ok(),
            Some(("fork", point)) => read_fork(point).map_err(|problem| report.problem(path, problem)).ok(),
            Some(("hf", folder)) => Some(Self::HuggingFace(folder.to_owned())),
            _ => {
                report.problem(path, format!("found {}, expected {}", quoted(text), Self::expected()));
                None
            }
        }
    }
}

fn read_fork(point: &str) -> Result<Init, String> {
    let (name, step) = match point.split_once('@') {
        None => (point, None),
        Some((name, step)) => {
            let wrong = |_| format!("found {} after the @, expected a step such as fork:{name}@1000", quoted(step));
            (name, Some(step.replace('_', "").parse().map_err(wrong)?))
        }
    };
    Ok(Init::Fork { stage: StageName::new(name).map_err(|error| error.to_string())?, step })
}

fn read_optimizer(mut section: Section<'_>) -> OptimizerSpec {
    let lr = section.need("lr", 0.0, "lr = 3e-4");
    let betas: Vec<f64> = section.or("betas", vec![0.9, 0.95]);
    let (beta1, beta2) = match betas.as_slice() {
        [beta1, beta2] => (*beta1, *beta2),
        other => {
            section.problem("betas", format!("found a list of {}, expected two numbers, for example betas = [0.9, 0.95]", other.len()));
            (0.9, 0.95)
        }
    };
    let spec = OptimizerSpec {
        lr,
        beta1,
        beta2,
        eps: section.or("eps", 1e-8),
        weight_decay: section.or("weight_decay", 0.1),
        decay: section.or("decay", DecayOn::default()),
        clip: section.or("clip", 1.0),
    };
    section.finish();
    spec
}

fn read_guard(mut section: Section<'_>) -> GuardSpec {
    let usual = GuardSpec::default();
    let spec = GuardSpec {
        enabled: section.or("enabled", usual.enabled),
        sigmas: section.or("sigmas", usual.sigmas),
        least_rise: section.or("least_rise", usual.least_rise),
        window: section.or("window", usual.window),
        rewind_after: section.or("rewind_after", usual.rewind_after),
    };
    section.finish();
    spec
}

fn read_compute(section: &mut Section<'_>) -> ComputeSpec {
    ComputeSpec {
        precision: section.or("precision", Precision::default()),
        reduce: section.or("reduce", Precision::default()),
        recompute: section.or("recompute", Recompute::default()),
        document_mask: section.or("document_mask", false),
    }
}

impl Word for Precision {
    const ALL: &'static [(&'static str, Self)] = &[("fp32", Self::Fp32), ("bf16", Self::Bf16)];
}

impl Word for DecayOn {
    const ALL: &'static [(&'static str, Self)] = &[("matrices", Self::Matrices), ("all", Self::All)];
}

impl Read for Recompute {
    fn expected() -> String {
        "\"none\", \"all\" or a number of layers".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "none" => Some(Self::None),
            Value::String(text) if text == "all" => Some(Self::All),
            Value::Integer(_) => u32::read(node, path, report).map(Self::First),
            _ => {
                report.problem(path, format!("found {}, expected {}", node.describe(), Self::expected()));
                None
            }
        }
    }
}

fn read_schedule(mut section: Section<'_>) -> ScheduleSpec {
    let kind = section.need("kind", Kind::Unknown, "kind = \"cosine\"");
    let warmup_steps = section.or("warmup_steps", 0);
    let warmup_from = section.or("warmup_from", 0.0);
    if kind == Kind::Constant {
        section.refuse("min_ratio", "a constant schedule does not decay");
    }
    if !matches!(kind, Kind::Wsd | Kind::Unknown) {
        section.refuse("decay_steps", "only kind = \"wsd\" has a decay of its own length");
        section.refuse("decay", "only kind = \"wsd\" has a choice of decays");
    }
    let spec = match kind {
        Kind::Constant => ScheduleSpec::Constant { warmup_steps, warmup_from },
        Kind::Linear => ScheduleSpec::Linear { warmup_steps, warmup_from, min_ratio: section.or("min_ratio", 0.0) },
        Kind::Cosine => ScheduleSpec::Cosine { warmup_steps, warmup_from, min_ratio: section.or("min_ratio", 0.1) },
        Kind::Wsd => {
            let decay_steps = section.need("decay_steps", 0, "decay_steps = 100");
            let decay = section.or("decay", DecayShape::default());
            ScheduleSpec::Wsd { warmup_steps, warmup_from, decay_steps, decay, min_ratio: section.or("min_ratio", 0.0) }
        }
        Kind::Unknown => {
            section.take::<u64>("decay_steps");
            section.take::<DecayShape>("decay");
            section.take::<f64>("min_ratio");
            ScheduleSpec::constant()
        }
    };
    section.finish();
    spec
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Constant,
    Linear,
    Cosine,
    Wsd,
    /// Missing or misspelt, and reported as such.
    Unknown,
}

impl Word for Kind {
    const ALL: &'static [(&'static str, Self)] =
        &[("constant", Self::Constant), ("linear", Self::Linear), ("cosine", Self::Cosine), ("wsd", Self::Wsd)];
}

impl Word for DecayShape {
    const ALL: &'static [(&'static str, Self)] = &[("linear", Self::Linear), ("1-sqrt", Self::OneMinusSqrt), ("cosine", Self::Cosine)];
}
