//! What real and hostile files do: every error names the file, the place and the field; nothing panics.

use osler_exam::{ExamError, ExamFormat, ExamSpec, LimitMode, Protocol, load};

use crate::files::{ANATOMY, Folder, MEDMCQA, MEDQA, PUBMEDQA, load_text, questions, spec};

fn medmcqa(cops: &[i64]) -> String {
    let record = |(i, cop): (usize, &i64)| {
        format!("{{\"id\":\"{i}\",\"question\":\"q\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\",\"cop\":{cop}}}\n")
    };
    cops.iter().enumerate().map(record).collect()
}

#[test]
fn cop_counts_from_where_the_file_shows() {
    type Case<'a> = (&'a [i64], Option<u8>, Result<&'a [usize], &'a str>);
    let table: [Case; 9] = [
        (&[1, 2, 3, 4], None, Ok(&[0, 1, 2, 3])),
        (&[0, 1, 2, 3], None, Ok(&[0, 1, 2, 3])),
        (&[1, 2, 3], None, Err("use the whole official file")),
        (&[1, 2, 3], Some(1), Ok(&[0, 1, 2])),
        (&[1, 2, 3], Some(0), Ok(&[1, 2, 3])),
        (&[0, 4], None, Err("two copies of MedMCQA are mixed")),
        (&[4], Some(0), Err("`cop-base` says 0")),
        (&[0], Some(1), Err("`cop-base` says 1")),
        (&[1, -1], None, Err("hides the answer")),
    ];
    for (cops, cop_base, expected) in table {
        let folder = Folder::new();
        let result = load(&ExamSpec { cop_base, ..spec(ExamFormat::MedMcqa, vec![folder.file("x.jsonl", medmcqa(cops))]) });
        match (result, expected) {
            (Ok(exam), Ok(golds)) => assert_eq!(questions(&exam).iter().map(|q| q.gold).collect::<Vec<_>>(), golds),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{cops:?}: {error}"),
            (result, _) => panic!("{cops:?} {cop_base:?}: {result:?}"),
        }
    }
}

#[test]
fn bad_records_are_named_by_file_place_and_field() {
    use ExamFormat::*;
    let table: [(ExamFormat, &str, String, &[&str]); 26] = [
        (MedMcqa, "m.json", medmcqa(&[1, 4, 5]), &["m.json, line 3, field `cop`", "5 is not a position"]),
        (MedMcqa, "m.json", MEDMCQA.replace("\"cop\":2", "\"cop\":\"2\""), &["line 2, field `cop`", "whole number"]),
        (MedMcqa, "m.json", MEDMCQA.replace("\"opb\":\"C\",", ""), &["line 2, field `opb`", "missing"]),
        (MedMcqa, "m.json", MEDMCQA.replace("\"opb\":\"C\"", "\"opb\":7"), &["line 2, field `opb`", "found 7"]),
        (MedMcqa, "m.json", MEDMCQA.replace("Scurvy lacks vitamin:", " "), &["line 2, field `question`", "empty"]),
        (MedMcqa, "m.json", MEDMCQA.replace("q-scurvy", "q-ear"), &["question id \"q-ear\" occurs twice"]),
        (MedMcqa, "m.json", "[{}]".into(), &["m.json", "line 1 is a list", "one JSON object a line"]),
        (MedMcqa, "m.json", "{\"cop\": 1".into(), &["m.json", "line 1, column"]),
        (MedMcqa, "m.json", String::new(), &["no questions"]),
        (MedMcqa, "m.json", "\n \n".into(), &["no questions"]),
        (MedMcqa, "m.json", "[".repeat(100_000), &["line 1", "recursion limit"]),
        (
            MedQa,
            "q.jsonl",
            MEDQA.replace("\"B\", \"meta", "\"E\", \"meta").replace("\"answer_idx\": \"B\"", "\"answer_idx\": \"E\""),
            &["line 1, field `answer_idx`", "\"E\""],
        ),
        (MedQa, "q.jsonl", MEDQA.replace("\"D\": \"Nothing\"", "\"D\": \"Nothing\", \"E\": \"x\""), &["field `options`", "4_options"]),
        (MedQa, "q.jsonl", MEDQA.replace("\"D\":", "\"F\":"), &["field `options.D`", "missing"]),
        (MedQa, "q.jsonl", MEDQA.replace("\"answer_idx\": \"B\"", "\"answer_idx\": \"A\""), &["field `answer`", "differs"]),
        (
            MedQa,
            "q.jsonl",
            r#"{"sent1":"q","ending0":"a","ending1":"b","ending2":"c","ending3":"d","label":4}"#.into(),
            &["field `label`", "0..=3"],
        ),
        (PubMedQa, "p.json", PUBMEDQA.replace("\"no\"", "\"No\""), &["record \"20\", field `final_decision`", "\"No\" is not yes"]),
        (PubMedQa, "p.json", PUBMEDQA.replace("\"20\"", "\"10\""), &["key \"10\" is given twice"]),
        (PubMedQa, "p.json", PUBMEDQA.replace("[\"Smoke rose.\"]", "[\"Smoke rose.\", 3]"), &["record \"20\", field `CONTEXTS[1]`"]),
        (PubMedQa, "p.json", PUBMEDQA.replace("\"CONTEXTS\": [\"Tea was drunk.\"],", ""), &["record \"10\", field `CONTEXTS`", "missing"]),
        (PubMedQa, "p.json", "{}".into(), &["no questions"]),
        (PubMedQa, "p.json", "{\"1\": \"yes\"}".into(), &["record \"1\", field `pmid`", "ori_pqal.json"]),
        (Mmlu, "anatomy_test.csv", "question,A,B,C,D,answer\n".into(), &["row 1 (line 1), field `answer`", "no header row"]),
        (Mmlu, "anatomy_test.csv", format!("{ANATOMY}q,a,b,c,A\n"), &["row 3 (line 4), field `(row)`", "5 columns"]),
        (Mmlu, "anatomy_test.csv", "q,a,b,c,d,E\n".into(), &["field `answer`", "\"E\""]),
        (Mmlu, "anatomy_test.csv", "\"never closed,a,b,c,d,A\n".into(), &["row 1", "1 columns"]),
    ];
    for (format, name, text, parts) in table {
        let error = load_text(format, name, &text).expect_err(&text).to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        assert!(error.len() < 1000, "an error quotes too much: {error}");
    }
}

#[test]
fn bytes_that_are_not_text_and_paths_that_are_not_files_are_refused() {
    let error = load_text(ExamFormat::MedMcqa, "m.json", b"{\"a\":\"\xff\"}").unwrap_err().to_string();
    assert!(error.contains("not UTF-8 at byte 6"), "{error}");
    let folder = Folder::new();
    let error = load(&spec(ExamFormat::Mmlu, vec![folder.path().to_path_buf()])).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let missing = load(&spec(ExamFormat::Mmlu, vec![folder.path().join("absent.csv")]));
    assert!(matches!(missing, Err(ExamError::Read { .. })), "{missing:?}");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_harmless() {
    let text = format!("\u{feff}{}", MEDMCQA.replace('\n', "\r\n"));
    assert_eq!(questions(&load_text(ExamFormat::MedMcqa, "m.json", text).unwrap()).len(), 2);
    let exam = load_text(ExamFormat::Mmlu, "x_test.csv", "\u{feff}q,a,b,c,d,B\r\n").unwrap();
    assert_eq!((questions(&exam)[0].gold, questions(&exam)[0].id.as_str()), (1, "x/0"));
    assert!(questions(&exam)[0].prompt.contains("\n\nq\nA. a"));
}

#[test]
fn the_ground_truth_selects_and_orders_pubmedqa() {
    let folder = Folder::new();
    let records = folder.file("ori_pqal.json", PUBMEDQA);
    let test = folder.file("test_ground_truth.json", r#"{"20": "no", "30": "maybe"}"#);
    for files in [vec![records.clone(), test.clone()], vec![test, records.clone()]] {
        let exam = load(&spec(ExamFormat::PubMedQa, files)).unwrap();
        assert_eq!(questions(&exam).iter().map(|q| (q.id.as_str(), q.doc_id)).collect::<Vec<_>>(), [("20", 0), ("30", 1)]);
    }
    let all = load(&spec(ExamFormat::PubMedQa, vec![records.clone()])).unwrap();
    assert_eq!(questions(&all).iter().map(|q| q.id.as_str()).collect::<Vec<_>>(), ["30", "10", "20"], "file order, not sorted");
    let wrong = folder.file("wrong.json", r#"{"20": "yes"}"#);
    let error = load(&spec(ExamFormat::PubMedQa, vec![records, wrong])).unwrap_err().to_string();
    assert!(error.contains("record \"20\", field `label`: differs"), "{error}");
}

#[test]
fn a_limit_on_a_file_sorted_by_label_keeps_every_label() {
    let labels = [("yes", 6), ("no", 4), ("maybe", 2)].into_iter().flat_map(|(l, n)| std::iter::repeat_n(l, n));
    let entry = |(i, l): (usize, &str)| format!("\"{i}\": {{\"QUESTION\":\"q\",\"CONTEXTS\":[],\"final_decision\":\"{l}\"}}");
    let text = format!("{{{}}}", labels.enumerate().map(entry).collect::<Vec<_>>().join(","));
    let folder = Folder::new();
    let spec = ExamSpec { limit: Some(6), ..spec(ExamFormat::PubMedQa, vec![folder.file("p.json", text)]) };
    let golds = |spec: &ExamSpec| questions(&load(spec).unwrap()).iter().map(|q| q.gold).collect::<Vec<_>>();
    assert_eq!(golds(&spec), [0, 0, 0, 1, 1, 2]);
    assert_eq!(golds(&ExamSpec { limit_mode: LimitMode::Head, ..spec }), [0; 6]);
}

#[test]
fn an_mmlu_limit_counts_per_subject() {
    let folder = Folder::new();
    let rows: String = (0..10).map(|i| format!("q{i},a,b,c,d,A\n")).collect();
    let files = vec![folder.file("anatomy_test.csv", &rows), folder.file("virology_test.csv", &rows)];
    let exam = load(&ExamSpec { limit: Some(2), ..spec(ExamFormat::Mmlu, files) }).unwrap();
    let ids: Vec<_> = questions(&exam).iter().map(|q| q.id.as_str()).collect();
    assert_eq!(ids, ["anatomy/0", "anatomy/5", "virology/0", "virology/5"]);
    assert_eq!(exam.available, 20);
    let files = vec![folder.file("a/anatomy_test.csv", &rows), folder.file("b/anatomy_val.csv", &rows)];
    assert!(load(&spec(ExamFormat::Mmlu, files)).unwrap_err().to_string().contains("second file of subject"));
}

#[test]
fn an_empty_option_has_no_cloze_score() {
    let folder = Folder::new();
    let file = folder.file("m.json", MEDMCQA.replace("\"Ulna\"", "\"\""));
    let letter = spec(ExamFormat::MedMcqa, vec![file]);
    assert!(load(&letter).is_ok());
    let error = load(&ExamSpec { protocol: Protocol::Cloze, ..letter }).unwrap_err().to_string();
    assert!(error.contains("\"q-ear\", choice 1") && error.contains("empty"), "{error}");
}

#[test]
fn text_files_are_documents() {
    let folder = Folder::new();
    let files = vec![
        folder.file("a.txt", "One document.\n\nStill the same.\n"),
        folder.file("b.jsonl", "{\"text\":\"two\",\"pmid\":7}\n{\"text\":\"three\"}\n"),
    ];
    let exam = load(&spec(ExamFormat::Perplexity, files)).unwrap();
    let osler_exam::Content::Documents(documents) = &exam.content else { panic!() };
    assert_eq!(documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["a", "7", "b/1"]);
    for (name, text, part) in [
        ("a.txt", "", "empty"),
        ("a.xml", "x", "neither .txt"),
        ("a.jsonl", "", "no document"),
        ("a.jsonl", "{\"txt\":\"x\"}", "line 1, field `text`: missing"),
        ("a.jsonl", "{\"text\":\" \"}", "line 1, field `text`: empty"),
    ] {
        let error = load_text(ExamFormat::Perplexity, name, text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn documents_of_one_id_are_told_apart() {
    let folder = Folder::new();
    let lines = "{\"text\":\"x\",\"id\":1}\n{\"text\":\"y\",\"id\":\"1\"}\n{\"text\":\"z\",\"id\":\"1#2\"}\n{\"text\":\"x\",\"id\":1}\n";
    let exam = load(&spec(ExamFormat::Perplexity, vec![folder.file("a.jsonl", lines)])).unwrap();
    let osler_exam::Content::Documents(documents) = &exam.content else { panic!() };
    assert_eq!(documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["1", "1#3", "1#2", "1#4"]);
}

#[test]
fn files_of_one_name_are_one_exam_with_ids_that_differ() {
    let folder = Folder::new();
    let ids = |format, files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| folder.file(name, text)).collect();
        load(&spec(format, files)).map(|exam| questions(&exam).iter().map(|q| q.id.clone()).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    let (one, two) = (MEDQA, MEDQA.replace("question\": \"", "question\": \"Also: "));
    let found = ids(ExamFormat::MedQa, &[("north/a/test.jsonl", one), ("south/a/test.jsonl", &two), ("dev.jsonl", one)]).unwrap();
    let (first, last) = (found.first().unwrap(), found.last().unwrap());
    assert!(first.ends_with("north/a/test/0") && last.starts_with("dev/"), "{found:?}");
    assert!(found.iter().any(|id| id.ends_with("south/a/test/0")), "{found:?}");
    assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), found.len());

    // Ids that two files give to different questions; and the same question, which may be asked only once.
    let numbered = |text: &str| text.replacen("{\"question\"", "{\"id\": 0, \"question\"", 1);
    let found = ids(ExamFormat::MedQa, &[("n/x.jsonl", &numbered(one)), ("s/x.jsonl", &numbered(&two))]).unwrap();
    assert!(found[0] == "0" && found.iter().any(|id| id.ends_with("s/x/0")), "{found:?}");
    let error = ids(ExamFormat::MedQa, &[("n/x.jsonl", &numbered(one)), ("s/x.jsonl", &numbered(one))]).unwrap_err();
    assert!(error.contains("occurs twice"), "{error}");

    let rows = "q0,a,b,c,d,A\nq1,a,b,c,d,B\n";
    let found = ids(ExamFormat::Mmlu, &[("n/anatomy_test.csv", rows), ("n/law_test.csv", rows), ("s/anatomy_test.csv", rows)]).unwrap();
    assert_eq!(found, ["anatomy/0", "anatomy/1", "anatomy/2", "anatomy/3", "law/0", "law/1"]);
}

#[test]
fn exam_files_may_be_compressed() {
    use std::io::Write as _;
    let folder = Folder::new();
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    gz.write_all(MEDQA.as_bytes()).unwrap();
    let packed = gz.finish().unwrap();
    let path = folder.file("test.jsonl.gz", "");
    std::fs::write(&path, [&packed[..], &[0; 512]].concat()).unwrap();
    let exam = load(&spec(ExamFormat::MedQa, vec![path.clone()])).unwrap();
    let plain = load(&spec(ExamFormat::MedQa, vec![folder.file("test.jsonl", MEDQA)])).unwrap();
    assert_eq!(questions(&exam), questions(&plain));
    assert_ne!(exam.digests[0].sha256, plain.digests[0].sha256, "the digest is the file's, as sha256sum shows it");
    for (bytes, words) in [(&packed[..30], "the gzip stream is cut off"), (b"PK\x03\x04rest", "a ZIP archive"), (b"\xff\xfe{\0", "UTF-16")]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&spec(ExamFormat::MedQa, vec![path.clone()])).unwrap_err().to_string();
        assert!(error.contains("test.jsonl.gz") && error.contains(words), "{error}");
    }
}
