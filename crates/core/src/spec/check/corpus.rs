//! Rules of `[corpus.*]` and `[tokenizer]`.

use super::Rules;
use crate::spec::reader::{join, quoted};
use crate::spec::{BadLines, CorpusFormat, CorpusSpec, Family, Init, TokenizerSpec};
use std::collections::BTreeSet;

/// A document longer than this is not one document.
const MAX_WORDS: u32 = 1_000_000_000;
/// More lines than any file has.
const MAX_LINES: u64 = 1_000_000_000_000;
const MAX_FIELDS: usize = 64;
/// 256 bytes and the end-of-document token.
const MIN_VOCAB: u32 = 257;
/// Special tokens and letters; whether it suffices is seen when the texts are read.
const MIN_WORDPIECES: u32 = 32;
const MAX_MULTIPLE: u32 = 65_536;
const MAX_VOCAB: u32 = 1 << 20;

pub(super) fn check_corpora(rules: &Rules<'_>) {
    for (name, corpus) in &rules.spec.corpora {
        check_corpus(rules, &join("corpus", name.as_str()), corpus);
    }
}

fn check_corpus(rules: &Rules<'_>, label: &str, corpus: &CorpusSpec) {
    let report = rules.report;
    rules.files(&join(label, "files"), &corpus.files);
    rules.number(&join(label, "held_out"), corpus.held_out, 0.0, false, 0.5);
    rules.number(&join(label, "max_unknown"), corpus.max_unknown, 0.0, false, 1.0);
    if corpus.format == CorpusFormat::Jsonl {
        check_fields(rules, label, corpus);
    }
    if let BadLines::Skip { at_most } = corpus.bad_lines {
        rules.between(&join(label, "max_bad_lines"), at_most, 1, MAX_LINES);
    }
    if corpus.separator.as_ref().is_some_and(|line| line.is_empty() || line.contains(['\n', '\r'])) {
        report.problem(&join(label, "separator"), "a separator is one whole line, and not an empty one: write it without line breaks");
    }
    let clean = &corpus.rules;
    let field = |key: &str| format!("{label}.clean.{key}");
    rules.between(&field("min_words"), clean.min_words, 0, MAX_WORDS);
    if let Some(most) = clean.max_words {
        let inside = rules.between(&field("max_words"), most, 1, MAX_WORDS);
        if inside && report.all_sound(&[&field("max_words"), &field("min_words")]) && most < clean.min_words {
            report.problem(&field("max_words"), format!("{most} is less than min_words = {}: nothing would be left", clean.min_words));
        }
    }
    for (i, code) in clean.languages.iter().enumerate() {
        if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_lowercase()) {
            let place = join(&field("languages"), &i.to_string());
            report.problem(&place, format!("found {}, expected a three-letter code such as \"eng\"", quoted(code)));
        }
    }
    for (i, kind) in clean.exclude_types.iter().enumerate() {
        if kind.trim().is_empty() {
            let place = join(&field("exclude_types"), &i.to_string());
            report.problem(&place, "empty: write a publication type such as \"Retracted Publication\"");
        }
    }
}

/// Names of fields: some, none empty, none twice.
fn check_fields(rules: &Rules<'_>, label: &str, corpus: &CorpusSpec) {
    let (report, field, fields) = (rules.report, join(label, "text_field"), &corpus.text_field.0);
    if !report.sound(&field) {
        return;
    }
    if fields.is_empty() || fields.len() > MAX_FIELDS {
        report.problem(&field, format!("found {} fields, expected 1 to {MAX_FIELDS}: name those that hold the text", fields.len()));
    } else if fields.iter().any(|name| name.is_empty()) {
        report.problem(&field, "empty: name the field that holds the text");
    } else if let Some(twice) = fields.iter().enumerate().find_map(|(at, name)| fields.get(..at)?.contains(name).then_some(name)) {
        report.problem(&field, format!("{} is listed twice: remove one", quoted(twice)));
    }
    if corpus.id_field.as_ref().is_some_and(String::is_empty) {
        report.problem(&join(label, "id_field"), "empty: name the field that holds the id, or leave the key out");
    }
}

pub(super) fn check_tokenizer(rules: &Rules<'_>) {
    match &rules.spec.tokenizer {
        TokenizerSpec::File { path, extend } => {
            rules.path("tokenizer.file", path);
            if let Some(extend) = extend {
                rules.between("tokenizer.extend_multiple", extend.multiple_of, 1, MAX_MULTIPLE);
                let imported = rules.spec.stages.iter().any(|stage| matches!(stage.from, Init::HuggingFace(_)));
                if !imported && rules.labels.stages.iter().all(|label| rules.report.sound(&format!("{label}.from"))) {
                    rules
                        .report
                        .problem("tokenizer.extend", "no stage begins with from = \"hf:FOLDER\", so there is nothing to extend: remove it");
                }
            }
        }
        TokenizerSpec::Train { vocab_size, min_frequency, corpora, wordpiece } => {
            let least = if wordpiece.is_some() { MIN_WORDPIECES } else { MIN_VOCAB };
            rules.between("tokenizer.train.vocab_size", *vocab_size, least, MAX_VOCAB);
            let family = rules.spec.model.family;
            if rules.report.all_sound(&["model.family", "tokenizer.train.kind"]) && (family == Family::Bert) != wordpiece.is_some() {
                let kind = if family == Family::Bert { "wordpiece" } else { "bpe" };
                rules.report.problem("tokenizer.train.kind", format!("a {family} model is trained with kind = {kind:?}: write that"));
            }
            rules.between("tokenizer.train.min_frequency", *min_frequency, 1, 1_000_000);
            let field = "tokenizer.train.corpora";
            if corpora.is_empty() && rules.report.all_sound(&[field, "corpus.*"]) && !rules.spec.corpora.is_empty() {
                rules.report.problem(field, "empty: name at least one corpus, or leave the key out to use all");
            }
            let mut seen = BTreeSet::new();
            for (i, name) in corpora.iter().enumerate() {
                let place = join(field, &i.to_string());
                rules.reference(&place, "corpus", name.as_str(), rules.spec.corpora.keys().map(|known| known.as_str()));
                if !seen.insert(name) && rules.report.sound(&place) {
                    rules.report.problem(&place, format!("{:?} is listed twice: remove one", name.as_str()));
                }
            }
        }
    }
}
