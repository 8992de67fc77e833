//! Small model folders for tests, written with the reference safetensors writer rather than our own.

use half::{bf16, f16};
use osler_model::ModelConfig;
use osler_model::parameters::parameters;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// 4 heads share 2 key/value heads; the inner size 44 does not fit blocks of 32.
pub fn llama_config(tied: bool) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 44,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 16,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": tied,
        "bos_token_id": 1, "eos_token_id": 2, "attention_bias": false, "torch_dtype": "float32",
    })
}

/// As llama's, with biases that the config does not mention.
pub fn qwen2_config() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 44,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 40, "max_position_embeddings": 16,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "hidden_act": "silu",
        "tie_word_embeddings": true, "eos_token_id": 2, "use_sliding_window": false,
    })
}

/// Heads wider than their share.
pub fn gemma_config() -> Value {
    json!({
        "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 40,
        "max_position_embeddings": 16, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "gelu_pytorch_tanh",
        "bos_token_id": 1, "eos_token_id": 2,
    })
}

pub fn gpt2_config() -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16,
        "vocab_size": 40, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "eos_token_id": 39, "bos_token_id": 39,
    })
}

/// Values in -0.5..0.5 that f16 and bf16 hold too (7 significant bits), different for each tensor.
pub fn tensors(config: &Value) -> Tensors {
    let config = ModelConfig::read(Path::new("config.json"), config).unwrap();
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 25) as f32 - 64.0) / 128.0
    };
    let all = parameters(&config.spec, config.vocab).unwrap();
    all.into_iter().map(|p| (p.name.clone(), (p.shape.clone(), (0..p.len()).map(|_| next()).collect()))).collect()
}

fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::F64 => values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

pub fn write_safetensors(path: &Path, tensors: &Tensors, dtype: Dtype) {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors.iter().map(|(n, (_, v))| (n, encode(v, dtype))).collect();
    let views = tensors.iter().map(|(n, (shape, _))| (n, TensorView::new(dtype, shape.clone(), &bytes[n]).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub fn write_folder(dir: &Path, config: &Value, tensors: &Tensors, dtype: Dtype) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    write_safetensors(&dir.join("model.safetensors"), tensors, dtype);
}

/// Two shards with an index, every other tensor in each.
pub fn write_sharded(dir: &Path, config: &Value, tensors: &Tensors) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut map = BTreeMap::new();
    for part in 0..2 {
        let file = format!("model-0000{}-of-00002.safetensors", part + 1);
        let mine: Tensors = tensors.clone().into_iter().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, t)| t).collect();
        map.extend(mine.keys().map(|n| (n.clone(), file.clone())));
        write_safetensors(&dir.join(file), &mine, Dtype::F32);
    }
    fs::write(dir.join("model.safetensors.index.json"), json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
}

/// A byte-level BPE of 40 ids: ids 0..=36 are tokens, 39 an added special token, 37 and 38 nothing.
pub fn byte_level_tokenizer() -> Value {
    let mut vocab: BTreeMap<String, u32> = (0..33u8).map(|i| (char::from(b'A' + i).to_string(), u32::from(i))).collect();
    vocab.extend([("Ġ".to_owned(), 33), ("AB".to_owned(), 34), ("ĠC".to_owned(), 35), ("ABC".to_owned(), 36)]);
    json!({
        "added_tokens": [{"id": 39, "content": "<|endoftext|>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": [["A", "B"], ["Ġ", "C"], "AB C"]},
    })
}
