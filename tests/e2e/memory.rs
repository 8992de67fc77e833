//! What `osler plan` says of a rank's memory, against what the kernel says of real ranks.

use crate::cluster::{Cluster, mini_spec};
use osler_core::estimate::{Memory, estimate};
use osler_core::job::Summary;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How far the estimate may be from the measured peak.
const BAND: f64 = 0.10;

/// Sizes are large enough that a process without a model is a small part of it, small enough for seconds.
const COMMON: [&str; 10] = [
    "after_stage.quantize=[]",
    "after_stage.gate=[]",
    "after_stage.exam=[]",
    "model.max_positions=256",
    "stage.general.steps=2",
    "stage.general.sequence_length=256",
    "checkpoint.every_steps=1",
    "stage.general.global_batch=4",
    "stage.general.micro_batch=4",
    "resources.ranks=1",
];

const LLAMA: &[&str] = &["model={family=\"llama\",dim=512,layers=6,heads=8,max_positions=256}"];

const TWO: &[&str] = &["resources.ranks=2", "stage.general.global_batch=8"];
const EIGHT: &[&str] = &["stage.general.micro_batch=8", "stage.general.global_batch=8"];
const BF16: &str = "stage.general.precision=bf16";

/// A name, the vocabulary, and what is changed in the run file.
type Shape = (&'static str, u32, Vec<&'static str>);

fn ways_of_a_llama() -> Vec<Shape> {
    let llama = |more: &[&'static str]| [LLAMA, more].concat();
    let long: &[&str] =
        &["model.max_positions=1024", "stage.general.sequence_length=1024", "stage.general.micro_batch=2", "stage.general.global_batch=2"];
    let all = "stage.general.recompute=all";
    let tree = "resources.determinism=elastic";
    vec![
        ("llama", 8192, llama(&[])),
        ("llama, 2 ranks", 8192, llama(TWO)),
        ("llama, recomputed", 8192, llama(&[EIGHT, &[all]].concat())),
        ("llama, first 3 recomputed", 8192, llama(&[EIGHT, &["stage.general.recompute=3"]].concat())),
        ("llama, bf16", 8192, llama(&[BF16])),
        ("llama, bf16 recomputed", 8192, llama(&[BF16, all])),
        ("llama, bf16 sums 2 ranks", 8192, llama(&[TWO, &["stage.general.reduce=bf16"]].concat())),
        ("llama, elastic", 8192, llama(&[tree, "stage.general.micro_batch=1"])),
        ("llama, elastic 2 ranks", 8192, llama(&[TWO, &[tree, "stage.general.micro_batch=2"]].concat())),
        ("llama, document mask", 8192, llama(&["stage.general.document_mask=true"])),
        ("llama, long sequences", 8192, llama(long)),
        ("llama, one sequence", 8192, llama(&["stage.general.micro_batch=1"])),
    ]
}

fn other_models() -> Vec<Shape> {
    let gpt2: &[&str] = &["model={family=\"gpt2\",dim=512,layers=6,heads=8,max_positions=256}"];
    let qwen2: &[&str] = &["model={family=\"qwen2\",dim=512,layers=4,heads=8,kv_heads=2,max_positions=256,tied=true}"];
    let gemma: &[&str] = &["model={family=\"gemma\",dim=512,layers=4,heads=4,kv_heads=1,head_dim=256,max_positions=256,tied=true}"];
    let bert: &[&str] =
        &["model={family=\"bert\",dim=512,layers=6,heads=8,max_positions=256}", "tokenizer={train={kind=\"wordpiece\",vocab_size=512}}"];
    let small: &[&str] = &[
        "model={family=\"llama\",dim=192,layers=4,heads=6,tied=true}",
        "stage.general.sequence_length=128",
        "resources.ranks=2",
        "stage.general.global_batch=8",
        "stage.general.steps=20",
    ];
    vec![
        ("gpt2", 8192, gpt2.to_vec()),
        ("gpt2, 2 ranks, bf16", 8192, [gpt2, TWO, &[BF16]].concat()),
        ("qwen2", 65536, qwen2.to_vec()),
        ("qwen2, 2 ranks", 65536, [qwen2, TWO].concat()),
        ("gemma", 32768, gemma.to_vec()),
        ("bert, masked words", 512, [bert, EIGHT].concat()),
        ("the quickstart's", 3072, small.to_vec()),
        ("next to nothing", 512, vec!["stage.general.sequence_length=32"]),
    ]
}

/// What the plan says of one shape, and the kernel's peak of the rank that had most.
fn measure(vocab: u32, changes: &[&str]) -> (Memory, u64) {
    let mut cluster = Cluster::new();
    let tokenizer = format!("tokenizer={{file={:?}}}", tokenizer(cluster.folder.path(), vocab));
    let mut spec = mini_spec(cluster.folder.path(), &[COMMON.as_slice(), &[tokenizer.as_str()], changes].concat());
    spec.stages.truncate(1);
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    let record = cluster.wait_finished("mini");
    let tokenizer = record.jobs.values().find_map(|job| match job.status.result()?.summary {
        Summary::Tokenizer { vocab_size, .. } => Some(vocab_size),
        _ => None,
    });
    let planned = estimate(&spec, tokenizer.unwrap(), &BTreeMap::new()).stages[0].memory_per_rank;
    let peak = cluster.report(&record).stages[0].cost.as_ref().and_then(|cost| cost.peak_memory).unwrap();
    (planned, peak)
}

/// A tokenizer of bytes with a vocabulary as large as is asked for: most tokens stand for nothing.
fn tokenizer(folder: &Path, vocab: u32) -> PathBuf {
    let printable = |b: &u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let bytes = (0..256).filter(printable).chain(256..256 + (0..256).filter(|b| !printable(b)).count() as u32);
    let bytes = bytes.map(|c| char::from_u32(c).unwrap().to_string());
    let names = bytes.chain(["<|endoftext|>".to_owned()]).chain((257..vocab).map(|i| format!("<unused {i}>")));
    let ids: Map<String, Value> = names.zip(0..).map(|(name, id): (String, u32)| (name, id.into())).collect();
    let end = json!({"id": 256, "content": "<|endoftext|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let model = json!({"type": "BPE", "vocab": ids, "merges": []});
    let all = json!({"version": "1.0", "added_tokens": [end], "pre_tokenizer": byte_level, "decoder": byte_level, "model": model});
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, all.to_string()).unwrap();
    path
}

fn as_planned(shapes: Vec<Shape>) {
    let mut beyond = vec![];
    for (name, vocab, changes) in shapes {
        let (planned, peak) = measure(vocab, &changes);
        let error = planned.total as f64 / peak as f64 - 1.0;
        let (planned_mib, peak_mib) = (planned.total >> 20, peak >> 20);
        println!("{name:26} planned {planned_mib:5} MiB, measured {peak_mib:5} MiB, {:+5.1} %", error * 100.0);
        if error.abs() > BAND {
            beyond.push(format!("{name}: {:+.1} %, {planned:?}", error * 100.0));
        }
    }
    assert!(beyond.is_empty(), "{beyond:?}");
}

// Two tests, because each alone uses one core most of the time.

#[test]
fn slow_a_llamas_rank_takes_the_memory_that_the_plan_says_however_it_trains() {
    as_planned(ways_of_a_llama());
}

#[test]
fn slow_a_rank_of_any_model_takes_the_memory_that_the_plan_says() {
    as_planned(other_models());
}
