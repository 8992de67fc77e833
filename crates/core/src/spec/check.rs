//! The rules of a run file: bounds of every number, references, and what must hold between fields. Each is written once, here.
//!
//! `parse` applies them with line numbers; [`check`] applies them to a spec that came another way, such as over the wire.

mod after;
mod corpus;
mod model;
mod stage;

pub use model::check_shape;

use super::RunSpec;
use super::reader::{Problems, Report, join, suggest};
use std::collections::BTreeSet;
use std::fmt::Display;

pub(super) const MAX_CORPORA: usize = 256;
pub(super) const MAX_STAGES: usize = 64;
pub(super) const MAX_EXAMS: usize = 256;
pub(super) const MAX_QUANTIZE: usize = 64;
pub(super) const MAX_GATES: usize = 1024;
const MAX_PINNED: usize = 1000;
const MAX_FILES: usize = 10_000;
const MAX_PATH: usize = 4096;
const MAX_STEPS: u64 = 1_000_000_000;
const MAX_RANKS: u32 = 4096;
const MAX_PRIORITY: i32 = 100;
const MAX_REQUIRED: usize = 64;
const MAX_THREADS: u32 = 1024;

/// Checks a spec that was not read from a file. `place` of each problem is `run`.
pub fn check(spec: &RunSpec) -> Result<(), Problems> {
    let report = Report::new("run");
    rules(spec, &Labels::of(spec), &report);
    report.finish(Some(()))
}

/// How problems name the elements of lists: `stage.general` while names are unique, `stage.1` otherwise. In the spec's order.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub stages: Vec<String>,
    pub exams: Vec<String>,
}

impl Labels {
    fn of(spec: &RunSpec) -> Self {
        fn label<'a>(list: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
            let mut used = BTreeSet::new();
            let label = |(i, name): (usize, &'a str)| if used.insert(name) { join(list, name) } else { join(list, &i.to_string()) };
            names.enumerate().map(label).collect()
        }
        Self {
            stages: label("stage", spec.stages.iter().map(|stage| stage.name.as_str())),
            exams: label("after_stage.exam", spec.exams.iter().map(|exam| exam.name.as_str())),
        }
    }
}

/// Applies every rule. A rule over several fields is silent while one of them has a problem of its own.
pub(super) fn rules(spec: &RunSpec, labels: &Labels, report: &Report) {
    let counts = [
        ("corpus", spec.corpora.len(), MAX_CORPORA),
        ("stage", spec.stages.len(), MAX_STAGES),
        ("after_stage.exam", spec.exams.len(), MAX_EXAMS),
        ("after_stage.quantize", spec.quantize.len(), MAX_QUANTIZE),
        ("after_stage.gate", spec.gates.len(), MAX_GATES),
    ];
    for (list, count, most) in counts {
        if count > most {
            // The other rules compare elements with each other; they are for specs of a sane size.
            report.problem(list, format!("found {count} of them, at most {most} are possible"));
            return;
        }
    }
    let rules = Rules { spec, labels, report };
    rules.run();
    corpus::check_corpora(&rules);
    corpus::check_tokenizer(&rules);
    model::check_model(&rules);
    stage::check_stages(&rules);
    after::check_exams(&rules);
    after::check_quantize(&rules);
    after::check_gates(&rules);
}

struct Rules<'a> {
    spec: &'a RunSpec,
    labels: &'a Labels,
    report: &'a Report,
}

impl Rules<'_> {
    fn run(&self) {
        const MAX_DESCRIPTION: usize = 10_000;
        if self.spec.description.len() > MAX_DESCRIPTION {
            self.report.problem("description", format!("longer than {MAX_DESCRIPTION} bytes: shorten it"));
        }
        for (list, count) in [("corpus", self.spec.corpora.len()), ("stage", self.spec.stages.len())] {
            if count == 0 && self.report.sound(&join(list, "*")) {
                self.report.problem(list, "empty: a run needs at least one");
            }
        }
        let resources = &self.spec.resources;
        self.between("resources.ranks", resources.ranks, 1, MAX_RANKS);
        if let Some(least) = resources.min_ranks {
            self.between("resources.min_ranks", least, 1, resources.ranks.max(1));
        }
        self.between("resources.threads_per_rank", resources.threads_per_rank, 1, MAX_THREADS);
        self.retry();
        self.limits();
        self.between("queue.priority", self.spec.queue.priority, -MAX_PRIORITY, MAX_PRIORITY);
        if resources.require.len() > MAX_REQUIRED {
            let found = resources.require.len();
            self.report.problem("resources.require", format!("found {found} labels, at most {MAX_REQUIRED} are possible"));
        }
        let policy = &self.spec.checkpoint;
        self.between("checkpoint.every_steps", policy.every_steps, 1, MAX_STEPS);
        self.between("checkpoint.keep_last", policy.keep_last, 1, 10_000);
        self.between("checkpoint.keep_best", policy.keep_best, 0, 10_000);
        self.between("after_stage.export.shard_bytes", self.spec.export.shard_bytes, 1 << 10, 1 << 50);
        self.pinned();
        if let Some(keep_every) = policy.keep_every {
            self.between("checkpoint.keep_every", keep_every, 1, MAX_STEPS);
            let every = policy.every_steps;
            if self.report.all_sound(&["checkpoint.keep_every", "checkpoint.every_steps"]) && keep_every % every != 0 {
                let near = nearest_multiples(keep_every, every, MAX_STEPS);
                let message = format!("{keep_every} is not a multiple of every_steps = {every}, so no checkpoint falls on it: use {near}");
                self.report.problem("checkpoint.keep_every", message);
            }
        }
    }

    fn limits(&self) {
        const MONTH: u64 = 30 * 86_400;
        let limits = &self.spec.limits;
        self.between("limits.still_seconds", limits.still_seconds, 30, MONTH);
        self.between("limits.first_step_seconds", limits.first_step_seconds, 30, MONTH);
        for (key, seconds) in limits.seconds.given() {
            self.between(&join("limits.seconds", key), seconds, 1, MONTH);
        }
        for (key, mib) in limits.memory_mib.given() {
            self.between(&join("limits.memory_mib", key), mib, 64, 1 << 30);
        }
    }

    fn retry(&self) {
        const MOST: u32 = 1_000_000;
        let retry = &self.spec.retry;
        let counts = [("user", retry.user), ("internal", retry.internal), ("out_of_memory", retry.out_of_memory)];
        for (key, count) in counts.into_iter().chain([("infrastructure", retry.infrastructure), ("total", retry.total)]) {
            self.between(&join("retry", key), count, 0, MOST);
        }
        self.between("retry.no_progress", retry.no_progress, 1, MOST);
        self.between("retry.healthy_seconds", retry.healthy_seconds, 1, 30 * 86_400);
        for (at, rule) in retry.rules.iter().enumerate() {
            if let Some(code) = rule.exit_code {
                self.between(&format!("retry.rule.{at}.exit_code"), code, 0, 255);
            }
            if let Some(Err(why)) = rule.log.as_deref().map(super::retry::pattern) {
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.report.problem(&format!("retry.rule.{at}.log"), format!("not a usable regular expression: {why}"));
            }
        }
    }

    /// A pinned step must be one at which some stage saves: at a multiple of `every_steps`, or at its end.
    fn pinned(&self) {
        let policy = &self.spec.checkpoint;
        if !self.report.all_sound(&["checkpoint.pinned", "checkpoint.every_steps"]) {
            return;
        }
        if policy.pinned.len() > MAX_PINNED {
            self.report.problem("checkpoint.pinned", format!("found {} steps, at most {MAX_PINNED} are possible", policy.pinned.len()));
            return;
        }
        let saved = |step: u64| step.is_multiple_of(policy.every_steps.max(1)) || self.spec.stages.iter().any(|s| s.steps() == step);
        for (i, step) in policy.pinned.iter().enumerate() {
            let place = join("checkpoint.pinned", &i.to_string());
            if !self.between(&place, *step, 1, MAX_STEPS) {
                continue;
            }
            if i > 0 && policy.pinned.get(i - 1).is_some_and(|before| before >= step) {
                self.report
                    .problem(&place, format!("{step} does not come after the one before: list the steps in ascending order, each once"));
            } else if !saved(*step) {
                let near = nearest_multiples(*step, policy.every_steps, MAX_STEPS);
                let message =
                    format!("no stage saves at step {step} (every_steps = {}): use {near}, or a stage's last step", policy.every_steps);
                self.report.problem(&place, message);
            }
        }
    }

    /// Whether the value lies between two bounds, both included; a problem if not.
    fn between<T: PartialOrd + Display>(&self, field: &str, value: T, low: T, high: T) -> bool {
        between(self.report, field, value, low, high)
    }

    /// As `between` for numbers that may not be whole; not a number is outside, and `low` is excluded if `above`.
    fn number(&self, field: &str, value: f64, low: f64, above: bool, high: f64) {
        number(self.report, field, value, low, above, high);
    }

    /// A list of paths or globs: not empty, none of them empty, none twice.
    fn files(&self, field: &str, files: &[String]) {
        if !self.report.sound(field) {
            return;
        }
        if files.is_empty() || files.len() > MAX_FILES {
            self.report
                .problem(field, format!("found {} paths, expected 1 to {MAX_FILES}; a glob such as \"*.xml.gz\" is one", files.len()));
            return;
        }
        let mut seen = BTreeSet::new();
        for (i, file) in files.iter().enumerate() {
            let place = join(field, &i.to_string());
            self.path(&place, file);
            if !seen.insert(file) {
                self.report.problem(&place, format!("{file:?} is listed twice: remove one"));
            }
        }
    }

    fn path(&self, field: &str, path: &str) {
        let problem = match path {
            _ if !self.report.sound(field) => return,
            "" => "empty: write a path",
            _ if path.len() > MAX_PATH => "longer than any path",
            _ if path.chars().any(char::is_control) => "a control character in a path: write it without",
            _ => return,
        };
        self.report.problem(field, problem);
    }

    /// A reference by name. Silent if the list referred to could not be read in full.
    fn reference<'n>(&self, field: &str, what: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> bool {
        let found = known.clone().any(|n| n == name);
        if !found && self.report.all_sound(&[field, &join(what, "*")]) {
            let kind = what.rsplit('.').next().unwrap_or(what);
            self.report.problem(field, format!("no {kind} is named {name:?}; {}", suggest(name, known)));
        }
        found
    }

    /// A list of stages: each exists, none twice. Empty means all and is fine.
    fn stage_list(&self, field: &str, stages: &[crate::ids::StageName]) {
        let mut seen = BTreeSet::new();
        for (i, stage) in stages.iter().enumerate() {
            let place = join(field, &i.to_string());
            self.reference(&place, "stage", stage.as_str(), self.spec.stages.iter().map(|s| s.name.as_str()));
            if !seen.insert(stage) && self.report.sound(&place) {
                self.report.problem(&place, format!("{:?} is listed twice: remove one", stage.as_str()));
            }
        }
    }

    /// Two elements of a list with one name: results could not be told apart.
    fn unique<'n>(&self, labels: &[String], names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (label, name) in labels.iter().zip(names) {
            let field = join(label, "name");
            if !seen.insert(name) && self.report.sound(&field) {
                self.report.problem(&field, format!("{name:?} is the name of an earlier one too: choose another"));
            }
        }
    }
}

fn between<T: PartialOrd + Display>(report: &Report, field: &str, value: T, low: T, high: T) -> bool {
    let inside = value >= low && value <= high;
    if !inside && report.sound(field) {
        report.problem(field, format!("found {value}, expected {low} to {high}"));
    }
    inside
}

fn number(report: &Report, field: &str, value: f64, low: f64, above: bool, high: f64) {
    let inside = value.is_finite() && value >= low && value <= high && !(above && value == low);
    if !inside && report.sound(field) {
        let from = if above { format!("more than {low:?} and") } else { format!("at least {low:?} and") };
        report.problem(field, format!("found {value:?}, expected {from} at most {high:?}"));
    }
}

/// "96 or 128": the multiples of `of` around `value`, from `of` to `most`.
fn nearest_multiples(value: u64, of: u64, most: u64) -> String {
    let of = of.max(1);
    let below = value / of * of;
    let above = below.saturating_add(of);
    match (below >= of, above <= most) {
        (true, true) => format!("{below} or {above}"),
        (true, false) => below.to_string(),
        _ => above.to_string(),
    }
}

/// "4 or 8": the divisors of `of` around `value`.
pub(super) fn nearest_divisors(value: u32, of: u32) -> String {
    let divides = |d: &u32| of.is_multiple_of(*d);
    let below = (1..value.min(of)).rev().find(divides);
    let above = (value.saturating_add(1)..=of).find(divides);
    match (below, above) {
        (Some(below), Some(above)) => format!("{below} or {above}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => of.to_string(),
    }
}

#[cfg(test)]
mod tests;
