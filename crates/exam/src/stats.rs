//! The statistics that reports and gates rest on: standard errors, and whether two models that sat the same questions differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ExamError;
use crate::report::{ExamReport, QuestionResult};

/// Standard error of a share `p` of `n`: sample standard deviation over root n. None where n < 2.
pub fn proportion_stderr(p: f64, n: usize) -> Option<f64> {
    (n >= 2).then(|| (p * (1.0 - p) / (n as f64 - 1.0)).max(0.0).sqrt())
}

/// Standard error of the size-weighted mean over groups of (size, standard error): pooled sample variance over the total.
/// None where a group has none.
pub fn pooled_stderr(groups: &[(usize, Option<f64>)]) -> Option<f64> {
    let total: f64 = groups.iter().map(|(n, _)| *n as f64).sum();
    let mut variance = 0.0;
    for (n, stderr) in groups {
        let n = *n as f64;
        variance += (n - 1.0) * stderr.as_ref()?.powi(2) * n;
    }
    let freedom = total - groups.len() as f64;
    (freedom > 0.0).then(|| (variance / freedom / total).sqrt())
}

/// Two reports over the same questions, `b` seen from `a`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    pub n: usize,
    pub both_right: usize,
    pub a_only: usize,
    pub b_only: usize,
    pub neither: usize,
    /// Accuracy of b minus accuracy of a.
    pub delta: f64,
    /// Two-sided exact McNemar test: how likely a split at least this uneven is if both are equally good.
    pub mcnemar_exact_p: f64,
    /// 95 % interval of `delta` after Agresti and Min (half a question added to each of the four cells), so that it has a width
    /// also where the two never disagree.
    pub ci95: [f64; 2],
}

/// Compares the answers of two reports question by question. The questions and their right answers must be the same; protocols and
/// models may differ.
pub fn paired(a: &ExamReport, b: &ExamReport) -> Result<Paired, ExamError> {
    let mismatch = |message: String| ExamError::Mismatch { a: a.task.clone(), b: b.task.clone(), message };
    let (Some(left), Some(right)) = (a.choice(), b.choice()) else {
        return Err(mismatch("only multiple-choice exams have questions to pair".into()));
    };
    let left = by_id(&left.questions).ok_or_else(|| mismatch("the first has an id twice".into()))?;
    let right = by_id(&right.questions).ok_or_else(|| mismatch("the second has an id twice".into()))?;
    if left.is_empty() {
        return Err(mismatch("no questions".into()));
    }
    if let Some(id) = left.keys().find(|id| !right.contains_key(*id)) {
        return Err(mismatch(format!("question {id:?} is only in the first; examine both on the same questions")));
    }
    if let Some(id) = right.keys().find(|id| !left.contains_key(*id)) {
        return Err(mismatch(format!("question {id:?} is only in the second; examine both on the same questions")));
    }
    let [mut both_right, mut a_only, mut b_only, mut neither] = [0; 4];
    for (x, y) in left.values().zip(right.values()) {
        if x.gold != y.gold {
            return Err(mismatch(format!("question {:?} has different right answers", x.id)));
        }
        match (x.prediction == x.gold, y.prediction == y.gold) {
            (true, true) => both_right += 1,
            (true, false) => a_only += 1,
            (false, true) => b_only += 1,
            (false, false) => neither += 1,
        }
    }
    let n = left.len();
    let delta = (b_only as f64 - a_only as f64) / n as f64;
    Ok(Paired {
        n,
        both_right,
        a_only,
        b_only,
        neither,
        delta,
        mcnemar_exact_p: mcnemar_exact_p(a_only, b_only),
        ci95: agresti_min(a_only, b_only, n),
    })
}

fn by_id(rows: &[QuestionResult]) -> Option<BTreeMap<&str, &QuestionResult>> {
    let map: BTreeMap<_, _> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    (map.len() == rows.len()).then_some(map)
}

/// Two-sided exact McNemar test from the discordant counts: 2 P(X <= min) for X ~ Binomial(a + b, 1/2), at most 1.
pub fn mcnemar_exact_p(a_only: usize, b_only: usize) -> f64 {
    let (trials, few) = (a_only + b_only, a_only.min(b_only));
    // Logarithms, because 2^-trials underflows; then the tail relative to its largest term.
    let mut log_largest = -(trials as f64) * std::f64::consts::LN_2;
    for k in 1..=few {
        log_largest += ((trials - few + k) as f64).ln() - (k as f64).ln();
    }
    let (mut tail, mut term) = (1.0, 1.0);
    for k in (1..=few).rev() {
        term *= k as f64 / (trials - k + 1) as f64;
        tail += term;
        if term < tail * f64::EPSILON / 4.0 {
            break;
        }
    }
    (2.0 * log_largest.exp() * tail).min(1.0)
}

fn agresti_min(a_only: usize, b_only: usize, n: usize) -> [f64; 2] {
    let (a, b, n) = (a_only as f64 + 0.5, b_only as f64 + 0.5, n as f64 + 2.0);
    let centre = (b - a) / n;
    let half = 1.959_963_984_540_054 * (a + b - (b - a).powi(2) / n).max(0.0).sqrt() / n;
    [(centre - half).max(-1.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn standard_errors_by_hand() {
        close(proportion_stderr(0.5, 101).unwrap(), 0.05);
        close(proportion_stderr(0.25, 4).unwrap(), 0.25);
        close(proportion_stderr(1.0, 10).unwrap(), 0.0);
        assert_eq!(proportion_stderr(1.0, 1), None);
    }

    #[test]
    fn pooled_error_by_hand() {
        // (1 * 0.25 * 2 + 3 * 0.0625 * 4) / (6 - 2) / 6
        close(pooled_stderr(&[(2, Some(0.5)), (4, Some(0.25))]).unwrap(), (1.25f64 / 24.0).sqrt());
        // One group pools to itself.
        close(pooled_stderr(&[(50, Some(0.07))]).unwrap(), 0.07);
        assert_eq!(pooled_stderr(&[(50, Some(0.07)), (1, None)]), None);
        assert_eq!(pooled_stderr(&[]), None);
    }

    #[test]
    fn exact_mcnemar_by_hand() {
        let table = [
            (0, 0, 1.0),
            (1, 0, 1.0),
            (5, 5, 1.0),
            (0, 5, 2.0 / 32.0),
            (1, 5, 14.0 / 64.0),
            (8, 2, 2.0 * (1.0 + 10.0 + 45.0) / 1024.0),
            (0, 10, 2.0 / 1024.0),
        ];
        for (a, b, p) in table {
            close(mcnemar_exact_p(a, b), p);
            close(mcnemar_exact_p(b, a), p);
        }
    }

    #[test]
    fn exact_mcnemar_survives_large_counts() {
        // Far beyond 2^-1074: neither zero tails nor overflow may give NaN.
        assert_eq!(mcnemar_exact_p(0, 2000), 0.0);
        let p = mcnemar_exact_p(50_000, 50_600);
        // An independent sum with log-gamma; the normal approximation gives 0.05895.
        assert!((p - 0.058_951_995_87).abs() < 1e-8, "{p}");
        assert_eq!(mcnemar_exact_p(50_000, 50_000), 1.0);
    }

    #[test]
    fn the_interval_has_a_width_without_disagreement() {
        let [low, high] = agresti_min(0, 0, 98);
        close(low, -high);
        close(high, 1.959_963_984_540_054 / 100.0);
        let [low, high] = agresti_min(10, 20, 98);
        // cells 10.5 and 20.5 of 100: 0.1 +- 1.96 sqrt(31 - 1) / 100
        close((low + high) / 2.0, 0.1);
        close((high - low) / 2.0, 1.959_963_984_540_054 * 30f64.sqrt() / 100.0);
    }
}
