//! What becomes of records in one corpus, as a table; the split; chunks; and what is refused. Everything goes through real files.

use super::*;
use crate::clean::clean_source;
use osler_core::spec::CorpusFormat;
use std::collections::BTreeMap;

fn corpus(format: CorpusFormat) -> CorpusSpec {
    CorpusSpec::new(format, vec![])
}

fn name() -> CorpusName {
    CorpusName::new("medical").unwrap()
}

fn clean(folder: &Path, index: u32, source: &str, corpus: &CorpusSpec) -> CleanFiles {
    let out = folder.join(format!("clean-{index}"));
    let file = folder.join(format!("source-{index}"));
    std::fs::write(&file, source).unwrap();
    let output = clean_source(&file, index, corpus, &out).unwrap();
    CleanFiles::in_folder(&out, &output)
}

fn documents(folder: &Path, files: &[FileInfo]) -> Vec<CleanDocument> {
    let read = |file: &FileInfo| {
        let text = std::fs::read_to_string(folder.join(&file.name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
    };
    files.iter().flat_map(read).collect()
}

/// A source in shorthand, a record a word: `7=text` an article, `7!text` the same retracted, `-7` a withdrawal; `7.2` is the second version.
fn source(words: &str) -> String {
    let (mut articles, mut deletions) = (String::new(), String::new());
    for word in words.split_whitespace() {
        let numbered = |id: &str| {
            let (pmid, version) = id.split_once('.').unwrap_or((id, "1"));
            format!("<PMID Version=\"{version}\">{pmid}</PMID>")
        };
        if let Some(pmid) = word.strip_prefix('-') {
            deletions += &numbered(pmid);
            continue;
        }
        let (pmid, text) = word.split_once(['=', '!']).unwrap();
        let pmid = numbered(pmid);
        let kind = if word.contains('!') { "Retracted Publication" } else { "Journal Article" };
        articles += &format!(
            "<PubmedArticle><MedlineCitation>{pmid}<Article><ArticleTitle>T</ArticleTitle><Abstract><AbstractText>{text}</AbstractText>\
             </Abstract><PublicationTypeList><PublicationType>{kind}</PublicationType></PublicationTypeList></Article></MedlineCitation></PubmedArticle>"
        );
    }
    let deletions = if deletions.is_empty() { deletions } else { format!("<DeleteCitation>{deletions}</DeleteCitation>") };
    format!("<PubmedArticleSet>{articles}{deletions}</PubmedArticleSet>")
}

#[track_caller]
fn check(sources: &[&str], kept: &[(&str, &str)], removed: &[(&str, Rule, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(CorpusFormat::PubmedXml);
    let inputs: Vec<_> = (0..).zip(sources).map(|(i, words)| clean(folder.path(), i, &source(words), &corpus)).collect();
    let out = folder.path().join("merged");
    let output = merge(&inputs, &name(), &corpus, 1, &out).unwrap();
    let found: Vec<_> = documents(&out, &output.train).into_iter().map(|d| (d.id, d.text.replacen("T\n", "", 1))).collect();
    assert_eq!(found, kept.iter().map(|(id, text)| (id.to_string(), text.to_string())).collect::<Vec<_>>());
    let log = std::fs::read_to_string(out.join("removed.jsonl")).unwrap();
    let log: Vec<Removed> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<_> =
        removed.iter().map(|(id, rule, detail)| Removed { id: id.to_string(), rule: *rule, detail: detail.to_string() }).collect();
    assert_eq!(log, expected);
    assert_eq!(output.removed_by_rule.values().sum::<u64>(), removed.len() as u64);
}

#[test]
fn the_later_record_of_a_pmid_replaces_the_earlier() {
    use Rule::{Deleted, Duplicate, Superseded};
    check(&["1=old 2=two", "1=new"], &[("2", "two"), ("1", "new")], &[("1", Superseded, "by source 1 record 0")]);
    check(&["1=old 1=new"], &[("1", "new")], &[("1", Superseded, "by source 0 record 1")]);
    check(
        &["1=a 2=two", "1=b", "1=c"],
        &[("2", "two"), ("1", "c")],
        &[("1", Superseded, "by source 2 record 0"), ("1", Superseded, "by source 2 record 0")],
    );
    // Withdrawn; withdrawn in the file that brings it; back again after that; withdrawn before it was ever there.
    check(&["1=one 2=two", "-1"], &[("2", "two")], &[("1", Deleted, "withdrawn in source 1")]);
    check(&["1=one 2=two -1"], &[("2", "two")], &[("1", Deleted, "withdrawn in source 0")]);
    check(&["1=one", "-1", "1=back"], &[("1", "back")], &[("1", Superseded, "by source 2 record 0")]);
    check(&["-1 -9", "1=one"], &[("1", "one")], &[]);
    // A newer record that a rule removed takes the older one with it, and an older one that was removed does not harm the newer.
    check(&["1=one 2=two", "1!one"], &[("2", "two")], &[("1", Superseded, "by source 1 record 0, itself removed: retracted")]);
    check(&["1!one", "1=one"], &[("1", "one")], &[]);
    // Duplicates: the earliest current document stays; a replaced one does not count.
    check(&["1=same 2=SAME", "3=same"], &[("1", "same")], &[("2", Duplicate, "of 1"), ("3", Duplicate, "of 1")]);
    check(&["1=same 2=same", "1=other"], &[("2", "same"), ("1", "other")], &[("1", Superseded, "by source 1 record 0")]);
    check(&["1=same 2=same", "-1"], &[("2", "same")], &[("1", Deleted, "withdrawn in source 1")]);
    check(&["1=same", "1=same"], &[("1", "same")], &[("1", Superseded, "by source 1 record 0")]);
}

#[test]
fn the_highest_version_of_a_pmid_stays_wherever_it_stands() {
    use Rule::{Deleted, Superseded};
    check(&["1.2=new 1=old 2=two"], &[("1", "new"), ("2", "two")], &[("1", Superseded, "by source 0 record 0")]);
    check(&["1.2=new", "1=old 2=two"], &[("1", "new"), ("2", "two")], &[("1", Superseded, "by source 0 record 0")]);
    check(
        &["1=a 1.2=b 1.10=c 1.3=d"],
        &[("1", "c")],
        &[("1", Superseded, "by source 0 record 2"), ("1", Superseded, "by source 0 record 2"), ("1", Superseded, "by source 0 record 2")],
    );
    check(&["1.2=b 2=two", "1.2=later"], &[("2", "two"), ("1", "later")], &[("1", Superseded, "by source 1 record 0")]);
    // A withdrawal is of its version and those below.
    check(&["1.2=b", "-1"], &[("1", "b")], &[]);
    check(&["1=a 2=two", "-1.2"], &[("2", "two")], &[("1", Deleted, "withdrawn in source 1")]);
    // A higher version that a rule removed takes the lower ones with it.
    check(&["1.2!b 1=a 2=two"], &[("2", "two")], &[("1", Superseded, "by source 0 record 0, itself removed: retracted")]);
}

#[test]
fn outside_pubmed_equal_ids_do_not_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(CorpusFormat::Jsonl);
    let inputs: Vec<_> = (0..2)
        .map(|i| {
            clean(folder.path(), i, &format!("{{\"id\":0,\"text\":\"text {i}\"}}\n{{\"text\":\"more {i}\"}}\n{{\"text\":\"\"}}"), &corpus)
        })
        .collect();
    let out = folder.path().join("merged");
    let output = merge(&inputs, &name(), &corpus, 1, &out).unwrap();
    let ids: Vec<_> = documents(&out, &output.train).into_iter().map(|d| d.id).collect();
    assert_eq!(ids, ["0", "source-0-line-2", "0", "source-1-line-2"]);
}

#[test]
fn without_dedup_equal_texts_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = corpus(CorpusFormat::Text);
    (corpus.rules.dedup, corpus.separator) = (false, Some("--".into()));
    let input = clean(folder.path(), 0, "a\n--\na\n--\n", &corpus);
    assert_eq!(merge(&[input], &name(), &corpus, 1, folder.path()).unwrap().train_documents, 2);
}

/// Many sources with replacements and duplicates among them.
fn many(folder: &Path, corpus: &CorpusSpec) -> Vec<CleanFiles> {
    let words = |source: u32| (0..200).map(|i| format!("{}=text{} ", i * 7 % 500 + source * 40 + 1, i * source % 97)).collect::<String>();
    (0..5).map(|i| clean(folder, i, &source(&words(i)), corpus)).collect()
}

#[test]
fn the_split_depends_on_seed_corpus_and_id_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut corpus = corpus(CorpusFormat::PubmedXml);
    (corpus.held_out, corpus.rules.dedup) = (0.2, false);
    let inputs = many(folder.path(), &corpus);
    let split = |inputs: &[CleanFiles], name: &str, seed: u64| {
        let out = folder.path().join("merged");
        let output = merge(inputs, &CorpusName::new(name).unwrap(), &corpus, seed, &out).unwrap();
        assert_eq!(output.held_out_documents, output.held_out.records);
        let part = |files: &[FileInfo], held: bool| documents(&out, files).into_iter().map(move |d| (d.id, held)).collect::<Vec<_>>();
        let all: BTreeMap<String, bool> = part(&output.train, false).into_iter().chain(part(&[output.held_out], true)).collect();
        assert_eq!(all.len() as u64, output.train_documents + output.held_out_documents, "no document is in both");
        all
    };
    let base = split(&inputs, "medical", 1);
    let share = base.values().filter(|held| **held).count() as f64 / base.len() as f64;
    assert!((0.12..0.28).contains(&share), "{share} of {}", base.len());
    assert_ne!(split(&inputs, "medical", 2), base);
    assert_ne!(split(&inputs, "general", 1), base);
    let fewer = split(&inputs[..3], "medical", 1);
    assert!(fewer.iter().all(|(id, held)| base.get(id).is_none_or(|h| h == held)), "more files move no document across");
}

#[test]
fn chunks_are_cut_by_bytes_and_their_concatenation_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(CorpusFormat::PubmedXml);
    let inputs = many(folder.path(), &corpus);
    let chunked = |bytes| merge_chunked(&inputs, &name(), &corpus, 1, &folder.path().join(format!("{bytes}")), bytes).unwrap();
    let (one, small, single) = (chunked(CHUNK_BYTES), chunked(2000), chunked(1));
    assert_eq!(one.train.len(), 1);
    assert!(small.train.len() > 3 && small.train.iter().all(|f| f.bytes <= 2000));
    assert_eq!(single.train.len() as u64, single.train_documents, "a document larger than the budget is a chunk of its own");
    let read = |out: &MergeOutput, bytes: u64| documents(&folder.path().join(format!("{bytes}")), &out.train);
    assert_eq!(read(&small, 2000), read(&one, CHUNK_BYTES));
    assert_eq!(chunked(2000), small, "the same again");
}

#[test]
fn a_corpus_without_training_documents_is_an_error_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(CorpusFormat::PubmedXml);
    let inputs = [clean(folder.path(), 0, &source("1=one"), &corpus), clean(folder.path(), 1, &source("-1"), &corpus)];
    let error = merge(&inputs, &name(), &corpus, 1, folder.path()).unwrap_err().to_string();
    assert!(error.contains("no training documents are left of 2 sources") && error.contains("1 deleted"), "{error}");
}

#[test]
fn inputs_out_of_order_or_damaged_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(CorpusFormat::PubmedXml);
    let inputs: Vec<_> = (0..2).map(|i| clean(folder.path(), i, &source("1=one 2=two"), &corpus)).collect();
    let refused = |inputs: &[CleanFiles]| merge(inputs, &name(), &corpus, 1, folder.path()).unwrap_err().to_string();
    assert!(refused(&[inputs[1].clone(), inputs[0].clone()]).contains("not in rising order"));
    assert!(refused(&[inputs[0].clone(), inputs[0].clone()]).contains("not in rising order"));
    let lying = CleanFiles { source_index: 5, ..inputs[0].clone() };
    assert!(refused(&[lying]).contains("out of order"));
    let whole = std::fs::read_to_string(&inputs[0].documents).unwrap();
    for (damaged, words) in [
        (whole[..whole.len() - 1].to_owned(), "cut off"),
        (whole.lines().rev().map(|l| format!("{l}\n")).collect(), "out of order"),
        (whole.replace("\"id\":\"1\"", "\"id\":\"x\""), "is not a PMID"),
        (whole.replace("\"words\"", "\"wrods\""), "wrods"),
    ] {
        std::fs::write(&inputs[0].documents, damaged).unwrap();
        let message = refused(&inputs);
        assert!(message.contains(words), "{message}");
    }
}
