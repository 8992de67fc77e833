//! Tokens that stand for a whole piece of split text. Some readers take such a token without looking at merges (`ignore_merges`); GGUF has
//! no word for it, readers go by the pre-tokenizer's name. So it is worked out whether the two ways differ for this vocabulary.

use super::pretokenizer::{LLAMA3_MERGING, takes_whole};
use super::tokenizer::Tokenizer;
use std::collections::HashMap;

/// The name to write for a tokenizer whose pre-tokenizer is called `name` and which `ignores` merges or does not.
pub(super) fn fitting(name: &'static str, ignores: bool, tokenizer: &Tokenizer, notes: &mut Vec<String>) -> &'static str {
    if ignores == takes_whole(name) {
        return name;
    }
    let unreachable = unreachable(tokenizer);
    match (unreachable.as_slice(), name) {
        ([], _) => name,
        (_, "llama-bpe") => LLAMA3_MERGING,
        ([first, ..], _) => {
            let count = unreachable.len();
            let note = format!(
                "tokenizer.json has ignore_merges = {ignores}, readers of the pre-tokenizer {name:?} do otherwise: {count} tokens come out \
                 differently, such as {first:?}"
            );
            notes.push(note);
            name
        }
    }
}

/// Tokens that merging their own characters does not give.
fn unreachable(tokenizer: &Tokenizer) -> Vec<&str> {
    let pairs = tokenizer.merges.iter().enumerate();
    let ranks: HashMap<(&str, &str), usize> = pairs.map(|(rank, (a, b))| ((a.as_str(), b.as_str()), rank)).collect();
    let own = tokenizer.ids.iter().filter(|(_, id)| !tokenizer.added.contains_key(id)).map(|(token, _)| token.as_str());
    own.filter(|token| !merges_to_one(token, &ranks)).collect()
}

fn merges_to_one(token: &str, ranks: &HashMap<(&str, &str), usize>) -> bool {
    // Where each part begins, and the token's end.
    let mut cuts: Vec<usize> = token.char_indices().map(|(at, _)| at).chain([token.len()]).collect();
    while cuts.len() > 2 {
        let rank = |window: &[usize]| match window {
            [a, b, c] => ranks.get(&(token.get(*a..*b)?, token.get(*b..*c)?)).copied(),
            _ => None,
        };
        let best = cuts.windows(3).enumerate().filter_map(|(place, window)| Some((rank(window)?, place))).min();
        let Some((_, place)) = best else { return false };
        cuts.remove(place + 1);
    }
    true
}
