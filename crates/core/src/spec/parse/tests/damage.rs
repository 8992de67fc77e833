//! Files and overrides that were damaged at random: read, or refused with problems of one line; never a panic.

use super::{FULL, Override, parse};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a valid file, it is read or refused with problems of one line each, in file order.
    #[test]
    fn mutated_files_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, any::<char>(), any::<prop::sample::Index>()), 1..6)) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, kind, new, other) in edits {
            let i = at.index(text.len());
            match kind {
                0 => drop(text.remove(i)),
                1 => text.insert(i, new),
                2 => text[i] = new,
                3 => text.truncate(i.max(1)),
                4 => { let j = other.index(text.len()); text.swap(i, j) }
                // A line moved or a value taken from elsewhere: still TOML, often of the wrong kind.
                _ => {
                    let joined: String = text.iter().collect();
                    let mut lines: Vec<&str> = joined.lines().collect();
                    let (a, b) = (at.index(lines.len()), other.index(lines.len()));
                    let value = lines[b].split_once('=').map_or("1", |(_, value)| value);
                    let mixed = lines[a].split_once('=').map(|(key, _)| format!("{key}={value}"));
                    match &mixed { Some(line) => lines[a] = line, None => lines.swap(a, b) }
                    text = lines.join("\n").chars().collect();
                }
            }
            if text.is_empty() { text.push('a'); }
        }
        let text: String = text.into_iter().collect();
        match parse(&text, "run.toml", &[]) {
            Ok(spec) => crate::spec::check(&spec).map_err(|p| TestCaseError::fail(p.to_string()))?,
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems.iter() {
                    prop_assert_eq!(problem.to_string().lines().count(), 1);
                }
            }
        }
    }

    #[test]
    fn overrides_of_any_text_never_panic(path in "[a-z.\"0-9]{0,30}", value in ".{0,40}") {
        if let Ok(change) = format!("{path}={value}").parse::<Override>() {
            let _ = parse(FULL, "run.toml", &[change]).map_err(|problems| problems.to_string());
        }
    }

    /// Every leaf replaced by every kind of value: no panic, and a spec that is accepted obeys the rules.
    #[test]
    fn any_value_in_any_field_is_judged(field in prop::sample::select(FIELDS), value in prop::sample::select(VALUES)) {
        let change: Override = format!("{field}={value}").parse().unwrap();
        if let Ok(spec) = parse(FULL, "run.toml", &[change]) {
            prop_assert!(crate::spec::check(&spec).is_ok());
        }
    }
}

const FIELDS: &[&str] = &[
    "name",
    "seed",
    "corpus",
    "corpus.general",
    "corpus.domain.files",
    "corpus.domain.held_out",
    "corpus.domain.clean.min_words",
    "tokenizer.train.vocab_size",
    "tokenizer.train.corpora",
    "model",
    "model.dim",
    "model.heads",
    "model.kv_heads",
    "model.layers",
    "model.ffn",
    "model.max_positions",
    "stage",
    "stage.general",
    "stage.general.name",
    "stage.domain.from",
    "stage.domain.mixture",
    "stage.domain.mixture.domain",
    "stage.general.steps",
    "stage.domain.tokens",
    "stage.general.sequence_length",
    "stage.general.global_batch",
    "stage.domain.micro_batch",
    "stage.general.optimizer",
    "stage.domain.optimizer.betas",
    "stage.domain.optimizer.lr",
    "stage.domain.schedule",
    "stage.domain.schedule.decay_steps",
    "stage.general.schedule.min_ratio",
    "after_stage",
    "after_stage.quantize",
    "after_stage.exam",
    "after_stage.exam.seen.limit",
    "after_stage.exam.ppl.corpus",
    "after_stage.gate",
    "after_stage.gate.0.exam",
    "after_stage.gate.0.max_drop",
    "checkpoint.every_steps",
    "checkpoint.keep_every",
    "checkpoint.keep_best",
    "checkpoint.pinned",
    "after_stage.export.dtype",
    "after_stage.export.shard_bytes",
    "resources.ranks",
    "retry.infrastructure",
    "retry.rule",
    "retry.rule.0.log",
    "resources.min_ranks",
    "resources.threads_per_rank",
    "resources.device",
    "resources.determinism",
    "stage.general.recompute",
    "stage.domain.precision",
];

const VALUES: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "64",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999999999999999999999999",
    "0.5",
    "1e308",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "-inf",
    "true",
    "\"\"",
    "\"x\"",
    "general",
    "domain",
    "stage:domain",
    "hf:",
    "[]",
    "[1]",
    "[0.5, nan]",
    "[[]]",
    "[{}]",
    "{}",
    "{ x = 1 }",
    "{ domain = 0 }",
    "2026-01-01",
    "999999999999T",
];
