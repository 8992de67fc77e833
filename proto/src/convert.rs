//! Wire to core and back: one conversion per message, one error. What arrives is checked here and believed afterwards.

mod bounds;

pub use bounds::{MAX_REPORTS, document, from, may_report, object_path, waivers};

use crate::v1;
use bounds::{MAX_HEALTH_BYTES, MAX_HOST, MAX_LABELS, MAX_PROCESSES, MAX_SLOTS};
use osler_core::health::Health;
use osler_core::ids::{Epoch, Generation, Incarnation, InvalidName, LabelKey, LabelValue, RunName, WorkerName};
use osler_core::job::JobId;
use osler_core::output::one_line;
use osler_core::sync::{Desired, NumberedReport, Observed, ProcessId, ProcessPhase, ProcessStatus, Wanted};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A message that breaks the contract. Names the field, so that the other side's author can find it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("field {field}: {source}")]
    Name { field: &'static str, source: InvalidName },
    #[error("field {field} is not a valid document: {}", one_line(&source.to_string(), 200))]
    Document { field: &'static str, source: serde_json::Error },
    #[error("field {field} holds {found}, at most {limit} are accepted")]
    TooMany { field: &'static str, found: usize, limit: usize },
    #[error("field {field} holds characters that may not be there")]
    Characters { field: &'static str },
    #[error("field {field} is a document of too many levels")]
    TooDeep { field: &'static str },
}

impl TryFrom<v1::ProcessId> for ProcessId {
    type Error = InvalidMessage;
    fn try_from(wire: v1::ProcessId) -> Result<Self, InvalidMessage> {
        let run = RunName::new(wire.run).map_err(|source| InvalidMessage::Name { field: "process.run", source })?;
        let id = JobId { run, job: bounds::job("process.job", &wire.job)? };
        Ok(Self { id, generation: Generation(wire.generation), rank: bounds::rank("process.rank", wire.rank)? })
    }
}

impl From<ProcessId> for v1::ProcessId {
    fn from(p: ProcessId) -> Self {
        Self { run: p.id.run.to_string(), job: p.id.job.to_string(), generation: p.generation.0, rank: p.rank }
    }
}

fn process(field: &'static str, wire: Option<v1::ProcessId>) -> Result<ProcessId, InvalidMessage> {
    wire.ok_or(InvalidMessage::Missing(field))?.try_into()
}

impl TryFrom<v1::ProcessStatus> for ProcessStatus {
    type Error = InvalidMessage;
    fn try_from(wire: v1::ProcessStatus) -> Result<Self, InvalidMessage> {
        use v1::process_status::Phase;
        let phase = match wire.phase.ok_or(InvalidMessage::Missing("processes.phase"))? {
            Phase::Running(_) => ProcessPhase::Running,
            Phase::Exited(exited) => {
                bounds::log_tail("processes.log_tail", &exited.log_tail)?;
                ProcessPhase::Exited { code: exited.code, log_tail: exited.log_tail }
            }
        };
        Ok(Self { process: process("processes.process", wire.process)?, phase })
    }
}

impl From<ProcessStatus> for v1::ProcessStatus {
    fn from(status: ProcessStatus) -> Self {
        use v1::process_status::Phase;
        let phase = match status.phase {
            ProcessPhase::Running => Phase::Running(v1::Running {}),
            ProcessPhase::Exited { code, log_tail } => Phase::Exited(v1::Exited { code, log_tail }),
        };
        Self { process: Some(status.process.into()), phase: Some(phase) }
    }
}

impl TryFrom<v1::NumberedReport> for NumberedReport {
    type Error = InvalidMessage;
    fn try_from(wire: v1::NumberedReport) -> Result<Self, InvalidMessage> {
        let report = bounds::report("reports.report_json", &wire.report_json)?;
        Ok(Self { seq: wire.seq, process: process("reports.process", wire.process)?, report })
    }
}

impl TryFrom<NumberedReport> for v1::NumberedReport {
    type Error = InvalidMessage;
    fn try_from(report: NumberedReport) -> Result<Self, InvalidMessage> {
        let report_json =
            serde_json::to_vec(&report.report).map_err(|source| InvalidMessage::Document { field: "reports.report_json", source })?;
        Ok(Self { seq: report.seq, process: Some(report.process.into()), report_json })
    }
}

impl TryFrom<v1::SyncRequest> for Observed {
    type Error = InvalidMessage;
    fn try_from(wire: v1::SyncRequest) -> Result<Self, InvalidMessage> {
        bounds::count("processes", &wire.processes, MAX_PROCESSES)?;
        bounds::count("reports", &wire.reports, MAX_REPORTS)?;
        bounds::text("host", &wire.host, MAX_HOST)?;
        bounds::count("health_json", &wire.health_json, MAX_HEALTH_BYTES)?;
        let health: Option<Health> = if wire.health_json.is_empty() { None } else { Some(document("health_json", &wire.health_json)?) };
        Ok(Self {
            worker: WorkerName::new(wire.worker).map_err(|source| InvalidMessage::Name { field: "worker", source })?,
            incarnation: Incarnation(wire.incarnation),
            call: wire.call,
            epoch: Epoch(wire.epoch),
            host: wire.host,
            slots: wire.slots.min(MAX_SLOTS),
            processes: wire.processes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            reports: wire.reports.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            draining: wire.draining,
            labels: labels(wire.labels)?,
            health,
            skew: 0, // who receives the call knows when that was
        })
    }
}

fn labels(wire: HashMap<String, String>) -> Result<BTreeMap<LabelKey, LabelValue>, InvalidMessage> {
    if wire.len() > MAX_LABELS {
        return Err(InvalidMessage::TooMany { field: "labels", found: wire.len(), limit: MAX_LABELS });
    }
    let name = |source| InvalidMessage::Name { field: "labels", source };
    wire.into_iter().map(|(key, value)| Ok((LabelKey::new(key).map_err(name)?, LabelValue::new(value).map_err(name)?))).collect()
}

impl TryFrom<Observed> for v1::SyncRequest {
    type Error = InvalidMessage;
    /// `wait_ms`, `seen_reply` and `sent_at_ms` belong to the call, not to what is observed: the caller sets them.
    fn try_from(observed: Observed) -> Result<Self, InvalidMessage> {
        Ok(Self {
            worker: observed.worker.to_string(),
            incarnation: observed.incarnation.0,
            host: observed.host,
            slots: observed.slots,
            processes: observed.processes.into_iter().map(Into::into).collect(),
            reports: observed.reports.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            draining: observed.draining,
            wait_ms: 0,
            seen_reply: 0,
            call: observed.call,
            labels: observed.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            health_json: observed.health.as_ref().map(health_json).transpose()?.unwrap_or_default(),
            sent_at_ms: 0,
            epoch: observed.epoch.0,
        })
    }
}

fn health_json(health: &Health) -> Result<Vec<u8>, InvalidMessage> {
    serde_json::to_vec(health).map_err(|source| InvalidMessage::Document { field: "health_json", source })
}

impl TryFrom<v1::SyncReply> for Desired {
    type Error = InvalidMessage;
    fn try_from(wire: v1::SyncReply) -> Result<Self, InvalidMessage> {
        bounds::count("wanted", &wire.wanted, MAX_PROCESSES)?;
        let wanted = wire.wanted.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { wanted, acknowledged: wire.acknowledged, check: wire.check, epoch: Epoch(wire.epoch) })
    }
}

impl TryFrom<v1::Wanted> for Wanted {
    type Error = InvalidMessage;
    fn try_from(wire: v1::Wanted) -> Result<Self, InvalidMessage> {
        let assignment = match wire.assignment_json.as_slice() {
            [] => None,
            json => Some(document("wanted.assignment_json", json)?),
        };
        bounds::text("wanted.rendezvous", &wire.rendezvous, MAX_HOST)?;
        let rendezvous = Some(wire.rendezvous).filter(|address| !address.is_empty());
        Ok(Self { process: process("wanted.process", wire.process)?, assignment, rendezvous, stop: wire.stop, look: wire.look })
    }
}

impl TryFrom<Desired> for v1::SyncReply {
    type Error = InvalidMessage;
    fn try_from(desired: Desired) -> Result<Self, InvalidMessage> {
        let reply = reply_number(&desired);
        let (check, epoch) = (desired.check, desired.epoch.0);
        let wanted = desired.wanted.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { wanted, acknowledged: desired.acknowledged, reply, check, epoch })
    }
}

impl TryFrom<Wanted> for v1::Wanted {
    type Error = InvalidMessage;
    fn try_from(wanted: Wanted) -> Result<Self, InvalidMessage> {
        let assignment_json = match &wanted.assignment {
            None => vec![],
            Some(a) => serde_json::to_vec(a).map_err(|source| InvalidMessage::Document { field: "wanted.assignment_json", source })?,
        };
        let rendezvous = wanted.rendezvous.unwrap_or_default();
        Ok(Self { process: Some(wanted.process.into()), assignment_json, rendezvous, stop: wanted.stop, look: wanted.look })
    }
}

/// The number of a reply: equal for replies that ask the same of an agent. Only compared within one coordinator's life.
pub fn reply_number(desired: &Desired) -> u64 {
    let mut hasher = DefaultHasher::new();
    (desired.acknowledged, desired.check).hash(&mut hasher);
    for wanted in &desired.wanted {
        (&wanted.process, &wanted.rendezvous, wanted.stop, wanted.look, wanted.assignment.is_some()).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
