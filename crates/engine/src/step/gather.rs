//! Updated weights travel from their owners to all ranks while the next forward pass begins.
//!
//! The buckets are sent in the order in which forward reads them, from the end of the flat buffer to its beginning. A stretch of the pass
//! waits for its own weights only.

use crate::EngineError;
use crate::flat::narrow;
use crate::reduce::{BucketPlan, Owners};
use osler_torch_dist::{ProcessGroup, Work};
use std::collections::VecDeque;
use std::time::Duration;
use tch::Tensor;

/// What is under way.
#[derive(Default)]
pub(super) struct Gather {
    /// The first value of each piece, descending, and its work.
    works: VecDeque<(usize, Work)>,
    /// All values from here on are there; 0 is all of them.
    here: usize,
}

impl Gather {
    /// Every rank must come here at the same step with its own values updated.
    pub fn start(&mut self, group: &ProcessGroup, params: &Tensor, plan: &BucketPlan, owners: &Owners) -> Result<(), EngineError> {
        self.here = params.numel();
        for bucket in plan.ranges().rev() {
            for (part, owner) in owners.pieces(bucket).into_iter().rev() {
                let mut values = narrow(params, &part)?;
                self.works.push_back((part.start, group.broadcast(&mut values, owner)?));
            }
        }
        Ok(())
    }

    /// Returns when all values from `start` to the end of the buffer are there.
    pub fn wait(&mut self, start: usize, timeout: Duration) -> Result<(), EngineError> {
        while self.here > start {
            let Some((first, work)) = self.works.pop_front() else { break };
            work.wait(timeout)?;
            self.here = first;
        }
        Ok(())
    }
}
