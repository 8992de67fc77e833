//! FLOPs of a token, forward and backward, by the formula of PaLM's appendix B (Chowdhery et al. 2022, arXiv 2204.02311):
//!
//!   6 N + 12 L H Q T
//!
//! N: parameters that multiply each token, which is all but embedding tables, and the output head, tied or not. L layers, H heads of
//! width Q (grouped keys and values change N, not the second term), T tokens a sequence. Causality does not halve the second term:
//! the convention of dense attention, which most published MFU figures use. What a fused attention computes again in its backward is
//! in neither number. Of a bert's tokens only those that it has to guess go through the head, and so they are counted.

use crate::estimate::parameters_of;
use crate::spec::{ModelSpec, Recompute, StageSpec};
use serde::{Deserialize, Serialize};

/// FLOPs of one token, forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flops {
    /// What the model needs: MFU counts these.
    pub model: f64,
    /// With what is computed a second time because activations were not kept: HFU counts these.
    pub hardware: f64,
}

impl Flops {
    /// Of a token of this stage.
    pub fn of_stage(model: &ModelSpec, vocab: u32, stage: &StageSpec) -> Self {
        let all = Self::per_token(model, vocab, stage.sequence_length, stage.compute.recompute);
        let spared = stage.mlm.map_or(0.0, |mlm| 6.0 * (1.0 - mlm.probability) * f64::from(vocab) * f64::from(model.dim));
        Self { model: all.model - spared, hardware: all.hardware - spared }
    }

    /// With every token through the head.
    pub fn per_token(model: &ModelSpec, vocab: u32, sequence_length: u32, recompute: Recompute) -> Self {
        let scores = scores(model, sequence_length);
        let needed = 6.0 * parameters_of(model, vocab).active as f64 + 12.0 * f64::from(model.layers) * scores;
        // A third of a layer's work is its forward pass, and that is what is done again.
        let again = f64::from(recompute.layers(model.layers)) * (2.0 * layer(model, vocab) + 4.0 * scores);
        Self { model: needed, hardware: needed + again }
    }
}

/// Parameters of one layer.
fn layer(model: &ModelSpec, vocab: u32) -> f64 {
    let one_more = ModelSpec { layers: model.layers.saturating_add(1), ..model.clone() };
    let parameters = |model| parameters_of(model, vocab).non_embedding;
    parameters(&one_more).saturating_sub(parameters(model)) as f64
}

/// H Q T: one token's products with all keys of its sequence, in one layer.
fn scores(model: &ModelSpec, sequence_length: u32) -> f64 {
    f64::from(model.heads) * f64::from(model.head_dim()) * f64::from(sequence_length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Family;

    fn llama2_7b() -> ModelSpec {
        ModelSpec {
            family: Family::Llama,
            dim: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: None,
            ffn: 11_008,
            max_positions: 4096,
            tied: false,
            norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: None,
            init_std: 0.02,
        }
    }

    #[test]
    fn llama_2_7b_takes_what_the_formula_gives_by_hand() {
        // 6,738,415,616 parameters, 131,072,000 of them in the input table; 12 x 32 x 4096 x 4096 for attention.
        let flops = Flops::per_token(&llama2_7b(), 32_000, 4096, Recompute::None);
        assert_eq!(flops.model, 6.0 * 6_607_343_616.0 + 6_442_450_944.0);
        assert_eq!(flops.hardware, flops.model);
    }

    #[test]
    fn grouped_keys_change_the_parameters_and_not_the_attention() {
        let grouped = ModelSpec { kv_heads: 8, ..llama2_7b() };
        let (full, fewer) = (
            Flops::per_token(&llama2_7b(), 32_000, 4096, Recompute::None).model,
            Flops::per_token(&grouped, 32_000, 4096, Recompute::None).model,
        );
        // k and v of 4096 x 4096 become 4096 x 1024, in 32 layers.
        assert_eq!(full - fewer, 6.0 * 32.0 * 2.0 * 4096.0 * 3072.0);
    }

    #[test]
    fn heads_wider_than_their_share_of_the_model_count_as_they_are() {
        let wide = ModelSpec { head_dim: Some(256), ..llama2_7b() };
        let more = Flops::per_token(&wide, 32_000, 4096, Recompute::None).model
            - Flops::per_token(&llama2_7b(), 32_000, 4096, Recompute::None).model;
        // Four projections twice as wide, in 32 layers, and twice the attention.
        assert_eq!(more, 32.0 * 6.0 * 4.0 * 4096.0 * 4096.0 + 6_442_450_944.0);
    }

    #[test]
    fn a_tied_head_works_as_much_as_one_of_its_own() {
        let tied = ModelSpec { tied: true, ..llama2_7b() };
        assert_eq!(Flops::per_token(&tied, 32_000, 4096, Recompute::None), Flops::per_token(&llama2_7b(), 32_000, 4096, Recompute::None));
    }

    #[test]
    fn recomputed_layers_are_hardwares_work_and_not_the_models() {
        let of = |recompute| Flops::per_token(&llama2_7b(), 32_000, 4096, recompute);
        // A layer: 4 x 4096 x 4096 + 3 x 4096 x 11,008 + 2 x 4096 parameters, and 4 x 4096 x 4096 for attention.
        let forward = 2.0 * 202_383_360.0 + 67_108_864.0;
        assert_eq!(of(Recompute::First(3)).hardware - of(Recompute::None).hardware, 3.0 * forward);
        assert_eq!(of(Recompute::All).hardware - of(Recompute::None).hardware, 32.0 * forward);
        assert_eq!(of(Recompute::All).model, of(Recompute::None).model);
    }
}
