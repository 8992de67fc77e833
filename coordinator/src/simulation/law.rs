//! What must hold after every event, whatever dies. Judged on what is durable and on what processes really do, never on what a
//! coordinator believes.
//!
//! * A process (job, generation, rank) starts once in all of history, and only where a durable record has placed it.
//! * Two generations of a job run at once only if the older one's agent was out of touch when the newer one was placed: no call of it
//!   was answered by the coordinator that placed it, over the last 10 s of that coordinator's life.
//! * What is published goes forward only, except by a return that the record tells of; a generation is used once.
//! * A record is written by the newest coordinator that wrote any: epochs never go back. Each version names the digest of the one before.
//! * What is acknowledged is durable, and so is what a watcher is shown.
//! * No agent is blamed for a process that it still lists: a call that tells of the past is not believed.
//! * A job that neither runs nor is over says why.
//! * A removed run never comes back; a run of the same name goes on from its versions and generations.
//! * What is deleted is nobody's: no durable record names it, and its attempt is over, or its run was removed. In the end every object is named or will be deleted.
//! * Nothing is placed on a node whose drain was acknowledged, and no team runs more than its quota that was acknowledged before.

use crate::document;
use osler_core::checkpoint::Part;
use osler_core::digest::Digest;
use osler_core::history::Contents;
use osler_core::ids::{Epoch, Generation, Incarnation, RunName, StageName, TeamName, WorkerName};
use osler_core::job::{JobId, JobKey};
use osler_core::leftover::Claims;
use osler_core::process::Report;
use osler_core::record::{JobState, Place, RunRecord, RunState, Then};
use osler_core::removal::Remains;
use osler_core::seal::Sealed;
use osler_core::sync::{Desired, ProcessId};
use osler_proto::v1::GetRunReply;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Silence after which the processes of an agent count as gone.
const LOST: Duration = Duration::from_secs(10);
/// A version in so many is written again and compared.
const REWRITTEN: u64 = 8;

/// One life of an agent.
pub type Life = (WorkerName, Incarnation);

/// A coordinator as the law knows it.
#[derive(Debug)]
struct Leadership {
    since: Duration,
    /// When the latest call of each agent arrived that was answered.
    heard: BTreeMap<Life, Duration>,
}

/// The newest attempt of a job that a record placed.
#[derive(Debug)]
struct Placed {
    generation: Generation,
    at: Duration,
    /// Agents that may not run an earlier one any more: they were in touch with the coordinator that gave that one up, and with the
    /// one that decided this one; and with that of each one before, or have been heard of since.
    in_touch: BTreeSet<Life>,
    /// Those that were in touch when it was given up in turn.
    given_up: Option<BTreeSet<Life>>,
}

/// A durable version of a record, as people may see it.
#[derive(Debug)]
struct Shown {
    bytes: Vec<u8>,
    /// Jobs that neither run nor are over.
    waits: Vec<(JobKey, &'static str)>,
}

/// Where a record has placed an attempt, and under which quota.
#[derive(Debug)]
struct Placement {
    places: Vec<Place>,
    quota: Option<Quota>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quota {
    slots: u32,
    /// Tells it from one of as many slots that was set before.
    number: u64,
}

#[derive(Debug, Default)]
pub struct Law {
    leaderships: BTreeMap<Epoch, Leadership>,
    records: BTreeMap<RunName, RunRecord>,
    /// Pages of records, by name.
    pages: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of the newest version, seal and all.
    sealed: BTreeMap<RunName, Digest>,
    /// Of the last removed run of each name.
    removed: BTreeMap<RunName, Remains>,
    /// Every version as people may see it.
    shown: BTreeMap<RunName, Vec<Shown>>,
    newest: BTreeMap<JobId, Placed>,
    places: BTreeMap<(JobId, Generation), Placement>,
    /// Agents that live now.
    lives: BTreeSet<Life>,
    started: BTreeSet<ProcessId>,
    alive: BTreeMap<ProcessId, Life>,
    /// Newest step and returns so far.
    published: BTreeMap<(RunName, StageName), (u64, usize)>,
    /// Of these it was acknowledged, and nobody has asked for anything else since.
    drained: BTreeSet<WorkerName>,
    quotas: BTreeMap<TeamName, Quota>,
    quotas_set: u64,
}

impl Law {
    pub fn is_drained(&mut self, worker: &WorkerName, drained: bool) {
        if drained {
            self.drained.insert(worker.clone())
        } else {
            self.drained.remove(worker)
        };
    }

    pub fn has_quota(&mut self, team: &TeamName, slots: Option<u32>) {
        match slots {
            Some(slots) => {
                self.quotas_set += 1;
                self.quotas.insert(team.clone(), Quota { slots, number: self.quotas_set })
            }
            None => self.quotas.remove(team),
        };
    }

    /// The newest durable record of each run.
    pub fn records(&self) -> impl Iterator<Item = &RunRecord> {
        self.records.values()
    }

    pub fn record(&self, run: &RunName) -> Option<&RunRecord> {
        self.records.get(run)
    }

    /// Whether the newest record names this attempt.
    pub fn is_current(&self, id: &JobId, generation: Generation) -> bool {
        let job = self.records.get(&id.run).and_then(|record| record.jobs.get(&id.job));
        job.and_then(|job| job.status.attempt()).is_some_and(|attempt| attempt.generation == generation)
    }

    /// Whether it is a part of a checkpoint that was given up because something of it is damaged.
    pub fn is_given_up(&self, run: &RunName, path: &str) -> bool {
        let Some(record) = self.records.get(run) else { return false };
        let damaged = record.rewinds.iter().flat_map(|(stage, all)| all.iter().filter(|r| r.damaged.is_some()).map(move |r| (stage, r)));
        let mut given_up = damaged.flat_map(|(stage, rewind)| rewind.abandoned.iter().flat_map(|c| record.parts(stage, c)));
        given_up.any(|part| part == path)
    }

    pub fn written(&mut self, now: Duration, path: &str, whole_bytes: &[u8]) -> Result<(), String> {
        let number = osler_core::paths::number_of(path);
        if let Some(epoch) = number.map(Epoch).filter(|epoch| osler_core::paths::epoch(*epoch) == path) {
            self.leaderships.insert(epoch, Leadership { since: now, heard: BTreeMap::new() });
        }
        if path.contains("/history/") {
            self.pages.insert(path.to_owned(), whole_bytes.to_vec());
        }
        if !path.contains("/state/") {
            return Ok(());
        }
        let Sealed { document: bytes, seal } = Sealed::open(whole_bytes);
        let mut record = document::read(&bytes).map_err(|e| format!("{path} cannot be read back: {e}"))?;
        let mut pages = vec![];
        for page in record.history.wanted(0) {
            let bytes = self.pages.get(&page.path).ok_or_else(|| format!("{path} names {:?}, which is not durable", page.path))?;
            pages.push(Contents::read(bytes)?);
        }
        record.fill(pages);
        // Not each of them: it costs as much as the coordinators' own writing.
        if record.version % REWRITTEN == 0 && record.head() != *bytes {
            return Err(format!("{path} changes when it is read and written"));
        }
        let run = record.name().clone();
        if let Some(before) = self.records.get(&run) {
            // The name was free again: the write changes nothing, and its author must tell nobody of it.
            if record.version < before.version && record.epoch < before.epoch {
                return Ok(());
            }
            // So is that of a removal, once all is deleted; what is written there is of the removed run.
            if before.state == RunState::Removed && record.version == before.version && record.epoch < before.epoch {
                return Ok(());
            }
            if record.version != before.version + 1 {
                return Err(format!("{path} comes after version {}", before.version));
            }
            if record.epoch < before.epoch {
                return Err(format!("{path}: epoch {} writes after epoch {}", record.epoch, before.epoch));
            }
            let mut used = record.jobs.values().flat_map(|job| &job.past).map(|past| past.generation);
            if before.state == RunState::Removed && used.any(|generation| generation < before.next_generation) {
                return Err(format!("{path}: the removed run is back"));
            }
            if record.next_generation < before.next_generation {
                return Err(format!("{path}: generations go back to {}", record.next_generation));
            }
            // Whoever leads later does not read what a removed run left.
            let named = seal.and_then(|seal| seal.before);
            if named != self.sealed.get(&run).copied() && (named.is_some() || before.state != RunState::Removed) {
                return Err(format!("{path} does not name the version before it"));
            }
        }
        self.sealed.insert(run.clone(), Digest::of(whole_bytes));
        if record.state == RunState::Removed {
            self.published.retain(|(of, _), _| *of != run);
            self.removed.insert(run.clone(), Remains::of(&record));
        } else {
            self.goes_forward(&record)?;
        }
        self.uses_generations_once(&record)?;
        blames_nobody_wrongly(&record)?;
        self.places(now, &record)?;
        let shown = Shown { bytes: document::public(&record), waits: waits(&record) };
        self.shown.entry(run.clone()).or_default().push(shown);
        self.records.insert(run, record);
        Ok(())
    }

    /// An object of a run is gone.
    pub fn deleted(&self, path: &str) -> Result<(), String> {
        let run = path.strip_prefix("runs/").and_then(|rest| rest.split('/').next()).and_then(|run| RunName::new(run).ok());
        if run.as_ref().and_then(|run| self.removed.get(run)).is_some_and(|removed| removed.holds(path)) {
            return Ok(());
        }
        let Some(record) = run.and_then(|run| self.records.get(&run)).filter(|_| !path.contains("/state/")) else { return Ok(()) };
        let claims = Claims::of(record);
        let checkpoints = record.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c)));
        let given_up = record.rewinds.iter().flat_map(|(stage, all)| all.iter().flat_map(|r| &r.abandoned).map(move |c| (stage, c)));
        let retired = || checkpoints.chain(given_up).filter(|(_, c)| c.retired).flat_map(|(stage, c)| record.parts(stage, c));
        match claims.leaves(path) || (!claims.names(path) && retired().any(|part| part == path)) {
            true => Ok(()),
            false => {
                Err(format!("{path} is deleted, which version {} of {} names, or an attempt may still name", record.version, record.name()))
            }
        }
    }

    /// What is in the store in the end.
    pub fn leaves_nothing<'a>(&self, mut paths: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let claims: Vec<Claims> = self.records.values().map(Claims::of).collect();
        // Pages stay until the run is removed, like logs.
        let of_jobs = |path: &&str| (path.contains("/jobs/") || path.contains("/checkpoints/")) && !path.contains("/history/");
        let removed = |path: &str| self.removed.values().any(|removed| removed.holds(path));
        let kept = |path: &&str| removed(path) || claims.iter().any(|claims| claims.names(path) || claims.leaves(path));
        match paths.find(|path| of_jobs(path) && !kept(path)) {
            None => Ok(()),
            Some(path) => Err(format!("{path} is named by no record, and nobody will delete it")),
        }
    }

    fn goes_forward(&mut self, record: &RunRecord) -> Result<(), String> {
        for (stage, checkpoints) in &record.checkpoints {
            if !checkpoints.windows(2).all(|w| w[0].step < w[1].step) {
                return Err(format!("checkpoints of {stage} are not in order: {checkpoints:?}"));
            }
            let known = self.published.entry((record.name().clone(), stage.clone())).or_default();
            let rewinds = record.rewinds.get(stage).map_or(&[][..], Vec::as_slice);
            let newest = record.published_steps(stage);
            let returned = rewinds.get(known.1..).ok_or_else(|| format!("a return of {stage} was forgotten"))?;
            let floor = returned.iter().map(|r| r.to).min().unwrap_or(known.0).min(known.0);
            if newest < floor {
                return Err(format!("{stage} went back from step {} to {newest}", known.0));
            }
            *known = (newest, rewinds.len());
        }
        Ok(())
    }

    fn uses_generations_once(&self, record: &RunRecord) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (key, job) in &record.jobs {
            let all = job.past.iter().map(|p| p.generation).chain(job.status.attempt().map(|a| a.generation));
            for generation in all {
                if !seen.insert(generation) || generation >= record.next_generation {
                    return Err(format!("generation {generation} of {key} was used before"));
                }
            }
        }
        Ok(())
    }

    /// Notes attempts that are new or given up, and who was in touch when that was decided.
    fn places(&mut self, now: Duration, record: &RunRecord) -> Result<(), String> {
        for (key, job) in &record.jobs {
            let id = record.id(key);
            let JobState::Active { attempt } = &job.status else {
                if job.status.attempt().is_none() && self.newest.get(&id).is_some_and(|newest| newest.given_up.is_none()) {
                    let in_touch = self.in_touch(now, record.epoch);
                    self.newest.entry(id).and_modify(|newest| newest.given_up = Some(in_touch));
                }
                continue;
            };
            if self.places.contains_key(&(id.clone(), attempt.generation)) {
                continue;
            }
            self.may_take_work(&id, &attempt.places)?;
            let quota = record.spec.queue.team.as_ref().and_then(|team| self.quotas.get(team)).copied();
            let mut in_touch: BTreeSet<Life> = self.in_touch(now, record.epoch);
            if let Some(earlier) = self.newest.get(&id) {
                in_touch.retain(|life| earlier.given_up.as_ref().is_none_or(|then| then.contains(life)));
                // Whoever was out of touch then may still hold an order of before, until it is heard of.
                in_touch.retain(|life| earlier.in_touch.contains(life) || self.was_heard_since(earlier.at, life));
            }
            let earlier = self.alive.iter().filter(|(p, _)| p.id == id && p.generation < attempt.generation);
            if let Some((process, life)) = earlier.into_iter().find(|(_, life)| in_touch.contains(life)) {
                return Err(format!(
                    "{id} is placed as generation {}, but rank {} of generation {} runs on {}, which is in touch",
                    attempt.generation, process.rank, process.generation, life.0
                ));
            }
            self.newest.insert(id.clone(), Placed { generation: attempt.generation, at: now, in_touch, given_up: None });
            self.places.insert((id, attempt.generation), Placement { places: attempt.places.clone(), quota });
        }
        Ok(())
    }

    fn may_take_work(&self, id: &JobId, places: &[Place]) -> Result<(), String> {
        if let Some(place) = places.iter().find(|place| self.drained.contains(&place.worker)) {
            return Err(format!("{id} is placed on {}, which is drained", place.worker));
        }
        Ok(())
    }

    /// Counts what really runs: of a turn's records, the one that places may be durable before the one that releases.
    fn is_within_quota(&self, process: &ProcessId) -> Result<(), String> {
        let team = |id: &JobId| self.records.get(&id.run).and_then(|record| record.spec.queue.team.as_ref());
        let under = |id: &JobId, generation| self.places.get(&(id.clone(), generation)).and_then(|placement| placement.quota);
        let Some((team_of_it, quota)) = team(&process.id).and_then(|team| self.quotas.get_key_value(team)) else { return Ok(()) };
        if under(&process.id, process.generation) != Some(*quota) {
            return Ok(()); // placed before it was set
        }
        let held = self.alive.keys().filter(|p| team(&p.id) == Some(team_of_it) && self.is_current(&p.id, p.generation)).count();
        if held > quota.slots as usize {
            return Err(format!("{} starts: team {team_of_it} then holds {held} of {} slots", process.id, quota.slots));
        }
        Ok(())
    }

    fn was_heard_since(&self, then: Duration, life: &Life) -> bool {
        self.leaderships.values().any(|leadership| leadership.heard.get(life).is_some_and(|heard| *heard > then))
    }

    fn in_touch(&self, now: Duration, epoch: Epoch) -> BTreeSet<Life> {
        let Some(leadership) = self.leaderships.get(&epoch) else { return BTreeSet::new() };
        let silence = |life: &Life| now - leadership.heard.get(life).copied().unwrap_or(leadership.since).max(leadership.since);
        self.lives.iter().filter(|life| silence(life) < LOST).cloned().collect()
    }

    /// A coordinator has answered a call that arrived then.
    pub fn answered(&mut self, epoch: Epoch, life: &Life, arrived: Duration, desired: &Desired, sent: &[Sent]) -> Result<(), String> {
        if let Some(leadership) = self.leaderships.get_mut(&epoch) {
            let heard = leadership.heard.entry(life.clone()).or_default();
            *heard = arrived.max(*heard);
        }
        for wanted in &desired.wanted {
            let ProcessId { id, generation, rank } = &wanted.process;
            let place = self.places.get(&(id.clone(), *generation)).and_then(|placement| placement.places.get(*rank as usize));
            if place.is_none_or(|p| (&p.worker, &p.incarnation) != (&life.0, &life.1)) {
                return Err(format!("{} was told to run {id} generation {generation} rank {rank}, which no record places there", life.0));
            }
        }
        for sent in sent.iter().filter(|sent| sent.seq <= desired.acknowledged) {
            self.is_durable(sent)?;
        }
        Ok(())
    }

    /// Whether a part is in the newest record, or its attempt is over.
    fn is_durable(&self, Sent { process, part, seq }: &Sent) -> Result<(), String> {
        let lost = || Err(format!("report {seq}, a part of step {} of {}, is acknowledged and in no record", part.step, process.id));
        let Some(record) = self.records.get(&process.id.run) else { return lost() };
        let Some(job) = record.jobs.get(&process.id.job) else { return lost() };
        match &job.status {
            JobState::Active { attempt } if attempt.generation == process.generation => {
                let held = attempt.parts.get(&part.step).is_some_and(|parts| parts.iter().any(|p| p.rank == process.rank));
                if held || attempt.published >= part.step { Ok(()) } else { lost() }
            }
            _ => Ok(()),
        }
    }

    /// A watcher is shown a run.
    pub fn seen(&self, run: &RunName, view: &GetRunReply) -> Result<(), String> {
        let durable = self.shown.get(run).into_iter().flatten().rev().find(|shown| shown.bytes == view.record_json);
        let durable = durable.ok_or_else(|| format!("a watcher is shown {}, which is no version in the store", shown_as(run, view)))?;
        for (key, state) in &durable.waits {
            if !view.waiting.iter().any(|told| told.job == key.as_str() && !told.reason.is_empty()) {
                return Err(format!("{run}/{key} is {state} and nobody says why"));
            }
        }
        Ok(())
    }

    pub fn born(&mut self, life: Life) {
        self.lives.insert(life);
    }

    /// An agent dies, and all that it ran with it.
    pub fn died(&mut self, life: &Life) {
        self.lives.remove(life);
        self.alive.retain(|_, on| on != life);
    }

    pub fn starts(&mut self, process: &ProcessId, life: &Life) -> Result<(), String> {
        let ProcessId { id, generation, rank } = process;
        let newest = self.newest.get(id).filter(|newest| newest.generation > *generation && newest.in_touch.contains(life));
        self.alive.insert(process.clone(), life.clone());
        if !self.started.insert(process.clone()) {
            return Err(format!("{id} generation {generation} rank {rank} is started a second time, on {}", life.0));
        }
        match newest {
            Some(newest) => Err(format!(
                "{id} generation {generation} starts on {}, which was in touch when generation {} was placed",
                life.0, newest.generation
            )),
            None => self.is_within_quota(process),
        }
    }

    pub fn ends(&mut self, process: &ProcessId) {
        self.alive.remove(process);
    }
}

fn waits(record: &RunRecord) -> Vec<(JobKey, &'static str)> {
    let waits = |job: &JobState| matches!(job, JobState::Blocked | JobState::Pending { .. } | JobState::Ending { .. });
    record.jobs.iter().filter(|(_, job)| waits(&job.status)).map(|(key, job)| (key.clone(), job.status.as_str())).collect()
}

fn shown_as(run: &RunName, view: &GetRunReply) -> String {
    match document::read(&view.record_json) {
        Ok(record) => format!("version {} of {run}", record.version),
        Err(error) => format!("bytes for {run} that cannot be read: {error}"),
    }
}

/// Agents here never lose sight of a process.
fn blames_nobody_wrongly(record: &RunRecord) -> Result<(), String> {
    for (key, job) in &record.jobs {
        let ending = match &job.status {
            JobState::Ending { next: Then::Retry { fault, .. } | Then::Fail { fault }, .. } => Some(fault),
            _ => None,
        };
        let faults = job.past.last().and_then(|past| past.fault.as_ref()).into_iter().chain(ending);
        if let Some(fault) = faults.into_iter().find(|fault| fault.message.contains("does not know this process any more")) {
            return Err(format!("{key}: {fault}, although agents list what they run"));
        }
    }
    Ok(())
}

/// A report that must not be lost.
#[derive(Debug, Clone)]
pub struct Sent {
    pub seq: u64,
    pub process: ProcessId,
    pub part: Part,
}

impl Sent {
    pub fn all(reports: &[osler_core::sync::NumberedReport]) -> Vec<Self> {
        let part = |r: &osler_core::sync::NumberedReport| match &r.report {
            Report::Part(part) => Some(Self { seq: r.seq, process: r.process.clone(), part: part.clone() }),
            _ => None,
        };
        reports.iter().filter_map(part).collect()
    }
}
