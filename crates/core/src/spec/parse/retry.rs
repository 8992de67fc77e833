//! `[retry]`.

use super::{Report, Section, Word};
use crate::job::FaultClass;
use crate::spec::retry::{RetryRule, RetrySpec};

const MAX_RULES: usize = 100;

pub(super) fn read_retry(root: &mut Section<'_>, report: &Report) -> RetrySpec {
    let mut section = root.section_or_default("retry");
    let usual = RetrySpec::default();
    let mut spec = RetrySpec {
        user: section.or("user", usual.user),
        internal: section.or("internal", usual.internal),
        out_of_memory: section.or("out_of_memory", usual.out_of_memory),
        infrastructure: section.or("infrastructure", usual.infrastructure),
        no_progress: section.or("no_progress", usual.no_progress),
        total: section.or("total", usual.total),
        healthy_seconds: section.or("healthy_seconds", usual.healthy_seconds),
        rules: vec![],
    };
    for (path, node) in section.items("rule", MAX_RULES, false) {
        let mut rule = Section::new(node, path, report);
        if !rule.has("exit_code") && !rule.has("log") {
            rule.problem("class", "what does it apply to? add exit_code = 12, or log = \"a regular expression\"");
        }
        spec.rules.push(RetryRule {
            exit_code: rule.take("exit_code"),
            log: rule.take("log"),
            class: rule.need("class", FaultClass::Internal, "class = \"infrastructure\""),
        });
        rule.finish();
    }
    section.finish();
    spec
}

/// What a person may make of a fault: the others are found by the coordinator alone.
impl Word for FaultClass {
    const ALL: &'static [(&'static str, Self)] = &[
        ("user", Self::User),
        ("internal", Self::Internal),
        ("out-of-memory", Self::OutOfMemory),
        ("infrastructure", Self::Infrastructure),
    ];
}
