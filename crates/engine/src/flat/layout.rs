//! Where each parameter lies in a flat buffer. Pure: checkpoints, plans and exports use it without a tensor.

use crate::EngineError;
use crate::models::params::{Param, parameters};
use osler_core::digest::Digest;
use osler_core::spec::ModelSpec;
use std::ops::Range;

/// Every tensor begins at a multiple of 64 bytes, so that vector loops cut it the same way wherever it lies.
const ALIGN: usize = 16;

/// One parameter; offset and length count f32 values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub len: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatLayout {
    entries: Vec<Entry>,
    len: usize,
}

impl FlatLayout {
    pub fn new(spec: &ModelSpec, vocab: usize) -> Result<Self, EngineError> {
        Ok(Self::of(&parameters(spec, vocab)?))
    }

    /// The last parameter comes first.
    pub fn of(params: &[Param]) -> Self {
        let mut len = 0;
        let mut place = |param: &Param| {
            let entry = Entry { name: param.name.clone(), shape: param.shape.clone(), offset: len, len: param.len() };
            len += entry.len.next_multiple_of(ALIGN);
            entry
        };
        let entries = params.iter().rev().map(&mut place).collect();
        Self { entries, len }
    }

    /// In the order of the buffer: the reverse of the model's.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    /// Values in a buffer, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values that rank `rank` of `world` saves. The slices of all ranks cover the buffer once; each begins at a multiple of 64 bytes.
    pub fn slice(&self, rank: u32, world: u32) -> Range<usize> {
        let cut = |rank: u32| {
            let blocks = (self.len / ALIGN) as u128;
            (blocks * u128::from(rank.min(world)) / u128::from(world.max(1))) as usize * ALIGN
        };
        cut(rank)..cut(rank.saturating_add(1))
    }

    /// Equal for two layouts whose buffers can be exchanged.
    pub fn digest(&self) -> Digest {
        let lines: Vec<String> = self.entries.iter().map(|e| format!("{} {:?} {}", e.name, e.shape, e.offset)).collect();
        Digest::of_parts(lines.iter().map(String::as_bytes))
    }
}

#[cfg(test)]
impl FlatLayout {
    /// Vectors of these sizes, in order of use.
    pub(crate) fn of_sizes(sizes: &[usize]) -> Self {
        let begin = crate::models::params::Begin::Normal;
        let param = |(i, n): (usize, &usize)| Param { name: format!("p{i}"), shape: vec![*n], begin };
        Self::of(&sizes.iter().enumerate().map(param).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sizes: &[usize]) -> FlatLayout {
        FlatLayout::of_sizes(sizes)
    }

    #[test]
    fn the_last_parameter_comes_first_and_all_are_aligned() {
        let layout = layout(&[3, 16, 17]);
        let places: Vec<_> = layout.entries().iter().map(|e| (e.name.as_str(), e.offset, e.len)).collect();
        assert_eq!(places, [("p2", 0, 17), ("p1", 32, 16), ("p0", 48, 3)]);
        assert_eq!(layout.len(), 64);
    }

    #[test]
    fn slices_cover_the_buffer_once_at_any_world_size() {
        let layout = layout(&[1000, 5, 333]);
        for world in [1, 2, 3, 7, 64, 200] {
            let mut at = 0;
            for rank in 0..world {
                let slice = layout.slice(rank, world);
                assert_eq!((slice.start, slice.start % ALIGN), (at, 0));
                at = slice.end;
            }
            assert_eq!(at, layout.len());
        }
    }

    #[test]
    fn the_digest_tells_layouts_apart() {
        assert_eq!(layout(&[3, 4]).digest(), layout(&[3, 4]).digest());
        assert_ne!(layout(&[3, 4]).digest(), layout(&[4, 3]).digest());
    }
}
