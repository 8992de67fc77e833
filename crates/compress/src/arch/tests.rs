//! Every tensor has a name of its own in GGUF, and comes back from its order.

use super::*;
use osler_core::spec::RopeScaling;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn arch(family: Family, heads: u32, kv_heads: u32, head_dim: u32, tied: bool) -> Arch {
    let dim = heads * head_dim;
    let spec = ModelSpec {
        family,
        dim,
        layers: 2,
        heads,
        kv_heads: if family.rotary() { kv_heads } else { heads },
        head_dim: None,
        ffn: 2 * dim + 2,
        max_positions: 7,
        tied: tied || family.always_tied(),
        norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: None,
        init_std: 0.02,
    };
    Arch::new(Path::new("config.json"), spec, 11).unwrap()
}

proptest! {
    #[test]
    fn every_tensor_comes_back_from_gguf_order(kv in 1u32..3, group in 1u32..3, half in 1u32..4, family in 0usize..4, tied: bool) {
        let family = [Family::Llama, Family::Qwen2, Family::Gemma, Family::Gpt2][family];
        let specs = arch(family, kv * group, kv, 2 * half, tied).specs();
        for names in [specs.iter().map(|s| &s.hf).collect::<BTreeSet<_>>(), specs.iter().map(|s| &s.gguf).collect()] {
            prop_assert_eq!(names.len(), specs.len(), "names must not collide");
        }
        for spec in &specs {
            prop_assert_ne!(&spec.hf, &spec.gguf, "no name in GGUF");
            let data: Vec<f32> = (0..spec.elements()).map(|i| i as f32).collect();
            let there = spec.hf_to_gguf(data.clone());
            let mut sorted = there.clone();
            sorted.sort_by(f32::total_cmp);
            let moved = if spec.gain { 1.0 } else { 0.0 };
            prop_assert_eq!(&sorted, &data.iter().map(|v| v + moved).collect::<Vec<_>>(), "{} loses an element", &spec.hf);
            prop_assert_eq!(&spec.gguf_to_hf(there), &data, "{} does not come back", &spec.hf);
            prop_assert_eq!(&spec.rows_to_hf(spec.hf_to_rows(data.clone())), &data);
        }
    }
}

/// The ends are exact; the numbers between are those of transformers' llama3 frequencies for a head of 64 and a base of 500,000.
#[test]
fn llama_3_divides_slow_pairs_by_its_factor_and_leaves_fast_ones() {
    let mut spec = arch(Family::Llama, 1, 1, 64, true).spec;
    spec.rope_theta = 5e5;
    spec.rope_scaling =
        Some(RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 8192 });
    let factors = rope_factors(&spec).unwrap();
    assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 32.0));
    assert!(factors.windows(2).all(|pair| pair[0] <= pair[1]), "{factors:?}");
    assert!(factors.iter().any(|f| *f > 1.0 && *f < 32.0), "{factors:?}");
}
