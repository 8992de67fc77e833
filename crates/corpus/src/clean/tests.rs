//! A whole source file through the rules: counts, the three files, and errors that leave nothing behind.

use super::*;
use osler_core::spec::{CleanRules, CorpusFormat};

fn corpus() -> CorpusSpec {
    let rules = CleanRules { languages: vec!["eng".into()], min_words: 3, ..CleanRules::default() };
    CorpusSpec { rules, ..CorpusSpec::new(CorpusFormat::PubmedXml, vec![]) }
}

fn article(pmid: u32, language: &str, text: &str) -> String {
    format!(
        "<PubmedArticle><MedlineCitation><PMID Version=\"2\">{pmid}</PMID><Article><ArticleTitle>A title.</ArticleTitle><Abstract><AbstractText>{text}\
         </AbstractText></Abstract><Language>{language}</Language></Article></MedlineCitation></PubmedArticle>"
    )
}

#[test]
fn every_record_is_kept_or_logged_and_leaves_a_tombstone() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("a.xml"), folder.path().join("out"));
    let records =
        [article(1, "eng", "Some words."), article(2, "ger", "Worte."), article(3, "eng", ""), article(4, "eng", "More.")].concat();
    std::fs::write(&source, format!("<PubmedArticleSet>{records}<DeleteCitation><PMID>9</PMID></DeleteCitation></PubmedArticleSet>"))
        .unwrap();
    let output = clean_source(&source, 3, &corpus(), &out).unwrap();
    assert_eq!((output.records, output.deletions, output.words), (4, 1, 7));
    assert_eq!((output.documents.records, output.removed.records, output.tombstones.records), (2, 2, 3));
    assert_eq!(output.removed_by_rule, BTreeMap::from([(Rule::Language, 1), (Rule::NoAbstract, 1)]));
    assert_eq!((output.source, output.source_bytes), digest_file(&source).unwrap());

    let lines = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let documents: Vec<CleanDocument> = lines("documents.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found: Vec<_> = documents.iter().map(|d| (d.id.as_str(), d.version, d.source_index, d.ordinal, d.words, d.text.as_str())).collect();
    assert_eq!(found, [("1", 2, 3, 0, 4, "A title.\nSome words."), ("4", 2, 3, 3, 3, "A title.\nMore.")]);
    let tombstones: Vec<Tombstone> = lines("tombstones.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let found: Vec<_> = tombstones.iter().map(|t| (t.id.as_str(), t.ordinal, t.rule)).collect();
    assert_eq!(found, [("2", 1, Rule::Language), ("3", 2, Rule::NoAbstract), ("9", 4, Rule::Deleted)]);
    assert!(lines("removed.jsonl").starts_with("{\"id\":\"2\",\"rule\":\"language\",\"detail\":\"ger\"}\n"));

    let again = clean_source(&source, 3, &corpus(), &folder.path().join("again")).unwrap();
    assert_eq!(again, output, "the same bytes again");
}

#[test]
fn a_broken_or_empty_source_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("a.xml"), folder.path().join("out"));
    let cut = format!("<PubmedArticleSet>{}<PubmedArt", article(1, "eng", "Some words."));
    for (text, words) in [(cut.as_str(), "a.xml: byte"), ("<PubmedArticleSet/>", "holds no documents")] {
        std::fs::write(&source, text).unwrap();
        let message = clean_source(&source, 0, &corpus(), &out).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    }
    assert!(clean_source(&folder.path().join("none"), 0, &corpus(), &out).unwrap_err().retryable());
}

/// From file to text, one kind of trap a record; each rule's own tests have the details.
#[test]
fn what_a_careful_reader_would_want_of_awkward_records() {
    let record = |pmid: u32, title: &str, body: &str, behind: &str| {
        format!(
            "<PubmedArticle><MedlineCitation><PMID Version=\"1\">{pmid}</PMID><Article><ArticleTitle>{title}</ArticleTitle>{body}<Language>eng</Language>\
             </Article>{behind}</MedlineCitation></PubmedArticle>"
        )
    };
    let article =
        |pmid: u32, text: &str| record(pmid, "On rest.", &format!("<Abstract><AbstractText>{text}</AbstractText></Abstract>"), "");
    let link = "<CommentsCorrectionsList><CommentsCorrections RefType=\"RetractedandRepublishedIn\"><PMID>9</PMID></CommentsCorrections></CommentsCorrectionsList>";
    let other = "<OtherAbstract Type=\"PIP\" Language=\"eng\"><AbstractText>Another body wrote this.</AbstractText></OtherAbstract>";
    let label =
        "<Abstract><AbstractText Label=\"RESULTS\">It helped.</AbstractText><AbstractText Label=\"LEVEL OF EVIDENCE: 2\"/></Abstract>";
    let records = [
        article(1, "We asked for: (a) age; (b) sleep; (c) a bed in 2021 (OR 1.9); and (d) pillows. Beds were accepted."),
        article(2, "Pillows helped. (PsycInfo Database Record (c) 2022 APA, all rights reserved)."),
        article(3, "We gave 3 \u{d7} 10<sup>7</sup> pillows of 10<sup>-2</sup> m<sup>2</sup>."),
        record(4, "On rest.", label, ""),
        record(5, "On rest.", "", other),
        record(6, "[Rest of a knee (author's transl)].", "<Abstract><AbstractText>It rests well.</AbstractText></Abstract>", ""),
        record(7, "WITHDRAWN: On rest.", label, ""),
        record(8, "On rest.", label, link),
        article(9, "[This corrects the article DOI: 10.0/invented.]."),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("a.xml"), folder.path().join("out"));
    std::fs::write(&source, format!("<PubmedArticleSet>{}</PubmedArticleSet>", records.concat())).unwrap();
    let output = clean_source(&source, 0, &corpus(), &out).unwrap();
    let lines = std::fs::read_to_string(out.join("documents.jsonl")).unwrap();
    let found: Vec<CleanDocument> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let expected = [
        "On rest.\nWe asked for: (a) age; (b) sleep; (c) a bed in 2021 (OR 1.9); and (d) pillows. Beds were accepted.",
        "On rest.\nPillows helped.",
        "On rest.\nWe gave 3 \u{d7} 10^7 pillows of 10^-2 m^2.",
        "On rest.\nRESULTS: It helped.\nLEVEL OF EVIDENCE: 2",
        "On rest.\nAnother body wrote this.",
        "Rest of a knee\nIt rests well.",
    ];
    assert_eq!(found.iter().map(|d| d.text.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(output.removed_by_rule, BTreeMap::from([(Rule::Withdrawn, 1), (Rule::Republished, 1), (Rule::NoAbstract, 1)]));
}

#[test]
fn bad_lines_are_left_out_and_counted_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("a.jsonl"), folder.path().join("out"));
    std::fs::write(&source, "{\"id\":\"line-1\",\"text\":\"one\"}\nnonsense\n{\"id\":\"b\",\"text\":null}\n[]\n{\"text\":\"five\"}\n")
        .unwrap();
    let plain = CorpusSpec::new(CorpusFormat::Jsonl, vec![]);
    let error = clean_source(&source, 4, &plain, &out).unwrap_err().to_string();
    assert!(error.contains("a.jsonl: line 2"), "the first bad line fails by default: {error}");

    let skip = |at_most| CorpusSpec { bad_lines: BadLines::Skip { at_most }, ..plain.clone() };
    let output = clean_source(&source, 4, &skip(2), &out).unwrap();
    assert_eq!(output.removed_by_rule, BTreeMap::from([(Rule::BadLine, 2), (Rule::NoText, 1)]));
    assert_eq!((output.records, output.documents.records), (5, 2));
    assert!(output.bad_lines.len() == 2 && output.bad_lines[0].contains("a.jsonl line 2: not JSON"), "{:?}", output.bad_lines);
    let lines = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let removed: Vec<Removed> = lines("removed.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = removed.iter().map(|r| (r.id.as_str(), r.rule)).collect();
    assert_eq!(found, [("source-4-line-2", Rule::BadLine), ("b", Rule::NoText), ("source-4-line-4", Rule::BadLine)]);
    let documents: Vec<CleanDocument> = lines("documents.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let ids: Vec<_> = documents.iter().map(|d| (d.id.as_str(), d.ordinal)).collect();
    assert_eq!(ids, [("line-1", 0), ("source-4-line-5", 4)], "an id that was given stays as it is");

    let error = clean_source(&source, 4, &skip(1), &out).unwrap_err().to_string();
    assert!(error.contains("more than 1 lines") && error.contains("line 2: not JSON") && error.contains("raise max_bad_lines"), "{error}");
    std::fs::write(&source, "a\nb\n").unwrap();
    let error = clean_source(&source, 4, &skip(9), &out).unwrap_err().to_string();
    assert!(error.contains("none of its 2 lines can be read; the first: "), "{error}");
}
