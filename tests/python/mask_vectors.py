"""BERT's masking, version 1, written a second time from its specification (crates/core/src/mlm.rs).

Prints the vectors that the Rust test pins. Run it when the specification changes: `python3 tests/python/mask_vectors.py`.
"""
import hashlib
import math
import struct

M64 = (1 << 64) - 1
SPECIAL, START, CONTINUATION = range(3)


class Draws:
    def __init__(self, seed, stage, step, slot):
        sha = hashlib.sha256()
        for part in (b"osler-mlm-1", struct.pack("<Q", seed), stage.encode(), struct.pack("<Q", step), struct.pack("<I", slot)):
            sha.update(struct.pack("<Q", len(part)) + part)
        self.state = struct.unpack("<Q", sha.digest()[:8])[0]

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & M64
        x = self.state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
        return ((x ^ (x >> 31)) * n) >> 64


def mask(draws, tokens, kinds, mask_id, probability, whole_word):
    """{place: what is seen there} of the tokens that have to be guessed. `kinds` is by token id."""
    words, previous = [], SPECIAL
    for place, token in enumerate(tokens):
        kind = kinds[token]
        if kind == CONTINUATION and previous != SPECIAL and whole_word:
            words[-1].append(place)
        elif kind != SPECIAL:
            words.append([place])
        previous = kind
    for last in range(len(words) - 1, 0, -1):
        other = draws.below(last + 1)
        words[last], words[other] = words[other], words[last]
    budget = max(1, math.floor(sum(map(len, words)) * probability + 0.5))
    ordinary = [token for token, kind in enumerate(kinds) if kind != SPECIAL]
    seen = {}
    for word in words:
        if len(seen) + len(word) > budget:
            continue
        for place in word:
            drawn = draws.below(10)
            seen[place] = mask_id if drawn < 8 else ordinary[draws.below(len(ordinary))] if drawn == 8 else tokens[place]
    return seen


if __name__ == "__main__":
    # As in the Rust test: ids 0 to 4 are special, even ones from 6 begin words, odd ones go on.
    vocabulary = [SPECIAL if i < 5 else CONTINUATION if i % 2 else START for i in range(200)]
    sequence = [2] + [(7 if i % 6 in (1, 3, 4) else 6) + 2 * (i % 90) for i in range(126)] + [3]
    for seed, step, slot, probability, whole_word in [(7, 0, 0, 0.15, True), (7, 123456789, 5, 0.25, False)]:
        print(sorted(mask(Draws(seed, "one", step, slot), sequence, vocabulary, 4, probability, whole_word).items()))
