//! Which parameters travel together, and to whom. Pure.

use crate::flat::FlatLayout;
use std::ops::Range;

/// Bytes from which on a bucket is closed. Large enough to use the network, small enough to begin early.
pub const BUCKET_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlan {
    pub(super) buckets: Vec<Bucket>,
    /// Bucket of each entry of the layout.
    pub(super) of_entry: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    pub values: Range<usize>,
    pub entries: usize,
}

impl BucketPlan {
    pub fn new(layout: &FlatLayout, bucket_bytes: usize) -> Self {
        let (mut buckets, mut of_entry) = (Vec::<Bucket>::new(), vec![]);
        let ends = layout.entries().iter().skip(1).map(|e| e.offset).chain([layout.len()]);
        for (entry, end) in layout.entries().iter().zip(ends) {
            match buckets.last_mut() {
                Some(last) if last.values.len() * 4 < bucket_bytes => {
                    last.values.end = end;
                    last.entries += 1;
                }
                _ => buckets.push(Bucket { values: entry.offset..end, entries: 1 }),
            }
            of_entry.push(buckets.len() - 1);
        }
        Self { buckets, of_entry }
    }

    /// The ranges of all buckets, ascending.
    pub(crate) fn ranges(&self) -> impl DoubleEndedIterator<Item = &Range<usize>> {
        self.buckets.iter().map(|bucket| &bucket.values)
    }
}

/// Who owns which values: rank `r` owns the range `r` of the list. Ascending and gapless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owners(Vec<Range<usize>>);

impl Owners {
    pub fn new(layout: &FlatLayout, world: u32) -> Self {
        Self((0..world).map(|rank| layout.slice(rank, world)).collect())
    }

    /// The parts of `values`, each with the rank that owns it.
    pub fn pieces(&self, values: &Range<usize>) -> Vec<(Range<usize>, usize)> {
        let part = |(rank, own): (usize, &Range<usize>)| (own.start.max(values.start)..own.end.min(values.end), rank);
        self.0.iter().enumerate().map(part).filter(|(part, _)| !part.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_the_gradient_once_and_close_at_the_given_size() {
        let plan = |sizes: &[usize], bytes| BucketPlan::new(&FlatLayout::of_sizes(sizes), bytes);
        let ranges = |plan: &BucketPlan| plan.buckets.iter().map(|b| (b.values.clone(), b.entries)).collect::<Vec<_>>();
        assert_eq!(ranges(&plan(&[16, 16, 16, 16], 128)), [(0..32, 2), (32..64, 2)]);
        assert_eq!(ranges(&plan(&[16, 160, 16], 128)), [(0..176, 2), (176..192, 1)]);
        assert_eq!(ranges(&plan(&[3, 5], 0)), [(0..16, 1), (16..32, 1)]);
        assert_eq!(ranges(&plan(&[3, 5], usize::MAX)), [(0..32, 2)]);
        assert_eq!(plan(&[16, 16, 16, 16], 128).of_entry, [0, 0, 1, 1]);
    }

    #[test]
    fn pieces_are_cut_where_owners_meet_and_cover_a_bucket_once() {
        let owners = Owners::new(&FlatLayout::of_sizes(&[160]), 4);
        assert_eq!(owners.pieces(&(0..160)), [(0..32, 0), (32..80, 1), (80..112, 2), (112..160, 3)]);
        assert_eq!(owners.pieces(&(40..48)), [(40..48, 1)]);
        assert_eq!(owners.pieces(&(64..96)), [(64..80, 1), (80..96, 2)]);
    }
}
