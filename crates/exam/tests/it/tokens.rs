//! From text to requests: where the answer's tokens begin, BOS, truncation, and the folder that decides them.

use osler_exam::fake::byte_tokenizer;
use osler_exam::{
    Content, Document, Exam, ExamError, ExamFormat, ExamReport, ExamSpec, ExamTokenizer, Question, Request, RunOptions, Score, Scorer,
    ScorerError, run,
};

use crate::files::Folder;

/// Remembers what it is asked.
struct Listener {
    max_length: usize,
    asked: Vec<Request>,
}

impl Scorer for Listener {
    fn max_length(&self) -> usize {
        self.max_length
    }
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
        self.asked.extend_from_slice(requests);
        Ok(requests.iter().map(|_| Score { log_likelihood: -1.0, greedy: false }).collect())
    }
}

fn ask(tokenizer: &ExamTokenizer, prompt: &str, choice: &str, max: usize) -> Result<(Request, ExamReport), ExamError> {
    let question = Question {
        id: "q".into(),
        doc_id: 0,
        subject: None,
        prompt: prompt.into(),
        choices: vec![choice.into()],
        gold: 0,
        doc: serde_json::Value::Null,
    };
    let spec = ExamSpec::new("x", ExamFormat::MedMcqa, vec![]);
    let exam =
        Exam { spec, content: Content::Questions(vec![question]), available: 1, available_by_subject: Default::default(), digests: vec![] };
    let mut listener = Listener { max_length: max, asked: vec![] };
    let report = run(&exam, tokenizer, &mut listener, &RunOptions::default(), &mut |_, _| ())?;
    Ok((listener.asked.remove(0), report))
}

fn ids(tokenizer: &ExamTokenizer, tokens: &[&str]) -> Vec<u32> {
    tokens.iter().flat_map(|t| tokenizer.encode_plain(t).unwrap()).collect()
}

#[test]
fn the_answer_is_what_the_whole_has_more_than_the_prompt() {
    let plain = byte_tokenizer(&[("Ġ", "A"), ("b", "c")], false).unwrap();
    let (request, report) = ask(&plain, "Q:", "A", 100).unwrap();
    assert_eq!((request.tokens.clone(), request.scored), (ids(&plain, &["Q", ":", " A"]), 1), "\" A\" is one token");
    let row = &report.choice().unwrap().questions[0];
    assert_eq!((row.context_tokens, row.truncated), (2, false));
    // A space at the prompt's end moves into the answer: two spaces here, of which one joins the A.
    let (request, _) = ask(&plain, "Q: ", "A", 100).unwrap();
    assert_eq!((request.tokens.clone(), request.scored), (ids(&plain, &["Q", ":", " ", " A"]), 2));
    let (request, _) = ask(&plain, "Q:", "xy", 100).unwrap();
    assert_eq!(request.scored, 3);
}

#[test]
fn bos_comes_first_and_never_twice() {
    let tokenizer = byte_tokenizer(&[], true).unwrap();
    let bos = tokenizer.bos().unwrap();
    let (request, _) = ask(&tokenizer, "Q", "A", 100).unwrap();
    assert_eq!(request.tokens, [vec![bos], ids(&tokenizer, &["Q", " ", "A"])].concat());
    let (again, _) = ask(&tokenizer, "<s>Q", "A", 100).unwrap();
    assert_eq!(again, request);
    let without = byte_tokenizer(&[], false).unwrap();
    assert_eq!(ask(&without, "Q", "A", 100).unwrap().0.tokens, ids(&without, &["Q", " ", "A"]));
}

#[test]
fn an_empty_prompt_is_the_models_prefix_token() {
    for add_bos in [true, false] {
        let tokenizer = byte_tokenizer(&[], add_bos).unwrap();
        let bos = tokenizer.bos().unwrap();
        for prompt in ["", "\n"] {
            let (request, _) = ask(&tokenizer, prompt, "A", 100).unwrap();
            assert_eq!(request.tokens, [vec![bos], ids(&tokenizer, &[prompt, " ", "A"])].concat());
        }
    }
}

#[test]
fn long_prompts_lose_their_beginning_and_say_so() {
    let tokenizer = byte_tokenizer(&[], true).unwrap();
    let (request, report) = ask(&tokenizer, "0123456789", "A", 4).unwrap();
    assert_eq!((request.tokens.clone(), request.scored), (ids(&tokenizer, &["789", " A"]), 2));
    assert_eq!(request.input().len(), 4);
    assert_eq!(report.choice().unwrap().truncated, 1);
    // 1 BOS + 10 + 2 - 1 = 12 tokens of input just fit.
    assert_eq!(ask(&tokenizer, "0123456789", "A", 12).unwrap().1.choice().unwrap().truncated, 0);
    assert_eq!(ask(&tokenizer, "0123456789", "A", 11).unwrap().1.choice().unwrap().truncated, 1);
    let error = ask(&tokenizer, "0", "ABC", 3).unwrap_err().to_string();
    assert!(error.contains("question \"q\", choice 0: 4 tokens are more"), "{error}");
}

fn folder(configs: &[(&str, &str)], post_processor: serde_json::Value) -> Result<ExamTokenizer, ExamError> {
    let folder = Folder::new();
    let file = serde_json::json!({
        "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}, "padding": null,
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": post_processor, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}},
    });
    folder.file("tokenizer.json", file.to_string());
    for (name, text) in configs {
        folder.file(name, text);
    }
    ExamTokenizer::from_folder(folder.path())
}

#[test]
fn the_folder_decides_bos() {
    let template = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    });
    let null = serde_json::Value::Null;
    let named = |extra: &str| format!(r#"{{"bos_token": "<s>", "eos_token": {{"content": "</s>"}}{extra}}}"#);
    type Case<'a> = (Vec<(&'a str, String)>, &'a serde_json::Value, (Option<u32>, Option<u32>, bool));
    let cases: Vec<Case> = vec![
        (vec![], &null, (None, None, false)),
        (vec![("tokenizer_config.json", named(""))], &null, (Some(1), Some(2), false)),
        (vec![("tokenizer_config.json", named(""))], &template, (Some(1), Some(2), true)),
        // As in transformers 5: beside a tokenizer.json nobody looks at this.
        (vec![("tokenizer_config.json", named(", \"add_bos_token\": true"))], &null, (Some(1), Some(2), false)),
        (vec![("tokenizer_config.json", named(", \"add_bos_token\": false"))], &template, (Some(1), Some(2), true)),
        (vec![("tokenizer_config.json", named(", \"tokenizer_class\": \"LlamaTokenizer\""))], &null, (Some(1), Some(2), false)),
        (vec![("config.json", r#"{"bos_token_id": 1, "eos_token_id": 2}"#.into())], &null, (Some(1), Some(2), false)),
        (vec![("config.json", r#"{"bos_token_id": 1}"#.into())], &template, (Some(1), None, true)),
        (
            vec![("config.json", "{}".into()), ("generation_config.json", r#"{"eos_token_id": [2, 0]}"#.into())],
            &null,
            (None, Some(2), false),
        ),
        (
            vec![
                ("tokenizer_config.json", r#"{"bos_token": null}"#.into()),
                ("config.json", r#"{"bos_token_id": 1, "eos_token_id": 2}"#.into()),
            ],
            &null,
            (None, Some(2), false),
        ),
    ];
    for (configs, post, expected) in cases {
        let configs: Vec<(&str, &str)> = configs.iter().map(|(n, t)| (*n, t.as_str())).collect();
        let tokenizer = folder(&configs, post.clone()).unwrap();
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), expected, "{configs:?}");
        let bos = if expected.2 { vec![1] } else { vec![] };
        assert_eq!(tokenizer.encode("a b a").unwrap(), [bos, vec![3, 4, 3]].concat(), "truncation of the file is off");
        assert_eq!(tokenizer.digest().unwrap().len(), 64);
    }
}

#[test]
fn a_folder_that_contradicts_itself_is_refused() {
    let null = serde_json::Value::Null;
    for (name, text, part) in [
        ("tokenizer_config.json", r#"{"bos_token": "<bos>"}"#, "which the vocabulary lacks"),
        ("tokenizer_config.json", r#"{"bos_token": 7}"#, "neither a string nor an object"),
        ("tokenizer_config.json", "[]", "must hold a JSON object"),
        ("config.json", r#"{"bos_token_id": 99}"#, "`bos_token_id`: is token 99, which the vocabulary lacks"),
        ("config.json", r#"{"eos_token_id": "2"}"#, "which is not a token id"),
        ("tokenizer.json", "{", "EOF"),
    ] {
        let error = folder(&[(name, text)], null.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let without = folder(&[], null).unwrap();
    let exam = Exam::perplexity("t", vec![Document { id: "d".into(), text: "a b".into() }]).unwrap();
    let mut listener = Listener { max_length: 8, asked: vec![] };
    let error = run(&exam, &without, &mut listener, &RunOptions::default(), &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("neither BOS nor EOS"), "{error}");
}
