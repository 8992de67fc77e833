//! A run file's `[model]` beside the folder that a run continues: every field that says another model, by name.

use crate::config::{CONFIG, ModelConfig, key_of};
use osler_core::spec::{Family, ModelSpec, RopeScaling};
use std::path::Path;

const NONE: &str = "none";

/// One sentence for each field that differs and changes what the weights mean. A shorter context than a rotary folder's is the run's choice.
pub fn differences(asked: &ModelSpec, folder: &Path, found: &ModelConfig) -> Vec<String> {
    let found = &found.spec;
    if asked.family != found.family {
        return vec![told(folder, found.family, "family", &quoted(asked.family), &quoted(found.family), false)];
    }
    let mut all = vec![];
    let mut field = |name: &str, asked: String, found_: String, by_default: bool| {
        if asked != found_ {
            all.push(told(folder, found.family, name, &asked, &found_, by_default));
        }
    };
    field("dim", asked.dim.to_string(), found.dim.to_string(), false);
    field("layers", asked.layers.to_string(), found.layers.to_string(), false);
    field("heads", asked.heads.to_string(), found.heads.to_string(), false);
    field("kv_heads", asked.kv_heads.to_string(), found.kv_heads.to_string(), asked.kv_heads == asked.heads);
    field("head_dim", asked.head_dim().to_string(), found.head_dim().to_string(), asked.head_dim.is_none());
    field("ffn", asked.ffn.to_string(), found.ffn.to_string(), false);
    field("tied", asked.tied.to_string(), found.tied.to_string(), asked.tied == asked.family.always_tied());
    field("norm_eps", number(asked.norm_eps), number(found.norm_eps), asked.norm_eps == asked.family.default_norm_eps());
    if found.family.rotary() {
        field("rope_theta", number(asked.rope_theta), number(found.rope_theta), asked.rope_theta == asked.family.default_rope_theta());
        field("rope_scaling", scaling(asked.rope_scaling), scaling(found.rope_scaling), asked.rope_scaling.is_none());
    }
    let longer = if found.family.rotary() { asked.max_positions > found.max_positions } else { asked.max_positions != found.max_positions };
    if longer {
        all.push(told(folder, found.family, "max_positions", &asked.max_positions.to_string(), &found.max_positions.to_string(), false));
    }
    all
}

fn told(folder: &Path, family: Family, field: &str, asked: &str, found: &str, by_default: bool) -> String {
    let place = folder.join(CONFIG);
    let key = key_of(family, field).unwrap_or(field);
    let default = if by_default { ", or by default," } else { "" };
    let way_out = if found == NONE { format!("remove model.{field}") } else { format!("set model.{field} = {found}") };
    format!("[model] {field} is {asked} in the run file{default} and {found} in {} ({key}): {way_out}", place.display())
}

fn quoted(family: Family) -> String {
    format!("\"{family}\"")
}

/// As TOML and Rust both read it.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:e}") } else { format!("{value:?}") }
}

fn scaling(value: Option<RopeScaling>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(RopeScaling::Linear { factor }) => format!("{{ kind = \"linear\", factor = {factor:?} }}"),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => format!(
            "{{ kind = \"llama3\", factor = {factor:?}, low_freq_factor = {low_freq_factor:?}, high_freq_factor = {high_freq_factor:?}, original_max_positions = {original_max_positions} }}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(edit: serde_json::Value) -> ModelConfig {
        let mut config = json!({
            "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 172, "max_position_embeddings": 128, "vocab_size": 300, "rms_norm_eps": 1e-6, "rope_theta": 5e5,
        });
        config.as_object_mut().unwrap().extend(edit.as_object().unwrap().clone());
        ModelConfig::read(Path::new("config.json"), &config).unwrap()
    }

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let folder = Path::new("/models/base");
        let same = found(json!({}));
        assert_eq!(differences(&same.spec, folder, &same), [] as [String; 0]);
        let asked = ModelSpec { norm_eps: 1e-5, ..same.spec.clone() };
        assert_eq!(
            differences(&asked, folder, &same),
            [
                "[model] norm_eps is 1e-5 in the run file, or by default, and 1e-6 in /models/base/config.json (rms_norm_eps): set model.norm_eps = 1e-6"
            ]
        );
        let asked = ModelSpec { ffn: 160, tied: true, max_positions: 64, ..same.spec.clone() };
        let told = differences(&asked, folder, &same).join("\n");
        assert!(told.contains("ffn is 160") && told.contains("tied is true") && !told.contains("max_positions"), "{told}");
        let longer = differences(&ModelSpec { max_positions: 256, ..same.spec.clone() }, folder, &same);
        assert!(longer.len() == 1 && longer[0].contains("max_positions is 256"), "{longer:?}");
        let scaled = found(json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}));
        let told = differences(&same.spec, folder, &scaled).join("\n");
        assert!(told.contains("rope_scaling is none") && told.contains("{ kind = \"linear\", factor = 2.0 }"), "{told}");
        assert!(differences(&scaled.spec, folder, &same)[0].ends_with("remove model.rope_scaling"));
        let other = ModelSpec { family: Family::Qwen2, ..same.spec.clone() };
        assert_eq!(differences(&other, folder, &same).len(), 1);
    }
}
