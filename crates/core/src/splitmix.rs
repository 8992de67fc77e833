//! SplitMix64 (Steele, Lea and Flood 2014): the stream of numbers behind what a run draws by specification. Integers only, so the same
//! on every processor.

/// The whole state is one word; who uses it says where that comes from.
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' C code for the state 1234567.
    #[test]
    fn the_stream_is_the_published_one() {
        let mut stream = SplitMix64(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| stream.draw()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
