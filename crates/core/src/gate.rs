//! Gates: conditions on exam outcomes, judged once, with the evidence kept.

use crate::ids::StageName;
use crate::job::ExamSummary;
use crate::spec::{GateSpec, OnFail, Variant};
use crate::stop::Waiver;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateOutcome {
    pub stage: StageName,
    pub exam: String,
    pub variant: Variant,
    pub passed: bool,
    /// The numbers, in one sentence.
    pub evidence: String,
    pub on_fail: OnFail,
    /// Somebody let it pass although it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waiver>,
}

/// Judges one gate. A bound whose number is missing fails: absence of evidence is not a pass.
pub fn judge(gate: &GateSpec, stage: &StageName, summary: &ExamSummary) -> GateOutcome {
    let mut evidence = vec![];
    let mut passed = true;
    let mut check = |ok: Option<bool>, text: String| {
        passed &= ok.unwrap_or(false);
        evidence.push(text);
    };
    if let Some(bound) = gate.min_accuracy {
        check(summary.accuracy.map(|a| a >= bound), format!("accuracy {} %, at least {bound} %", shown(summary.accuracy, 2)));
    }
    if let Some(bound) = gate.max_drop {
        let drop = summary.paired.as_ref().map(|p| 0.0 - p.delta);
        check(drop.map(|d| d <= bound), format!("drop {} points, at most {bound}", shown(drop, 2)));
    }
    if let Some(bound) = gate.max_perplexity_increase {
        let increase = summary.perplexity_increase;
        check(increase.map(|i| i <= bound), format!("perplexity increase {}, at most {bound}", shown(increase, 5)));
    }
    GateOutcome {
        stage: stage.clone(),
        exam: gate.exam.to_string(),
        variant: gate.variant,
        passed,
        evidence: evidence.join("; "),
        on_fail: gate.on_fail,
        waived: None,
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "not measured".to_owned(), |v| format!("{v:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ExamName;
    use crate::job::PairedSummary;

    fn summary(accuracy: Option<f64>, delta: Option<f64>) -> ExamSummary {
        let paired = delta.map(|delta| PairedSummary { n: 100, delta, ci95: (0.0, 0.0), mcnemar_p: 1.0, gained: 0, lost: 0 });
        let task = ExamName::new("e").unwrap();
        ExamSummary {
            task,
            variant: Variant::Full,
            protocol: "cloze".into(),
            n: 100,
            accuracy,
            stderr: None,
            majority_baseline: None,
            truncated: 0,
            perplexity: None,
            bits_per_byte: None,
            perplexity_increase: None,
            paired,
        }
    }

    #[test]
    fn a_gate_needs_every_bound_and_evidence_for_it() {
        let gate = GateSpec {
            exam: ExamName::new("e").unwrap(),
            variant: Variant::Full,
            stages: vec![],
            min_accuracy: Some(90.0),
            max_drop: Some(1.0),
            max_perplexity_increase: None,
            on_fail: OnFail::Stop,
        };
        let stage = StageName::new("s").unwrap();
        for (accuracy, delta, passes) in [
            (Some(90.0), Some(-1.0), true),
            (Some(89.9), Some(-1.0), false),
            (Some(95.0), Some(-1.1), false),
            (Some(95.0), None, false),
            (None, Some(0.0), false),
        ] {
            assert_eq!(judge(&gate, &stage, &summary(accuracy, delta)).passed, passes, "{accuracy:?} {delta:?}");
        }
    }
}
