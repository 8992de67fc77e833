//! `[model]`: what each family defaults to, and records from before there were more shapes.

use super::{FULL, read};
use crate::spec::*;

#[test]
fn each_family_has_its_papers_defaults() {
    let model = |set: &[&str]| read(FULL, set).model;
    let told = |m: &ModelSpec| (m.ffn / m.dim, m.tied, m.norm_eps, m.rope_theta);
    let of = |family: &str| model(&[&format!("model.family={family}"), "model.dim=192", "model.ffn=1536", "model.tied=true"]).norm_eps;
    assert_eq!(["llama", "gpt2", "qwen2", "gemma"].map(of), [1e-5, 1e-5, 1e-6, 1e-6]);
    let bert = read(FULL, &["model.family=bert", "tokenizer.train.kind=wordpiece", "after_stage={}", "stage.domain.mlm.probability=0.2"]);
    assert_eq!((bert.model.norm_eps, bert.model.ffn / bert.model.dim, bert.model.tied), (1e-12, 4, true));
    assert_eq!(bert.stages[0].mlm, Some(MlmSpec { probability: 0.15, whole_word: true }));
    assert_eq!(bert.stages[1].mlm, Some(MlmSpec { probability: 0.2, whole_word: true }));
    let TokenizerSpec::Train { wordpiece, .. } = bert.tokenizer else { panic!("a trained one") };
    assert_eq!(wordpiece, Some(WordpieceSpec { lowercase: true }));
    let gemma = model(&["model.family=gemma", "model.head_dim=256"]);
    assert_eq!((told(&gemma), gemma.head_dim()), ((8, true, 1e-6, 1e4), 256));
    assert_eq!(model(&["model.family=qwen2"]).rope_theta, 1e6);
    let spec = model(&["after_stage={}", "model.rope_scaling={kind=\"llama3\", factor=8, original_max_positions=64}"]);
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 64 };
    assert_eq!(spec.rope_scaling, Some(llama3));
    let even = spec.dim / spec.heads;
    assert_eq!(model(&[&format!("model.head_dim={even}")]).head_dim, None, "the usual width is not written down");
}

/// Records of runs that were begun before there were other widths and scalings.
#[test]
fn a_model_without_newer_fields_reads_and_prints_as_before() {
    let model = read(FULL, &[]).model;
    let text = serde_json::to_string(&model).unwrap();
    assert!(!text.contains("head_dim") && !text.contains("rope_scaling"), "{text}");
    assert_eq!(serde_json::from_str::<ModelSpec>(&text).unwrap(), model);
}
