//! The order in which requests reach a scorer: longest first, so that a batch that fits once fits always and pads little.

use crate::error::ExamError;
use crate::scorer::{Request, Rows, Score, Scorer};

/// Scores all requests, in batches of at most `max_tokens` padded input tokens (but at least one request), and returns the
/// scores in the requests' order. `progress(done, total)` is called before the first batch and after each.
pub(crate) fn score_all(
    scorer: &mut dyn Scorer,
    requests: Vec<Request>,
    max_tokens: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Score>, ExamError> {
    let total = requests.len();
    let mut sorted: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
    sorted.sort_by_key(|(_, request)| std::cmp::Reverse(request.tokens.len())); // stable
    let (order, sorted): (Vec<usize>, Vec<Request>) = sorted.into_iter().unzip();

    let mut answers: Vec<(usize, Score)> = Vec::with_capacity(total);
    progress(0, total);
    let mut rest = sorted.as_slice();
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch_size(rest, max_tokens));
        let done = answers.len();
        let scores = scorer.score(batch).map_err(|source| ExamError::Scorer { done, total, source })?;
        if scores.len() != batch.len() {
            let message = format!("{} scores for {} requests", scores.len(), batch.len());
            return Err(ExamError::Contract { message });
        }
        for (score, original) in scores.into_iter().zip(order.iter().skip(done)) {
            answers.push((*original, check(score)?));
        }
        rest = after;
        progress(answers.len(), total);
    }
    answers.sort_by_key(|(original, _)| *original);
    Ok(answers.into_iter().map(|(_, score)| score).collect())
}

/// How many requests from the front fit: the first is the longest, each distinct input costs its length.
fn batch_size(sorted: &[Request], max_tokens: usize) -> usize {
    let longest = sorted.first().map_or(1, |r| r.input().len().max(1));
    let rows = (max_tokens / longest).max(1);
    // A row is rarely shared by more than a handful of requests; look no further than that, to stay linear.
    let window = sorted.get(..rows.saturating_mul(8).min(sorted.len())).unwrap_or(sorted);
    let row_of = Rows::of(window).row_of;
    row_of.partition_point(|row| *row < rows)
}

/// A likelihood above 1, or none at all, is a broken model, not a score. The slack is rounding.
fn check(score: Score) -> Result<Score, ExamError> {
    if score.log_likelihood.is_finite() && score.log_likelihood <= 1e-3 {
        return Ok(score);
    }
    let message = format!("log-likelihood {} is not a finite number of at most 0; the model's output is broken", score.log_likelihood);
    Err(ExamError::Contract { message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::ScorerError;

    /// Answers with the sum of a request's tokens, and remembers the batches.
    struct Recorder {
        batches: Vec<Vec<usize>>,
        answer: f64,
        missing: usize,
    }

    impl Scorer for Recorder {
        fn max_length(&self) -> usize {
            100
        }
        fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
            self.batches.push(requests.iter().map(|r| r.tokens.len()).collect());
            let score = |r: &Request| Score { log_likelihood: self.answer - f64::from(r.tokens.iter().sum::<u32>()), greedy: false };
            Ok(requests.iter().skip(self.missing).map(score).collect())
        }
    }

    fn recorder() -> Recorder {
        Recorder { batches: vec![], answer: 0.0, missing: 0 }
    }

    fn request(tokens: &[u32]) -> Request {
        Request { tokens: tokens.to_vec(), scored: 1 }
    }

    #[test]
    fn batches_go_longest_first_and_answers_come_back_in_order() {
        let requests: Vec<_> = [2usize, 5, 3, 5, 2, 4].iter().enumerate().map(|(i, n)| request(&vec![i as u32 + 1; *n])).collect();
        let mut scorer = recorder();
        let mut seen = vec![];
        let scores = score_all(&mut scorer, requests, 8, &mut |d, t| seen.push((d, t))).unwrap();
        assert_eq!(scorer.batches, [vec![5, 5], vec![4, 3], vec![2, 2]]);
        let sums: Vec<f64> = scores.iter().map(|s| -s.log_likelihood).collect();
        assert_eq!(sums, [2.0, 10.0, 9.0, 20.0, 10.0, 24.0]);
        assert_eq!(seen, [(0, 6), (2, 6), (4, 6), (6, 6)]);
    }

    #[test]
    fn choices_that_share_an_input_cost_one_row() {
        let requests: Vec<_> = (0..8).map(|i| request(&[i / 4, 7, i])).collect();
        let mut scorer = recorder();
        score_all(&mut scorer, requests.clone(), 2, &mut |_, _| ()).unwrap();
        assert_eq!(scorer.batches, [vec![3; 4], vec![3; 4]]);
        assert_eq!(Rows::of(&requests), Rows { distinct: vec![0, 4], row_of: vec![0, 0, 0, 0, 1, 1, 1, 1] });
    }

    #[test]
    fn a_request_larger_than_the_budget_still_goes_alone() {
        let mut scorer = recorder();
        score_all(&mut scorer, vec![request(&[1, 2, 3, 4]), request(&[1, 2, 3, 5, 6])], 1, &mut |_, _| ()).unwrap();
        assert_eq!(scorer.batches, [vec![5], vec![4]]);
    }

    #[test]
    fn a_scorer_that_breaks_its_contract_is_refused() {
        for (answer, missing) in [(f64::NAN, 0), (f64::NEG_INFINITY, 0), (50.0, 0), (0.0, 1)] {
            let mut scorer = Recorder { answer, missing, ..recorder() };
            let result = score_all(&mut scorer, vec![request(&[1, 2])], 8, &mut |_, _| ());
            assert!(matches!(result, Err(ExamError::Contract { .. })), "{answer} {missing}: {result:?}");
        }
    }
}
