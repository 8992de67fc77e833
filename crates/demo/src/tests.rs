//! The promises of the generator, checked on what it wrote: the tests read the files as a stranger would.

use crate::phrases::{SEEN, UNSEEN};
use crate::world::{Relation, World};
use crate::{DemoError, Options, Summary, generate};
use flate2::read::GzDecoder;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

const SMALL: Options = Options { seed: 5, diseases: 10, abstracts: 120, general_documents: 200, questions: 40 };

fn generated(options: &Options) -> (tempfile::TempDir, Summary) {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(dir.path(), options).unwrap();
    (dir, summary)
}

/// What a corpus must know of a citation. Inline elements are dropped, their text is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Citation {
    pmid: u32,
    version: u8,
    title: String,
    text: String,
    language: String,
    types: Vec<String>,
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes().map(Result::unwrap);
    attributes.find(|attribute| attribute.key.as_ref() == name).map(|attribute| attribute.value.into_owned())
}

/// Citations and deletions of one file; panics where the XML is not well-formed.
fn read_pubmed(path: &Path) -> (Vec<Citation>, Vec<u32>) {
    let mut xml = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut xml).unwrap();
    assert!(xml.contains("No medical fact"), "{path:?}: says that it is invented");
    let mut reader = Reader::from_str(&xml);
    reader.config_mut().check_end_names = true;
    let (mut citations, mut deleted) = (Vec::new(), Vec::new());
    let mut open: Vec<String> = Vec::new();
    let mut now = Citation::default();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) => {
                let name = element.name().as_ref().to_owned();
                match name.as_str() {
                    "PubmedArticle" => now = Citation::default(),
                    "PMID" => now.version = attribute(&element, "Version").unwrap().parse().unwrap(),
                    "AbstractText" => {
                        now.text.push('\n');
                        now.text.extend(attribute(&element, "Label").map(|label| format!("{label}: ")));
                    }
                    _ => {}
                }
                open.push(name);
            }
            Event::End(element) => {
                let name = open.pop().unwrap();
                assert_eq!(name, element.name().as_ref());
                if name == "PubmedArticle" {
                    citations.push(now.clone());
                }
            }
            Event::Text(text) => take(&mut now, &mut deleted, &open, &text),
            Event::GeneralRef(entity) => {
                let text = match &*entity {
                    "lt" => "<",
                    "gt" => ">",
                    other => panic!("entity {other}"),
                };
                take(&mut now, &mut deleted, &open, text);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{path:?}: {open:?} left open");
    (citations, deleted)
}

fn take(now: &mut Citation, deleted: &mut Vec<u32>, open: &[String], text: &str) {
    let is_in = |name: &str| open.iter().any(|element| element == name);
    let last = open.last().map(String::as_str);
    if is_in("ArticleTitle") {
        now.title.push_str(text);
    } else if is_in("AbstractText") {
        now.text.push_str(text);
    } else if last == Some("PMID") && is_in("DeleteCitation") {
        deleted.push(text.parse().unwrap());
    } else if last == Some("PMID") {
        now.pmid = text.parse().unwrap();
    } else if last == Some("Language") {
        now.language = text.to_owned();
    } else if last == Some("PublicationType") {
        now.types.push(text.to_owned());
    }
}

fn pubmed_files(dir: &Path) -> Vec<(Vec<Citation>, Vec<u32>)> {
    (1..=4).map(|number| read_pubmed(&dir.join(format!("pubmed/demo26n000{number}.xml.gz")))).collect()
}

/// What is left after the rules that any PubMed corpus follows; the reason of each removal is counted.
fn clean(dir: &Path) -> (Vec<Citation>, BTreeMap<&'static str, usize>) {
    let mut removed = BTreeMap::new();
    let mut note = |reason| *removed.entry(reason).or_insert(0) += 1;
    let mut by_pmid: BTreeMap<u32, Citation> = BTreeMap::new();
    for (citations, deleted) in pubmed_files(dir) {
        for citation in citations {
            if by_pmid.insert(citation.pmid, citation).is_some() {
                note("superseded");
            }
        }
        for pmid in deleted {
            by_pmid.remove(&pmid).unwrap();
            note("deleted");
        }
    }
    let mut texts = BTreeSet::new();
    let mut kept = Vec::new();
    for citation in by_pmid.into_values() {
        if citation.types.iter().any(|kind| kind == "Retracted Publication") {
            note("retracted");
        } else if citation.language != "eng" {
            note("language");
        } else if citation.text.is_empty() {
            note("no abstract");
        } else if !texts.insert((citation.title.clone(), citation.text.clone())) {
            note("duplicate");
        } else {
            kept.push(citation);
        }
    }
    (kept, removed)
}

fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn general_texts(dir: &Path) -> Vec<String> {
    json_lines(&dir.join("general/everyday.jsonl")).iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Abstracts (all of them, also the bad ones) and general texts, in lower case with white space made single.
fn all_training_text(dir: &Path) -> Vec<String> {
    let citations = pubmed_files(dir).into_iter().flat_map(|(citations, _)| citations);
    let mut texts: Vec<String> = citations.map(|citation| format!("{} {}", citation.title, citation.text)).collect();
    texts.extend(general_texts(dir));
    texts.iter().map(|text| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn words(text: &str) -> Vec<String> {
    let word = |part: &str| part.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(word).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_seed_gives_others() {
    let ((one, first), (two, second)) = (generated(&SMALL), generated(&SMALL));
    let (three, _) = generated(&Options { seed: 6, ..SMALL });
    assert_eq!(first, second);
    assert_eq!(first.files.len(), 8);
    for (path, size) in &first.files {
        let bytes = fs::read(one.path().join(path)).unwrap();
        assert_eq!(bytes.len() as u64, *size);
        assert_eq!(bytes, fs::read(two.path().join(path)).unwrap(), "{path}");
        assert_eq!(bytes == fs::read(three.path().join(path)).unwrap(), *path == "README.txt", "{path}");
    }
}

#[test]
fn a_second_call_changes_nothing_and_an_interrupted_one_is_completed() {
    let (dir, first) = generated(&SMALL);
    assert_eq!(first.written, 8);
    assert_eq!(generate(dir.path(), &SMALL).unwrap().written, 0);
    fs::remove_file(dir.path().join("exams/seen.jsonl")).unwrap();
    fs::write(dir.path().join("exams/seen.jsonl.partial"), "half").unwrap();
    assert_eq!(generate(dir.path(), &SMALL).unwrap().written, 1);
    assert!(!dir.path().join("exams/seen.jsonl.partial").exists());
}

#[test]
fn a_folder_with_anything_else_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
    let error = generate(dir.path(), &SMALL).unwrap_err();
    assert!(matches!(&error, DemoError::Foreign { path } if path.ends_with("thesis.txt")), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let (dir, _) = generated(&SMALL);
    let error = generate(dir.path(), &Options { seed: 6, ..SMALL }).unwrap_err();
    assert!(matches!(error, DemoError::Different { .. }), "{error}");
    fs::create_dir(dir.path().join("pubmed/notes")).unwrap();
    assert!(matches!(generate(dir.path(), &SMALL).unwrap_err(), DemoError::Foreign { .. }));

    let file = dir.path().join("README.txt");
    assert!(matches!(generate(&file, &SMALL).unwrap_err(), DemoError::Io { .. }), "a file is no folder");
}

#[test]
fn options_out_of_bounds_are_named() {
    for (options, name) in [
        (Options { diseases: 7, ..SMALL }, "diseases"),
        (Options { diseases: usize::MAX, ..SMALL }, "diseases"),
        (Options { abstracts: 79, ..SMALL }, "abstracts"),
        (Options { abstracts: 100_001, ..SMALL }, "abstracts"),
        (Options { general_documents: 0, ..SMALL }, "general_documents"),
        (Options { questions: 41, ..SMALL }, "questions"),
        (Options { questions: 3, ..SMALL }, "questions"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = generate(dir.path(), &options).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    let least = Options { seed: 1, diseases: 8, abstracts: 64, general_documents: 50, questions: 32 };
    assert_eq!(generated(&least).1.usable, 64);
}

#[test]
fn cleaning_by_the_usual_rules_leaves_exactly_the_usable_abstracts() {
    for options in [SMALL, Options::default()] {
        let (dir, summary) = generated(&options);
        let (kept, removed) = clean(dir.path());
        assert_eq!(kept.len(), summary.usable);
        assert_eq!(summary.usable, options.abstracts);
        let counted = [
            ("superseded", summary.superseded),
            ("deleted", summary.deleted),
            ("retracted", summary.retracted),
            ("language", summary.not_english),
            ("no abstract", summary.without_abstract),
            ("duplicate", summary.duplicates),
        ];
        assert_eq!(removed, BTreeMap::from(counted));
        assert!(counted.iter().all(|(_, count)| *count >= 2), "{counted:?}");
        assert_eq!(summary.superseded, summary.corrected);
        assert_eq!(summary.records, summary.usable + counted.iter().map(|(_, count)| count).sum::<usize>());
        assert!(kept.iter().any(|citation| citation.version == 2) && kept.iter().any(|citation| citation.text.contains("P < 0.05")));
    }
}

#[test]
fn every_fact_is_stated_in_many_kept_abstracts_and_no_wrong_one_is() {
    let options = Options::default();
    let (dir, summary) = generated(&options);
    let world = World::invent(options.seed, options.diseases);
    let (kept, _) = clean(dir.path());
    let mut stated = BTreeMap::new();
    for citation in &kept {
        let text = format!("{} {}", citation.title, citation.text);
        let disease = world.diseases.iter().find(|disease| text.contains(&disease.name)).unwrap();
        let found = words(&text);
        for relation in Relation::ALL {
            for value in &world.values[relation.index()] {
                if found.contains(&value.to_lowercase()) {
                    assert_eq!(value, disease.fact(relation), "{text}");
                    *stated.entry((&disease.name, relation)).or_insert(0_usize) += 1;
                }
            }
        }
    }
    assert_eq!(stated.len(), summary.facts);
    let least = stated.values().min().unwrap();
    assert!(*least >= 12, "the rarest fact is in {least} abstracts");
    assert!(summary.least_stated >= 14, "stated {} times", summary.least_stated);
}

#[test]
fn the_general_corpus_names_nothing_invented_and_has_the_exams_form() {
    let options = Options::default();
    let (dir, _) = generated(&options);
    let world = World::invent(options.seed, options.diseases);
    let texts = general_texts(dir.path());
    assert_eq!(texts.len(), options.general_documents);
    let used: BTreeSet<String> = texts.iter().flat_map(|text| words(text)).collect();
    let mut names: Vec<String> = world.values.iter().flatten().map(|name| name.to_lowercase()).collect();
    names.extend(world.diseases.iter().flat_map(|disease| words(&disease.name)).filter(|word| word != "disease"));
    for name in names {
        assert!(!used.contains(&name), "{name}");
    }
    assert!(texts.iter().filter(|text| text.contains("?\nAnswer: ")).count() > texts.len() / 4);
    assert!(texts.iter().all(|text| !text.contains('{')), "a slot was left open");
}

#[test]
fn no_unseen_phrasing_is_in_any_training_text_but_all_its_words_are() {
    let options = Options::default();
    let (dir, _) = generated(&options);
    let world = World::invent(options.seed, options.diseases);
    let everything = all_training_text(dir.path()).join("\n");
    let mut masked = everything.clone();
    for disease in &world.diseases {
        masked = masked.replace(&disease.name.to_lowercase(), "{d}");
    }
    let general: BTreeSet<String> = general_texts(dir.path()).iter().flat_map(|text| words(text)).collect();
    let seen: BTreeSet<&str> = SEEN.into_iter().flatten().collect();
    for phrasing in UNSEEN.into_iter().flatten() {
        assert!(phrasing.contains("{d}") && !seen.contains(phrasing));
        assert!(!masked.contains(&phrasing.to_lowercase()), "{phrasing}");
        // Nor the longest piece of it around the name.
        let piece = phrasing.split("{d}").max_by_key(|piece| piece.len()).unwrap().trim().to_lowercase();
        assert!(piece.split(' ').count() >= 3 && !everything.contains(&piece), "{phrasing}: {piece}");
        for word in words(&phrasing.replace("{d}", "")) {
            assert!(general.contains(&word), "{phrasing}: {word} is not in the general corpus");
        }
    }
}

#[test]
fn exam_questions_have_four_options_of_a_kind_one_of_them_true_and_balanced_letters() {
    for (options, name) in [(SMALL, "seen"), (Options::default(), "seen"), (Options::default(), "unseen")] {
        let (dir, _) = generated(&options);
        let world = World::invent(options.seed, options.diseases);
        let questions = json_lines(&dir.path().join(format!("exams/{name}.jsonl")));
        assert_eq!(questions.len(), options.questions);
        let mut letters = [0_usize; 4];
        let mut asked = BTreeSet::new();
        for question in &questions {
            let field = |key: &str| question[key].as_str().unwrap().to_owned();
            assert!(asked.insert(field("id")) && field("choice_type") == "single" && question["exp"].is_null());
            let relation = Relation::ALL.into_iter().find(|relation| relation.topic() == field("topic_name")).unwrap();
            let text = field("question");
            let disease = world.diseases.iter().find(|disease| text.contains(&disease.name)).unwrap();
            let chosen = ["opa", "opb", "opc", "opd"].map(field);
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 4, "{text}");
            assert!(chosen.iter().all(|option| world.values[relation.index()].contains(option)), "{text}");
            let cop = question["cop"].as_u64().unwrap() as usize;
            let right: Vec<usize> = (1..=4).filter(|&at| chosen[at - 1] == disease.fact(relation)).collect();
            assert_eq!(right, [cop], "{text}");
            letters[cop - 1] += 1;
        }
        assert!(letters.iter().max().unwrap() - letters.iter().min().unwrap() <= 1, "{letters:?}");
    }
}

#[test]
fn each_seen_question_is_in_a_kept_abstract_with_its_answer() {
    for options in [SMALL, Options::default()] {
        let (dir, _) = generated(&options);
        let kept: Vec<String> =
            clean(dir.path()).0.iter().map(|citation| citation.text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let kept = kept.join("\n");
        for question in json_lines(&dir.path().join("exams/seen.jsonl")) {
            let gold = ["opa", "opb", "opc", "opd"][question["cop"].as_u64().unwrap() as usize - 1];
            let (text, answer) = (question["question"].as_str().unwrap(), question[gold].as_str().unwrap());
            let whole = format!("Question: {text} Answer: {answer}.");
            assert!(kept.contains(&whole), "{whole}");
        }
    }
}
