//! Where a run stands in the queue, and which workers it takes: nothing of this changes a result.

use crate::ids::{LabelKey, TeamName};
use serde::{Deserialize, Serialize};

/// The queue is ordered by priority, then by submission.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSpec {
    /// Work of a higher one may preempt work of a lower one.
    pub priority: i32,
    /// Whose quota it counts against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamName>,
}

impl QueueSpec {
    /// Left out of the document then: run files that do not ask for it keep their digests.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A gang likes its workers to say the same of this label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    pub label: LabelKey,
    /// It does not start otherwise.
    pub required: bool,
}
