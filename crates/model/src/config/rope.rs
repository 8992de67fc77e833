//! How rotary positions are described: `rope_theta` and `rope_scaling` in transformers 4, `rope_parameters` in transformers 5, which takes
//! `rope_scaling` first where both are there. A folder that says two things is refused: which one is computed depends on who reads it.

use super::keys::Keys;
use osler_core::spec::{ModelSpec, RopeScaling};
use serde_json::{Value, json};

const DEFAULT_THETA: f64 = 10_000.0;

/// What one of the two keys says. No base: it leaves it to others.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    theta: Option<f64>,
    scaling: Option<RopeScaling>,
}

/// The base and the scaling. `max_positions` is what the first context's length is taken for where it is not said.
pub(super) fn read(keys: &mut Keys<'_>, max_positions: u32) -> (f64, Option<RopeScaling>) {
    let top = keys.number("rope_theta");
    let [scaling, parameters] = ["rope_scaling", "rope_parameters"].map(|field| {
        let value = keys.fields.get(field).filter(|value| !value.as_object().is_some_and(serde_json::Map::is_empty))?;
        match described(value, max_positions) {
            Ok(said) => Some(said),
            Err(what) => {
                keys.problem(field, what);
                None
            }
        }
    });
    let first = scaling.or(parameters).unwrap_or(Said { theta: None, scaling: None });
    let theta = first.theta.or(top).unwrap_or(DEFAULT_THETA);
    if let (Some(older), Some(newer)) = (scaling, parameters)
        && (older.scaling != newer.scaling || newer.theta.is_some_and(|other| other != theta))
    {
        let told = |said: Said| format!("{} with base {}", kind(said.scaling), said.theta.or(top).unwrap_or(DEFAULT_THETA));
        let reason = format!("says {}, and rope_scaling says {}: remove the one that is wrong", told(newer), told(older));
        keys.problem("rope_parameters", reason);
    } else if let Some(top) = top.filter(|top| *top != theta) {
        let place = if scaling.is_some() { "rope_scaling" } else { "rope_parameters" };
        keys.problem("rope_theta", format!("is {top}, and {theta} in {place}: remove the one that is wrong"));
    }
    let original = keys.maybe_size("original_max_position_embeddings");
    if let (Some(original), Some(RopeScaling::Llama3 { original_max_positions: inner, .. })) = (original, first.scaling)
        && original != inner
    {
        let reason = format!("is {original}, and {inner} beside the scaling: remove the one that is wrong");
        keys.problem("original_max_position_embeddings", reason);
    }
    (theta, first.scaling)
}

fn kind(scaling: Option<RopeScaling>) -> String {
    match scaling {
        None => "no scaling".to_owned(),
        Some(RopeScaling::Linear { factor }) => format!("linear scaling by {factor}"),
        Some(RopeScaling::Llama3 { factor, .. }) => format!("llama3 scaling by {factor}"),
    }
}

/// Errors: what in it is not understood.
fn described(value: &Value, max_positions: u32) -> Result<Said, String> {
    let object = value.as_object().ok_or_else(|| format!("must be an object, not {value}"))?;
    let get = |key: &str| object.get(key).filter(|v| !v.is_null());
    let named = |key: &str| {
        let text = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| format!("{key} must be a string, not {v}"));
        get(key).map(text).transpose()
    };
    let kind = match (named("rope_type")?, named("type")?) {
        (Some(newer), Some(older)) if newer != older => return Err(format!("rope_type is {newer:?} and type {older:?}")),
        (newer, older) => newer.or(older).unwrap_or_else(|| "default".to_owned()),
    };
    let used: &[&str] = match kind.as_str() {
        "default" => &[],
        "linear" => &["factor"],
        "llama3" => &["factor", "low_freq_factor", "high_freq_factor"],
        other => return Err(format!("rotary positions of type {other:?} are not supported; default, linear and llama3 are")),
    };
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let known = ["rope_type", "type", "rope_theta", "original_max_position_embeddings"].contains(&key.as_str());
        let whole = key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
        if !known && !whole && !used.contains(&key.as_str()) {
            return Err(format!("{key} = {value} is not supported with type {kind:?}"));
        }
    }
    let float = |key: &str| match get(key) {
        None => Ok(None),
        Some(found) => found.as_f64().map(Some).ok_or_else(|| format!("{key} must be a number, not {found}")),
    };
    let number = |key: &str| float(key)?.ok_or_else(|| format!("type {kind:?} and no number {key}"));
    let scaling = match kind.as_str() {
        "linear" => Some(RopeScaling::Linear { factor: number("factor")? }),
        "llama3" => {
            let original = "original_max_position_embeddings";
            let whole = |v: &Value| {
                v.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("{original} must be a whole number, not {v}"))
            };
            Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_positions: get(original).map(whole).transpose()?.unwrap_or(max_positions),
            })
        }
        _ => None,
    };
    Ok(Said { theta: float("rope_theta")?, scaling })
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
