//! Damaged files: each reader gives documents or an error that names the file, in bounded time, and never falls over.

use crate::megatron::Index;
use crate::{Tokenizer, open};
use flate2::Compression;
use flate2::write::GzEncoder;
use osler_core::mutate::{damaged, rounds};
use osler_core::spec::{CorpusFormat, CorpusSpec};
use std::fs;
use std::io::Write as _;
use std::path::Path;

const PUBMED: &str = r#"<?xml version="1.0"?><!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN" "https://dtd.invalid/p.dtd">
<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID Version="2">7</PMID><DateRevised><Year>2020</Year><Month>Dec</Month></DateRevised>
<Article><Journal><Title>J &amp; K</Title></Journal><ArticleTitle>A <i>b</i> &#x3B1;</ArticleTitle><Abstract><AbstractText Label="AIM" NlmCategory="OBJECTIVE">one</AbstractText>
<AbstractText>two <![CDATA[<three>]]></AbstractText></Abstract><Language>eng</Language></Article></MedlineCitation></PubmedArticle>
<DeleteCitation><PMID Version="1">9</PMID></DeleteCitation></PubmedArticleSet>"#;
const LINES: &str = "{\"id\": \"a\", \"text\": \"one \\u00e9 two\"}\n\n{\"text\": \"three\", \"n\": [1, {\"x\": null}]}\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(vec![], Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// Calls `check` with the path of each damaged file; what it refuses must name that file.
fn damage(name: &str, seeds: &[Vec<u8>], check: impl Fn(&Path) -> Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut refused = 0;
    let wanted = rounds(std::env::var("OSLER_FUZZ").ok().as_deref());
    for round in 0..wanted {
        fs::write(&path, damaged(seeds, round)).unwrap();
        if let Err(message) = check(&path) {
            assert!(message.contains(name), "round {round}: {message}");
            refused += 1;
        }
    }
    assert!(refused > 0 && refused < wanted, "{refused} of {wanted} rounds were refused: the damage is too large or too small");
}

fn documents(format: CorpusFormat) -> impl Fn(&Path) -> Result<(), String> {
    move |path| {
        let corpus = CorpusSpec { separator: Some("--".into()), ..CorpusSpec::new(format, vec![]) };
        let found = open(path, &corpus).map_err(|e| e.to_string())?;
        found.take(100_000).try_for_each(|document| document.map(drop)).map_err(|e| e.to_string())
    }
}

#[test]
fn damaged_pubmed_files_are_read_or_refused_by_name() {
    damage("set.xml", &[PUBMED.into()], documents(CorpusFormat::PubmedXml));
    damage("set.xml.gz", &[gzip(PUBMED.as_bytes()), PUBMED.into()], documents(CorpusFormat::PubmedXml));
}

#[test]
fn damaged_lines_and_texts_are_read_or_refused_by_name() {
    damage("lines.jsonl", &[LINES.into(), gzip(LINES.as_bytes())], documents(CorpusFormat::Jsonl));
    damage("text.txt", &["one\n\ntwo \u{e9}\n".into(), gzip(b"one\n\ntwo\n")], documents(CorpusFormat::Text));
}

/// Two documents of 3 and 5 tokens, as the format says: magic, version, type, counts, lengths, places, bounds.
fn index() -> Vec<u8> {
    let mut bytes = b"MMIDIDX\0\0".to_vec();
    bytes.extend(1_u64.to_le_bytes());
    bytes.push(8);
    bytes.extend([2_u64, 3].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend([3_i32, 5].into_iter().flat_map(i32::to_le_bytes));
    bytes.extend([0_u64, 6].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend([0_u64, 1, 2].into_iter().flat_map(u64::to_le_bytes));
    bytes
}

#[test]
fn damaged_indexes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.idx");
    fs::write(&path, index()).unwrap();
    assert_eq!(Index::read(&path, 16).unwrap().lengths, [3, 5]);
    // The same bytes once more are no damage: damage may undo itself.
    damage("shard.idx", &[index(), index()], |path| Index::read(path, 16).map(drop).map_err(|e| e.to_string()));
}

#[test]
fn damaged_vocabularies_are_read_or_refused_by_name() {
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nab\n";
    damage("vocab.txt", &[vocabulary.into()], |path| Tokenizer::load(path).map(drop).map_err(|e| e.to_string()));
    let folder = tempfile::tempdir().unwrap();
    crate::testing::wordpiece(folder.path());
    let json = crate::tokenizer_json(&folder.path().join("vocab.txt")).unwrap();
    let check = |path: &Path| {
        let tokenizer = Tokenizer::load(path).map_err(|e| e.to_string())?;
        drop(tokenizer.encode("one 2 three")); // may fail, must not fall over
        Ok(())
    };
    damage("tokenizer.json", &[json], check);
}
