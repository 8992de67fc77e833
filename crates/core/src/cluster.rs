//! What is durable about the cluster itself, apart from any run: quotas, nodes that were drained, and what nodes are blamed for.
//!
//! Only the coordinator's pure core changes it; it is written as runs' records are, one immutable version after another.

use crate::ids::{Epoch, Generation, Millis, TeamName, WorkerName};
use crate::job::JobId;
use crate::time::Aged;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub format: u32,
    /// Of this object; the next one is created under the next number, by one coordinator only.
    pub version: u64,
    /// Who wrote it.
    pub epoch: Epoch,
    /// Slots that a team may hold at once; a team without one may hold all.
    pub quotas: BTreeMap<TeamName, u32>,
    pub drained: BTreeMap<WorkerName, Drain>,
    /// Oldest first; what time or work has forgiven is gone.
    pub strikes: BTreeMap<WorkerName, Vec<Strike>>,
    /// How old the cluster was when this version was written: by it finished runs age that nobody touches.
    #[serde(default)]
    pub aged: Aged,
}

impl ClusterRecord {
    pub const FORMAT: u32 = 1;
}

impl Default for ClusterRecord {
    fn default() -> Self {
        let (quotas, drained, strikes, aged) = Default::default();
        Self { format: Self::FORMAT, version: 0, epoch: Epoch(0), quotas, drained, strikes, aged }
    }
}

/// A node that takes no work until somebody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub at: Millis,
    /// By its strikes, not by a person.
    pub automatic: bool,
    pub reason: String,
}

/// One incident that a node is blamed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    pub at: Millis,
    pub job: JobId,
    pub generation: Generation,
    pub message: String,
}
