//! Tensor names: the ones that parameters have in older files, those that carry no weights, and those that tell of a foreign model.

use crate::Weights;
use osler_core::spec::{Family, ModelSpec};

/// What the names of the model without its head begin with.
fn prefix(family: Family) -> &'static str {
    match family {
        Family::Llama | Family::Qwen2 | Family::Gemma => "model.",
        Family::Gpt2 => "transformer.",
        Family::Bert => "bert.",
    }
}

/// A parameter's name and those that it may have instead, the usual one first.
pub(super) fn spellings(spec: &ModelSpec, name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    // BERT's first checkpoints come from TensorFlow.
    if let Some(norm) = name.strip_suffix("LayerNorm.weight") {
        all.push(format!("{norm}LayerNorm.gamma"));
    } else if let Some(norm) = name.strip_suffix("LayerNorm.bias") {
        all.push(format!("{norm}LayerNorm.beta"));
    } else if name == "cls.predictions.bias" {
        all.push("cls.predictions.decoder.bias".to_owned());
    }
    // GPT-2's first checkpoints leave the prefix out, and so does everybody who saves a model without its head.
    let bare: Vec<String> = all.iter().filter_map(|name| name.strip_prefix(prefix(spec.family)).map(str::to_owned)).collect();
    all.extend(bare);
    // Of two names of one tensor, some tools keep the head's.
    all.extend(tied(spec).iter().filter(|(head, own)| *own == name && head.ends_with(".weight")).map(|(head, _)| (*head).to_owned()));
    all
}

/// Names that may be stored beside what they are tied to.
pub(super) fn tied(spec: &ModelSpec) -> &'static [(&'static str, &'static str)] {
    match spec.family {
        _ if !spec.tied => &[],
        Family::Llama | Family::Qwen2 | Family::Gemma => &[("lm_head.weight", "model.embed_tokens.weight")],
        Family::Gpt2 => &[("lm_head.weight", "transformer.wte.weight")],
        Family::Bert => &[
            ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ],
    }
}

/// Not parameters of the models here: constants that older versions saved along, and BERT's parts for pairs of sentences.
pub(super) fn carries_no_weights(spec: &ModelSpec, name: &str) -> bool {
    let name = name.strip_prefix(prefix(spec.family)).unwrap_or(name);
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match spec.family {
        Family::Llama | Family::Qwen2 | Family::Gemma => ends(&["rotary_emb.inv_freq"]),
        Family::Gpt2 => ends(&[".attn.bias", ".attn.masked_bias"]),
        Family::Bert => ends(&["embeddings.position_ids"]) || name.starts_with("pooler.") || name.starts_with("cls.seq_relationship."),
    }
}

/// One sentence for a model most of whose names are others: quantized, or under another prefix.
pub(super) fn foreign_names(family: Family, missing: &[&str], weights: &Weights) -> Option<String> {
    let quantized = [".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".absmax", ".SCB", ".quant_state"];
    if let Some(name) = weights.names().find(|name| quantized.iter().any(|part| name.ends_with(part) || name.contains(&format!("{part}."))))
    {
        return Some(format!("the weights are quantized already ({name}): start from the model that they were made from"));
    }
    let first = missing.first()?;
    let bare = first.strip_prefix(prefix(family)).unwrap_or(first);
    let (name, found) = weights.names().find_map(|name| {
        let before = name.strip_suffix(bare).filter(|before| before.is_empty() || before.ends_with('.'))?;
        Some((name, before))
    })?;
    Some(format!(
        "{name} begins with {found:?}, where a {family}'s begin with {:?}: the names of the tensors are another model's",
        prefix(family)
    ))
}
