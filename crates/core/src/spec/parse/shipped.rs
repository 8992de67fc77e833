//! Tiers, and the run files in `configs/`: all are valid at every tier, their sizes are the published ones, their smoke tiers keep proportions.

use super::{Override, parse_tier};
use crate::estimate::{estimate, parameters};
use crate::spec::{ModelSpec, RunSpec};
use std::path::{Path, PathBuf};

/// Each run file, its tiers, and the vocabulary and size that its model has as published.
const SHIPPED: &[(&str, &[&str], u32, u64)] = &[
    // The authors give 2.7 billion; their shape has this many.
    ("biomedlm-2.7b.toml", &["smoke"], 28_896, 2_594_247_680),
    // Hugging Face's counts of Llama-2-7b-hf, Qwen1.5-0.5B and TinyLlama-1.1B.
    ("llama2-7b-continued.toml", &["base", "smoke"], 32_000, 6_738_415_616),
    // Hugging Face's count of bert-base-uncased as BertForMaskedLM, whose shape and vocabulary size this is.
    ("pubmedbert-base.toml", &["smoke"], 30_522, 109_514_298),
    ("apollo-small.toml", &["base", "gemma-2b", "gemma-base", "gemma-smoke", "qwen-1-8b", "smoke"], 151_936, 463_987_712),
    ("experiments/1-scratch-1b.toml", &["smoke"], 32_000, 1_100_048_384),
    ("experiments/2-llama2-continued.toml", &["smoke"], 32_000, 6_738_415_616),
    ("experiments/3-int8-degradation.toml", &["smoke"], 32_000, 1_100_048_384),
];

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn read(file: &str, tier: Option<&str>) -> RunSpec {
    let text = std::fs::read_to_string(configs().join(file)).unwrap();
    parse_tier(&text, file, tier, &[]).unwrap_or_else(|problems| panic!("{file} {tier:?}:\n{problems}"))
}

#[test]
fn every_shipped_file_is_valid_and_planned_at_every_tier() {
    for (file, tiers, vocab, published) in SHIPPED {
        let full = read(file, None);
        assert_eq!(parameters(&full.model, *vocab), *published, "{file}");
        let mut names = vec![full.name.clone()];
        for tier in *tiers {
            let spec = read(file, Some(tier));
            assert_ne!(spec.digest(), full.digest(), "{file} {tier}");
            names.push(spec.name.clone());
            let planned = estimate(&spec, 3072, &Default::default());
            assert!(planned.stages.iter().all(|stage| stage.flops > 0.0));
            if tier.ends_with("smoke") || tier.ends_with("base") {
                let flops: f64 = planned.stages.iter().map(|stage| stage.flops).sum();
                // Two cores make about 50 GFLOP/s of steps as small as these.
                assert!(flops < 60.0 * 5e10, "{file} {tier}: {flops} FLOPs are more than a minute on two cores");
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), tiers.len() + 1, "{file}: two tiers of one name could not be in one store");
    }
}

#[test]
fn no_shipped_file_is_forgotten_here() {
    // tests/slurm/run runs the batch script.
    let own = ["quickstart.toml", "pubmed-sample.toml", "osler.sbatch"];
    for folder in [configs(), configs().join("experiments")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(configs()).unwrap().to_str().unwrap().to_owned();
            let known = path.is_dir() || own.contains(&name.as_str()) || SHIPPED.iter().any(|(file, ..)| *file == name);
            assert!(known, "{name} is not tested");
        }
    }
}

#[test]
fn the_other_sizes_of_apollo_are_the_published_ones() {
    // Hugging Face's counts of Qwen1.5-1.8B and gemma-2b.
    for (tier, vocab, published) in [("qwen-1-8b", 151_936, 1_836_828_672), ("gemma-2b", 256_000, 2_506_172_416)] {
        assert_eq!(parameters(&read("apollo-small.toml", Some(tier)).model, vocab), published, "{tier}");
    }
}

#[test]
fn smoke_tiers_keep_the_models_proportions() {
    let ratio = |a: u32, b: u32| f64::from(a) / f64::from(b);
    let close = |a: f64, b: f64, within: f64| (a / b - 1.0).abs() <= within;
    for (file, full, smoke) in [
        ("biomedlm-2.7b.toml", None, "smoke"),
        ("llama2-7b-continued.toml", None, "smoke"),
        // Hugging Face's count of bert-base-uncased as BertForMaskedLM, whose shape and vocabulary size this is.
        ("pubmedbert-base.toml", None, "smoke"),
        ("apollo-small.toml", None, "smoke"),
        ("apollo-small.toml", Some("gemma-2b"), "gemma-smoke"),
        ("experiments/1-scratch-1b.toml", None, "smoke"),
        ("experiments/2-llama2-continued.toml", None, "smoke"),
        ("experiments/3-int8-degradation.toml", None, "smoke"),
    ] {
        let (full, small) = (read(file, full).model, read(file, Some(smoke)).model);
        let kind = |m: &ModelSpec| (m.family, m.tied, m.heads / m.kv_heads, m.norm_eps.to_bits(), m.rope_theta.to_bits());
        assert_eq!(kind(&small), kind(&full), "{file} {smoke}");
        assert!(close(ratio(small.ffn, small.dim), ratio(full.ffn, full.dim), 0.02), "{file} {smoke}: feed-forward to width");
        // Layers are few, so that one more or less is much.
        assert!(close(ratio(small.layers, small.dim), ratio(full.layers, full.dim), 0.15), "{file} {smoke}: depth to width");
        let grouped = full.heads != full.kv_heads;
        assert!(grouped || small.head_dim() == full.head_dim(), "{file} {smoke}: width of a head");
    }
}

const FILE: &str = r#"
    name = "t"
    seed = 1
    corpus.a = { format = "text", files = "a" }
    corpus.b = { format = "text", files = "b" }
    tokenizer.train.vocab_size = 512
    model = { family = "llama", dim = 64, layers = 2, heads = 4 }
    [[stage]]
    name = "one"
    mixture = { a = 1, b = 1 }
    tokens = 4096
    sequence_length = 64
    global_batch = 16
    optimizer.lr = 0.1
    schedule.kind = "constant"
"#;

fn tiered(tiers: &str, tier: Option<&str>, set: &[&str]) -> Result<RunSpec, String> {
    let set: Vec<Override> = set.iter().map(|s| s.parse().unwrap()).collect();
    parse_tier(&format!("{FILE}{tiers}"), "run.toml", tier, &set).map_err(|problems| problems.to_string())
}

#[test]
fn a_tier_that_is_not_asked_for_changes_nothing() {
    let tier = "[tier.small]\n\"model.dim\" = 32\n";
    assert_eq!(tiered(tier, None, &[]).unwrap().digest(), tiered("", None, &[]).unwrap().digest());
    assert_eq!(tiered(tier, Some("small"), &[]).unwrap().model.dim, 32);
    assert_eq!(tiered(tier, Some("small"), &["model.dim=96"]).unwrap().model.dim, 96, "--set comes after the tier");
}

#[test]
fn a_tier_replaces_the_other_way_to_say_a_thing() {
    let tier = "[tier.small]\n\"stage.one.steps\" = 3\n\"stage.one.corpus\" = \"b\"\n";
    let spec = tiered(tier, Some("small"), &[]).unwrap();
    assert_eq!((spec.stages[0].steps(), spec.stages[0].mixture.len()), (3, 1));
    assert_eq!(tiered(tier, Some("small"), &["stage.one.tokens=2048"]).unwrap().stages[0].steps(), 2);
}

#[test]
fn tiers_are_read_as_strictly_as_the_rest() {
    for (tiers, asked, told) in [
        ("[tier.smoke]\n\"model.dim\" = 32\n", Some("smok"), "run.toml: no tier \"smok\"; did you mean \"smoke\"?"),
        ("", Some("smoke"), "run.toml: no tier \"smoke\": the file has no [tier.…] table; leave --tier out"),
        ("[tier.smoke]\n\"model.dimm\" = 32\n", Some("smoke"), "run.toml:17: model.dimm: unknown key; did you mean \"dim\"?"),
        ("[tier.smoke]\n\"model.dim\" = \"wide\"\n", Some("smoke"), "run.toml:17: model.dim: found the string \"wide\""),
        ("[tier.smoke]\n\"stage.two.steps\" = 3\n", Some("smoke"), "no element \"two\""),
        ("[tier.smoke]\nmodel.dim = 32\n", None, "write each value's path in quotes"),
        ("[tier.smoke]\n\"model..dim\" = 32\n", None, "the path has an empty part"),
        ("[tier]\nsmoke = 3\n", None, "tier.smoke: found the number 3, expected a table"),
    ] {
        let found = tiered(tiers, asked, &[]).unwrap_err();
        assert!(found.contains(told), "{told:?} is not in {found}");
    }
}
