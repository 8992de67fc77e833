//! Rules of `[after_stage]`: exams, quantization, gates.

use super::Rules;
use crate::ids::StageName;
use crate::spec::reader::join;
use crate::spec::{ExamFormat, ExamSpec, GateSpec, Method, Variant};

const MAX_SHOTS: u32 = 100;
const MAX_LIMIT: u32 = 10_000_000;
/// Values in a block of Q8_0; a row of a matrix must be whole blocks.
const Q8_BLOCK: u32 = Method::GgufQ8_0.block();

pub(super) fn check_exams(rules: &Rules<'_>) {
    rules.unique(&rules.labels.exams, rules.spec.exams.iter().map(|exam| exam.name.as_str()));
    let family = rules.spec.model.family;
    for (label, exam) in rules.labels.exams.iter().zip(&rules.spec.exams) {
        if !family.causal() && rules.report.sound("model.family") {
            rules.report.problem(label, format!("exams need a model that predicts text token by token, and {family} does not: remove it"));
            continue;
        }
        let field = |key: &str| join(label, key);
        rules.stage_list(&field("stages"), &exam.stages);
        rules.between(&field("shots"), exam.shots, 0, MAX_SHOTS);
        if let Some(limit) = exam.limit {
            rules.between(&field("limit"), limit, 1, MAX_LIMIT);
        }
        if !rules.report.sound(&field("format")) {
            continue;
        }
        if exam.format == ExamFormat::HeldOut {
            held_out(rules, label, exam);
            continue;
        }
        rules.files(&field("files"), &exam.files);
        if exam.corpus.is_some() {
            rules.report.problem(&field("corpus"), "only format = \"held-out\" reads a corpus: remove it");
        }
        if !exam.shots_files.is_empty() {
            rules.files(&field("shots_files"), &exam.shots_files);
        } else if exam.shots > 0 && rules.report.all_sound(&[&field("shots"), &field("shots_files")]) {
            let message = format!("shots = {} need shots_files: name the files that the worked examples come from", exam.shots);
            rules.report.problem(&field("shots"), message);
        }
    }
}

fn held_out(rules: &Rules<'_>, label: &str, exam: &ExamSpec) {
    let field = join(label, "corpus");
    if !exam.files.is_empty() || exam.shots > 0 || !exam.shots_files.is_empty() {
        rules.report.problem(label, "a held-out exam has no files and no shots: remove them");
    }
    let Some(name) = &exam.corpus else {
        if rules.report.sound(&field) {
            rules.report.problem(&field, "missing: name the corpus whose held-out documents are read");
        }
        return;
    };
    rules.reference(&field, "corpus", name.as_str(), rules.spec.corpora.keys().map(|known| known.as_str()));
    let Some(corpus) = rules.spec.corpora.get(name) else { return };
    let share = format!("{}.held_out", join("corpus", name.as_str()));
    if corpus.held_out <= 0.0 && rules.report.all_sound(&[&field, &share]) {
        rules.report.problem(&field, format!("corpus {:?} holds nothing out: set {share} above 0", name.as_str()));
    }
}

pub(super) fn check_quantize(rules: &Rules<'_>) {
    let family = rules.spec.model.family;
    for (i, quantize) in rules.spec.quantize.iter().enumerate() {
        let label = format!("after_stage.quantize.{i}");
        if !family.causal() && rules.report.sound("model.family") {
            rules.report.problem(&label, format!("{family} models are not compressed, only decoders are: remove it"));
            continue;
        }
        rules.stage_list(&join(&label, "stages"), &quantize.stages);
        if !rules.report.sound(&join(&label, "method")) {
            continue;
        }
        let earlier = rules.spec.quantize.get(..i).unwrap_or_default();
        let overlaps = |a: &[StageName], b: &[StageName]| a.is_empty() || b.is_empty() || a.iter().any(|stage| b.contains(stage));
        if earlier.iter().any(|other| other.method == quantize.method && overlaps(&other.stages, &quantize.stages)) {
            rules.report.problem(&label, format!("{} is made twice after the same stage: remove one", quantize.method));
        }
        if quantize.method == Method::GgufQ8_0 {
            check_blocks(rules, &label);
            if let Some(message) = rules.spec.model.unsayable_in_gguf().filter(|_| rules.report.sound("model.rope_scaling")) {
                rules.report.problem(&label, message);
            }
        }
    }
}

fn check_blocks(rules: &Rules<'_>, label: &str) {
    let model = &rules.spec.model;
    for (field, value) in [("model.dim", model.dim), ("model.ffn", model.ffn)] {
        if rules.report.sound(field) && !value.is_multiple_of(Q8_BLOCK) {
            let near = super::nearest_multiples(value.into(), Q8_BLOCK.into(), u64::from(u32::MAX));
            let message = format!("gguf-q8_0 packs rows in blocks of {Q8_BLOCK}, and {field} = {value} is no multiple of it: use {near}");
            rules.report.problem(label, message);
        }
    }
}

pub(super) fn check_gates(rules: &Rules<'_>) {
    for (i, gate) in rules.spec.gates.iter().enumerate() {
        let label = format!("after_stage.gate.{i}");
        let field = |key: &str| join(&label, key);
        rules.stage_list(&field("stages"), &gate.stages);
        let bounds = [
            ("min_accuracy", gate.min_accuracy, 100.0),
            ("max_drop", gate.max_drop, 100.0),
            ("max_perplexity_increase", gate.max_perplexity_increase, 1000.0),
        ];
        for (key, bound, most) in bounds {
            if let Some(bound) = bound {
                rules.number(&field(key), bound, 0.0, false, most);
            }
        }
        let keys = bounds.map(|(key, ..)| key);
        if bounds.iter().all(|(_, bound, _)| bound.is_none()) && keys.iter().all(|key| rules.report.sound(&field(key))) {
            rules.report.problem(&field("min_accuracy"), format!("this gate has no bound: add one of {}", keys.join(", ")));
        }
        // Asked once, so that an exam and a variant that are both absent are both reported.
        let stages_sound = rules.report.sound(&field("stages"));
        against_exam(rules, &label, gate, stages_sound);
        against_variant(rules, &label, gate, stages_sound);
    }
}

/// The gate's exam exists, measures what is bounded, and is held after the gate's stages.
fn against_exam(rules: &Rules<'_>, label: &str, gate: &GateSpec, stages_sound: bool) {
    let report = rules.report;
    let field = |key: &str| join(label, key);
    let Some((exam_label, exam)) = rules.labels.exams.iter().zip(&rules.spec.exams).find(|(_, exam)| exam.name == gate.exam) else {
        rules.reference(&field("exam"), "after_stage.exam", gate.exam.as_str(), rules.spec.exams.iter().map(|e| e.name.as_str()));
        return;
    };
    if report.sound(&join(exam_label, "format")) {
        let name = gate.exam.as_str();
        if exam.format == ExamFormat::HeldOut {
            for (key, bound) in [("min_accuracy", gate.min_accuracy), ("max_drop", gate.max_drop)] {
                if bound.is_some() {
                    report.problem(&field(key), format!("{name:?} is a held-out exam and has no accuracy: use max_perplexity_increase"));
                }
            }
        } else if gate.max_perplexity_increase.is_some() {
            let message = format!("{name:?} has questions and no perplexity: use a held-out exam, or max_drop");
            report.problem(&field("max_perplexity_increase"), message);
        }
    }
    if stages_sound && report.sound(&join(exam_label, "stages")) {
        holds_at(rules, label, gate, &format!("exam {:?} is not held", gate.exam.as_str()), |stage| {
            exam.stages.is_empty() || exam.stages.contains(stage)
        });
    }
}

/// The gate's variant is made after its stages, and differs from what it is compared with.
fn against_variant(rules: &Rules<'_>, label: &str, gate: &GateSpec, stages_sound: bool) {
    let report = rules.report;
    let field = |key: &str| join(label, key);
    if !report.sound(&field("variant")) {
        return;
    }
    let Variant::Quantized(method) = gate.variant else {
        for (key, bound) in [("max_drop", gate.max_drop), ("max_perplexity_increase", gate.max_perplexity_increase)] {
            if bound.is_some() {
                report.problem(&field(key), "compares with the full-precision model, and this gate is about that model: set variant, for example variant = \"int8\"");
            }
        }
        return;
    };
    let entries = || rules.spec.quantize.iter().enumerate();
    let readable = |i: usize| report.all_sound(&[&format!("after_stage.quantize.{i}.method"), &format!("after_stage.quantize.{i}.stages")]);
    if !report.sound("after_stage.quantize") || !entries().all(|(i, _)| readable(i)) {
        return;
    }
    if !entries().any(|(_, quantize)| quantize.method == method) {
        report.problem(&field("variant"), format!("{method} is never made: add it to after_stage.quantize"));
        return;
    }
    if stages_sound {
        holds_at(rules, label, gate, &format!("{method} is not made"), |stage| {
            entries().any(|(_, q)| q.method == method && (q.stages.is_empty() || q.stages.contains(stage)))
        });
    }
}

/// Reports the gate's stages at which what it needs is not there. No stages means each.
fn holds_at(rules: &Rules<'_>, label: &str, gate: &GateSpec, what: &str, there: impl Fn(&StageName) -> bool) {
    let field = join(label, "stages");
    let known = rules.spec.stages.iter().map(|stage| &stage.name);
    let applies = |stage: &&StageName| gate.stages.is_empty() || gate.stages.contains(stage);
    let absent: Vec<_> = known.filter(applies).filter(|stage| !there(stage)).map(StageName::as_str).collect();
    if !absent.is_empty() {
        rules.report.problem(&field, format!("{what} after {}: name the stages where it is, or let it be there", absent.join(", ")));
    }
}
