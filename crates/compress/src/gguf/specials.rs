//! Special tokens as GGUF metadata: ids by role, what is put around a text, where a text ends, chat templates.

use super::Value;
use super::tokenizer::TokenizerMetadata;
use crate::CompressError;
use osler_model::{ChatTemplate, Generation, Specials, TOKENIZER};
use serde_json::Value as Json;
use std::path::Path;

/// Adds what the folder says; `tokens` are the file's tokens by id.
pub(super) fn write(out: &mut TokenizerMetadata, dir: &Path, json: &Json, tokens: &[String]) -> Result<(), CompressError> {
    let found = Specials::beside(&dir.join(TOKENIZER), json)?;
    let generation = Generation::read(dir)?;
    out.notes.extend(found.notes.iter().cloned());
    let spelled = |id: u32| tokens.get(id as usize).map_or("", String::as_str);
    // A file has one token to put before texts, and calls it BOS.
    let front = match found.front.as_slice() {
        [id] => Some(*id),
        _ => None,
    };
    let bos = front.or(found.bos).or(generation.ids.bos);
    if let (Some(before), Some(named)) = (front, found.bos.filter(|bos| front != Some(*bos))) {
        let note = "the tokenizer puts {before} before texts and calls {named} its BOS: the file has the former as BOS";
        out.notes.push(note.replace("{before}", &format!("{:?}", spelled(before))).replace("{named}", &format!("{:?}", spelled(named))));
    }
    for (around, place, sayable) in [(&found.front, "before", front.is_some()), (&found.back, "behind", found.adds_eos())] {
        if !around.is_empty() && !sayable {
            let around: Vec<&str> = around.iter().map(|id| spelled(*id)).collect();
            out.notes
                .push(format!("the tokenizer puts {around:?} {place} texts, which GGUF cannot say: readers of the file put nothing there"));
        }
    }
    let eos = found.eos.or(generation.ids.eos.first().copied());
    let roles =
        [("bos", bos), ("eos", eos), ("unknown", found.unk), ("seperator", found.sep), ("padding", found.pad.or(generation.ids.pad))];
    for (role, id) in roles.into_iter().chain([("mask", found.mask)]) {
        // A model may number a padding token that has no row.
        if let Some(id) = id.filter(|id| (*id as usize) < tokens.len()) {
            out.put(&format!("ggml.{role}_token_id"), Value::U32(id));
        }
    }
    out.put("ggml.add_bos_token", Value::Bool(front.is_some()));
    out.put("ggml.add_eos_token", Value::Bool(found.adds_eos()));
    further_ends(out, &generation, eos, tokens);
    templates(out, &found.templates);
    Ok(())
}

/// A model may stop at several tokens; a file names three: the end of a text, of a turn, and of a message that waits for a tool.
fn further_ends(out: &mut TokenizerMetadata, generation: &Generation, eos: Option<u32>, tokens: &[String]) {
    let mut further: Vec<(u32, &str)> = vec![];
    for id in generation.stops() {
        let known = Some(*id) == eos || further.iter().any(|(other, _)| other == id);
        if let Some(token) = tokens.get(*id as usize).filter(|_| !known) {
            further.push((*id, token));
        }
    }
    // Llama 3's spelling tells a message's end from a turn's.
    further.sort_by_key(|(_, token)| token.contains("eom"));
    for ((id, _), role) in further.iter().zip(["eot", "eom"]) {
        out.put(&format!("ggml.{role}_token_id"), Value::U32(*id));
    }
    if let Some(rest) = further.get(2..).filter(|rest| !rest.is_empty()) {
        let rest: Vec<&str> = rest.iter().map(|(_, token)| *token).collect();
        out.notes.push(format!("the model also stops at {rest:?}, for which GGUF has no place: readers may go on there"));
    }
}

/// The one called "default" is the file's template; others have their names in their keys.
fn templates(out: &mut TokenizerMetadata, templates: &[ChatTemplate]) {
    let mut names = vec![];
    for template in templates {
        if template.name == "default" {
            out.put_text("chat_template", &template.text);
            continue;
        }
        let name: String = template.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if names.contains(&name) {
            out.notes.push(format!("the chat template {:?} is left out: GGUF would give it the name of another one", template.name));
            continue;
        }
        out.put_text(&format!("chat_template.{name}"), &template.text);
        names.push(name);
    }
    if !names.is_empty() {
        out.put("chat_templates", Value::Array(super::Array::Strings(names)));
    }
}
