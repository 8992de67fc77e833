//! `[corpus.*]` and `[tokenizer]`.

use super::named_entries;
use crate::ids::CorpusName;
use crate::spec::reader::{OneOrMany, Report, Section, Word};
use crate::spec::{CleanRules, CorpusFormat, CorpusSpec, ExtendRule, ExtendSpec, TokenizerSpec, WordpieceSpec};
use std::collections::BTreeMap;

/// What `held_out` is when the file does not say.
const HELD_OUT: f64 = 0.01;

impl Word for CorpusFormat {
    const ALL: &'static [(&'static str, Self)] = &[("pubmed-xml", Self::PubmedXml), ("jsonl", Self::Jsonl), ("text", Self::Text)];
}

pub(super) fn read_corpora(root: &mut Section<'_>, report: &Report) -> BTreeMap<CorpusName, CorpusSpec> {
    let mut table = root.need_section("corpus", "[corpus.domain] with format and files");
    named_entries(&mut table, report, |node, path| read_corpus(Section::new(node, path, report)))
}

fn read_corpus(mut section: Section<'_>) -> CorpusSpec {
    let format = section.require("format", "format = \"pubmed-xml\"");
    let files = section.need("files", OneOrMany(vec![]), "files = [\"pubmed/*.xml.gz\"]").0;
    let text_field = match format {
        Some(CorpusFormat::Jsonl) | None => section.or("text_field", "text".to_owned()),
        Some(_) => {
            section.refuse("text_field", "only format = \"jsonl\" has fields");
            String::new()
        }
    };
    let separator = match format {
        Some(CorpusFormat::Text) | None => section.take("separator"),
        Some(_) => {
            section.refuse("separator", "only format = \"text\" has separators");
            None
        }
    };
    let held_out = section.or("held_out", HELD_OUT);
    let rules = read_rules(section.section_or_default("clean"), format);
    section.finish();
    CorpusSpec { format: format.unwrap_or(CorpusFormat::Text), files, text_field, separator, rules, held_out }
}

/// Rules about bibliographic facts default to on for PubMed and are refused elsewhere, where nothing states those facts.
fn read_rules(mut section: Section<'_>, format: Option<CorpusFormat>) -> CleanRules {
    let defaults = CleanRules::default();
    let pubmed = matches!(format, Some(CorpusFormat::PubmedXml) | None);
    if !pubmed {
        for key in ["languages", "exclude_types", "drop_retracted", "require_abstract"] {
            section.refuse(key, "only PubMed records say this");
        }
    }
    let rules = CleanRules {
        min_words: section.or("min_words", defaults.min_words),
        max_words: section.take("max_words"),
        languages: section.or("languages", defaults.languages),
        exclude_types: section.or("exclude_types", defaults.exclude_types),
        drop_retracted: section.or("drop_retracted", pubmed && defaults.drop_retracted),
        require_abstract: section.or("require_abstract", pubmed && defaults.require_abstract),
        strip_copyright: section.or("strip_copyright", pubmed && defaults.strip_copyright),
        dedup: section.or("dedup", defaults.dedup),
    };
    section.finish();
    rules
}

impl Word for ExtendRule {
    const ALL: &'static [(&'static str, Self)] = &[("mean", Self::Mean), ("normal", Self::Normal), ("zero", Self::Zero)];
}

#[derive(Clone, Copy, PartialEq)]
enum TokenizerKind {
    Bpe,
    Wordpiece,
}

impl Word for TokenizerKind {
    const ALL: &'static [(&'static str, Self)] = &[("bpe", Self::Bpe), ("wordpiece", Self::Wordpiece)];
}

fn read_wordpiece(train: &mut Section<'_>) -> Option<WordpieceSpec> {
    if train.or("kind", TokenizerKind::Bpe) == TokenizerKind::Wordpiece {
        return Some(WordpieceSpec { lowercase: train.or("lowercase", true) });
    }
    train.refuse("lowercase", "byte-level BPE keeps every byte, only kind = \"wordpiece\" changes case");
    None
}

pub(super) fn read_tokenizer<'a>(root: &mut Section<'_>, all: impl Iterator<Item = &'a CorpusName>) -> TokenizerSpec {
    let example = "train = { vocab_size = 16384 }";
    let mut section = root.need_section("tokenizer", &format!("[tokenizer] with {example}"));
    let spec = match section.one_of(["train", "file"], example) {
        Some("file") => {
            let path = section.or("file", String::new());
            let rule = section.take("extend");
            if rule.is_none() {
                section.refuse("extend_multiple", "it rounds up the rows that extend adds, and there is no extend");
            }
            let extend = rule.map(|rule| ExtendSpec { rule, multiple_of: section.or("extend_multiple", 1) });
            TokenizerSpec::File { path, extend }
        }
        _ => {
            let mut train = section.section_or_default("train");
            let spec = TokenizerSpec::Train {
                vocab_size: train.need("vocab_size", 0, "vocab_size = 16384"),
                min_frequency: train.or("min_frequency", 2),
                corpora: train.take("corpora").unwrap_or_else(|| all.cloned().collect()),
                wordpiece: read_wordpiece(&mut train),
            };
            train.finish();
            spec
        }
    };
    section.finish();
    spec
}
