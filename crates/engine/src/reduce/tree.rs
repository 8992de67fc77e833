//! Sums in one fixed binary tree over the micro-batches of a step, within a rank and across ranks: the same bits whatever the number of
//! ranks.
//!
//! The leaves are the step's micro-batches in the order of the global batch. A rank holds a whole branch, because the numbers of leaves
//! and of ranks are powers of two. Within the rank, branches of equal size are added as soon as there are two of them, as a binary
//! counter carries; across ranks, neighbours exchange their sums and both add them, level by level. Addition of two floating-point
//! numbers does not depend on their order, so both get the same bits.

use crate::EngineError;
use osler_torch_dist::ProcessGroup;
use std::time::Duration;
use tch::Tensor;

/// Sums of whole branches of this rank's leaves, the largest first; no two of equal size while nothing is being added.
#[derive(Default)]
pub(crate) struct Branches {
    held: Vec<(u32, Tensor)>,
    /// Buffers that were added into others and may be filled again.
    spare: Vec<Tensor>,
}

impl Branches {
    /// Takes the next leaf's gradient; `grads` may be overwritten afterwards.
    pub fn add(&mut self, grads: &Tensor) -> Result<(), EngineError> {
        let mut sum = match self.spare.pop() {
            Some(buffer) => buffer,
            None => grads.f_empty_like()?,
        };
        sum.f_copy_(grads)?;
        let mut level = 0;
        while let Some((_, mut left)) = self.held.pop_if(|(held, _)| *held == level) {
            let _ = left.f_add_(&sum)?;
            self.spare.push(std::mem::replace(&mut sum, left));
            level += 1;
        }
        self.held.push((level, sum));
        Ok(())
    }

    /// Writes the sum of all leaves into `grads`. Begins anew.
    pub fn finish(&mut self, grads: &mut Tensor) -> Result<(), EngineError> {
        match (self.held.pop(), self.held.is_empty()) {
            (Some((_, sum)), true) => {
                grads.f_copy_(&sum)?;
                self.spare.push(sum);
                Ok(())
            }
            _ => Err(EngineError::Batch("the micro-batches of this rank do not make a whole branch of the tree".into())),
        }
    }
}

/// Replaces `values` on every rank by the sum over all ranks in the tree's order. The world size is a power of two.
pub(crate) fn across(group: &ProcessGroup, values: &mut Tensor, timeout: Duration) -> Result<(), EngineError> {
    let mut theirs = values.f_empty_like()?;
    let mut distance = 1;
    while distance < group.world_size() {
        let neighbour = group.rank() ^ distance;
        // NCCL works off what a pair exchanges in order: one side must begin with receiving.
        let works = if group.rank() < neighbour {
            [group.send(values, neighbour, tag(distance))?, group.recv(&mut theirs, neighbour, tag(distance))?]
        } else {
            [group.recv(&mut theirs, neighbour, tag(distance))?, group.send(values, neighbour, tag(distance))?]
        };
        works.into_iter().try_for_each(|work| work.wait(timeout))?;
        let _ = values.f_add_(&theirs)?;
        distance *= 2;
    }
    Ok(())
}

fn tag(distance: usize) -> u16 {
    distance.trailing_zeros() as u16
}

/// The same tree over numbers.
pub(crate) fn sum(leaves: &[f64]) -> f64 {
    match leaves {
        [] => 0.0,
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            sum(left) + sum(right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose sum depends on the order of addition.
    fn leaves() -> Vec<f32> {
        (0..16).map(|i| (i as f32 * 1.7).sin() * 10f32.powi(i % 5)).collect()
    }

    fn branch(leaves: &[f32]) -> f32 {
        let mut branches = Branches::default();
        for leaf in leaves {
            branches.add(&Tensor::from_slice(&[*leaf])).unwrap();
        }
        let mut out = Tensor::from_slice(&[0f32]);
        branches.finish(&mut out).unwrap();
        out.double_value(&[0]) as f32
    }

    #[test]
    fn a_branch_of_branches_is_the_branch_of_all_leaves_bit_for_bit() {
        let whole = branch(&leaves());
        for ranks in [1, 2, 4, 8, 16] {
            let mut sums: Vec<f32> = leaves().chunks(16 / ranks).map(branch).collect();
            while sums.len() > 1 {
                sums = sums.chunks(2).map(|pair| pair[0] + pair[1]).collect();
            }
            assert_eq!(sums[0].to_bits(), whole.to_bits(), "{ranks} ranks");
        }
        let in_turn = leaves().into_iter().reduce(|a, b| a + b).unwrap();
        assert_ne!(in_turn.to_bits(), whole.to_bits(), "these numbers would not show a wrong order");
    }

    #[test]
    fn the_tree_over_numbers_is_the_same_tree() {
        let leaves: Vec<f64> = leaves().into_iter().map(f64::from).collect();
        let halves = sum(&leaves[..8]) + sum(&leaves[8..]);
        assert_eq!(sum(&leaves).to_bits(), halves.to_bits());
        assert_eq!((sum(&[]), sum(&[2.5])), (0.0, 2.5));
    }

    #[test]
    fn leaves_that_make_no_whole_branch_are_refused() {
        let mut branches = Branches::default();
        let mut out = Tensor::from_slice(&[0f32]);
        branches.finish(&mut out).unwrap_err();
        for leaf in [1f32, 2.0, 3.0] {
            branches.add(&Tensor::from_slice(&[leaf])).unwrap();
        }
        branches.finish(&mut out).unwrap_err();
    }
}
