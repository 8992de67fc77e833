//! What the post-processor of a `tokenizer.json` puts before and behind a single text.

use serde_json::Value;

/// Adds what `processor` puts around a text to what earlier ones put there.
///
/// # Errors
/// What is wrong with it, or which kind it is that is not known.
pub(super) fn around(processor: &Value, front: &mut Vec<u32>, back: &mut Vec<u32>) -> Result<(), String> {
    let (before, behind) = match processor.get("type").and_then(Value::as_str) {
        None if processor.is_null() => return Ok(()),
        // This one only moves offsets.
        Some("ByteLevel") => return Ok(()),
        Some("Sequence") => {
            let steps = processor.get("processors").and_then(Value::as_array).ok_or("a Sequence without processors")?;
            return steps.iter().try_for_each(|step| around(step, front, back));
        }
        Some("TemplateProcessing") => template(processor)?,
        Some("RobertaProcessing" | "BertProcessing") => (pair(processor, "cls")?, pair(processor, "sep")?),
        other => {
            return Err(format!(
                "type {other:?} is not known; ByteLevel, Sequence, TemplateProcessing, RobertaProcessing and BertProcessing are"
            ));
        }
    };
    front.splice(0..0, before);
    back.extend(behind);
    Ok(())
}

/// `["<s>", 0]`.
fn pair(processor: &Value, key: &str) -> Result<Vec<u32>, String> {
    let id = processor.get(key).and_then(|pair| pair.get(1)).and_then(Value::as_u64).and_then(|id| id.try_into().ok());
    id.map(|id| vec![id]).ok_or(format!("{key} is not a pair of a token and its id"))
}

/// The special tokens of the template for one text, split where the text stands.
fn template(processor: &Value) -> Result<(Vec<u32>, Vec<u32>), String> {
    let pieces = processor.get("single").and_then(Value::as_array).ok_or("a TemplateProcessing without single")?;
    let text = pieces.iter().position(|piece| piece.get("Sequence").is_some()).ok_or("single has no place for the text")?;
    let ids = |pieces: &[Value]| -> Result<Vec<u32>, String> {
        let specials = pieces.iter().filter_map(|piece| piece.get("SpecialToken"));
        Ok(specials.map(|token| special(processor, token)).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let (before, behind) = pieces.split_at(text);
    Ok((ids(before)?, ids(behind)?))
}

fn special(processor: &Value, token: &Value) -> Result<Vec<u32>, String> {
    let name = token.get("id").and_then(Value::as_str).ok_or("a SpecialToken without id")?;
    let ids = processor.get("special_tokens").and_then(|all| all.get(name)?.get("ids")?.as_array());
    let ids: Option<Vec<u32>> = ids.and_then(|ids| ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect());
    ids.ok_or(format!("special_tokens has no ids for {name:?}"))
}
