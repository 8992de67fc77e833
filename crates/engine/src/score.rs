//! Log-likelihoods of token sequences: what exams and perplexity are made of.
//!
//! Requests are sorted, a request whose input begins another's input rides along with it (the four letters of one question are one forward
//! pass), and batches are padded on the right, which a causal model does not see. Only scored positions reach the head.

use crate::EngineError;
use crate::models::{Model, ids_tensor};
use tch::{Kind, Tensor};

/// Tokens of padded input that are computed at once.
const BATCH_TOKENS: usize = 4096;
/// Logits that are held at once.
const BLOCK_LOGITS: usize = 8 << 20;

/// Scores the last `scored` of `tokens`, each given all tokens before it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub tokens: &'a [u32],
    pub scored: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLikelihood {
    /// Natural logarithm, summed in f64.
    pub sum: f64,
    /// Every scored token was the model's first choice.
    pub greedy: bool,
}

/// Scores requests with one model.
pub struct LogLikelihoods<'m> {
    model: &'m Model,
    batch_tokens: usize,
}

/// One scored token: whose it is, where its logits come from, which id it has.
struct Target {
    request: usize,
    row: i64,
    token: i64,
}

impl<'m> LogLikelihoods<'m> {
    pub fn new(model: &'m Model) -> Self {
        Self { model, batch_tokens: BATCH_TOKENS }
    }

    /// Input tokens computed at once, padding included; memory and speed, not results, depend on it.
    pub fn with_batch_tokens(self, batch_tokens: usize) -> Self {
        Self { batch_tokens, ..self }
    }

    /// The longest request: an input of the model's positions, and the token after it.
    pub fn max_tokens(&self) -> usize {
        self.model.spec().max_positions as usize + 1
    }

    /// Results in the order of the requests. A result depends on the other requests only by rounding (about 1e-6).
    pub fn score(&self, requests: &[Request<'_>]) -> Result<Vec<LogLikelihood>, EngineError> {
        let family = self.model.spec().family;
        if !family.causal() {
            let problem =
                format!("a {family} model does not predict a text token by token: exams need a decoder (llama, gpt2, qwen2, gemma)");
            return Err(EngineError::Model(vec![problem]));
        }
        for (index, request) in requests.iter().enumerate() {
            self.check(request).map_err(|problem| EngineError::Request { index, problem })?;
        }
        let mut results = vec![LogLikelihood { sum: 0.0, greedy: true }; requests.len()];
        for batch in self.batches(requests) {
            self.run(&batch, requests, &mut results)?;
        }
        Ok(results)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), String> {
        let Request { tokens, scored } = request;
        let (vocab, most) = (self.model.vocab(), self.max_tokens());
        if *scored == 0 || *scored >= tokens.len() {
            return Err(format!("{scored} of {} tokens to score: at least 1, and at least one token before them", tokens.len()));
        }
        if tokens.len() > most {
            return Err(format!("{} tokens, the model can score {most} at most: cut it on the left", tokens.len()));
        }
        match tokens.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(format!("token id {id} is outside the vocabulary of {vocab}")),
            None => Ok(()),
        }
    }

    /// Rows of a batch: the longest input and all requests whose inputs begin it.
    fn batches(&self, requests: &[Request<'_>]) -> Vec<Vec<Vec<usize>>> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| input(&requests[*a]).cmp(input(&requests[*b])).then(a.cmp(b)));
        // In this order an input comes right before those that it begins, so walking back meets the longest first.
        let mut rows: Vec<Vec<usize>> = vec![];
        for index in order.into_iter().rev() {
            match rows.last_mut() {
                Some(row) if input(&requests[row[0]]).starts_with(input(&requests[index])) => row.push(index),
                _ => rows.push(vec![index]),
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(input(&requests[row[0]]).len()));
        let mut batches: Vec<Vec<Vec<usize>>> = vec![];
        let mut width = 0;
        for row in rows {
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * width <= self.batch_tokens => batch.push(row),
                _ => {
                    width = input(&requests[row[0]]).len();
                    batches.push(vec![row]);
                }
            }
        }
        batches
    }

    fn run(&self, batch: &[Vec<usize>], requests: &[Request<'_>], results: &mut [LogLikelihood]) -> Result<(), EngineError> {
        let _guard = tch::no_grad_guard();
        let inputs: Vec<&[u32]> = batch.iter().map(|row| input(&requests[row[0]])).collect();
        let width = inputs.iter().map(|i| i.len()).max().unwrap_or_default();
        let (vocab, positions) = (self.model.vocab(), self.model.spec().max_positions);
        let ids_bt = ids_tensor(&inputs, width, vocab, positions, self.model.device())?;
        let hidden_nd = self.model.hidden(&ids_bt).flatten(0, 1);
        let mut targets = vec![];
        for (row, members) in batch.iter().enumerate() {
            for request in members {
                let Request { tokens, scored } = requests[*request];
                let first = tokens.len() - scored;
                let target = |at: usize| Target { request: *request, row: (row * width + at - 1) as i64, token: tokens[at].into() };
                targets.extend((first..tokens.len()).map(target));
            }
        }
        for block in targets.chunks((BLOCK_LOGITS / vocab).max(1)) {
            self.score_block(&hidden_nd, block, results)?;
        }
        Ok(())
    }

    fn score_block(&self, hidden_nd: &Tensor, block: &[Target], results: &mut [LogLikelihood]) -> Result<(), EngineError> {
        let device = self.model.device();
        let rows = Tensor::f_from_slice(&block.iter().map(|t| t.row).collect::<Vec<_>>())?.f_to_device(device)?;
        let tokens_n = Tensor::f_from_slice(&block.iter().map(|t| t.token).collect::<Vec<_>>())?.f_to_device(device)?;
        let logits_nv = hidden_nd.f_index_select(0, &rows)?.f_linear::<&Tensor>(self.model.head(), None)?;
        let picked = logits_nv.f_log_softmax(-1, Kind::Float)?.f_gather(1, &tokens_n.unsqueeze(1), false)?.f_squeeze()?;
        let picked = Vec::<f32>::try_from(picked.f_view([-1])?)?;
        let choices = Vec::<i64>::try_from(logits_nv.f_argmax(-1, false)?.f_view([-1])?)?;
        for ((target, log_p), choice) in block.iter().zip(picked).zip(choices) {
            let result = &mut results[target.request];
            result.sum += f64::from(log_p);
            result.greedy &= choice == target.token;
        }
        Ok(())
    }
}

/// What the model reads: all but the last token.
fn input<'a>(request: &Request<'a>) -> &'a [u32] {
    request.tokens.split_last().map_or(&[], |(_, before)| before)
}
