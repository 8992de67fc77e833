//! What a cluster looks like to Prometheus: its text format, version 0.0.4, made anew for every scrape.
//!
//! Almost all of it is computed from the runs' records, so a series goes on where it was when another coordinator answers. Only what ranks
//! said last (loss, speed, own work) and the fenced reports belong to this one.

use crate::cluster::{Cluster, Run};
use osler_core::ids::RunName;
use osler_core::job::{FaultClass, JobKey};
use osler_core::plan::train_key;
use osler_core::process::Progress;
use osler_core::record::RunState;
use osler_core::spec::StageSpec;
use osler_core::time::Now;
use osler_runtime::store::Waited;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known without the cluster's owner, who may be waiting for the store.
pub fn of_store(waits: Option<&Waited>) -> String {
    let mut page = Page::default();
    let seconds = waits.map_or(0.0, |waits| waits.time.as_secs_f64());
    page.gauge("osler_store_waiting_seconds", "Seconds for which the store has been full or unavailable; 0 when it works.", seconds);
    page.0
}

pub fn text(cluster: &Cluster, now: Now) -> String {
    let mut page = Page::default();
    of_cluster(&mut page, cluster, now);
    let runs: Vec<&Run> = cluster.runs().collect();
    of_runs(&mut page, &runs, cluster.at_rest().map(|(run, _)| run));
    of_stages(&mut page, &runs);
    of_attempts(&mut page, &runs);
    page.0
}

#[derive(Default)]
struct Page(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn family(&mut self, kind: &str, name: &str, help: &str) {
        let _strings_take_all = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let pairs: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _strings_take_all = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family("gauge", name, help);
        self.sample(name, &[], value);
    }
}

fn of_cluster(page: &mut Page, cluster: &Cluster, now: Now) {
    page.gauge(
        "osler_coordinator_epoch",
        "Epoch of the coordinator that answers; grows with each change of leadership.",
        cluster.epoch().0 as f64,
    );
    let lines = cluster.worker_lines(now);
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    lines.iter().for_each(|line| *states.entry(line.state.to_string()).or_default() += 1);
    page.family("gauge", "osler_workers", "Number of workers by state.");
    states.iter().for_each(|(state, n)| page.sample("osler_workers", &[("state", state)], f64::from(*n)));
    page.gauge(
        "osler_slots",
        "Slots of all known workers: processes that can run at once.",
        lines.iter().map(|line| f64::from(line.slots)).sum(),
    );
    page.gauge("osler_slots_used", "Slots in use.", lines.iter().map(|line| f64::from(line.used)).sum());
    page.family(
        "counter",
        "osler_reports_fenced_total",
        "Reports of attempts that had ended already, since this coordinator started to lead.",
    );
    page.sample("osler_reports_fenced_total", &[], cluster.fenced() as f64);
}

/// Of runs at rest there is the state alone: what was counted of them is in their reports.
fn of_runs<'a>(page: &mut Page, runs: &[&Run], at_rest: impl Iterator<Item = &'a RunName>) {
    page.family("gauge", "osler_run_state", "1 for the state that the run is in.");
    for run in runs {
        page.sample("osler_run_state", &[("run", run.record.name().as_str()), ("state", run.record.state.as_str())], 1.0);
    }
    for run in at_rest {
        page.sample("osler_run_state", &[("run", run.as_str()), ("state", RunState::Finished.as_str())], 1.0);
    }
    page.family("gauge", "osler_jobs", "Number of jobs of a run by state.");
    for run in runs {
        let mut states: BTreeMap<&str, u32> = BTreeMap::new();
        run.record.jobs.values().for_each(|job| *states.entry(job.status.as_str()).or_default() += 1);
        let name = run.record.name().as_str();
        states.iter().for_each(|(state, n)| page.sample("osler_jobs", &[("run", name), ("state", state)], f64::from(*n)));
    }
}

/// What one number of a stage is, or none.
type Reading = fn(&Run, &StageSpec) -> Option<f64>;

fn of_stages(page: &mut Page, runs: &[&Run]) {
    let readings: [(&str, &str, Reading); 10] = [
        ("osler_stage_steps", "Steps trained so far, published or not.", |run, stage| {
            let said = word(run, stage, 0).map_or(0, |word| word.done);
            Some(said.max(run.record.published_steps(&stage.name)).min(stage.steps()) as f64)
        }),
        ("osler_stage_steps_published", "Steps covered by published checkpoints.", |run, stage| {
            Some(run.record.published_steps(&stage.name) as f64)
        }),
        ("osler_stage_steps_planned", "Steps planned in the run file.", |_, stage| Some(stage.steps() as f64)),
        ("osler_stage_tokens_published", "Tokens trained in the published steps.", |run, stage| {
            Some((run.record.published_steps(&stage.name) * stage.tokens_per_step()) as f64)
        }),
        ("osler_stage_steps_skipped", "Published steps whose updates the spike guard skipped.", |run, stage| {
            Some(run.record.skipped_steps(&stage.name) as f64)
        }),
        ("osler_stage_rewinds", "Rollbacks of the stage to an earlier step.", |run, stage| {
            Some(run.record.rewinds.get(&stage.name).map_or(0.0, |all| all.len() as f64))
        }),
        ("osler_stage_checkpoints", "Checkpoints published, including retired ones.", |run, stage| {
            Some(run.record.checkpoints.get(&stage.name).map_or(0.0, |all| all.len() as f64))
        }),
        ("osler_stage_ranks", "Ranks that the stage trains on.", |run, stage| {
            run.job(&train_key(&stage.name)).map(|job| f64::from(job.planned.ranks))
        }),
        ("osler_stage_loss", "Latest training loss reported by rank 0.", |run, stage| word(run, stage, 0)?.loss),
        ("osler_stage_tokens_per_second", "Latest throughput reported by rank 0, in tokens per second.", |run, stage| {
            word(run, stage, 0)?.tokens_per_second
        }),
    ];
    for (name, help, reading) in readings {
        page.family("gauge", name, help);
        for (run, stage) in runs.iter().flat_map(|run| run.record.spec.stages.iter().map(move |stage| (run, stage))) {
            if let Some(value) = reading(run, stage) {
                page.sample(name, &[("run", run.record.name().as_str()), ("stage", stage.name.as_str())], value);
            }
        }
    }
    page.family("gauge", "osler_rank_busy_seconds", "Seconds per step that a rank spends on its own work, without waits for other ranks.");
    for (run, stage) in runs.iter().flat_map(|run| run.record.spec.stages.iter().map(move |stage| (run, stage))) {
        let ranks = run.job(&train_key(&stage.name)).map_or(0, |job| job.planned.ranks);
        for (rank, ms) in (0..ranks).filter_map(|rank| Some((rank.to_string(), word(run, stage, rank)?.busy_ms?))) {
            let labels = [("run", run.record.name().as_str()), ("stage", stage.name.as_str()), ("rank", rank.as_str())];
            page.sample("osler_rank_busy_seconds", &labels, ms / 1e3);
        }
    }
}

fn word<'a>(run: &'a Run, stage: &StageSpec, rank: u32) -> Option<&'a Progress> {
    run.progress.get(&(train_key(&stage.name), rank)).map(|(word, _)| word).filter(|word| word.unit == "steps")
}

fn of_attempts(page: &mut Page, runs: &[&Run]) {
    page.family("counter", "osler_attempts_total", "Attempts that have ended, by kind of job and outcome.");
    for run in runs {
        let mut ended: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (key, job) in &run.record.jobs {
            for past in &job.past {
                let outcome = past.fault.as_ref().map_or("ok", |fault| class(fault.class));
                *ended.entry((kind(key), outcome)).or_default() += 1;
            }
        }
        for ((kind, outcome), n) in ended {
            page.sample("osler_attempts_total", &[("run", run.record.name().as_str()), ("kind", kind), ("outcome", outcome)], n as f64);
        }
    }
}

/// A key begins with its kind; the tokenizer's is the kind.
fn kind(key: &JobKey) -> &str {
    key.as_str().split('/').next().unwrap_or_default()
}

fn class(class: FaultClass) -> &'static str {
    match class {
        FaultClass::User => "user",
        FaultClass::Divergence => "divergence",
        FaultClass::OutOfMemory => "out-of-memory",
        FaultClass::Infrastructure => "infrastructure",
        FaultClass::NoRoom => "no-room",
        FaultClass::Internal => "internal",
        FaultClass::NoProgress => "no-progress",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out_of_their_quotes() {
        let mut page = Page::default();
        page.sample("x", &[("a", "b\"c\\d\ne")], 1.5);
        assert_eq!(page.0, "x{a=\"b\\\"c\\\\d\\ne\"} 1.5\n");
    }
}
