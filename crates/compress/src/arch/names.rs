//! Hugging Face's tensor names in GGUF.

/// Parts of a layer, by what follows its number.
const PARTS: [(&str, &str); 15] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("ln_1", "attn_norm"),
    ("ln_2", "ffn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

const OUTSIDE: [(&str, &str); 6] = [
    ("model.embed_tokens", "token_embd"),
    ("transformer.wte", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("model.norm", "output_norm"),
    ("transformer.ln_f", "output_norm"),
    ("lm_head", "output"),
];

/// A name that is not known stays as it is; the test shows that none is.
pub(super) fn gguf_name(name: &str) -> String {
    known(name).unwrap_or_else(|| name.to_owned())
}

fn known(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    let of = |table: &[(&str, &'static str)], module: &str| table.iter().find(|(hf, _)| *hf == module).map(|(_, gguf)| *gguf);
    if let Some(outside) = of(&OUTSIDE, module) {
        return Some(format!("{outside}.{kind}"));
    }
    let (layer, part) = module.strip_prefix("model.layers.").or_else(|| module.strip_prefix("transformer.h."))?.split_once('.')?;
    Some(format!("blk.{layer}.{}.{kind}", of(&PARTS, part)?))
}
