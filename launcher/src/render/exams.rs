//! What an exam's mark is worth: one that the majority answer reaches by itself is no knowledge.

use osler_core::job::ExamSummary;

/// Standard errors within which a mark is not told apart from the baseline.
const DOUBT: f64 = 2.0;

/// None: clearly above the majority answer, or nothing to compare with.
pub fn verdict(exam: &ExamSummary) -> Option<&'static str> {
    let (accuracy, stderr, baseline) = (exam.accuracy?, exam.stderr?, exam.majority_baseline?);
    if (accuracy - baseline).abs() <= DOUBT * stderr {
        Some("at chance")
    } else if accuracy < baseline {
        Some("below the majority answer")
    } else {
        None
    }
}

/// The two ends of a mark's range of doubt, within 0 to 100.
pub fn doubt(exam: &ExamSummary) -> Option<(f64, f64)> {
    let (accuracy, stderr) = (exam.accuracy?, exam.stderr?);
    Some(((accuracy - DOUBT * stderr).max(0.0), (accuracy + DOUBT * stderr).min(100.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::report::build;

    #[test]
    fn a_mark_within_two_standard_errors_is_at_chance() {
        let (record, manifests) = fixture::finished();
        let mut exam = build(&record, &manifests).stages[0].exams.iter().find(|e| e.accuracy.is_some()).cloned().unwrap();
        for (accuracy, shown) in [
            (25.0, Some("at chance")),
            (28.0, Some("at chance")),
            (28.1, None),
            (22.0, Some("at chance")),
            (21.9, Some("below the majority answer")),
        ] {
            (exam.accuracy, exam.stderr, exam.majority_baseline) = (Some(accuracy), Some(1.5), Some(25.0));
            assert_eq!(verdict(&exam), shown, "{accuracy}");
        }
        exam.majority_baseline = None;
        assert_eq!(verdict(&exam), None);
    }
}
