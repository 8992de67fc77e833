//! Gradients are summed over the ranks bucket by bucket while backward goes on.
//!
//! A bucket is a run of neighbours in the flat gradient. A hook per parameter counts down its bucket; a full bucket is
//! sent as soon as all buckets before it were, so that every rank sends the same sizes in the same order whatever its
//! backward did first. Nothing is sent before [`Reducer::begin`]: earlier micro-batches only accumulate.

mod plan;
pub(crate) mod tree;

pub(crate) use plan::Owners;
pub use plan::{BUCKET_BYTES, BucketPlan};

use crate::EngineError;
use crate::flat::FlatBuffers;
use osler_core::spec::Precision;
use osler_torch_dist::{DistError, GradHook, ProcessGroup, Work};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tch::{Kind, Tensor};

/// Where the sum of a value is wanted.
pub(crate) enum Destination {
    /// On every rank.
    All,
    /// On the rank that owns the value; what others hold there afterwards is not defined.
    Owner(Owners),
}

pub(crate) struct Reducer {
    shared: Arc<Mutex<Shared>>,
    _hooks: Vec<GradHook>,
    timeout: Duration,
}

/// What hooks and step both touch. Hooks run on the thread that calls backward; the lock is never contended.
struct Shared {
    plan: BucketPlan,
    destination: Destination,
    /// What gradients travel in.
    precision: Precision,
    group: Arc<ProcessGroup>,
    grads: Tensor,
    armed: bool,
    /// Per bucket: parameters whose gradient is not final yet.
    missing: Vec<usize>,
    /// The first bucket that was not sent.
    next: usize,
    sent: Vec<Sent>,
}

/// A sum under way. With another precision than the gradient's, `travelled` is copied into the gradient at the end.
struct Sent {
    work: Work,
    travelled: Option<(Tensor, Tensor)>,
}

impl Reducer {
    /// `leaves` in the layout's order.
    pub fn new(
        group: &Arc<ProcessGroup>,
        buffers: &FlatBuffers,
        leaves: &[Tensor],
        plan: BucketPlan,
        destination: Destination,
        precision: Precision,
        timeout: Duration,
    ) -> Result<Self, EngineError> {
        let shared = Shared {
            plan,
            destination,
            precision,
            group: Arc::clone(group),
            grads: buffers.grads.shallow_clone(),
            armed: false,
            missing: vec![],
            next: 0,
            sent: vec![],
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
        shared.sent.clear();
    }

    /// For gradients that autograd does not see: entry `entry` of the layout is final.
    pub fn ready(&self, entry: usize) -> Result<(), EngineError> {
        Ok(lock(&self.shared).ready(entry)?)
    }

    /// Waits until every bucket is summed.
    pub fn finish(&self) -> Result<(), EngineError> {
        let (sent, unsent) = {
            let mut shared = lock(&self.shared);
            shared.armed = false;
            (std::mem::take(&mut shared.sent), shared.plan.buckets.len() - shared.next)
        };
        if unsent > 0 {
            return Err(EngineError::Disagreement(format!("{unsent} gradient buckets were never filled by backward")));
        }
        for Sent { work, travelled } in sent {
            work.wait(self.timeout)?;
            if let Some((from, mut to)) = travelled {
                to.f_copy_(&from)?;
            }
        }
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
            self.send(self.next)?;
            self.next += 1;
        }
        Ok(())
    }

    fn send(&mut self, bucket: usize) -> Result<(), DistError> {
        let Some(bucket) = self.plan.buckets.get(bucket) else { return Ok(()) };
        let pieces = match &self.destination {
            Destination::All => vec![(bucket.values.clone(), None)],
            Destination::Owner(owners) => owners.pieces(&bucket.values).into_iter().map(|(part, owner)| (part, Some(owner))).collect(),
        };
        for (part, owner) in pieces {
            let values = self.grads.narrow(0, part.start as i64, part.len() as i64);
            let mut travelling = match self.precision {
                Precision::Fp32 => values.shallow_clone(),
                Precision::Bf16 => values.to_kind(Kind::BFloat16),
            };
            let work = match owner {
                None => self.group.all_reduce_sum(&mut travelling)?,
                Some(owner) => self.group.reduce_sum(&mut travelling, owner)?,
            };
            let mine = owner.is_none_or(|owner| owner == self.group.rank());
            let travelled = (self.precision != Precision::Fp32 && mine).then_some((travelling, values));
            self.sent.push(Sent { work, travelled });
        }
        Ok(())
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
