//! `[after_stage]`: what is made and asked after a stage.

use crate::ids::{ExamName, StageName};
use crate::spec::check::{Labels, MAX_EXAMS, MAX_GATES, MAX_QUANTIZE};
use crate::spec::reader::{Node, OneOrMany, Read, Report, Section, Value, Word};
use crate::spec::{ExamFormat, ExamSpec, ExportSpec, FloatType, GateSpec, Method, OnFail, Protocol, QuantizeSpec, StageSpec, Variant};

impl Word for ExamFormat {
    const ALL: &'static [(&'static str, Self)] = &[
        ("medmcqa", Self::Medmcqa),
        ("medqa", Self::Medqa),
        ("pubmedqa", Self::Pubmedqa),
        ("mmlu", Self::Mmlu),
        ("held-out", Self::HeldOut),
    ];
}

impl Word for Protocol {
    const ALL: &'static [(&'static str, Self)] = &[("letter", Self::Letter), ("cloze", Self::Cloze)];
}

impl Word for Method {
    const ALL: &'static [(&'static str, Self)] = &[("int8", Self::Int8), ("gguf-q8_0", Self::GgufQ8_0)];
}

impl Word for Variant {
    const ALL: &'static [(&'static str, Self)] =
        &[("full", Self::Full), ("int8", Self::Quantized(Method::Int8)), ("gguf-q8_0", Self::Quantized(Method::GgufQ8_0))];
}

impl Word for FloatType {
    const ALL: &'static [(&'static str, Self)] = &[("fp32", Self::Fp32), ("bf16", Self::Bf16), ("fp16", Self::Fp16)];
}

impl Word for OnFail {
    const ALL: &'static [(&'static str, Self)] = &[("stop", Self::Stop), ("warn", Self::Warn)];
}

/// What `[after_stage]` holds.
pub(super) struct AfterStage {
    pub quantize: Vec<QuantizeSpec>,
    pub exams: Vec<ExamSpec>,
    pub gates: Vec<GateSpec>,
    pub export: ExportSpec,
}

pub(super) fn read_after_stage(root: &mut Section<'_>, stages: &[StageSpec], report: &Report, labels: &mut Labels) -> AfterStage {
    let mut section = root.section_or_default("after_stage");
    let quantize = section.items("quantize", MAX_QUANTIZE, false);
    let quantize: Vec<_> = quantize.into_iter().map(|(path, node)| read_quantize(node, path, report)).collect();
    let mut exams: Vec<ExamSpec> = vec![];
    for (path, node) in section.items("exam", MAX_EXAMS, true) {
        let Ok(stand_in) = ExamName::new(format!("unnamed-{}", exams.len())) else { continue };
        exams.push(read_exam(Section::new(node, path.clone(), report), stand_in));
        if !report.sound(&format!("{path}.name")) {
            report.mark_bad("after_stage.exam.*");
        }
        labels.exams.push(path);
    }
    let mut gates = vec![];
    for (path, node) in section.items("gate", MAX_GATES, false) {
        let Ok(stand_in) = ExamName::new("unnamed") else { continue };
        let gate = read_gate(Section::new(node, path, report), stand_in);
        gates.push(with_stages(gate, stages, &exams, &quantize));
    }
    let export = read_export(&mut section);
    section.finish();
    AfterStage { quantize, exams, gates, export }
}

fn read_export(after_stage: &mut Section<'_>) -> ExportSpec {
    let mut section = after_stage.section_or_default("export");
    let ExportSpec { shard_bytes, dtype } = ExportSpec::default();
    let spec = ExportSpec { shard_bytes: section.or("shard_bytes", shard_bytes), dtype: section.or("dtype", dtype) };
    section.finish();
    spec
}

/// A method's name, or a table with the stages it is made after.
fn read_quantize(node: Node, path: String, report: &Report) -> QuantizeSpec {
    if matches!(node.value, Value::String(_)) {
        report.saw(&path, &node.origin);
        let method = Method::read(node, &path, report).unwrap_or(Method::Int8);
        return QuantizeSpec { method, stages: vec![] };
    }
    let mut section = Section::new(node, path, report);
    let spec = QuantizeSpec { method: section.need("method", Method::Int8, "method = \"int8\""), stages: section.or("stages", vec![]) };
    section.finish();
    spec
}

fn read_exam(mut section: Section<'_>, stand_in: ExamName) -> ExamSpec {
    let name = section.need("name", stand_in, "name = \"medqa\"");
    let format = section.require("format", "format = \"medqa\"");
    let mut files = OneOrMany(vec![]);
    let mut corpus = None;
    match format {
        Some(ExamFormat::HeldOut) => {
            section.refuse("files", "a held-out exam reads its corpus' held-out documents");
            for key in ["protocol", "shots", "shots_files"] {
                section.refuse(key, "a held-out exam has no questions");
            }
            if !section.has("corpus") {
                section.problem("corpus", "missing: add the corpus whose held-out documents are read, for example corpus = \"domain\"");
            }
            corpus = section.take("corpus");
        }
        Some(_) => {
            section.refuse("corpus", "only format = \"held-out\" reads a corpus");
            files = section.need("files", files, "files = [\"exams/test.jsonl\"]");
        }
        None => {
            files = section.or("files", files);
            corpus = section.take("corpus");
        }
    }
    let spec = ExamSpec {
        name,
        format: format.unwrap_or(ExamFormat::HeldOut),
        files: files.0,
        corpus,
        protocol: section.or("protocol", Protocol::Letter),
        shots: section.or("shots", 0),
        shots_files: section.or("shots_files", OneOrMany(vec![])).0,
        limit: section.take("limit"),
        stages: section.or("stages", vec![]),
    };
    section.finish();
    spec
}

fn read_gate(mut section: Section<'_>, stand_in: ExamName) -> GateSpec {
    let spec = GateSpec {
        exam: section.need("exam", stand_in, "exam = \"medqa\""),
        variant: section.or("variant", Variant::Full),
        stages: section.or("stages", vec![]),
        min_accuracy: section.take("min_accuracy"),
        max_drop: section.take("max_drop"),
        max_perplexity_increase: section.take("max_perplexity_increase"),
        on_fail: section.or("on_fail", OnFail::Stop),
    };
    section.finish();
    spec
}

/// A gate that names no stages applies wherever its exam is held and its variant made; if that is not every stage, it is written out.
fn with_stages(mut gate: GateSpec, stages: &[StageSpec], exams: &[ExamSpec], quantize: &[QuantizeSpec]) -> GateSpec {
    let Some(exam) = exams.iter().find(|exam| exam.name == gate.exam).filter(|_| gate.stages.is_empty()) else { return gate };
    let names = |listed: &[StageName], stage: &StageName| listed.is_empty() || listed.contains(stage);
    let made = |stage: &StageName| match gate.variant {
        Variant::Full => true,
        Variant::Quantized(method) => quantize.iter().any(|q| q.method == method && names(&q.stages, stage)),
    };
    let applies: Vec<_> = stages.iter().map(|s| &s.name).filter(|s| names(&exam.stages, s) && made(s)).cloned().collect();
    if applies.len() < stages.len() {
        gate.stages = applies;
    }
    gate
}
