//! Gradients are summed over the ranks bucket by bucket while backward goes on.
//!
//! A bucket is a run of neighbours in the flat gradient. A hook per parameter counts down its bucket; a full bucket is
//! sent as soon as all buckets before it were, so that every rank sends the same sizes in the same order whatever its
//! backward did first. Nothing is sent before [`Reducer::begin`]: earlier micro-batches only accumulate.

use crate::EngineError;
use crate::flat::{FlatBuffers, FlatLayout};
use osler_torch_dist::{DistError, GradHook, ProcessGroup, Work};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tch::Tensor;

/// Bytes from which on a bucket is closed. Large enough to use the network, small enough to begin early.
pub const BUCKET_BYTES: usize = 4 << 20;

/// Which parameters travel together. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlan {
    buckets: Vec<Bucket>,
    /// Bucket of each entry of the layout.
    of_entry: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bucket {
    values: Range<usize>,
    entries: usize,
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
}

pub(crate) struct Reducer {
    shared: Arc<Mutex<Shared>>,
    _hooks: Vec<GradHook>,
    timeout: Duration,
}

/// What hooks and step both touch. Hooks run on the thread that calls backward; the lock is never contended.
struct Shared {
    plan: BucketPlan,
    group: Arc<ProcessGroup>,
    grads: Tensor,
    armed: bool,
    /// Per bucket: parameters whose gradient is not final yet.
    missing: Vec<usize>,
    /// The first bucket that was not sent.
    next: usize,
    works: Vec<Work>,
}

impl Reducer {
    /// `leaves` in the layout's order.
    pub fn new(
        group: &Arc<ProcessGroup>,
        buffers: &FlatBuffers,
        leaves: &[Tensor],
        plan: BucketPlan,
        timeout: Duration,
    ) -> Result<Self, EngineError> {
        let shared = Shared {
            plan,
            group: Arc::clone(group),
            grads: buffers.grads.shallow_clone(),
            armed: false,
            missing: vec![],
            next: 0,
            works: vec![],
        };
        let shared = Arc::new(Mutex::new(shared));
        let hook = |(entry, leaf): (usize, &Tensor)| {
            let shared = Arc::clone(&shared);
            GradHook::register(leaf, move || lock(&shared).ready(entry))
        };
        let _hooks = leaves.iter().enumerate().map(hook).collect::<Result<_, _>>()?;
        Ok(Self { shared, _hooks, timeout })
    }

    /// From here on gradients that become ready are final. Call before the last micro-batch.
    pub fn begin(&self) {
        let mut shared = lock(&self.shared);
        shared.missing = shared.plan.buckets.iter().map(|b| b.entries).collect();
        (shared.armed, shared.next) = (true, 0);
        shared.works.clear();
    }

    /// For gradients that autograd does not see: entry `entry` of the layout is final.
    pub fn ready(&self, entry: usize) -> Result<(), EngineError> {
        Ok(lock(&self.shared).ready(entry)?)
    }

    /// Waits until every bucket is summed.
    pub fn finish(&self) -> Result<(), EngineError> {
        let (works, unsent) = {
            let mut shared = lock(&self.shared);
            shared.armed = false;
            (std::mem::take(&mut shared.works), shared.plan.buckets.len() - shared.next)
        };
        if unsent > 0 {
            return Err(EngineError::Disagreement(format!("{unsent} gradient buckets were never filled by backward")));
        }
        works.into_iter().try_for_each(|work| work.wait(self.timeout))?;
        Ok(())
    }
}

impl Shared {
    fn ready(&mut self, entry: usize) -> Result<(), DistError> {
        if !self.armed {
            return Ok(());
        }
        if let Some(missing) = self.plan.of_entry.get(entry).and_then(|bucket| self.missing.get_mut(*bucket)) {
            *missing = missing.saturating_sub(1);
        }
        while self.missing.get(self.next) == Some(&0) {
            let Some(bucket) = self.plan.buckets.get(self.next) else { break };
            let mut values = self.grads.narrow(0, bucket.values.start as i64, bucket.values.len() as i64);
            self.works.push(self.group.all_reduce_sum(&mut values)?);
            self.next += 1;
        }
        Ok(())
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::params::{Begin, Param};

    fn plan(sizes: &[usize], bytes: usize) -> BucketPlan {
        let param = |(i, n): (usize, &usize)| Param { name: format!("p{i}"), shape: vec![*n], begin: Begin::Normal };
        BucketPlan::new(&FlatLayout::of(&sizes.iter().enumerate().map(param).collect::<Vec<_>>()), bytes)
    }

    #[test]
    fn buckets_cover_the_gradient_once_and_close_at_the_given_size() {
        let ranges = |plan: &BucketPlan| plan.buckets.iter().map(|b| (b.values.clone(), b.entries)).collect::<Vec<_>>();
        assert_eq!(ranges(&plan(&[16, 16, 16, 16], 128)), [(0..32, 2), (32..64, 2)]);
        assert_eq!(ranges(&plan(&[16, 160, 16], 128)), [(0..176, 2), (176..192, 1)]);
        assert_eq!(ranges(&plan(&[3, 5], 0)), [(0..16, 1), (16..32, 1)]);
        assert_eq!(ranges(&plan(&[3, 5], usize::MAX)), [(0..32, 2)]);
        assert_eq!(plan(&[16, 16, 16, 16], 128).of_entry, [0, 0, 1, 1]);
    }
}
