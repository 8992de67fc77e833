//! Learns byte-pair merges from counted words.
//!
//! The `tokenizers` crate has a trainer too; ours replaces it for one reason: when two different merges spell the same token, that one's
//! result depends on the iteration order of randomly seeded hash maps, and its pair counts are 32-bit. Here a merge is always that of the pair with
//! the largest count and, among equals, the smallest tie key: a function of the counted words alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

pub(super) type Pair = (u32, u32);

/// A learned merge, in order of priority: the pair and the token that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) pair: Pair,
    pub(super) token: u32,
}

/// The words of a corpus as token ids, each with its count; and what each id spells.
pub(super) struct Learner {
    words: Vec<(Vec<u32>, u64)>,
    spellings: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
    counts: HashMap<Pair, u64>,
    /// Words in which a pair was seen: a superset of those that still have it, with repetitions.
    places: HashMap<Pair, Vec<u32>>,
}

impl Learner {
    /// `base` spells ids 0, 1, …; each word of `words` is made of those.
    pub(super) fn new(base: Vec<Vec<u8>>, words: Vec<(Vec<u32>, u64)>) -> Self {
        let ids = (0..).zip(&base).map(|(id, spelling)| (spelling.clone(), id)).collect();
        let mut learner = Self { words, spellings: base, ids, counts: HashMap::new(), places: HashMap::new() };
        for (index, (word, count)) in (0..).zip(&learner.words) {
            for pair in pairs(word) {
                *learner.counts.entry(pair).or_default() += count;
                learner.places.entry(pair).or_default().push(index);
            }
        }
        learner
    }

    /// Learns until `tokens` ids exist or no pair occurs `min_count` times. `tie` decides between pairs of one count: the smallest key is merged
    /// first; it sees the pair and the spellings so far.
    pub(super) fn learn<K: Ord>(
        mut self,
        tokens: usize,
        min_count: u64,
        tie: impl Fn(Pair, &[Vec<u8>]) -> K,
    ) -> (Vec<Vec<u8>>, Vec<Merge>) {
        let mut heap: BinaryHeap<(u64, Reverse<K>, Pair)> =
            self.counts.iter().map(|(pair, count)| (*count, Reverse(tie(*pair, &self.spellings)), *pair)).collect();
        let mut merges = Vec::new();
        let mut merged = HashSet::new();
        while self.spellings.len() < tokens {
            let Some((count, key, pair)) = heap.pop() else { break };
            let current = self.counts.get(&pair).copied().unwrap_or_default();
            if current != count {
                // A pair whose count grew was pushed again then; one whose count fell goes back to its place.
                if current > 0 && current < count {
                    heap.push((current, key, pair));
                }
                continue;
            }
            if count < min_count.max(1) {
                break;
            }
            let Some(token) = self.token(pair) else { break };
            for changed in self.apply(pair, token) {
                if let Some(count) = self.counts.get(&changed) {
                    heap.push((*count, Reverse(tie(changed, &self.spellings)), changed));
                }
            }
            // A pair comes back when a later merge spells one of its halves again; its priority stays the first.
            if merged.insert(pair) {
                merges.push(Merge { pair, token });
            }
        }
        (self.spellings, merges)
    }

    /// The id of the pair's spelling, made if it is new.
    fn token(&mut self, (a, b): Pair) -> Option<u32> {
        let mut spelling = self.spellings.get(a as usize)?.clone();
        spelling.extend(self.spellings.get(b as usize)?);
        if let Some(id) = self.ids.get(&spelling) {
            return Some(*id);
        }
        let id = u32::try_from(self.spellings.len()).ok()?;
        self.ids.insert(spelling.clone(), id);
        self.spellings.push(spelling);
        Some(id)
    }

    /// Replaces the pair by `token` in every word; the pairs whose count grew, sorted.
    fn apply(&mut self, pair: Pair, token: u32) -> Vec<Pair> {
        let mut indices = self.places.remove(&pair).unwrap_or_default();
        indices.sort_unstable();
        indices.dedup();
        let mut grown = Vec::new();
        for index in indices {
            let Some((word, count)) = self.words.get_mut(index as usize) else { continue };
            if !pairs(word).any(|p| p == pair) {
                continue;
            }
            for old in pairs(word) {
                if let Some(total) = self.counts.get_mut(&old) {
                    *total = total.saturating_sub(*count);
                }
            }
            replace(word, pair, token);
            for new in pairs(word) {
                *self.counts.entry(new).or_default() += *count;
                if new.0 == token || new.1 == token {
                    self.places.entry(new).or_default().push(index);
                    grown.push(new);
                }
            }
        }
        self.counts.remove(&pair).filter(|left| *left > 0).map(|left| self.counts.insert(pair, left));
        grown.sort_unstable();
        grown.dedup();
        grown
    }
}

fn pairs(word: &[u32]) -> impl Iterator<Item = Pair> {
    word.iter().copied().zip(word.iter().copied().skip(1))
}

/// Left to right: `aaa` with the pair `aa` becomes `(aa)a`.
fn replace(word: &mut Vec<u32>, pair: Pair, token: u32) {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word.iter().copied().peekable();
    while let Some(id) = rest.next() {
        if id == pair.0 && rest.peek() == Some(&pair.1) {
            rest.next();
            out.push(token);
        } else {
            out.push(id);
        }
    }
    *word = out;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn learner(words: &[(&str, u64)]) -> Learner {
        let base: Vec<Vec<u8>> = (b'a'..=b'z').map(|b| vec![b]).collect();
        let ids = |word: &str| word.bytes().map(|b| u32::from(b - b'a')).collect();
        Learner::new(base, words.iter().map(|(word, count)| (ids(word), *count)).collect())
    }

    fn by_id(pair: Pair, _: &[Vec<u8>]) -> Pair {
        pair
    }

    /// The definition, without any bookkeeping: count all pairs anew before each merge.
    fn slow(words: &[(String, u64)], tokens: usize, min_count: u64) -> Vec<String> {
        let mut words: Vec<(Vec<String>, u64)> = words.iter().map(|(w, n)| (w.chars().map(String::from).collect(), *n)).collect();
        let mut order: Vec<String> = ('a'..='z').map(String::from).collect();
        while order.len() < tokens {
            let mut counts: HashMap<(String, String), u64> = HashMap::new();
            for (word, n) in &words {
                for w in word.windows(2) {
                    *counts.entry((w[0].clone(), w[1].clone())).or_default() += n;
                }
            }
            let id = |s: &String| order.iter().position(|o| o == s).unwrap();
            let best = counts.into_iter().max_by_key(|((a, b), n)| (*n, Reverse((id(a), id(b)))));
            let Some(((a, b), n)) = best.filter(|(_, n)| *n >= min_count.max(1)) else { break };
            assert!(n > 0);
            let joined = format!("{a}{b}");
            for (word, _) in &mut words {
                let mut i = 0;
                while i + 1 < word.len() {
                    if word[i] == a && word[i + 1] == b {
                        word.splice(i..i + 2, [joined.clone()]);
                    }
                    i += 1;
                }
            }
            if !order.contains(&joined) {
                order.push(joined);
            }
        }
        order.split_off(26)
    }

    #[test]
    fn the_most_frequent_pair_comes_first_and_ties_go_to_the_smaller_ids() {
        let (spellings, merges) = learner(&[("aba", 3), ("cd", 3), ("xy", 5)]).learn(40, 1, by_id);
        let learned: Vec<&str> = spellings[26..].iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
        assert_eq!(learned, ["xy", "ab", "cd", "aba"]);
        assert_eq!(merges[1], Merge { pair: (0, 1), token: 27 });
    }

    #[test]
    fn pairs_below_the_minimum_are_not_merged() {
        assert_eq!(learner(&[("ab", 2), ("cd", 1)]).learn(40, 2, by_id).1.len(), 1);
        assert_eq!(learner(&[]).learn(40, 0, by_id).1.len(), 0);
    }

    #[test]
    fn counts_beyond_32_bits_do_not_wrap() {
        let (spellings, _) = learner(&[("ab", 3 << 32), ("cd", 2 << 32)]).learn(27, 1, by_id);
        assert_eq!(spellings[26], b"ab");
    }

    proptest! {
        /// Few letters, so that repetitions such as `aaa` and tokens with two spellings are common.
        #[test]
        fn the_bookkeeping_agrees_with_counting_anew(
            words in proptest::collection::vec(("[abc]{1,9}", 1u64..6), 1..12),
            tokens in 26usize..60,
            min_count in 0u64..4,
        ) {
            let borrowed: Vec<(&str, u64)> = words.iter().map(|(w, n)| (w.as_str(), *n)).collect();
            let (spellings, _) = learner(&borrowed).learn(tokens, min_count, by_id);
            let learned: Vec<String> = spellings[26..].iter().map(|s| String::from_utf8(s.clone()).unwrap()).collect();
            prop_assert_eq!(learned, slow(&words, tokens, min_count));
        }
    }
}
