//! `[corpus.*]` and `[tokenizer]`.

use super::named_entries;
use crate::ids::CorpusName;
use crate::spec::reader::{OneOrMany, Report, Section, Word};
use crate::spec::{BadLines, CleanRules, CorpusFormat, CorpusSpec, ExtendRule, ExtendSpec, TextFields, TokenizerSpec, WordpieceSpec};
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
    let format: Option<CorpusFormat> = section.require("format", "format = \"pubmed-xml\"");
    let files = section.need("files", OneOrMany(vec![]), "files = [\"pubmed/*.xml.gz\"]").0;
    let lines = matches!(format, Some(CorpusFormat::Jsonl) | None);
    if !lines {
        section.refuse("text_field", "only format = \"jsonl\" has fields");
        section.refuse("id_field", "only format = \"jsonl\" has fields");
        section.refuse("on_bad_line", "only format = \"jsonl\" is read line by line");
        section.refuse("max_bad_lines", "only format = \"jsonl\" is read line by line");
    }
    let text_field = if lines { section.or("text_field", OneOrMany(vec!["text".to_owned()])).0 } else { vec![] };
    let id_field = section.take("id_field");
    let bad_lines = read_bad_lines(&mut section);
    let separator = match format {
        Some(CorpusFormat::Text) | None => section.take("separator"),
        Some(_) => {
            section.refuse("separator", "only format = \"text\" has separators");
            None
        }
    };
    let held_out = section.or("held_out", HELD_OUT);
    let max_unknown = section.or("max_unknown", CorpusSpec::MAX_UNKNOWN);
    let rules = read_rules(section.section_or_default("clean"), format);
    section.finish();
    let format = format.unwrap_or(CorpusFormat::Text);
    CorpusSpec { format, files, text_field: TextFields(text_field), id_field, bad_lines, separator, rules, held_out, max_unknown }
}

#[derive(Clone, Copy, PartialEq)]
enum OnBadLine {
    Fail,
    Skip,
}

impl Word for OnBadLine {
    const ALL: &'static [(&'static str, Self)] = &[("fail", Self::Fail), ("skip", Self::Skip)];
}

fn read_bad_lines(section: &mut Section<'_>) -> BadLines {
    match section.or("on_bad_line", OnBadLine::Fail) {
        OnBadLine::Skip => BadLines::Skip { at_most: section.or("max_bad_lines", BadLines::AT_MOST) },
        OnBadLine::Fail => {
            section.refuse("max_bad_lines", "without on_bad_line = \"skip\" the first bad line fails the run");
            BadLines::Fail
        }
    }
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
