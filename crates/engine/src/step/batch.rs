//! From token rows to tensors: micro-batches, the targets that count, and the mask that keeps documents apart.

use super::TrainerOptions;
use crate::EngineError;
use crate::models::{document_mask, ids_tensor};
use osler_core::mlm::{IGNORED, Masked};
use std::ops::Range;
use tch::Tensor;

/// What a rank trains on in one step: its share of the global batch.
#[derive(Debug, Clone, Copy)]
pub enum Batch<'a> {
    /// Rows of `sequence_length + 1` tokens, each of which predicts the next.
    Next(&'a [&'a [u32]]),
    /// Rows of `sequence_length` inputs, each with a token to predict or [`IGNORED`].
    Masked(&'a [Masked]),
}

pub(super) struct MicroBatch {
    pub inputs_bt: Tensor,
    pub targets_n: Tensor,
    /// The positions that count, when not all do.
    pub counted_k: Option<Tensor>,
    /// See [`Pass`](crate::models::Pass).
    pub mask: Option<Tensor>,
}

impl Batch<'_> {
    pub fn rows(&self) -> usize {
        match self {
            Self::Next(rows) => rows.len(),
            Self::Masked(rows) => rows.len(),
        }
    }

    /// Targets that count.
    pub(super) fn counted(&self, sequence_length: u32) -> u64 {
        match self {
            Self::Next(rows) => rows.len() as u64 * u64::from(sequence_length),
            Self::Masked(rows) => rows.iter().flat_map(|row| &row.targets).filter(|target| **target != IGNORED).count() as u64,
        }
    }

    /// Checks every row and cuts the share into micro-batches.
    pub(super) fn cut(&self, options: &TrainerOptions) -> Result<Vec<MicroBatch>, EngineError> {
        if self.rows() == 0 {
            return Err(EngineError::Batch("this rank has no sequences: use at most as many ranks as global_batch".into()));
        }
        let family = options.model.family;
        if matches!(self, Self::Next(_)) && !family.causal() {
            return Err(EngineError::Batch(format!("a {family} model predicts masked tokens, not the next one")));
        }
        let size = options.micro_batch as usize;
        (0..self.rows()).step_by(size).map(|start| self.micro(start..(start + size).min(self.rows()), options)).collect()
    }

    fn micro(&self, rows: Range<usize>, options: &TrainerOptions) -> Result<MicroBatch, EngineError> {
        let length = options.sequence_length as usize;
        let wrong =
            |i: usize, found: usize, expected: usize| EngineError::Batch(format!("sequence {i} has {found} tokens, {expected} expected"));
        let ids = |rows: &[&[u32]]| ids_tensor(rows, length, options.vocab, options.model.max_positions, options.device);
        let (inputs_bt, targets_n, counted_k) = match self {
            Self::Next(all) => {
                let rows = || rows.clone().filter_map(|i| all.get(i).map(|row| (i, *row)));
                if let Some((i, row)) = rows().find(|(_, row)| row.len() != length + 1) {
                    return Err(wrong(i, row.len(), length + 1));
                }
                let part = |from: usize| rows().filter_map(|(_, row)| row.get(from..from + length)).collect::<Vec<_>>();
                (ids(&part(0))?, ids(&part(1))?.flatten(0, 1), None)
            }
            Self::Masked(all) => {
                let rows = || rows.clone().filter_map(|i| all.get(i).map(|row| (i, row)));
                if let Some((i, row)) = rows().find(|(_, row)| row.inputs.len() != length || row.targets.len() != length) {
                    return Err(wrong(i, row.inputs.len().min(row.targets.len()), length));
                }
                let targets: Vec<i64> = rows().flat_map(|(_, row)| row.targets.iter().copied()).collect();
                let (targets_n, counted_k) = masked_targets(&targets, options)?;
                let inputs: Vec<&[u32]> = rows().map(|(_, row)| row.inputs.as_slice()).collect();
                (ids(&inputs)?, targets_n, Some(counted_k))
            }
        };
        let mask = match options.end_of_text.filter(|_| options.compute.document_mask) {
            Some(end) => Some(document_mask(&inputs_bt, end, options.model.family.causal())?),
            None => None,
        };
        Ok(MicroBatch { inputs_bt, targets_n, counted_k, mask })
    }
}

/// The targets that count, and their positions.
fn masked_targets(targets: &[i64], options: &TrainerOptions) -> Result<(Tensor, Tensor), EngineError> {
    let vocab = options.vocab as i64;
    if let Some(wrong) = targets.iter().find(|id| **id != IGNORED && !(0..vocab).contains(*id)) {
        return Err(EngineError::Batch(format!("target {wrong} is outside the vocabulary of {vocab}")));
    }
    let counted = || targets.iter().enumerate().filter(|(_, id)| **id != IGNORED);
    let places: Vec<i64> = counted().map(|(at, _)| at as i64).collect();
    let ids: Vec<i64> = counted().map(|(_, id)| *id).collect();
    Ok((Tensor::f_from_slice(&ids)?.f_to_device(options.device)?, Tensor::f_from_slice(&places)?.f_to_device(options.device)?))
}
