//! Rules of `[[stage]]`.

use super::{MAX_STEPS, Rules, model::MAX_POSITIONS, nearest_multiples};
use crate::guard::{MAX_WINDOW, MIN_SAMPLES};
use crate::ids::StageName;
use crate::spec::reader::{join, suggest};
use crate::spec::{Determinism, Init, Length, Precision, Recompute, ScheduleSpec, StageSpec};

/// A beginning, an end, and something to guess from.
const MIN_MASKED: u32 = 8;
const MAX_TOKENS: u64 = 1_000_000_000_000_000;
const MAX_BATCH: u32 = 1 << 20;
/// The order of samples works with whole parts of a cycle this long at most.
const MAX_PARTS: u64 = 10_000;

pub(super) fn check_stages(rules: &Rules<'_>) {
    rules.unique(&rules.labels.stages, rules.spec.stages.iter().map(|stage| stage.name.as_str()));
    for (i, (label, stage)) in rules.labels.stages.iter().zip(&rules.spec.stages).enumerate() {
        let check = Stage { rules, label, stage };
        check.from(i);
        check.mixture();
        check.batches();
        check.length();
        check.optimizer();
        check.schedule();
        check.mlm();
        check.guard();
        check.compute();
    }
}

struct Stage<'a> {
    rules: &'a Rules<'a>,
    label: &'a str,
    stage: &'a StageSpec,
}

impl Stage<'_> {
    fn field(&self, key: &str) -> String {
        join(self.label, key)
    }

    fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.rules.report.sound(&format!("{}.{key}", self.label)))
    }

    fn problem(&self, key: &str, message: String) {
        self.rules.report.problem(&format!("{}.{key}", self.label), message);
    }

    fn from(&self, index: usize) {
        match &self.stage.from {
            Init::Scratch => {}
            Init::HuggingFace(path) => self.rules.path(&self.field("from"), path),
            Init::Stage(name) => drop(self.earlier(index, name)),
            Init::Fork { stage, step } => {
                if let (Some(earlier), Some(step)) = (self.earlier(index, stage), *step) {
                    self.fork_point(earlier, step);
                }
            }
        }
    }

    /// The stage before this one that `from` names.
    fn earlier(&self, index: usize, name: &StageName) -> Option<&StageSpec> {
        let stages = &self.rules.spec.stages;
        let earlier = stages.get(..index).unwrap_or_default();
        if let Some(found) = earlier.iter().find(|stage| stage.name == *name) {
            return Some(found);
        }
        if !self.rules.report.sound("stage.*") || !self.sound(&["from"]) {
            return None;
        }
        let name = name.as_str();
        let message = if stages.iter().any(|stage| stage.name.as_str() == name) {
            format!("stage {name:?} does not come before this one: a stage starts from an earlier stage")
        } else {
            format!("no stage is named {name:?}; {}", suggest(name, earlier.iter().map(|stage| stage.name.as_str())))
        };
        self.problem("from", message);
        None
    }

    /// Checkpoints are made at multiples of `checkpoint.every_steps` and at a stage's end.
    fn fork_point(&self, earlier: &StageSpec, step: u64) {
        let (every, steps) = (self.rules.spec.checkpoint.every_steps, earlier.steps());
        if !self.rules.report.sound("checkpoint.every_steps") || !self.sound(&["from"]) {
            return;
        }
        let name = &earlier.name;
        if step == 0 || step > steps {
            self.problem("from", format!("step {step} is none of stage {name}'s 1 to {steps}"));
        } else if step != steps && !step.is_multiple_of(every.max(1)) {
            let near = nearest_multiples(step, every.max(1), steps);
            self.problem("from", format!("stage {name} has no checkpoint at step {step}: use a multiple of checkpoint.every_steps = {every} ({near}) or its last step, {steps}"));
        }
    }

    fn mixture(&self) {
        let mixture = &self.stage.mixture;
        if !self.sound(&["mixture", "corpus"]) {
            return;
        }
        if mixture.is_empty() && self.sound(&["mixture.*"]) {
            self.problem("mixture", "empty: name at least one corpus, for example mixture = { general = 1, domain = 3 }".to_owned());
        }
        // `corpus = "x"` is read as a mixture; the problem belongs where the name was written.
        let shorthand = self.rules.report.seen(&self.field("corpus"));
        for (name, parts) in mixture {
            let place = if shorthand { self.field("corpus") } else { join(&self.field("mixture"), name.as_str()) };
            self.rules.reference(&place, "corpus", name.as_str(), self.rules.spec.corpora.keys().map(|known| known.as_str()));
            if *parts == 0 && self.rules.report.sound(&place) {
                self.rules.report.problem(&place, "found 0, expected a whole number of parts: remove a corpus that is not wanted");
            }
        }
        let sum: u64 = mixture.values().map(|parts| u64::from(*parts)).sum();
        if sum > MAX_PARTS {
            self.problem(
                "mixture",
                format!("the parts add up to {sum}, at most {MAX_PARTS} are possible: write 1 and 3 for 25 % and 75 %"),
            );
        }
    }

    fn batches(&self) {
        let StageSpec { sequence_length, global_batch, micro_batch, .. } = *self.stage;
        self.rules.between(&self.field("sequence_length"), sequence_length, 2, MAX_POSITIONS);
        self.rules.between(&self.field("global_batch"), global_batch, 1, MAX_BATCH);
        let positions = self.rules.spec.model.max_positions;
        if self.sound(&["sequence_length"]) && self.rules.report.sound("model.max_positions") && sequence_length > positions {
            self.problem(
                "sequence_length",
                format!("{sequence_length} is more than model.max_positions = {positions}: shorten it or raise that"),
            );
        }
        let ranks = self.rules.spec.resources.ranks;
        if !self.sound(&["global_batch"]) || !self.rules.report.sound("resources.ranks") {
            return;
        }
        if !global_batch.is_multiple_of(ranks) {
            let near = nearest_multiples(global_batch.into(), ranks.into(), MAX_BATCH.into());
            self.problem("global_batch", format!("{global_batch} sequences cannot be shared evenly by {ranks} ranks: use {near}"));
            return;
        }
        if let Some(Err(why)) =
            self.rules.spec.resources.min_ranks.map(|least| self.stage.shared_by(least, self.rules.spec.resources.determinism))
            && self.rules.report.sound("resources.min_ranks")
            && self.sound(&["micro_batch"])
        {
            self.rules.report.problem("resources.min_ranks", format!("stage {}: {why}", self.stage.name));
        }
        let share = global_batch / ranks;
        let inside = self.rules.between(&self.field("micro_batch"), micro_batch, 1, MAX_BATCH);
        if inside && self.sound(&["micro_batch"]) && micro_batch > share {
            self.problem("micro_batch", format!("{micro_batch} is more than a rank's share of {share} sequences a step: use at most that"));
        }
    }

    fn length(&self) {
        match self.stage.length {
            Length::Steps(steps) => drop(self.rules.between(&self.field("steps"), steps, 1, MAX_STEPS)),
            Length::Tokens(tokens) => {
                self.rules.between(&self.field("tokens"), tokens, 1, MAX_TOKENS);
                if !self.sound(&["tokens", "sequence_length", "global_batch"]) {
                    return;
                }
                let (steps, step) = (self.stage.steps(), self.stage.tokens_per_step());
                if tokens < step {
                    self.problem(
                        "tokens",
                        format!("{tokens} are fewer than one step's {step} (global_batch x sequence_length): use at least {step}"),
                    );
                } else if steps > MAX_STEPS {
                    self.problem(
                        "tokens",
                        format!("{tokens} tokens would take {steps} steps, at most {MAX_STEPS} are possible: enlarge global_batch"),
                    );
                }
            }
        }
    }

    fn optimizer(&self) {
        let optimizer = &self.stage.optimizer;
        let field = |key: &str| format!("{}.optimizer.{key}", self.label);
        self.rules.number(&field("lr"), optimizer.lr, 0.0, true, 100.0);
        let beta = |value: f64| value > 0.0 && value < 1.0;
        if !(beta(optimizer.beta1) && beta(optimizer.beta2)) && self.rules.report.sound(&field("betas")) {
            let message = format!("found {:?} and {:?}, expected both between 0 and 1, without the ends", optimizer.beta1, optimizer.beta2);
            self.problem("optimizer.betas", message);
        }
        self.rules.number(&field("eps"), optimizer.eps, 0.0, true, 0.1);
        self.rules.number(&field("weight_decay"), optimizer.weight_decay, 0.0, false, 100.0);
        self.rules.number(&field("clip"), optimizer.clip, 0.0, false, 1e6);
    }

    fn guard(&self) {
        let guard = &self.stage.guard;
        let field = |key: &str| format!("{}.guard.{key}", self.label);
        self.rules.number(&field("sigmas"), guard.sigmas, 0.0, false, 1000.0);
        self.rules.number(&field("least_rise"), guard.least_rise, 0.0, false, 100.0);
        self.rules.between(&field("window"), guard.window, MIN_SAMPLES as u32, MAX_WINDOW);
        if self.sound(&["guard.window", "guard.rewind_after"]) && guard.rewind_after > guard.window {
            let message =
                format!("{} skipped steps do not fit into window = {}: use at most that, or 0 for never", guard.rewind_after, guard.window);
            self.problem("guard.rewind_after", message);
        }
    }

    fn compute(&self) {
        let layers = self.rules.spec.model.layers;
        if let Recompute::First(n) = self.stage.compute.recompute
            && self.sound(&["recompute"])
            && self.rules.report.sound("model.layers")
            && n > layers
        {
            self.problem("recompute", format!("{n} layers are more than model.layers = {layers}: use at most that, or \"all\""));
        }
        if self.rules.spec.resources.determinism == Determinism::Elastic
            && self.stage.compute.reduce != Precision::Fp32
            && self.sound(&["reduce"])
        {
            self.problem("reduce", "resources.determinism = \"elastic\" sums gradients in fp32 only: remove this".to_owned());
        }
        let leaves = self.stage.global_batch / self.stage.micro_batch.max(1);
        let (resources, elastic) = (&self.rules.spec.resources, self.rules.spec.resources.determinism == Determinism::Elastic);
        if !elastic || !self.sound(&["global_batch", "micro_batch"]) || !self.rules.report.sound("resources.ranks") {
            return;
        }
        // The tree over the micro-batches is cut at ranks: both must be powers of two for every rank to own a whole branch.
        if !leaves.is_power_of_two() || !self.stage.global_batch.is_multiple_of(self.stage.micro_batch.max(1)) {
            let message = format!(
                "resources.determinism = \"elastic\" sums {leaves} micro-batches (global_batch / micro_batch) in a binary tree: make it a power of two"
            );
            self.problem("micro_batch", message);
        } else if !resources.ranks.is_power_of_two() {
            let message = format!("{} ranks cannot share a binary tree (determinism = \"elastic\"): use a power of two", resources.ranks);
            self.rules.report.problem("resources.ranks", message);
        }
    }

    fn mlm(&self) {
        let family = self.rules.spec.model.family;
        if !self.rules.report.sound("model.family") || !self.sound(&["mlm"]) {
            return;
        }
        match self.stage.mlm {
            Some(_) if family.causal() => {
                self.problem("mlm", format!("a {family} model predicts the next token and nothing is masked: remove it"));
            }
            Some(mlm) => {
                self.rules.number(&format!("{}.mlm.probability", self.label), mlm.probability, 0.0, true, 0.9);
                self.rules.between(&self.field("sequence_length"), self.stage.sequence_length, MIN_MASKED, MAX_POSITIONS);
            }
            None if !family.causal() => self.problem("mlm", format!("missing: a {family} model learns from masked tokens")),
            None => {}
        }
    }

    fn schedule(&self) {
        let (decay, min_ratio) = match self.stage.schedule {
            ScheduleSpec::Constant { .. } => (None, 0.0),
            ScheduleSpec::Linear { min_ratio, .. } | ScheduleSpec::Cosine { min_ratio, .. } => (None, min_ratio),
            ScheduleSpec::Wsd { decay_steps, min_ratio, .. } => (Some(decay_steps), min_ratio),
        };
        let (warmup, from) = self.stage.schedule.warmup();
        let field = |key: &str| format!("{}.schedule.{key}", self.label);
        self.rules.number(&field("min_ratio"), min_ratio, 0.0, false, 1.0);
        self.rules.number(&field("warmup_from"), from, 0.0, false, 1.0);
        self.rules.between(&field("warmup_steps"), warmup, 0, MAX_STEPS);
        if from > 0.0 && warmup == 0 && self.sound(&["schedule.warmup_from", "schedule.warmup_steps"]) {
            self.problem("schedule.warmup_from", "without warmup_steps nothing is warmed up: add them, or remove this".to_owned());
        }
        if let Some(decay) = decay {
            self.rules.between(&field("decay_steps"), decay, 1, MAX_STEPS);
        }
        let lengths = ["schedule.warmup_steps", "schedule.decay_steps", "steps", "tokens", "sequence_length", "global_batch"];
        let steps = self.stage.steps();
        if self.sound(&lengths) && warmup.saturating_add(decay.unwrap_or(0)) > steps {
            let sum = decay.map_or(format!("{warmup} steps"), |decay| format!("{warmup} steps and decay_steps = {decay}"));
            self.problem("schedule.warmup_steps", format!("{sum} do not fit into the stage's {steps} steps: shorten them"));
        }
    }
}
