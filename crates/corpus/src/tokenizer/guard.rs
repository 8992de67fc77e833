//! Texts do not forge tokens: whatever a text says, neither the end of a text nor another special token comes out of it, and what the
//! tokenizer does not know is counted.
//!
//! Added tokens are easy: the library can be told to read special ones as text, so every added token that is special by any file's word
//! is marked so. But a model can have special tokens among its own pieces (Unigram, WordPiece, WordLevel, BPE with fitting merges). A
//! piece of text that becomes one is cut inside of it and tokenized again in parts, so that it is spelled out. Where nothing of the kind
//! occurs, tokens are the library's.

use osler_core::job::Unknown;
use osler_input::{Splitter, TokenizerError};
use osler_model::Specials;
use serde::Deserialize;
use std::cell::Cell;
use std::collections::BTreeSet;
use tokenizers::{AddedToken, Model as _, ModelWrapper, OffsetReferential, OffsetType, Token, Tokenizer};

/// A text's tokens, and what of it they do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    pub unknown: Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Begins, ends, fills up or hides: never made from a text.
    Control,
    /// Stands for what the model does not know.
    Unknown,
    /// Stands for a byte of a character that the model does not know.
    Byte,
}

#[derive(Debug)]
pub(super) struct Guard {
    splitter: Splitter,
    /// By token id.
    kinds: Vec<Kind>,
    /// The model's unknown token, unless it is a control token too: then what is unknown is left out.
    unknown: Option<(u32, String)>,
}

/// What a `tokenizer.json` says about characters that its model does not know.
#[derive(Default, Deserialize)]
struct File {
    model: Unknowns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Unknowns {
    unk_id: Option<u32>,
    unk_token: Option<String>,
    byte_fallback: bool,
}

impl Guard {
    /// `json` is the tokenizer's file, `eos` the token that ends documents.
    pub(super) fn new(tokenizer: &mut Tokenizer, json: &[u8], specials: &Specials, eos: u32) -> Result<Self, TokenizerError> {
        let File { model } = serde_json::from_slice(json).map_err(|e| TokenizerError::Unusable(e.to_string()))?;
        let control = control(tokenizer, specials, eos);
        let added = tokenizer.get_added_tokens_decoder();
        let unmarked = added.iter().filter(|(id, token)| control.contains(id) && !token.special);
        let marked: Vec<AddedToken> = unmarked.map(|(_, token)| AddedToken { special: true, ..token.clone() }).collect();
        tokenizer.add_special_tokens(&marked);
        tokenizer.set_encode_special_tokens(true);

        let size = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        let mut kinds = vec![Kind::Text; size];
        let mut set = |id: u32, kind| kinds.get_mut(id as usize).into_iter().for_each(|place| *place = kind);
        control.iter().for_each(|id| set(*id, Kind::Control));
        if model.byte_fallback {
            (0..=u8::MAX).filter_map(|byte| tokenizer.token_to_id(&format!("<0x{byte:02X}>"))).for_each(|id| set(id, Kind::Byte));
        }
        let unknown = model.unk_id.or_else(|| tokenizer.get_model().token_to_id(model.unk_token.as_deref()?));
        let boundaries = [specials.bos, specials.cls, specials.sep, specials.mask];
        let unknown = unknown.filter(|id| *id != eos && !boundaries.contains(&Some(*id)));
        let unknown = unknown.and_then(|id| Some((id, tokenizer.get_model().id_to_token(id)?)));
        if let Some((id, _)) = unknown {
            set(id, Kind::Unknown);
        }
        Ok(Self { splitter: Splitter::new(tokenizer)?, kinds, unknown })
    }

    pub(super) fn encode(&self, tokenizer: &Tokenizer, text: &str) -> Result<Encoded, TokenizerError> {
        let failed = |problem: String| TokenizerError::Text { bytes: text.len(), problem };
        let (model, seen) = (tokenizer.get_model(), Seen::default());
        let mut parts = self.splitter.split(tokenizer, text)?;
        parts.tokenize(|part| self.tokens(model, part.get(), &seen)).map_err(|e| failed(e.to_string()))?;
        let (mut ids, mut end) = (Vec::new(), 0);
        for (_, (start, stop), tokens) in parts.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            seen.lost(letters(text.get(end..start)));
            end = end.max(stop);
            ids.extend(tokens.iter().flatten().map(|token| token.id));
        }
        seen.lost(letters(text.get(end..)));
        if let Some(id) = ids.iter().find(|id| self.kind(**id) == Kind::Control) {
            let token = tokenizer.id_to_token(*id).unwrap_or_default();
            return Err(failed(format!("a text made the special token {token:?}, which more than one entry of the tokenizer spells")));
        }
        let of_characters = text.chars().filter(|c| !c.is_whitespace()).count() as u64;
        let (tokens, characters) = (seen.tokens.get(), seen.characters.get());
        let documents = u64::from(characters > 0);
        Ok(Encoded { ids, unknown: Unknown { tokens, characters, of_characters, documents } })
    }

    fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Text)
    }

    /// The tokens of a part, none of them forged.
    fn tokens(&self, model: &ModelWrapper, part: &str, seen: &Seen) -> tokenizers::Result<Vec<Token>> {
        let found = model.tokenize(part)?;
        // Mostly there is nothing to do.
        let whole = found.last().map_or(0, |token| token.offsets.1) == part.len();
        if whole && found.iter().all(|token| self.kind(token.id) == Kind::Text) {
            return Ok(found);
        }
        let (mut todo, mut out) = (vec![(0, part, found)], vec![]);
        while let Some((at, part, found)) = todo.pop() {
            let cuts = self.cuts(part, &found);
            if cuts.is_empty() {
                out.extend(self.keep(model, part, found, seen)?.into_iter().map(|token| moved(token, at)));
                continue;
            }
            let ends: Vec<usize> = cuts.iter().copied().chain([part.len()]).collect();
            for (start, end) in std::iter::once(0).chain(cuts).zip(ends).collect::<Vec<_>>().into_iter().rev() {
                let piece = part.get(start..end).unwrap_or_default();
                todo.push((at + start, piece, model.tokenize(piece)?));
            }
        }
        Ok(out)
    }

    /// Whether a text made the token by spelling it.
    fn forged(&self, part: &str, token: &Token) -> bool {
        match self.kind(token.id) {
            Kind::Text => false,
            Kind::Control => true,
            Kind::Byte => spelled(part, token) == Some(token.value.as_str()),
            Kind::Unknown => self.unknown_spelled(part, token).is_some(),
        }
    }

    /// Where the unknown token's own name begins in what it stands for: several unknown things in a row may be one token.
    fn unknown_spelled(&self, part: &str, token: &Token) -> Option<usize> {
        let (_, name) = self.unknown.as_ref().filter(|(_, name)| name.chars().nth(1).is_some())?;
        Some(token.offsets.0 + spelled(part, token)?.find(name.as_str())?)
    }

    /// Where to cut so that no forged token can come about again: ascending, inside of `part`. None if there is none, or nothing left to cut.
    fn cuts(&self, part: &str, found: &[Token]) -> BTreeSet<usize> {
        let mut cuts = BTreeSet::new();
        for token in found.iter().filter(|token| self.forged(part, token)) {
            let (mut start, end) = token.offsets;
            if self.kind(token.id) == Kind::Unknown {
                start = self.unknown_spelled(part, token).unwrap_or(start);
            } else if spelled(part, token) != Some(token.value.as_str()) {
                // The library's places are wrong behind a character that it lost, and it joins what stands around one.
                cuts.extend(middle(part));
            }
            match part.get(start..end).and_then(|rest| rest.chars().next()) {
                Some(first) if start + first.len_utf8() < end => drop(cuts.insert(start + first.len_utf8())),
                // A single character is left alone.
                _ => cuts.extend([start, end]),
            }
        }
        cuts.retain(|cut| *cut > 0 && *cut < part.len() && part.is_char_boundary(*cut));
        cuts
    }

    /// The tokens of a part that is not cut any more. Forged ones are single characters here, which count as unknown.
    fn keep(&self, model: &ModelWrapper, part: &str, found: Vec<Token>, seen: &Seen) -> tokenizers::Result<Vec<Token>> {
        if found.last().map_or(0, |token| token.offsets.1) != part.len() {
            for c in part.chars().filter(|c| visible(*c)) {
                seen.lost(u64::from(model.tokenize(c.encode_utf8(&mut [0; 4]))?.is_empty()));
            }
        }
        let mut kept = Vec::with_capacity(found.len());
        for token in found {
            let forged = self.forged(part, &token);
            if !forged && self.kind(token.id) != Kind::Unknown {
                kept.push(token);
                continue;
            }
            seen.lost(characters(part, &token));
            if let Some((id, name)) = &self.unknown {
                seen.tokens.set(seen.tokens.get() + 1);
                kept.push(Token::new(*id, name.clone(), token.offsets));
            }
        }
        Ok(kept)
    }
}

/// Counted while a text is tokenized.
#[derive(Default)]
struct Seen {
    tokens: Cell<u64>,
    characters: Cell<u64>,
}

impl Seen {
    fn lost(&self, characters: u64) {
        self.characters.set(self.characters.get() + characters);
    }
}

/// The ids that a text must not produce: special tokens, and those that have a role. A single character that has a role only by name is
/// text as well, such as a "!" that fills up; not so where documents end with it.
fn control(tokenizer: &Tokenizer, specials: &Specials, eos: u32) -> BTreeSet<u32> {
    let added = tokenizer.get_added_tokens_decoder();
    let mut control: BTreeSet<u32> = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
    let longer = |id: &u32| tokenizer.id_to_token(*id).is_some_and(|token| token.chars().nth(1).is_some());
    let roles = [specials.unk, specials.sep, specials.pad, specials.cls, specials.mask];
    control.extend(roles.into_iter().flatten().chain(specials.others.iter().copied()).filter(longer));
    control.extend([specials.bos, specials.eos, Some(eos)].into_iter().flatten());
    control
}

/// The boundary of a character near the middle.
fn middle(part: &str) -> Option<usize> {
    (part.len().div_ceil(2)..part.len()).find(|at| part.is_char_boundary(*at)).or_else(|| part.char_indices().nth(1).map(|(at, _)| at))
}

/// What a token stands for.
fn spelled<'a>(part: &'a str, token: &Token) -> Option<&'a str> {
    part.get(token.offsets.0..token.offsets.1)
}

fn characters(part: &str, token: &Token) -> u64 {
    spelled(part, token).unwrap_or_default().chars().filter(|c| visible(*c)).count() as u64
}

fn moved(mut token: Token, by: usize) -> Token {
    token.offsets = (token.offsets.0 + by, token.offsets.1 + by);
    token
}

/// White space, and what stands for it in many vocabularies, is no loss.
fn visible(c: char) -> bool {
    !c.is_whitespace() && c != '\u{2581}'
}

/// Letters and digits of a text that lies between the parts: marks and controls are what normalizers are meant to remove.
fn letters(gap: Option<&str>) -> u64 {
    gap.map_or(0, |gap| gap.chars().filter(|c| c.is_alphanumeric()).count() as u64)
}

#[cfg(test)]
mod tests;
