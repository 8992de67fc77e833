//! What the reader promises: every problem at once, each at its line, with the way out; defaults; overrides.

use super::{Override, parse};
use crate::spec::*;

mod damage;
mod model;
mod queue;
mod shipped;

/// A run file with one of everything. Line 1 is `name`.
const FULL: &str = r#"name = "t"
seed = 7
[corpus.general]
format = "jsonl"
files = "g/*.jsonl"
text_field = "body"
[corpus.domain]
format = "pubmed-xml"
files = ["d/a.xml.gz", "d/b.xml.gz"]
held_out = 0.02
clean = { min_words = 5, languages = ["eng"] }
[tokenizer]
train = { vocab_size = 4096 }
[model]
family = "llama"
dim = 64
layers = 2
heads = 4
[[stage]]
name = "general"
corpus = "general"
steps = 300
sequence_length = 128
global_batch = 32
optimizer = { lr = 3e-4 }
schedule = { kind = "cosine", warmup_steps = 20 }
[[stage]]
name = "domain"
mixture = { general = 1, domain = 3 }
tokens = "1.5M"
sequence_length = 64
global_batch = 32
micro_batch = 8
optimizer = { lr = 1e-4, betas = [0.8, 0.9], eps = 1e-6, weight_decay = 0, clip = 0.5 }
schedule = { kind = "wsd", warmup_steps = 20, decay_steps = 10 }
[after_stage]
quantize = ["int8", { method = "gguf-q8_0", stages = ["domain"] }]
[[after_stage.exam]]
name = "seen"
format = "medmcqa"
files = "e/seen.jsonl"
protocol = "cloze"
stages = ["domain"]
[[after_stage.exam]]
name = "ppl"
format = "held-out"
corpus = "domain"
[[after_stage.gate]]
exam = "seen"
variant = "int8"
max_drop = 1.0
[checkpoint]
every_steps = 100
keep_every = 200
[resources]
ranks = 2
"#;

fn overrides(texts: &[&str]) -> Vec<Override> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn read(text: &str, set: &[&str]) -> RunSpec {
    parse(text, "run.toml", &overrides(set)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// `FULL` with each `from` replaced by `to`.
fn changed(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(FULL.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} is not in the file exactly once");
        text.replace(from, to)
    })
}

/// All problems, one a line, of `FULL` with edits and overrides.
fn problems(edits: &[(&str, &str)], set: &[&str]) -> Vec<String> {
    match parse(&changed(edits), "run.toml", &overrides(set)) {
        Ok(_) => vec![],
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn check(edits: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(problems(edits, &[]), expected, "{edits:?}");
}

#[track_caller]
fn check_set(set: &[&str], expected: &[&str]) {
    assert_eq!(problems(&[], set), expected, "{set:?}");
}

fn corpus(name: &str) -> CorpusName {
    CorpusName::new(name).unwrap()
}

fn stage(name: &str) -> StageName {
    StageName::new(name).unwrap()
}

#[test]
fn a_full_file_is_read_with_its_defaults() {
    let spec = read(FULL, &[]);
    assert_eq!((spec.name.as_str(), spec.seed), ("t", 7));
    let general = &spec.corpora[&corpus("general")];
    assert_eq!((general.format, &general.text_field, general.held_out), (CorpusFormat::Jsonl, &"body".into(), 0.01));
    assert_eq!(general.files, ["g/*.jsonl"]);
    assert!(!general.rules.require_abstract && !general.rules.drop_retracted && general.rules.dedup);
    let domain = &spec.corpora[&corpus("domain")];
    assert_eq!((domain.rules.min_words, domain.rules.require_abstract), (5, true));
    let all = vec![corpus("domain"), corpus("general")];
    assert_eq!(spec.tokenizer, TokenizerSpec::Train { vocab_size: 4096, min_frequency: 2, corpora: all, wordpiece: None });
    let model = &spec.model;
    assert_eq!((model.kv_heads, model.ffn, model.max_positions, model.tied), (4, 192, 128, false));
    assert_eq!((model.norm_eps, model.rope_theta, model.init_std), (1e-5, 10_000.0, 0.02));
    let [first, second] = spec.stages.as_slice() else { panic!("two stages") };
    assert_eq!((&first.from, &second.from), (&Init::Scratch, &Init::Stage(stage("general"))));
    assert_eq!(first.mixture, [(corpus("general"), 1)].into());
    assert_eq!((first.micro_batch, second.micro_batch), (16, 8));
    assert_eq!((first.length, second.length), (Length::Steps(300), Length::Tokens(1_500_000)));
    assert_eq!(second.steps(), 733);
    assert_eq!(
        first.optimizer,
        OptimizerSpec { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::Matrices, clip: 1.0 }
    );
    assert_eq!(first.schedule, ScheduleSpec::Cosine { warmup_steps: 20, warmup_from: 0.0, min_ratio: 0.1 });
    assert_eq!(
        second.schedule,
        ScheduleSpec::Wsd { warmup_steps: 20, warmup_from: 0.0, decay_steps: 10, decay: DecayShape::Linear, min_ratio: 0.0 }
    );
    assert_eq!(spec.quantize[1], QuantizeSpec { method: Method::GgufQ8_0, stages: vec![stage("domain")] });
    assert_eq!(spec.exams[0].protocol, Protocol::Cloze);
    assert_eq!(spec.exams[1].corpus, Some(corpus("domain")));
    let gate = &spec.gates[0];
    assert_eq!((gate.variant, gate.on_fail), (Variant::Quantized(Method::Int8), OnFail::Stop));
    assert_eq!(gate.stages, [stage("domain")], "a gate applies where its exam is held");
    assert_eq!(spec.checkpoint, CheckpointSpec { every_steps: 100, keep_last: 2, keep_every: Some(200), keep_best: 0, pinned: vec![] });
    assert_eq!(
        spec.resources,
        ResourceSpec {
            ranks: 2,
            min_ranks: None,
            device: DeviceKind::Cpu,
            threads_per_rank: 1,
            determinism: Determinism::Fast,
            zero: true,
            affinity: None,
            require: BTreeMap::new()
        }
    );
}

#[test]
fn a_read_spec_passes_the_same_rules_over_the_wire() {
    let spec = read(FULL, &[]);
    let wire: RunSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(wire, spec);
    super::super::check(&wire).unwrap();
}

#[test]
fn layout_and_comments_do_not_change_the_digest() {
    let other = FULL.replace("seed = 7", "# why not\nseed   = 0x7");
    assert_eq!(read(&other, &[]).digest(), read(FULL, &[]).digest());
    assert_ne!(read(FULL, &["seed=8"]).digest(), read(FULL, &[]).digest());
    assert_eq!((read(FULL, &["seed=8"]).data_seed, read(FULL, &["data_seed=8"]).data_seed), (0, 8), "another seed has the same text");
    assert_ne!(read(FULL, &["data_seed=8"]).digest(), read(FULL, &[]).digest());
}

#[test]
fn an_empty_file_names_all_that_it_lacks() {
    let found: Vec<_> = parse("", "run.toml", &[]).unwrap_err().iter().map(|p| (p.place.clone(), p.field.clone())).collect();
    let fields = ["name", "seed", "corpus", "tokenizer", "stage", "model"];
    // An absent tokenizer is one problem, not also the lack of what would be inside.
    assert_eq!(found, fields.map(|field| ("run.toml".to_owned(), field.to_owned())));
}

#[test]
fn every_problem_is_reported_at_once_in_file_order() {
    check(
        &[("seed = 7", "seed = -7"), ("layers = 2", "layres = 2"), ("steps = 300", "steps = 0"), ("ranks = 2", "ranks = 3")],
        &[
            "run.toml:2: seed: found the number -7, expected a whole number from 0 to 18446744073709551615",
            "run.toml:14: model.layers: missing: add a whole number, for example layers = 8",
            "run.toml:17: model.layres: unknown key; did you mean \"layers\"?",
            "run.toml:22: stage.general.steps: found 0, expected 1 to 1000000000",
            "run.toml:24: stage.general.global_batch: 32 sequences cannot be shared evenly by 3 ranks: use 30 or 33",
            "run.toml:32: stage.domain.global_batch: 32 sequences cannot be shared evenly by 3 ranks: use 30 or 33",
        ],
    );
}

#[test]
fn syntax_errors_have_line_and_column() {
    let first = |text: &str| parse(text, "run.toml", &[]).unwrap_err().iter().next().unwrap().to_string();
    assert_eq!(first("name = \"t\"\nseed = = 1"), "run.toml:2:8: not valid TOML: extra `=`, expected nothing");
    assert!(first("seed = 1\nseed = 2").starts_with("run.toml:2:1: not valid TOML: duplicate key"), "{}", first("seed = 1\nseed = 2"));
    assert!(first("name = \"é\" x").starts_with("run.toml:1:12: "), "{}", first("name = \"é\" x"));
    assert!(first("\0").starts_with("run.toml:1:2: "), "{}", first("\0"));
    let both: Vec<_> = parse("a = \nb = 1\nc = ", "run.toml", &[]).unwrap_err().iter().map(|p| p.place.clone()).collect();
    assert_eq!(both, ["run.toml:1:5", "run.toml:3:5"]);
}

#[test]
fn hostile_files_are_refused_without_harm() {
    let huge = "#".repeat((1 << 20) + 1);
    let deep = format!("a = {}", "[".repeat(100_000));
    let dotted = format!("{} = 1", vec!["a"; 5000].join("."));
    let many = "[[stage]]\n".repeat(50_000);
    for text in [&huge, &deep, &dotted, &many] {
        let problems = parse(text, "run.toml", &[]).unwrap_err();
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|p| p.to_string().lines().count() == 1));
    }
    let long_key = format!("{} = 1", "x".repeat(100_000));
    let problems = parse(&long_key, "run.toml", &[]).unwrap_err();
    assert!(problems.to_string().len() < 2000, "a long key is shortened in messages");
}

#[test]
fn kinds_are_checked_and_shown() {
    check(&[("name = \"t\"", "name = 2024")], &["run.toml:1: name: found the number 2024, expected a name"]);
    check(
        &[("\"t\"", "\"Über Run\"")],
        &["run.toml:1: name: run name \"Über Run\" is not usable: use 1 to 64 of a-z 0-9 - _ . and start with a letter or digit"],
    );
    check(&[("seed = 7", "seed = 7.0")], &["run.toml:2: seed: found the number 7.0, expected a whole number"]);
    check(
        &[("dim = 64", "dim = 99999999999")],
        &["run.toml:16: model.dim: found the number 99999999999, expected a whole number from 0 to 4294967295"],
    );
    check(
        &[("\"body\"", "2026-01-01")],
        &["run.toml:6: corpus.general.text_field: found the date 2026-01-01, expected a string or a list of strings"],
    );
    check(&[("lr = 3e-4", "lr = \"3e-4\"")], &["run.toml:25: stage.general.optimizer.lr: found the string \"3e-4\", expected a number"]);
    check(
        &[("min_words = 5", "min_words = 5, dedup = 1")],
        &["run.toml:11: corpus.domain.clean.dedup: found the number 1, expected true or false"],
    );
    check(
        &[("[\"eng\"]", "[\"eng\", 3]")],
        &["run.toml:11: corpus.domain.clean.languages.1: found the number 3, expected a string in quotes"],
    );
    check(
        &[("files = \"g/*.jsonl\"", "files = 1")],
        &["run.toml:5: corpus.general.files: found the number 1, expected a string or a list of strings"],
    );
    check(&[("{ vocab_size = 4096 }", "true")], &["run.toml:13: tokenizer.train: found true, expected a table of settings"]);
    check(
        &[("\"1.5M\"", "\"many\"")],
        &[
            "run.toml:30: stage.domain.tokens: found the string \"many\", expected a whole number of tokens, or a string such as \"300B\" (K, M, B or T)",
        ],
    );
    check(
        &[("\"1.5M\"", "1.5")],
        &[
            "run.toml:30: stage.domain.tokens: found the number 1.5, expected a whole number of tokens, or a string such as \"300B\" (K, M, B or T)",
        ],
    );
    check(
        &[("betas = [0.8, 0.9]", "betas = [0.8]")],
        &["run.toml:34: stage.domain.optimizer.betas: found a list of 1, expected two numbers, for example betas = [0.9, 0.95]"],
    );
    check(
        &[("mixture = {", "from = 3\nmixture = {")],
        &[
            "run.toml:29: stage.domain.from: found the number 3, expected \"scratch\", \"stage:NAME\", \"fork:NAME\", \"fork:NAME@STEP\" or \"hf:PATH\"",
        ],
    );
    check(
        &[("mixture = {", "from = \"general\"\nmixture = {")],
        &[
            "run.toml:29: stage.domain.from: found \"general\", expected \"scratch\", \"stage:NAME\", \"fork:NAME\", \"fork:NAME@STEP\" or \"hf:PATH\"",
        ],
    );
}

#[test]
fn a_list_where_a_table_was_written_says_how_to_write_it() {
    let text = FULL.replacen("[[stage]]", "[stage]", 1).replacen("[[stage]]", "[stage_2]", 1);
    let problems = parse(&text, "run.toml", &[]).unwrap_err();
    let found = problems.iter().find(|p| p.field == "stage").unwrap();
    assert_eq!(found.to_string(), "run.toml:19: stage: found a table, expected a list: write one [[stage]] table for each");
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    check(&[("text_field", "textfield")], &["run.toml:6: corpus.general.textfield: unknown key; did you mean \"text_field\"?"]);
    check(
        &[("{ vocab_size = 4096 }", "{ vocab = 4096 }")],
        &[
            "run.toml:13: tokenizer.train.vocab_size: missing: add a whole number, for example vocab_size = 16384",
            "run.toml:13: tokenizer.train.vocab: unknown key; did you mean \"vocab_size\"?",
        ],
    );
    check(
        &[("clip = 0.5", "grad_norm = 0.5")],
        &["run.toml:34: stage.domain.optimizer.grad_norm: unknown key; known here: betas, clip, decay, eps, lr, weight_decay"],
    );
    check(&[("[checkpoint]", "[\"check point\"]")], &["run.toml:52: \"check point\": unknown key; did you mean \"checkpoint\"?"]);
    check(&[("\"llama\"", "\"lama\"")], &["run.toml:15: model.family: found the string \"lama\"; did you mean \"llama\"?"]);
    check(
        &[("kind = \"cosine\"", "kind = \"none\"")],
        &["run.toml:26: stage.general.schedule.kind: found the string \"none\"; known here: constant, cosine, linear, wsd"],
    );
    check(
        &[("variant = \"int8\"", "variant = \"int4\"")],
        &["run.toml:50: after_stage.gate.0.variant: found the string \"int4\"; did you mean \"int8\"?"],
    );
}

#[test]
fn how_lines_are_read_is_said_by_the_corpus() {
    let read_general = |line: &str| {
        let spec = read(&changed(&[("text_field = \"body\"", line)]), &[]);
        spec.corpora[&corpus("general")].clone()
    };
    let plain = read_general("");
    assert_eq!((&plain.text_field, &plain.id_field, plain.bad_lines, plain.max_unknown), (&"text".into(), &None, BadLines::Fail, 0.1));
    let json = serde_json::to_string(&plain).unwrap();
    assert!(json.contains(r#""text_field":"text""#), "{json}");
    assert!(
        !json.contains("bad_lines") && !json.contains("id_field") && !json.contains("max_unknown"),
        "old specs keep their digests: {json}"
    );
    assert_eq!(serde_json::from_str::<CorpusSpec>(&json).unwrap(), plain);

    let full = read_general("text_field = [\"title\", \"meta.text\"]\nid_field = \"pmid\"\non_bad_line = \"skip\"\nmax_unknown = 0.5");
    assert_eq!(full.text_field.0, ["title", "meta.text"]);
    assert_eq!((full.id_field.as_deref(), full.bad_lines, full.max_unknown), (Some("pmid"), BadLines::Skip { at_most: 1000 }, 0.5));
    let json = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<CorpusSpec>(&json).unwrap(), full);
    assert_eq!(read_general("on_bad_line = \"skip\"\nmax_bad_lines = 3").bad_lines, BadLines::Skip { at_most: 3 });
}

#[test]
fn keys_without_meaning_are_refused() {
    check(
        &[("text_field = \"body\"", "max_bad_lines = 5")],
        &["run.toml:6: corpus.general.max_bad_lines: without on_bad_line = \"skip\" the first bad line fails the run: remove it"],
    );
    check(
        &[("held_out = 0.02", "on_bad_line = \"skip\"")],
        &["run.toml:10: corpus.domain.on_bad_line: only format = \"jsonl\" is read line by line: remove it"],
    );
    check(
        &[("text_field = \"body\"", "on_bad_line = \"drop\"")],
        &["run.toml:6: corpus.general.on_bad_line: found the string \"drop\"; known here: fail, skip"],
    );
    check(
        &[("text_field = \"body\"", "separator = \"-\"")],
        &["run.toml:6: corpus.general.separator: only format = \"text\" has separators: remove it"],
    );
    check(
        &[("held_out = 0.02", "text_field = \"x\"")],
        &["run.toml:10: corpus.domain.text_field: only format = \"jsonl\" has fields: remove it"],
    );
    check(
        &[("text_field = \"body\"", "clean = { require_abstract = true }")],
        &["run.toml:6: corpus.general.clean.require_abstract: only PubMed records say this: remove it"],
    );
    check(
        &[("warmup_steps = 20 }", "warmup_steps = 20, decay_steps = 3 }")],
        &["run.toml:26: stage.general.schedule.decay_steps: only kind = \"wsd\" has a decay of its own length: remove it"],
    );
    check(
        &[("kind = \"cosine\"", "kind = \"constant\", min_ratio = 0.1")],
        &["run.toml:26: stage.general.schedule.min_ratio: a constant schedule does not decay: remove it"],
    );
    check(&[("\"llama\"", "\"gpt2\"\nrope_theta = 1e4")], &["run.toml:16: model.rope_theta: gpt2 has learned positions: remove it"]);
    check(
        &[("corpus = \"domain\"", "corpus = \"domain\"\nfiles = \"x\"\nshots = 1")],
        &[
            "run.toml:48: after_stage.exam.ppl.files: a held-out exam reads its corpus' held-out documents: remove it",
            "run.toml:49: after_stage.exam.ppl.shots: a held-out exam has no questions: remove it",
        ],
    );
    check(
        &[("protocol = \"cloze\"", "corpus = \"domain\"")],
        &["run.toml:42: after_stage.exam.seen.corpus: only format = \"held-out\" reads a corpus: remove it"],
    );
}

#[test]
fn exactly_one_of_two_ways_is_wanted() {
    check(
        &[("steps = 300\n", "")],
        &[
            "run.toml:19: stage.general.steps: neither steps nor tokens is given: add one of them, for example steps = 1000 or tokens = \"300B\"",
        ],
    );
    check(
        &[("steps = 300", "steps = 300\ntokens = 5")],
        &["run.toml:22: stage.general.steps: both steps and tokens are given: remove one of them"],
    );
    check(
        &[("train = {", "file = \"t.json\"\ntrain = {")],
        &["run.toml:14: tokenizer.train: both train and file are given: remove one of them"],
    );
    check(
        &[("corpus = \"general\"\n", "")],
        &[
            "run.toml:19: stage.general.mixture: neither mixture nor corpus is given: add one of them, for example mixture = { general = 1, domain = 3 }",
        ],
    );
}

#[test]
fn an_override_replaces_adds_and_chooses() {
    let spec =
        read(FULL, &["model.dim=128", "model.family=gpt2", "stage.general.optimizer.lr=1e-3", "stage.1.steps=900", "description=a b"]);
    assert_eq!((spec.model.dim, spec.model.family), (128, Family::Gpt2));
    assert_eq!((spec.stages[0].optimizer.lr, spec.stages[0].optimizer.eps), (1e-3, 1e-8));
    assert_eq!(spec.stages[1].length, Length::Steps(900), "an override of one way replaces the other");
    assert_eq!(spec.description, "a b");
    let spec = read(FULL, &["corpus.domain.files=[\"a\",\"b=c\"]", "corpus.extra={format=\"text\",files=\"x\"}", "tokenizer.file=t.json"]);
    assert_eq!(spec.corpora[&corpus("domain")].files, ["a", "b=c"]);
    assert_eq!(spec.corpora[&corpus("extra")].format, CorpusFormat::Text);
    assert_eq!(spec.tokenizer, TokenizerSpec::File { path: "t.json".to_owned(), extend: None });
    let spec =
        read(FULL, &["corpus.domain.files.1=z", "stage.general.tokens=1_000_000", "seed=1", "seed=2", "after_stage.exam.ppl.limit = 5"]);
    assert_eq!(spec.corpora[&corpus("domain")].files, ["d/a.xml.gz", "z"]);
    assert_eq!((spec.stages[0].length, spec.seed), (Length::Tokens(1_000_000), 2));
    assert_eq!(spec.exams[1].limit, Some(5));
}

#[test]
fn names_with_dots_are_addressed_in_quotes_as_problems_print_them() {
    let text = changed(&[
        ("[corpus.general]", "[corpus.\"v1.5\"]"),
        ("corpus = \"general\"", "corpus = \"v1.5\""),
        ("general = 1", "\"v1.5\" = 1"),
    ]);
    let spec = read(&text, &["corpus.\"v1.5\".held_out=0.1"]);
    assert_eq!(spec.corpora[&corpus("v1.5")].held_out, 0.1);
    let problem = parse(&text, "run.toml", &overrides(&["corpus.\"v1.5\".held_out=2"])).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "--set corpus.\"v1.5\".held_out: corpus.\"v1.5\".held_out: found 2.0, expected at least 0.0 and at most 0.5"
    );
}

#[test]
fn a_problem_in_an_override_names_the_override() {
    check_set(
        &["model.dim=65"],
        &["--set model.dim: model.dim: 65 is not a multiple of heads = 4: use dim 64 or 68, or another number of heads"],
    );
    check_set(&["modle.dim=3"], &["--set modle.dim: modle: unknown key; did you mean \"model\"?"]);
    check_set(&["stage.generall.steps=3"], &["--set stage.generall.steps: no element \"generall\"; known here: domain, general"]);
    check_set(&["corpus.domain.files.9=x"], &["--set corpus.domain.files.9: no element \"9\"; this list has 2 elements, counted from 0"]);
    check_set(&["seed.x=3"], &["--set seed.x: \"x\" is inside the number 7, which has no parts: shorten the path"]);
    check_set(&["model=3"], &["--set model: model: found the number 3, expected a table of settings"]);
    check_set(
        &["stage.general.steps=5", "stage.general.tokens=5M"],
        &["--set stage.general.steps: stage.general.steps: both steps and tokens are given: remove one of them"],
    );
}

#[test]
fn a_malformed_override_is_a_problem() {
    let table = [
        ("model.dim", "--set model.dim: no \"=\" in it: write --set model.dim=512"),
        ("=3", "--set =3: the path has an empty part: write --set model.dim=512"),
        ("a..b=3", "--set a..b=3: the path has an empty part: write --set model.dim=512"),
        ("a.\"b=3", "--set a.\"b=3: a quote in the path is not closed"),
        ("a.\nb=3", "--set a. b=3: a control character in the path: write it without"),
        ("a=[1,", "--set a=[1,: the value \"[1,\" is not valid TOML: check its quotes and brackets"),
        ("a=\"x", "--set a=\"x: the value \"\\\"x\" is not valid TOML: check its quotes and brackets"),
        (
            "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1",
            "--set a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1: the path has 17 parts, no field lies deeper than 16",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<Override>().unwrap_err().to_string(), expected);
    }
}
