//! Text to requests, by the reference harness's rules: where the continuation's tokens begin, what is cut off on the left, and how a
//! long text is walked in windows.

use crate::error::ExamError;
use crate::python_text::split_trailing_space;
use crate::scorer::Request;
use crate::tokenizer::ExamTokenizer;

/// A prompt, tokenized once for all its choices.
pub(crate) struct Context<'a> {
    text: &'a str,
    /// Whitespace at the prompt's end belongs to the continuation: tokenizers glue it to the word that follows.
    moved: &'a str,
    pub tokens: Vec<u32>,
}

impl<'a> Context<'a> {
    pub fn new(tokenizer: &ExamTokenizer, prompt: &'a str) -> Result<Self, ExamError> {
        let (text, moved) = split_trailing_space(prompt);
        let tokens = if text.is_empty() { Vec::new() } else { tokenizer.encode(text)? };
        Ok(Self { text, moved, tokens })
    }

    /// (context tokens, continuation tokens). The continuation is never tokenized alone: it is what the whole has more than the
    /// context. Without a context, the model's prefix token takes its place.
    pub fn pair(&self, tokenizer: &ExamTokenizer, continuation: &str) -> Result<(Vec<u32>, Vec<u32>), ExamError> {
        if self.tokens.is_empty() {
            let prefix = tokenizer.prefix()?;
            let mut tokens = tokenizer.encode_plain(&format!("{}{continuation}", self.moved))?;
            if tokens.first() == Some(&prefix) {
                tokens.remove(0);
            }
            return Ok((vec![prefix], tokens));
        }
        let whole = tokenizer.encode(&format!("{}{}{continuation}", self.text, self.moved))?;
        let tail = whole.get(self.tokens.len()..).unwrap_or_default().to_vec();
        Ok((self.tokens.clone(), tail))
    }
}

/// The request for a pair, cut on the left to the model's length; true if something was cut.
pub(crate) fn request(context: Vec<u32>, continuation: &[u32], max_length: usize) -> Result<(Request, bool), String> {
    let scored = continuation.len();
    if scored == 0 {
        return Err("the continuation has no token of its own: the tokenizer merges it into the prompt".into());
    }
    if scored > max_length {
        return Err(format!("{scored} tokens are more than the model's length, {max_length}"));
    }
    let mut tokens = context;
    tokens.extend_from_slice(continuation);
    let excess = tokens.len().saturating_sub(max_length + 1);
    tokens.drain(..excess);
    Ok((Request { tokens, scored }, excess > 0))
}

/// Windows over a whole text, each token predicted once. The first predicts up to `max_length` tokens from the prefix token alone,
/// further full windows from the one token before them, and the last, shorter one from as much context as fits.
pub(crate) fn rolling(tokens: &[u32], prefix: u32, max_length: usize) -> Vec<Request> {
    let length = max_length.max(1);
    tokens
        .chunks(length)
        .enumerate()
        .map(|(index, predicted)| {
            let start = index * length;
            if start == 0 {
                let tokens = std::iter::once(prefix).chain(predicted.iter().copied()).collect();
                return Request { tokens, scored: predicted.len() };
            }
            let end = start + predicted.len();
            let from = end.saturating_sub(length + 1);
            Request { tokens: tokens.get(from..end).unwrap_or_default().to_vec(), scored: predicted.len() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_keeps_the_end_and_the_token_before_the_answer() {
        let table: [(usize, usize, usize, &[u32], bool); 4] = [
            (3, 2, 4, &[0, 1, 2, 10, 11], false),
            (3, 2, 3, &[1, 2, 10, 11], true),
            (3, 2, 2, &[2, 10, 11], true),
            (1, 1, 1, &[0, 10], false),
        ];
        for (context, continuation, max, expected, cut) in table {
            let continuation: Vec<u32> = (10..10 + continuation as u32).collect();
            let (request, truncated) = request((0..context as u32).collect(), &continuation, max).unwrap();
            assert_eq!((request.tokens.as_slice(), truncated), (expected, cut), "max {max}");
            assert_eq!(request.targets(), continuation);
            assert!(request.input().len() <= max);
        }
        assert!(request(vec![1], &[2, 3], 1).unwrap_err().contains("more than the model's length"));
        assert!(request(vec![1], &[], 1).unwrap_err().contains("no token of its own"));
    }

    #[test]
    fn rolling_windows_are_the_reference_ones() {
        // 34 tokens, length 10: the last window predicts four tokens from seven.
        let tokens: Vec<u32> = (0..34).collect();
        let windows = rolling(&tokens, 100, 10);
        let expected: [(Vec<u32>, usize); 4] =
            [(std::iter::once(100).chain(0..10).collect(), 10), ((9..20).collect(), 10), ((19..30).collect(), 10), ((23..34).collect(), 4)];
        for (window, (tokens, scored)) in windows.iter().zip(&expected) {
            assert_eq!((&window.tokens, window.scored), (tokens, *scored));
        }
        assert_eq!(windows.len(), 4);
    }

    #[test]
    fn every_token_is_predicted_once_whatever_the_length() {
        for length in 1..12 {
            for n in 0..40u32 {
                let tokens: Vec<u32> = (0..n).collect();
                let windows = rolling(&tokens, 100, length);
                let predicted: Vec<u32> = windows.iter().flat_map(|w| w.targets().to_vec()).collect();
                assert_eq!(predicted, tokens, "length {length}");
                assert!(windows.iter().all(|w| w.input().len() <= length && w.scored < w.tokens.len()));
            }
        }
    }
}
