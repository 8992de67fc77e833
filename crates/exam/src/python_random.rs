//! CPython's `random.Random(seed).sample`, because the reference harness draws its demonstrations with it: MT19937 seeded by
//! array, `_randbelow` by rejection of `getrandbits`, and `sample`'s two strategies. Not for anything but that.

const N: usize = 624;
const M: usize = 397;

pub(crate) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.Random(seed)` for a non-negative integer seed.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };
        let mut s = Self::seeded(19_650_218);
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_664_525);
            s[i] = (s[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            let mixed = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            s[i] = (s[i] ^ mixed).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        s[0] = 0x8000_0000;
        Self { state: s, next: N }
    }

    fn seeded(seed: u32) -> [u32; N] {
        let mut s = [seed; N];
        for i in 1..N {
            s[i] = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        s
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            let s = &mut self.state;
            for i in 0..N {
                let y = (s[i] & 0x8000_0000) | (s[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                s[i] = s[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in 0..n; n must be in 1..=u32::MAX.
    fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let drawn = self.next_u32() >> (32 - bits);
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `sample(range(n), k)`; `None` where k > n, which Python refuses too.
    pub fn sample(&mut self, n: usize, k: usize) -> Option<Vec<usize>> {
        let total = u32::try_from(n).ok().filter(|_| k <= n)?;
        let mut set_size = 21usize;
        if k > 5 {
            let mut power = 1;
            while power < k * 3 {
                power *= 4;
            }
            set_size += power;
        }
        let mut picks = Vec::with_capacity(k);
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            for i in 0..k {
                let j = self.below(total - i as u32) as usize;
                picks.push(pool[j]);
                pool[j] = pool[n - i - 1];
            }
        } else {
            let mut chosen = std::collections::BTreeSet::new();
            for _ in 0..k {
                let mut j = self.below(total) as usize;
                while !chosen.insert(j) {
                    j = self.below(total) as usize;
                }
                picks.push(j);
            }
        }
        Some(picks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R = random.Random(seed); [R.sample(range(n), k) for _ in range(3)]` of CPython 3.
    #[test]
    fn draws_equal_cpythons() {
        let table: [(u64, usize, usize, [&[usize]; 3]); 5] = [
            (1234, 10, 3, [&[7, 1, 0], &[1, 0, 9], &[1, 5, 3]]),
            (1234, 100, 5, [&[99, 56, 14, 0, 11], &[74, 4, 85, 88, 10], &[12, 98, 45, 30, 2]]),
            (1234, 450, 3, [&[398, 225, 59], &[3, 46, 413], &[298, 17, 343]]),
            (7, 30, 6, [&[10, 4, 12, 20, 1, 2], &[26, 17, 3, 11, 18, 1], &[29, 16, 6, 1, 2, 13]]),
            (
                (1 << 40) + 5,
                1000,
                8,
                [
                    &[516, 529, 275, 679, 948, 28, 543, 776],
                    &[837, 854, 805, 979, 930, 778, 912, 47],
                    &[169, 81, 815, 835, 137, 244, 951, 669],
                ],
            ),
        ];
        for (seed, n, k, draws) in table {
            let mut random = PythonRandom::new(seed);
            for expected in draws {
                assert_eq!(random.sample(n, k).unwrap(), expected, "seed {seed}, {k} of {n}");
            }
        }
    }

    #[test]
    fn more_than_there_are_is_refused() {
        assert_eq!(PythonRandom::new(1).sample(2, 3), None);
        assert_eq!(PythonRandom::new(1).sample(0, 0), Some(vec![]));
    }
}
