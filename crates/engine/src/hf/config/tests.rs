//! Shape and special tokens together. What is refused is tested where it is read, in osler-model.

use super::*;
use osler_core::spec::Family;

#[test]
fn what_is_written_is_read() {
    for family in Family::ALL {
        let spec = ModelSpec {
            family,
            dim: 64,
            layers: 2,
            heads: 4,
            kv_heads: if family.rotary() { 2 } else { 4 },
            head_dim: (family == Family::Gemma).then_some(24),
            ffn: 172,
            max_positions: 32,
            tied: family.always_tied(),
            norm_eps: 1e-6,
            rope_theta: if family.rotary() { 5e5 } else { 1e4 },
            rope_scaling: None,
            init_std: 0.01,
        };
        let config = Config { spec, vocab: 512, special: SpecialTokens { bos: Some(1), eos: Some(2), pad: None } };
        let text = config.to_json("float32");
        assert_eq!(Config::parse(&text).unwrap(), config);
        let wrong = text.replace("\"bos_token_id\": 1", "\"bos_token_id\": \"x\"");
        assert!(Config::parse(&wrong).unwrap_err().to_string().contains("bos_token_id"));
    }
}
