//! One line of TOML, and what the rules say about it. The same rules judge specs that come over the wire.

use super::{nearest_divisors, nearest_multiples};
use crate::spec::{Override, RunSpec, check, parse};

/// Valid, and small; every case sets something in it.
const BASE: &str = r#"
name = "t"
seed = 1
[corpus.general]
format = "text"
files = "g.txt"
[corpus.domain]
format = "pubmed-xml"
files = "d.xml"
[tokenizer]
train = { vocab_size = 300 }
[model]
family = "llama"
dim = 64
layers = 1
heads = 4
[[stage]]
name = "one"
corpus = "general"
steps = 100
sequence_length = 16
global_batch = 24
optimizer = { lr = 0.1 }
schedule = { kind = "constant" }
[[stage]]
name = "two"
corpus = "domain"
steps = 100
sequence_length = 16
global_batch = 24
optimizer = { lr = 0.1 }
schedule = { kind = "constant" }
[after_stage]
quantize = ["int8"]
[[after_stage.exam]]
name = "quiz"
format = "medqa"
files = "q.jsonl"
[[after_stage.exam]]
name = "ppl"
format = "held-out"
corpus = "domain"
[[after_stage.gate]]
exam = "quiz"
min_accuracy = 30
"#;

fn judge(set: &[&str]) -> Vec<String> {
    let overrides: Vec<Override> = set.iter().map(|text| text.parse().unwrap()).collect();
    match parse(BASE, "run.toml", &overrides) {
        Ok(_) => vec![],
        Err(problems) => problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect(),
    }
}

#[track_caller]
fn refused(table: &[(&[&str], &str)]) {
    for (set, expected) in table {
        assert_eq!(judge(set), [*expected], "{set:?}");
    }
}

#[track_caller]
fn accepted(table: &[&[&str]]) {
    for set in table {
        assert_eq!(judge(set), [""; 0], "{set:?}");
    }
}

#[test]
fn the_base_is_valid() {
    accepted(&[&[]]);
}

#[test]
fn corpora_and_tokenizer() {
    refused(&[
        (&["corpus.domain.held_out=0.6"], "corpus.domain.held_out: found 0.6, expected at least 0.0 and at most 0.5"),
        (&["corpus.domain.held_out=nan"], "corpus.domain.held_out: found NaN, expected at least 0.0 and at most 0.5"),
        (&["corpus.domain.files=[]"], "corpus.domain.files: found 0 paths, expected 1 to 10000; a glob such as \"*.xml.gz\" is one"),
        (&["corpus.domain.files=[\"a\",\"\"]"], "corpus.domain.files.1: empty: write a path"),
        (&["corpus.domain.files=[\"a\",\"a\"]"], "corpus.domain.files.1: \"a\" is listed twice: remove one"),
        (&["corpus.domain.files=\"a\\u0000\""], "corpus.domain.files.0: a control character in a path: write it without"),
        (&["corpus.domain.max_unknown=1.5"], "corpus.domain.max_unknown: found 1.5, expected at least 0.0 and at most 1.0"),
        (
            &["corpus.lines={format=\"jsonl\",files=\"x\",text_field=[]}"],
            "corpus.lines.text_field: found 0 fields, expected 1 to 64: name those that hold the text",
        ),
        (
            &["corpus.lines={format=\"jsonl\",files=\"x\",text_field=[\"a\",\"\"]}"],
            "corpus.lines.text_field: empty: name the field that holds the text",
        ),
        (
            &["corpus.lines={format=\"jsonl\",files=\"x\",text_field=[\"a\",\"a\"]}"],
            "corpus.lines.text_field: \"a\" is listed twice: remove one",
        ),
        (
            &["corpus.lines={format=\"jsonl\",files=\"x\",id_field=\"\"}"],
            "corpus.lines.id_field: empty: name the field that holds the id, or leave the key out",
        ),
        (
            &["corpus.lines={format=\"jsonl\",files=\"x\",on_bad_line=\"skip\",max_bad_lines=0}"],
            "corpus.lines.max_bad_lines: found 0, expected 1 to 1000000000000",
        ),
        (
            &["corpus.general.separator=\"\""],
            "corpus.general.separator: a separator is one whole line, and not an empty one: write it without line breaks",
        ),
        (
            &["corpus.general.clean={min_words=5,max_words=4}"],
            "corpus.general.clean.max_words: 4 is less than min_words = 5: nothing would be left",
        ),
        (
            &["corpus.domain.clean={languages=[\"English\"]}"],
            "corpus.domain.clean.languages.0: found \"English\", expected a three-letter code such as \"eng\"",
        ),
        (
            &["corpus.domain.clean={exclude_types=[\" \"]}"],
            "corpus.domain.clean.exclude_types.0: empty: write a publication type such as \"Retracted Publication\"",
        ),
        (
            &["corpus.UPPER={format=\"text\",files=\"x\"}"],
            "corpus.UPPER: corpus name \"UPPER\" is not usable: use 1 to 64 of a-z 0-9 - _ . and start with a letter or digit",
        ),
        (&["tokenizer.train.vocab_size=256"], "tokenizer.train.vocab_size: found 256, expected 257 to 1048576"),
        (&["tokenizer.train.min_frequency=0"], "tokenizer.train.min_frequency: found 0, expected 1 to 1000000"),
        (&["tokenizer.train.corpora=[]"], "tokenizer.train.corpora: empty: name at least one corpus, or leave the key out to use all"),
        (&["tokenizer.train.corpora=[\"domian\"]"], "tokenizer.train.corpora.0: no corpus is named \"domian\"; did you mean \"domain\"?"),
        (&["tokenizer.train.corpora=[\"domain\",\"domain\"]"], "tokenizer.train.corpora.1: \"domain\" is listed twice: remove one"),
        (&["tokenizer.file=\"\""], "tokenizer.file: empty: write a path"),
    ]);
    accepted(&[&["corpus.general.held_out=0"], &["corpus.domain.held_out=0.5"], &["tokenizer.train.vocab_size=257"]]);
}

#[test]
fn the_model() {
    refused(&[
        (&["model.dim=0"], "model.dim: found 0, expected 1 to 65536"),
        (&["model.dim=65540"], "model.dim: found 65540, expected 1 to 65536"),
        (&["model.layers=1025"], "model.layers: found 1025, expected 1 to 1024"),
        (&["model.heads=0"], "model.heads: found 0, expected 1 to 1024"),
        (&["model.heads=5"], "model.dim: 64 is not a multiple of heads = 5: use dim 60 or 65, or another number of heads"),
        (
            &["model.dim=60", "model.ffn=64"],
            "model.dim: dim / heads is 15, an odd number, and rotary positions turn pairs: use dim 56 or 64",
        ),
        (&["model.kv_heads=3"], "model.kv_heads: 3 does not divide heads = 4: use 2 or 4"),
        (&["model.kv_heads=8"], "model.kv_heads: 8 does not divide heads = 4: use 2"),
        (&["model.ffn=0"], "model.ffn: found 0, expected 1 to 1048576"),
        (&["model.max_positions=2000000"], "model.max_positions: found 2000000, expected 1 to 1048576"),
        (&["model.norm_eps=0"], "model.norm_eps: found 0.0, expected more than 0.0 and at most 0.1"),
        (&["model.init_std=inf"], "model.init_std: found inf, expected more than 0.0 and at most 1.0"),
        (&["model.rope_theta=1"], "model.rope_theta: found 1.0, expected more than 1.0 and at most 1000000000000.0"),
        (&["model.family=gpt2", "model.tied=false"], "model.tied: gpt2 ties its head to its embeddings: remove this or set it to true"),
        (&["model.family=gemma", "model.tied=false"], "model.tied: gemma ties its head to its embeddings: remove this or set it to true"),
        (&["model.head_dim=15"], "model.head_dim: 15 is odd, and rotary positions turn pairs: use 16"),
        (&["model.head_dim=5000"], "model.head_dim: found 5000, expected 1 to 4096"),
        (&["model.family=gpt2", "model.head_dim=16"], "model.head_dim: the heads of gpt2 share dim evenly: remove it"),
        (&["model.family=gpt2", "model.rope_scaling.kind=linear"], "model.rope_scaling: gpt2 has learned positions: remove it"),
        (&["model.rope_scaling.kind=linear"], "model.rope_scaling.factor: missing: add a number, for example factor = 2.0"),
        (
            &["model.rope_scaling={kind=\"linear\", factor=0.5}"],
            "model.rope_scaling.factor: found 0.5, expected at least 1.0 and at most 10000.0",
        ),
        (
            &["model.rope_scaling={kind=\"llama3\", factor=8, original_max_positions=64, low_freq_factor=4}"],
            "model.rope_scaling.high_freq_factor: 4 is not above low_freq_factor = 4: llama 3.1 has 4 and 1",
        ),
        (&["model.family=gpt2", "model.kv_heads=2"], "model.kv_heads: 2 is not heads = 4, and gpt2 does not group its heads: remove it"),
    ]);
    // GPT-2 turns no pairs: an odd head size is fine.
    accepted(&[
        &["model.family=gpt2", "model.dim=60"],
        &["model.kv_heads=1"],
        &["model.tied=true"],
        &["model.dim=65536"],
        &["model.family=qwen2", "model.rope_scaling={kind=\"linear\", factor=2}"],
        &["model.family=gemma", "model.dim=50", "model.head_dim=32", "model.kv_heads=1"],
        &["model.rope_scaling={kind=\"llama3\", factor=8, original_max_positions=64}"],
    ]);
}

#[test]
fn stages() {
    refused(&[
        (&["stage.two.name=one"], "stage.1.name: \"one\" is the name of an earlier one too: choose another"),
        (
            &["stage.one.from=stage:two"],
            "stage.one.from: stage \"two\" does not come before this one: a stage starts from an earlier stage",
        ),
        (
            &["stage.two.from=stage:two"],
            "stage.two.from: stage \"two\" does not come before this one: a stage starts from an earlier stage",
        ),
        (&["stage.two.from=stage:onne"], "stage.two.from: no stage is named \"onne\"; did you mean \"one\"?"),
        (&["stage.two.from=hf:"], "stage.two.from: empty: write a path"),
        (&["stage.one.corpus=generla"], "stage.one.corpus: no corpus is named \"generla\"; did you mean \"general\"?"),
        (&["stage.one.mixture={general=1,x=1}"], "stage.one.mixture.x: no corpus is named \"x\"; known here: domain, general"),
        (
            &["stage.one.mixture={}"],
            "stage.one.mixture: empty: name at least one corpus, for example mixture = { general = 1, domain = 3 }",
        ),
        (
            &["stage.one.mixture={general=0}"],
            "stage.one.mixture.general: found 0, expected a whole number of parts: remove a corpus that is not wanted",
        ),
        (&["stage.one.mixture={general=0.5}"], "stage.one.mixture.general: found the number 0.5, expected a whole number"),
        (
            &["stage.one.mixture={general=9999,domain=2}"],
            "stage.one.mixture: the parts add up to 10001, at most 10000 are possible: write 1 and 3 for 25 % and 75 %",
        ),
        (&["stage.one.steps=1_000_000_001"], "stage.one.steps: found 1000000001, expected 1 to 1000000000"),
        (
            &["stage.one.tokens=383"],
            "stage.one.tokens: 383 are fewer than one step's 384 (global_batch x sequence_length): use at least 384",
        ),
        (
            &["stage.one.tokens=500B"],
            "stage.one.tokens: 500000000000 tokens would take 1302083334 steps, at most 1000000000 are possible: enlarge global_batch",
        ),
        (&["stage.one.tokens=0"], "stage.one.tokens: found 0, expected 1 to 1000000000000000"),
        (&["stage.one.sequence_length=1"], "stage.one.sequence_length: found 1, expected 2 to 1048576"),
        (
            &["model.max_positions=16", "stage.one.sequence_length=17"],
            "stage.one.sequence_length: 17 is more than model.max_positions = 16: shorten it or raise that",
        ),
        (&["stage.one.micro_batch=48"], "stage.one.micro_batch: 48 is more than a rank's share of 24 sequences a step: use at most that"),
        (&["stage.one.recompute=3"], "stage.one.recompute: 3 layers are more than model.layers = 1: use at most that, or \"all\""),
        (&["stage.one.recompute=some"], "stage.one.recompute: found the string \"some\", expected \"none\", \"all\" or a number of layers"),
        (
            &["resources.determinism=elastic", "stage.one.micro_batch=3", "stage.two.micro_batch=3", "stage.one.reduce=bf16"],
            "stage.one.reduce: resources.determinism = \"elastic\" sums gradients in fp32 only: remove this",
        ),
        (&["stage.one.guard.window=15"], "stage.one.guard.window: found 15, expected 16 to 1024"),
        (&["stage.one.guard.sigmas=-1"], "stage.one.guard.sigmas: found -1.0, expected at least 0.0 and at most 1000.0"),
        (&["stage.one.guard.sigmas=nan"], "stage.one.guard.sigmas: found NaN, expected at least 0.0 and at most 1000.0"),
        (&["stage.one.guard.enabled=1"], "stage.one.guard.enabled: found the number 1, expected true or false"),
        (
            &["stage.one.guard={window=16,rewind_after=17}"],
            "stage.one.guard.rewind_after: 17 skipped steps do not fit into window = 16: use at most that, or 0 for never",
        ),
        (&["stage.one.precision=fp16"], "stage.one.precision: found the string \"fp16\"; known here: bf16, fp32"),
        (&["stage.one.optimizer.decay=norms"], "stage.one.optimizer.decay: found the string \"norms\"; known here: all, matrices"),
        (
            &["resources.determinism=elastic", "stage.one.micro_batch=8", "stage.two.micro_batch=3"],
            "stage.one.micro_batch: resources.determinism = \"elastic\" sums 3 micro-batches (global_batch / micro_batch) in a binary tree: make it a power of two",
        ),
        (&["stage.one.micro_batch=0"], "stage.one.micro_batch: found 0, expected 1 to 1048576"),
        (&["stage.one.optimizer.lr=0"], "stage.one.optimizer.lr: found 0.0, expected more than 0.0 and at most 100.0"),
        (&["stage.one.optimizer.lr=-inf"], "stage.one.optimizer.lr: found -inf, expected more than 0.0 and at most 100.0"),
        (
            &["stage.one.optimizer.betas=[0.9,1]"],
            "stage.one.optimizer.betas: found 0.9 and 1.0, expected both between 0 and 1, without the ends",
        ),
        (&["stage.one.optimizer.eps=0"], "stage.one.optimizer.eps: found 0.0, expected more than 0.0 and at most 0.1"),
        (&["stage.one.optimizer.weight_decay=-1"], "stage.one.optimizer.weight_decay: found -1.0, expected at least 0.0 and at most 100.0"),
        (&["stage.one.optimizer.clip=-1"], "stage.one.optimizer.clip: found -1.0, expected at least 0.0 and at most 1000000.0"),
        (
            &["stage.one.schedule={kind=\"cosine\",min_ratio=1.1}"],
            "stage.one.schedule.min_ratio: found 1.1, expected at least 0.0 and at most 1.0",
        ),
        (
            &["stage.one.schedule.warmup_steps=101"],
            "stage.one.schedule.warmup_steps: 101 steps do not fit into the stage's 100 steps: shorten them",
        ),
        (
            &["stage.one.schedule={kind=\"wsd\",warmup_steps=60,decay_steps=41}"],
            "stage.one.schedule.warmup_steps: 60 steps and decay_steps = 41 do not fit into the stage's 100 steps: shorten them",
        ),
        (&["stage.one.schedule={kind=\"wsd\",decay_steps=0}"], "stage.one.schedule.decay_steps: found 0, expected 1 to 1000000000"),
        (
            &["stage.one.schedule={kind=\"linear\",warmup_steps=5,warmup_from=1.5}"],
            "stage.one.schedule.warmup_from: found 1.5, expected at least 0.0 and at most 1.0",
        ),
        (
            &["stage.one.schedule={kind=\"linear\",warmup_from=0.5}"],
            "stage.one.schedule.warmup_from: without warmup_steps nothing is warmed up: add them, or remove this",
        ),
        (&["stage.two.from=fork:one@x"], "stage.two.from: found \"x\" after the @, expected a step such as fork:one@1000"),
        (&["stage.two.from=fork:one@101"], "stage.two.from: step 101 is none of stage one's 1 to 100"),
        (
            &["stage.two.from=fork:one@31", "checkpoint.every_steps=30"],
            "stage.two.from: stage one has no checkpoint at step 31: use a multiple of checkpoint.every_steps = 30 (30 or 60) or its last step, 100",
        ),
        (&["stage.one.from=fork:two"], "stage.one.from: stage \"two\" does not come before this one: a stage starts from an earlier stage"),
        (&["stage=[]"], "stage: empty: a run needs at least one"),
    ]);
    accepted(&[
        &["stage.one.tokens=384"],
        &["stage.two.from=scratch"],
        &["stage.two.from=hf:models/llama"],
        &["stage.one.schedule={kind=\"wsd\",warmup_steps=60,decay_steps=40}"],
        &["stage.one.schedule={kind=\"wsd\",warmup_steps=9,warmup_from=0.1,decay_steps=40,decay=\"1-sqrt\"}"],
        &["stage.two.from=fork:one"],
        &["stage.two.from=fork:one@60", "checkpoint.every_steps=30"],
        &["stage.two.from=fork:one@100", "checkpoint.every_steps=30"],
        &["stage.one.optimizer.clip=0"],
        &["stage.one.guard={enabled=false,sigmas=0,window=16}"],
        &["stage.one.guard={window=16,rewind_after=16}"],
        // The last micro-batch of a share may be smaller.
        &["stage.one.micro_batch=5"],
        &["stage.one.recompute=1", "stage.one.precision=bf16", "stage.one.document_mask=true", "stage.two.recompute=all"],
        &["resources.determinism=elastic", "stage.one.micro_batch=3", "stage.two.micro_batch=6"],
    ]);
}

#[test]
fn ranks_must_share_the_batch_evenly() {
    let both =
        ["one", "two"].map(|stage| format!("stage.{stage}.global_batch: 24 sequences cannot be shared evenly by 7 ranks: use 21 or 28"));
    assert_eq!(judge(&["resources.ranks=7"]), both);
    let few = ["one", "two"].map(|stage| format!("stage.{stage}.global_batch: 24 sequences cannot be shared evenly by 48 ranks: use 48"));
    assert_eq!(judge(&["resources.ranks=48"]), few);
    accepted(&[&["resources.ranks=8"], &["resources.ranks=24"]]);
}

#[test]
fn the_fewest_ranks_can_share_every_stage() {
    accepted(&[&["resources.ranks=8", "resources.min_ranks=2"], &["resources.ranks=8", "resources.min_ranks=8"]]);
    assert_eq!(judge(&["resources.ranks=8", "resources.min_ranks=9"]), ["resources.min_ranks: found 9, expected 1 to 8"]);
    assert_eq!(judge(&["resources.ranks=8", "resources.min_ranks=0"]), ["resources.min_ranks: found 0, expected 1 to 8"]);
    let why = "resources.min_ranks: stage one: its global batch of 24 sequences cannot be shared evenly: use 4 or 6";
    assert_eq!(judge(&["resources.ranks=8", "resources.min_ranks=5"]), [why]);
}

#[test]
fn policies() {
    refused(&[
        (&["resources.ranks=0"], "resources.ranks: found 0, expected 1 to 4096"),
        (&["resources.threads_per_rank=0"], "resources.threads_per_rank: found 0, expected 1 to 1024"),
        (&["checkpoint.every_steps=0"], "checkpoint.every_steps: found 0, expected 1 to 1000000000"),
        (&["checkpoint.keep_last=0"], "checkpoint.keep_last: found 0, expected 1 to 10000"),
        (
            &["checkpoint={every_steps=100,keep_every=250}"],
            "checkpoint.keep_every: 250 is not a multiple of every_steps = 100, so no checkpoint falls on it: use 200 or 300",
        ),
        (&["checkpoint.keep_best=10001"], "checkpoint.keep_best: found 10001, expected 0 to 10000"),
        (&["checkpoint.pinned=[0]"], "checkpoint.pinned.0: found 0, expected 1 to 1000000000"),
        (
            &["checkpoint={every_steps=100,pinned=[100,250]}"],
            "checkpoint.pinned.1: no stage saves at step 250 (every_steps = 100): use 200 or 300, or a stage's last step",
        ),
        (
            &["checkpoint={every_steps=100,pinned=[200,200]}"],
            "checkpoint.pinned.1: 200 does not come after the one before: list the steps in ascending order, each once",
        ),
        (&["after_stage.export.shard_bytes=9"], "after_stage.export.shard_bytes: found 9, expected 1024 to 1125899906842624"),
    ]);
    accepted(&[
        &["checkpoint={every_steps=100,keep_every=300,keep_last=1}"],
        &["checkpoint={every_steps=100,keep_best=2,pinned=[100,700]}"],
    ]);
    let long = format!("description={}", "x".repeat(10_001));
    refused(&[(&[&long], "description: longer than 10000 bytes: shorten it")]);
}

#[test]
fn exams() {
    refused(&[
        (&["after_stage.exam.ppl.name=quiz"], "after_stage.exam.1.name: \"quiz\" is the name of an earlier one too: choose another"),
        (
            &["after_stage.exam.quiz.files=[]"],
            "after_stage.exam.quiz.files: found 0 paths, expected 1 to 10000; a glob such as \"*.xml.gz\" is one",
        ),
        (
            &["after_stage.exam.quiz.shots=5"],
            "after_stage.exam.quiz.shots: shots = 5 need shots_files: name the files that the worked examples come from",
        ),
        (&["after_stage.exam.quiz.limit=0"], "after_stage.exam.quiz.limit: found 0, expected 1 to 10000000"),
        (&["after_stage.exam.ppl.stages=[\"tow\"]"], "after_stage.exam.ppl.stages.0: no stage is named \"tow\"; did you mean \"two\"?"),
        (&["after_stage.exam.ppl.stages=[\"two\",\"two\"]"], "after_stage.exam.ppl.stages.1: \"two\" is listed twice: remove one"),
        (&["after_stage.exam.ppl.corpus=x"], "after_stage.exam.ppl.corpus: no corpus is named \"x\"; known here: domain, general"),
        (
            &["corpus.domain.held_out=0"],
            "after_stage.exam.ppl.corpus: corpus \"domain\" holds nothing out: set corpus.domain.held_out above 0",
        ),
    ]);
    accepted(&[&["after_stage.exam.quiz.shots=5", "after_stage.exam.quiz.shots_files=dev.jsonl"], &["after_stage.exam.quiz.limit=1"]]);
}

#[test]
fn a_bert_is_trained_on_masks_and_nothing_is_asked_of_it() {
    let bert = ["model.family=bert", "tokenizer.train.kind=wordpiece", "after_stage={}"];
    let with = |more: &[&'static str]| [&bert[..], more].concat();
    accepted(&[&bert, &with(&["stage.one.mlm={probability=0.4, whole_word=false}"]), &with(&["tokenizer.train.vocab_size=40"])]);
    let judged = |set: &[&str]| judge(set).join("; ");
    let exams = judged(&["model.family=bert", "tokenizer.train.kind=wordpiece"]);
    assert!(exams.contains("after_stage.exam.quiz: exams need a model that predicts text token by token, and bert does not"), "{exams}");
    assert!(exams.contains("after_stage.quantize.0: bert models are not compressed, only decoders are: remove it"), "{exams}");
    for (set, told) in [
        (with(&["tokenizer.train.kind=bpe"]), "tokenizer.train.kind: a bert model is trained with kind = \"wordpiece\": write that"),
        (with(&["stage.one.mlm.probability=0"]), "stage.one.mlm.probability: found 0"),
        (with(&["stage.one.sequence_length=4"]), "stage.one.sequence_length: found 4, expected 8"),
        (vec!["stage.one.mlm={}"], "stage.one.mlm: a llama model predicts the next token and nothing is masked: remove it"),
        (vec!["tokenizer.train.kind=wordpiece"], "tokenizer.train.kind: a llama model is trained with kind = \"bpe\": write that"),
        (vec!["tokenizer.train.lowercase=true"], "tokenizer.train.lowercase: byte-level BPE keeps every byte"),
    ] {
        let found = judged(&set);
        assert!(found.contains(told), "{told:?} is not in {found}");
    }
}

#[test]
fn a_vocabulary_is_extended_only_where_a_model_is_imported() {
    accepted(&[&["tokenizer={file=\"t.json\", extend=\"mean\", extend_multiple=64}", "stage.one.from=hf:m"]]);
    for (set, told) in [
        (&["tokenizer={file=\"t.json\", extend=\"mean\"}"][..], "tokenizer.extend: no stage begins with from = \"hf:FOLDER\""),
        (&["tokenizer={file=\"t.json\", extend_multiple=64}", "stage.one.from=hf:m"], "tokenizer.extend_multiple: it rounds up the rows"),
        (&["tokenizer={file=\"t.json\", extend=\"mode\"}", "stage.one.from=hf:m"], "known here: mean, normal, zero"),
    ] {
        let found = judge(set).join("; ");
        assert!(found.contains(told), "{told:?} is not in {found}");
    }
}

#[test]
fn quantization() {
    refused(&[
        (&["after_stage.quantize=[\"int8\",\"int8\"]"], "after_stage.quantize.1: int8 is made twice after the same stage: remove one"),
        (
            &["after_stage.quantize=[{method=\"int8\",stages=[\"one\"]},\"int8\"]"],
            "after_stage.quantize.1: int8 is made twice after the same stage: remove one",
        ),
        (
            &[
                "after_stage.quantize=[\"gguf-q8_0\"]",
                "model.family=qwen2",
                "model.rope_scaling={kind=\"llama3\", factor=8, original_max_positions=64}",
            ],
            "after_stage.quantize.0: llama3 scaling of rotary positions cannot be said for a qwen2 in GGUF: use int8",
        ),
        (
            &["after_stage.quantize=[\"gguf-q8_0\"]", "model.ffn=100"],
            "after_stage.quantize.0: gguf-q8_0 packs rows in blocks of 32, and model.ffn = 100 is no multiple of it: use 96 or 128",
        ),
        (&["after_stage.quantize=[\"int4\"]"], "after_stage.quantize.0: found the string \"int4\"; did you mean \"int8\"?"),
        (
            &["after_stage.quantize=\"int8\""],
            "after_stage.quantize: found the string \"int8\", expected a list: write one [[after_stage.quantize]] table for each",
        ),
    ]);
    accepted(&[
        &["after_stage.quantize=[{method=\"int8\",stages=[\"one\"]},{method=\"int8\",stages=[\"two\"]}]"],
        &["after_stage.quantize=[]"],
    ]);
}

#[test]
fn gates() {
    refused(&[
        (
            &["after_stage.gate.0={exam=\"quiz\"}"],
            "after_stage.gate.0.min_accuracy: this gate has no bound: add one of min_accuracy, max_drop, max_perplexity_increase",
        ),
        (&["after_stage.gate.0.min_accuracy=101"], "after_stage.gate.0.min_accuracy: found 101.0, expected at least 0.0 and at most 100.0"),
        (&["after_stage.gate.0.exam=quizz"], "after_stage.gate.0.exam: no exam is named \"quizz\"; did you mean \"quiz\"?"),
        (
            &["after_stage.gate.0.max_drop=1"],
            "after_stage.gate.0.max_drop: compares with the full-precision model, and this gate is about that model: set variant, for example variant = \"int8\"",
        ),
        (&["after_stage.gate.0.variant=gguf-q8_0"], "after_stage.gate.0.variant: gguf-q8_0 is never made: add it to after_stage.quantize"),
        (
            &["after_stage.exam.quiz.stages=[\"one\"]", "after_stage.gate.0.stages=[\"one\",\"two\"]"],
            "after_stage.gate.0.stages: exam \"quiz\" is not held after two: name the stages where it is, or let it be there",
        ),
        (
            &[
                "after_stage.quantize=[{method=\"int8\",stages=[\"one\"]}]",
                "after_stage.gate.0={exam=\"quiz\",variant=\"int8\",max_drop=1,stages=[\"two\"]}",
            ],
            "after_stage.gate.0.stages: int8 is not made after two: name the stages where it is, or let it be there",
        ),
        (
            &["after_stage.gate.0={exam=\"ppl\",min_accuracy=3}"],
            "after_stage.gate.0.min_accuracy: \"ppl\" is a held-out exam and has no accuracy: use max_perplexity_increase",
        ),
        (
            &["after_stage.gate.0={exam=\"quiz\",variant=\"int8\",max_perplexity_increase=0.1}"],
            "after_stage.gate.0.max_perplexity_increase: \"quiz\" has questions and no perplexity: use a held-out exam, or max_drop",
        ),
    ]);
    accepted(&[
        &["after_stage.gate.0={exam=\"ppl\",variant=\"int8\",max_perplexity_increase=0.1,on_fail=\"warn\"}"],
        // Without stages of its own, a gate applies where its exam is held and its variant made.
        &["after_stage.exam.quiz.stages=[\"two\"]", "after_stage.gate.0={exam=\"quiz\",variant=\"int8\",max_drop=1}"],
        &["after_stage.quantize=[{method=\"int8\",stages=[\"one\"]}]", "after_stage.gate.0={exam=\"quiz\",variant=\"int8\",max_drop=1}"],
    ]);
    // Exam and variant never meet.
    let apart = judge(&[
        "after_stage.exam.quiz.stages=[\"two\"]",
        "after_stage.quantize=[{method=\"int8\",stages=[\"one\"]}]",
        "after_stage.gate.0={exam=\"quiz\",variant=\"int8\",max_drop=1}",
    ]);
    assert_eq!(apart.len(), 2, "{apart:?}");
    assert!(apart.iter().all(|problem| problem.contains("after_stage.gate.0.stages: ")), "{apart:?}");
}

#[test]
fn one_mistake_is_one_problem() {
    for set in [
        "model.heads=x",
        "model.dim=x",
        "stage.one.global_batch=x",
        "stage.one.steps=x",
        "stage.one.name=X!",
        "stage.one.schedule.kind=x",
        "stage.one.sequence_length=x",
        "after_stage.exam.quiz.name=X!",
        "after_stage.exam.quiz.format=x",
        "after_stage.gate.0.variant=x",
        "after_stage.gate.0.exam=X!",
        "after_stage.gate.0.stages=[3]",
        "corpus.domain=3",
        "corpus.domain.format=x",
        "corpus.domain.held_out=x",
        "tokenizer=3",
        "stage.one.optimizer=3",
        "stage.one.mixture=3",
        "stage.one.mixture={\"X!\"=1}",
        "resources=3",
        "checkpoint=3",
        "after_stage=3",
        "model=3",
        "model={}",
    ] {
        let found = judge(&[set]);
        let most = if set == "model={}" { 4 } else { 1 };
        assert_eq!(found.len(), most, "{set}: {found:#?}");
    }
}

#[test]
fn a_spec_from_the_wire_is_judged_without_a_file() {
    let spec = parse(BASE, "run.toml", &[]).unwrap();
    let broken = |change: &dyn Fn(&mut RunSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        check(&spec).unwrap_err().to_string()
    };
    assert_eq!(broken(&|s| s.model.dim = u32::MAX), "run: model.dim: found 4294967295, expected 1 to 65536");
    assert_eq!(broken(&|s| s.stages[1].steps_to(0)), "run: stage.two.steps: found 0, expected 1 to 1000000000");
    assert_eq!(
        broken(&|s| s.exams[0].files.clear()),
        "run: after_stage.exam.quiz.files: found 0 paths, expected 1 to 10000; a glob such as \"*.xml.gz\" is one"
    );
    assert_eq!(
        broken(&|s| s.exams[1].corpus = None),
        "run: after_stage.exam.ppl.corpus: missing: name the corpus whose held-out documents are read"
    );
    assert_eq!(broken(&|s| s.exams[1].shots = 1), "run: after_stage.exam.ppl: a held-out exam has no files and no shots: remove them");
    assert_eq!(broken(&|s| s.stages = vec![s.stages[0].clone(); 100_000]), "run: stage: found 100000 of them, at most 64 are possible");
    assert!(broken(&|s| s.stages.clear()).starts_with("run: stage: empty: a run needs at least one"));
}

impl crate::spec::StageSpec {
    fn steps_to(&mut self, steps: u64) {
        self.length = crate::spec::Length::Steps(steps);
    }
}

#[test]
fn the_nearest_values_that_work_are_named() {
    let multiples = [(30, 4, 100, "28 or 32"), (3, 4, 100, "4"), (99, 50, 99, "50"), (5, 0, 9, "5 or 6")];
    for (value, of, most, expected) in multiples {
        assert_eq!(nearest_multiples(value, of, most), expected, "{value} {of} {most}");
    }
    let divisors = [(5, 24, "4 or 6"), (48, 24, "12"), (5, 7, "1 or 7"), (0, 7, "1"), (3, 1, "1"), (u32::MAX, 1, "1")];
    for (value, of, expected) in divisors {
        assert_eq!(nearest_divisors(value, of), expected, "{value} {of}");
    }
}

#[test]
fn retries() {
    refused(&[
        (&["retry.no_progress=0"], "retry.no_progress: found 0, expected 1 to 1000000"),
        (&["retry.healthy_seconds=0"], "retry.healthy_seconds: found 0, expected 1 to 2592000"),
        (
            &["retry.rule=[{ class = \"user\" }]"],
            "retry.rule.0.class: what does it apply to? add exit_code = 12, or log = \"a regular expression\"",
        ),
        (&["retry.rule=[{ exit_code = 256, class = \"user\" }]"], "retry.rule.0.exit_code: found 256, expected 0 to 255"),
        (&["retry.rule=[{ log = \"(\", class = \"user\" }]"], "retry.rule.0.log: not a usable regular expression: unclosed group"),
    ]);
    accepted(&[&["retry.user=3", "retry.rule=[{ exit_code = 12, log = \"(?i)nccl\", class = \"out-of-memory\" }]"]]);
}

#[test]
fn limits_are_bounded_and_training_has_no_time_of_its_own() {
    let known = "unknown key; known here: clean, exam, export, merge, pack, quantize, tokenizer";
    refused(&[(&["limits.seconds.train=5"], &format!("limits.seconds.train: {known}"))]);
    refused(&[(&["limits.memory_mib.train=63"], "limits.memory_mib.train: found 63, expected 64 to 1073741824")]);
}
