//! How rotary positions are described: `rope_theta` and `rope_scaling` in transformers 4, `rope_parameters` in transformers 5.

use super::Refusals;
use osler_core::spec::{ModelSpec, RopeScaling};
use serde_json::{Value, json};

/// The base, if the newer form says it, and the scaling.
pub(super) fn read(parameters: Option<&Value>, scaling: Option<&Value>, refused: &mut Refusals) -> (Option<f64>, Option<RopeScaling>) {
    let newer = parameters.filter(|value| !value.is_null());
    let theta = newer.and_then(|value| value.get("rope_theta")).and_then(Value::as_f64);
    let (field, value) = match (newer, scaling.filter(|value| !value.is_null())) {
        (Some(value), _) => ("rope_parameters", value),
        (None, Some(value)) => ("rope_scaling", value),
        (None, None) => return (theta, None),
    };
    match described(value) {
        Ok(scaling) => (theta, scaling),
        Err(what) => {
            refused.when(true, &format!("{field} with {what}"));
            (theta, None)
        }
    }
}

/// Errors: what in it is not understood.
fn described(value: &Value) -> Result<Option<RopeScaling>, String> {
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    let kind = kind.map_or(Ok("default"), |kind| kind.as_str().ok_or_else(|| format!("type {kind}")))?;
    if value.get("partial_rotary_factor").and_then(Value::as_f64).is_some_and(|part| part != 1.0) {
        return Err("a partial_rotary_factor".into());
    }
    let number = |key: &str| value.get(key).and_then(Value::as_f64).ok_or_else(|| format!("type {kind} and no number {key}"));
    match kind {
        "default" if value.get("factor").is_none() => Ok(None),
        "linear" => Ok(Some(RopeScaling::Linear { factor: number("factor")? })),
        "llama3" => {
            let original = "original_max_position_embeddings";
            let positions = value.get(original).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
            Ok(Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_positions: positions.ok_or_else(|| format!("type llama3 and no whole number {original}"))?,
            }))
        }
        other => Err(format!("type {other}")),
    }
}

/// `rope_scaling` and `rope_parameters`.
pub(super) fn write(spec: &ModelSpec) -> (Value, Value) {
    let scaling = match spec.rope_scaling {
        None => Value::Null,
        Some(RopeScaling::Linear { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_positions,
        }),
    };
    let mut parameters = if scaling.is_null() { json!({ "rope_type": "default" }) } else { scaling.clone() };
    parameters["rope_theta"] = json!(spec.rope_theta);
    (scaling, parameters)
}
