"""The order of samples, version 1, written a second time from its specification (crates/core/src/order.rs).

Prints the vectors that the Rust test pins. Run it when the specification changes: `python3 tests/python/order_vectors.py`.
"""
import hashlib
import struct

M64 = (1 << 64) - 1


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def key(seed, stage, corpus, fingerprint):
    sha = hashlib.sha256()
    for part in (b"osler-order-1", struct.pack("<Q", seed), stage.encode(), corpus.encode(), fingerprint):
        sha.update(struct.pack("<Q", len(part)) + part)
    return struct.unpack("<4Q", sha.digest())


def permute(k, epoch, n, position):
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    rounds = [mix(k[r % 4] ^ mix((epoch * 8 + r) & M64)) for r in range(8)]
    value = position
    while True:
        left, right = value >> half, value & mask
        for rk in rounds:
            left, right = right, left ^ (mix(right ^ rk) & mask)
        value = (left << half) | right
        if value < n:
            return value


def period(parts):
    total, dealt, out = sum(parts), [0] * len(parts), []
    for slot in range(1, total + 1):
        deficit = [p * slot - total * d for p, d in zip(parts, dealt)]
        chosen = deficit.index(max(deficit))
        out.append((chosen, dealt[chosen]))
        dealt[chosen] += 1
    return out


def sample(seed, stage, batch, components, step, slot):
    """components: (corpus, sequences, parts, fingerprint)"""
    deal = period([c[2] for c in components])
    g = step * batch + slot
    component, earlier = deal[g % len(deal)]
    corpus, n, parts, fingerprint = components[component]
    j = (g // len(deal)) * parts + earlier
    k = key(seed, stage, corpus, fingerprint)
    return component, j // n, permute(k, j // n, n, j % n)


def add(total, component, epoch, sequence):
    inner = mix((epoch + 0x9E37) & M64)
    word = mix(mix(sequence ^ 0x6F736C657231) ^ (((inner << 17) | (inner >> 47)) & M64) ^ component)
    return total[0] + 1, (total[1] + mix(word)) & M64, (total[2] + mix(word ^ 0xA5A55A5AC3C33C3C)) & M64


if __name__ == "__main__":
    # Fingerprints are the SHA-256 of the corpus's name, as in the Rust test.
    corpora = [("general", 10, 1), ("domain", 25, 3)]
    world = (42, "stage", 4, [corpus + (hashlib.sha256(corpus[0].encode()).digest(),) for corpus in corpora])
    print([sample(*world, g // 4, g % 4) for g in range(12)])
    total = (0, 0, 0)
    for s in range(4):
        total = add(total, *sample(*world, 7, s))
    print('{"count":%d,"low":"%016x","high":"%016x"}' % total)
