//! `[limits]`.

use super::Section;
use crate::spec::limits::{ByKind, LimitsSpec};

pub(super) fn read_limits(root: &mut Section<'_>) -> LimitsSpec {
    let mut section = root.section_or_default("limits");
    let usual = LimitsSpec::default();
    let mut seconds = section.section_or_default("seconds");
    let times = by_kind(&mut seconds);
    seconds.finish();
    let mut memory = section.section_or_default("memory_mib");
    let memory_mib = ByKind { train: memory.take("train"), ..by_kind(&mut memory) };
    memory.finish();
    let spec = LimitsSpec {
        still_seconds: section.or("still_seconds", usual.still_seconds),
        first_step_seconds: section.or("first_step_seconds", usual.first_step_seconds),
        seconds: times,
        memory_mib,
    };
    section.finish();
    spec
}

/// Of every kind but training.
fn by_kind(section: &mut Section<'_>) -> ByKind {
    ByKind {
        clean: section.take("clean"),
        merge: section.take("merge"),
        tokenizer: section.take("tokenizer"),
        pack: section.take("pack"),
        train: None,
        export: section.take("export"),
        quantize: section.take("quantize"),
        exam: section.take("exam"),
    }
}
