//! The end of a job that worked: its result is checked before it is believed, then recorded, then its gates are judged.

use super::run::Run;
use osler_core::gate::{GateOutcome, judge};
use osler_core::ids::{Generation, StageName};
use osler_core::job::{ExamSummary, Fault, FaultClass, JobKey, JobKind, JobResult, Summary};
use osler_core::paths;
use osler_core::record::{Attempt, EventKind, JobState, RankEnd};
use osler_core::spec::{GateSpec, OnFail};
use osler_core::time::Now;

/// The most objects that one job may leave behind.
const MAX_OUTPUTS: usize = 100_000;

impl Run {
    /// Why a result cannot be accepted from this attempt.
    pub fn refuse_result(&self, key: &JobKey, generation: Generation, result: &JobResult) -> Option<Fault> {
        let kind = &self.job(key)?.planned.kind;
        let id = self.record.id(key);
        let internal = |message: String| Some(Fault::new(FaultClass::Internal, message));
        if result.outputs.len() > MAX_OUTPUTS {
            return internal(format!("the result names {} objects, at most {MAX_OUTPUTS} are accepted", result.outputs.len()));
        }
        if let Some(foreign) = result.outputs.values().find(|o| !paths::belongs_to(&o.path, &id, generation)) {
            let path: String = foreign.path.chars().take(200).collect();
            return internal(format!("the result names {path:?}, which is outside of what generation {generation} may write"));
        }
        if let Some(differs) = self.differs_from_before(key, result) {
            return internal(differs);
        }
        if result.outputs.is_empty() && !matches!(kind, JobKind::Train { .. }) {
            return internal("the result names no object".to_owned());
        }
        if let Summary::Clean { source, source_digest, .. } = &result.summary
            && self.record.sources.get(source).is_some_and(|submitted| submitted != source_digest)
        {
            let source: String = source.chars().take(200).collect();
            let message =
                format!("{source} has changed since the run was submitted: put the file back, or submit what it holds now as another run");
            return Some(Fault::new(FaultClass::User, message));
        }
        match worth(kind, &result.summary) {
            Worth::Some => None,
            Worth::Nothing(what) => internal(format!("the job says that it is done, but it made no {what}")),
            Worth::OtherKind => internal("the result is that of another kind of job".to_owned()),
        }
    }

    /// All ranks are accounted for: the attempt succeeded, was stopped, or broke its promise.
    pub fn all_ended(&mut self, now: Now, key: &JobKey) -> Result<Ended, Fault> {
        let Some(attempt) = self.active(key).cloned() else { return Ok(Ended::NotYet) };
        if attempt.ended.len() < attempt.places.len() {
            return Ok(Ended::NotYet);
        }
        let stopped = attempt.ended.values().filter_map(|end| match end {
            RankEnd::Stopped { step } => Some(*step),
            RankEnd::Done { .. } => None,
        });
        if let Some(step) = stopped.max() {
            if step > attempt.published {
                let message = format!("stopped at step {step}, but only {} is published", attempt.published);
                return Err(Fault::new(FaultClass::Internal, message));
            }
            return Ok(Ended::Stopped);
        }
        let Some(RankEnd::Done { result }) = attempt.ended.get(&0) else { return Ok(Ended::NotYet) };
        if let Some(JobKind::Train { stage }) = self.job(key).map(|job| &job.planned.kind) {
            let planned = self.record.spec.stage(stage).map_or(0, |s| s.steps());
            if attempt.published != planned {
                let message = format!("done, but step {} of {planned} is the last published one", attempt.published);
                return Err(Fault::new(FaultClass::Internal, message));
            }
        }
        self.succeed(now, key, &attempt, result.clone());
        Ok(Ended::Succeeded)
    }

    fn succeed(&mut self, now: Now, key: &JobKey, attempt: &Attempt, result: JobResult) {
        let generation = attempt.generation;
        self.praise(attempt);
        self.happened(now, EventKind::Succeeded, Some((key, Some(generation))), in_words(&result.summary));
        self.past(now, key, attempt, None, None);
        let exam = match (&result.summary, self.job(key).and_then(|job| job.planned.kind.stage())) {
            (Summary::Exam(exam), Some(stage)) => Some((stage.clone(), exam.clone())),
            _ => None,
        };
        let again = self.record.jobs.get_mut(key).and_then(|job| job.before.take()).is_some();
        self.set(now, key, JobState::Succeeded { generation, at: now.wall, result });
        if let Some((stage, exam)) = exam.filter(|_| !again) {
            self.judge_gates(now, key, &stage, &exam);
        }
    }

    /// An exam succeeds once, so its gates are judged once.
    fn judge_gates(&mut self, now: Now, key: &JobKey, stage: &StageName, exam: &ExamSummary) {
        let applies = |g: &&GateSpec| g.exam == exam.task && g.variant == exam.variant && (g.stages.is_empty() || g.stages.contains(stage));
        let outcomes: Vec<GateOutcome> = self.record.spec.gates.iter().filter(applies).map(|g| judge(g, stage, exam)).collect();
        for outcome in outcomes {
            let verdict = if outcome.passed { "passed" } else { "failed" };
            let message = format!("gate {verdict}: {} of {} after {stage}: {}", outcome.exam, outcome.variant, outcome.evidence);
            self.happened(now, EventKind::Gate, Some((key, None)), message.clone());
            if !outcome.passed && outcome.on_fail == OnFail::Stop {
                self.fail_run(now, message);
            }
            self.record.gates.push(outcome);
        }
    }
}

/// See [`Run::all_ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    NotYet,
    Succeeded,
    Stopped,
}

#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Some,
    /// Zero of this is no success.
    Nothing(&'static str),
    OtherKind,
}

/// Whether a summary fits the kind of job and shows that work was done.
fn worth(kind: &JobKind, summary: &Summary) -> Worth {
    let made =
        |checks: &[(bool, &'static str)]| checks.iter().find(|(made, _)| !made).map_or(Worth::Some, |(_, what)| Worth::Nothing(what));
    match (kind, summary) {
        (JobKind::Clean { .. }, Summary::Clean { source_bytes, .. }) => made(&[(*source_bytes > 0, "use of its source, which is empty")]),
        (JobKind::Merge { .. }, Summary::Merge { documents, words, .. }) => made(&[(*documents > 0, "document"), (*words > 0, "word")]),
        (JobKind::Tokenizer, Summary::Tokenizer { vocab_size, .. }) => made(&[(*vocab_size > 0, "vocabulary")]),
        (JobKind::Pack { corpus, .. }, Summary::Pack { component, tokens, .. }) if component.corpus == *corpus => {
            made(&[(component.sequences > 0, "sequence"), (*tokens > 0, "token")])
        }
        (JobKind::Train { .. }, Summary::Train { steps, tokens, .. }) => made(&[(*steps > 0, "step"), (*tokens > 0, "token")]),
        (JobKind::Export { .. }, Summary::Export { step, parameters, bytes }) => {
            made(&[(*step > 0, "use of a trained step"), (*parameters > 0, "parameter"), (*bytes > 0, "byte")])
        }
        (JobKind::Quantize { method, .. }, Summary::Quantize { method: used, tensors, bytes_after, .. }) if method == used => {
            made(&[(*tensors > 0, "tensor smaller"), (*bytes_after > 0, "byte")])
        }
        (JobKind::Exam { exam, variant, .. }, Summary::Exam(summary)) if *exam == summary.task && *variant == summary.variant => {
            made(&[(summary.n > 0, "question")])
        }
        _ => Worth::OtherKind,
    }
}

fn in_words(summary: &Summary) -> String {
    match summary {
        Summary::Clean { source, documents, bad_lines, .. } => {
            let bad = bad_lines.first().map(|line| format!("; left out bad lines, such as {line}")).unwrap_or_default();
            format!("{documents} documents of {}{bad}", source.chars().take(200).collect::<String>())
        }
        Summary::Merge { documents, held_out, .. } => format!("{documents} training documents, {held_out} held out"),
        Summary::Tokenizer { vocab_size, .. } => format!("{vocab_size} tokens"),
        Summary::Pack { component, tokens, unknown, .. } => {
            let unknown = if unknown.is_nothing() { String::new() } else { format!("; {unknown}") };
            format!("{} sequences, {tokens} tokens{unknown}", component.sequences)
        }
        Summary::Train { steps, final_loss, .. } => format!("{steps} steps, final loss {final_loss:.4}"),
        Summary::Export { step, parameters, .. } => format!("step {step}, {parameters} parameters"),
        Summary::Quantize { tensors, bits_per_weight, .. } => format!("{tensors} tensors, {bits_per_weight:.2} bits a weight"),
        Summary::Exam(exam) => {
            let accuracy = exam.accuracy.map(|a| format!(", accuracy {a:.2} %"));
            let perplexity = exam.perplexity.map(|p| format!(", perplexity {p:.3}"));
            format!("n = {}{}{}", exam.n, accuracy.unwrap_or_default(), perplexity.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::ids::ExamName;
    use osler_core::spec::{Method, Variant};

    #[test]
    fn nothing_done_is_not_success() {
        let stage = StageName::new("s").unwrap();
        let train = JobKind::Train { stage: stage.clone() };
        let trained = |steps, tokens| Summary::Train { steps, tokens, final_loss: 1.0 };
        assert_eq!(worth(&train, &trained(0, 0)), Worth::Nothing("step"));
        assert_eq!(worth(&train, &trained(3, 0)), Worth::Nothing("token"));
        assert_eq!(worth(&train, &trained(3, 9)), Worth::Some);
        let quantize = JobKind::Quantize { stage: stage.clone(), method: Method::Int8 };
        let quantized =
            |method, tensors| Summary::Quantize { method, tensors, kept: 0, bytes_before: 1, bytes_after: 1, bits_per_weight: 8.0 };
        assert_eq!(worth(&quantize, &quantized(Method::Int8, 0)), Worth::Nothing("tensor smaller"));
        assert_eq!(worth(&quantize, &quantized(Method::GgufQ8_0, 1)), Worth::OtherKind);
        assert_eq!(worth(&quantize, &trained(1, 1)), Worth::OtherKind);
        let exam = JobKind::Exam { stage, variant: Variant::Full, exam: ExamName::new("e").unwrap() };
        assert_eq!(worth(&exam, &Summary::Tokenizer { vocab_size: 1, end_of_text: 0, front: None }), Worth::OtherKind);
    }
}
