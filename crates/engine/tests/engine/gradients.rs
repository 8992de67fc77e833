//! Every gradient against finite differences of the loss: each block is in one of the models here, and each path of the step in one of the cases.
//!
//! The engine trains in f32, where the difference that a single value makes drowns in rounding. So a tensor is moved as a whole, and the slope
//! of the loss along that direction must be the gradient's part in it. Along its own gradient a wrong sign or factor shows; along
//! random signs also what is missing from it. After one update AdamW's first moment is half the gradient.

use crate::support::{LENGTH, Random, VOCAB, bert, gemma, gpt2, llama, options, qwen2, rows, tokens, trainer};
use osler_core::spec::{ComputeSpec, ModelSpec, Recompute, RopeScaling};
use osler_engine::EngineError;
use osler_engine::models::params::parameters;
use osler_engine::source::TensorSource;
use osler_engine::step::{Batch, IGNORED, Masked, Trainer};
use std::collections::BTreeMap;

type Values = BTreeMap<String, Vec<f32>>;

/// A change of one value by this much, on average, along random signs; weights are up to 0.1 in size.
const SIGNS_STEP: f64 = 2e-3;
/// The length of the whole move along the gradient.
const GRADIENT_STEP: f64 = 0.01;
/// What rounding of the loss makes of a slope.
const NOISE: f64 = 5e-6;
/// Gradients are at least this long, so that noise is no excuse.
const TELLING: f64 = 3e-4;
/// Ends documents in the cases that mask them.
const END: u32 = 7;

/// The weights, one tensor of them moved.
struct Moved<'a> {
    weights: &'a Values,
    name: &'a str,
    by: Vec<f64>,
}

impl TensorSource for Moved<'_> {
    fn read(&mut self, name: &str, _: &[usize]) -> Result<Vec<f32>, EngineError> {
        let values = &self.weights[name];
        if name != self.name {
            return Ok(values.clone());
        }
        Ok(values.iter().zip(&self.by).map(|(value, by)| (f64::from(*value) + by) as f32).collect())
    }
}

struct Case {
    model: ModelSpec,
    rows: u32,
    micro_batch: u32,
    compute: ComputeSpec,
}

fn case(model: ModelSpec) -> Case {
    Case { model, rows: 2, micro_batch: 2, compute: ComputeSpec::default() }
}

impl Case {
    fn trainer(&self) -> Trainer {
        let mut options = options(self.model.clone(), self.rows, self.micro_batch, 1e-4);
        (options.optimizer.beta1, options.optimizer.clip, options.optimizer.weight_decay) = (0.5, 0.0, 0.0);
        (options.compute, options.end_of_text) = (self.compute, Some(END));
        trainer(options)
    }

    /// The loss of one fixed batch with these weights; the update that follows is forgotten with the next load.
    fn loss(&self, trainer: &mut Trainer, weights: &mut dyn TensorSource) -> f64 {
        trainer.load_weights_only(weights).unwrap();
        let all: Vec<Vec<u32>> = (0..u64::from(self.rows)).map(ending_documents).collect();
        if self.model.family.causal() {
            return trainer.step(&rows(&all), 0).unwrap().loss;
        }
        let masked: Vec<Masked> = all
            .iter()
            .map(|row| {
                let inputs: Vec<u32> = row[..LENGTH as usize].to_vec();
                let targets = inputs.iter().enumerate().map(|(i, id)| if i % 3 == 0 { i64::from(*id) } else { IGNORED }).collect();
                Masked { inputs, targets }
            })
            .collect();
        trainer.step_on(Batch::Masked(&masked), 0).unwrap().loss
    }

    fn weights(&self) -> Values {
        let mut random = Random(11);
        let parameters = parameters(&self.model, VOCAB).unwrap();
        parameters.into_iter().map(|p| (p.name.clone(), random.read(&p.name, &p.shape).unwrap())).collect()
    }

    fn check(&self) {
        let (weights, mut trainer) = (self.weights(), self.trainer());
        let gradients = self.gradients(&mut trainer, &weights);
        assert_eq!(gradients.len(), weights.len());
        for (name, gradient) in &gradients {
            self.compare(&mut trainer, &weights, name, gradient).unwrap();
        }
    }

    fn gradients(&self, trainer: &mut Trainer, weights: &Values) -> Values {
        self.loss(trainer, &mut Moved { weights, name: "", by: vec![] });
        let slice = trainer.slice(0, 1).unwrap();
        let moments: Vec<f32> = slice.exp_avg().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let entries = trainer.layout().entries();
        entries.iter().map(|e| (e.name.clone(), moments[e.offset..e.offset + e.len].iter().map(|m| m * 2.0).collect())).collect()
    }

    /// Says what is wrong with a tensor's gradient.
    fn compare(&self, trainer: &mut Trainer, weights: &Values, name: &str, gradient: &[f32]) -> Result<(), String> {
        let mut slope = |step: f64, direction: &[f64]| {
            let mut at = |step: f64| {
                let by = direction.iter().map(|d| d * step).collect();
                self.loss(trainer, &mut Moved { weights, name, by })
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        let (length, root) = (norm(gradient), (gradient.len() as f64).sqrt());
        // The same bias on all keys of a query changes no softmax.
        if length < TELLING && !name.ends_with("key.bias") {
            return Err(format!("{name}: a gradient of {length} tells nothing"));
        }
        let own: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / length).collect();
        let found = slope(GRADIENT_STEP, &own);
        if (found - length).abs() > 3e-3 * length + NOISE {
            return Err(format!("{name}: slope {found} along a gradient of {length}"));
        }
        for seed in 0..3 {
            let signs = signs(seed, gradient.len());
            let part: f64 = gradient.iter().zip(&signs).map(|(g, s)| f64::from(*g) * s).sum();
            let found = slope(SIGNS_STEP * root, &signs);
            if (found - part).abs() > 0.02 * length / root + NOISE {
                return Err(format!("{name}: slope {found} along random signs, gradient {part}"));
            }
        }
        Ok(())
    }
}

/// A row of the peers' stream with an end of a document in it.
fn ending_documents(row: u64) -> Vec<u32> {
    let mut row = tokens(row);
    row[20] = END;
    row
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// A direction of length 1 whose values are all equal in size.
fn signs(seed: u64, n: usize) -> Vec<f64> {
    let mut random = Random(seed << 32);
    let drawn = random.read("", &[n]).unwrap();
    drawn.iter().map(|v| f64::from(v.signum()) / (n as f64).sqrt()).collect()
}

/// Rotary positions, grouped keys and values, RMSNorm, SwiGLU, a head of its own.
#[test]
fn llamas_gradients_are_its_losses_slopes() {
    case(llama(1, false)).check();
}

#[test]
fn a_tied_and_stretched_llamas_gradients_are_its_losses_slopes() {
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 16 };
    case(ModelSpec { rope_scaling: Some(llama3), ..llama(2, true) }).check();
}

/// LayerNorm, learned positions, GELU, biases.
#[test]
fn gpt2s_gradients_are_its_losses_slopes() {
    case(gpt2()).check();
}

/// Biases on queries, keys and values.
#[test]
fn qwen2s_gradients_are_its_losses_slopes() {
    case(qwen2()).check();
}

/// GELU gates, gains of 1 + w, scaled embeddings, wide heads.
#[test]
fn gemmas_gradients_are_its_losses_slopes() {
    case(gemma()).check();
}

/// An encoder, targets that do not all count, and a head with a transform and a bias.
#[test]
fn berts_gradients_are_its_losses_slopes() {
    case(bert()).check();
}

#[test]
fn gradients_within_documents_are_the_losses_slopes() {
    let compute = ComputeSpec { document_mask: true, ..ComputeSpec::default() };
    for model in [llama(1, true), gpt2(), bert()] {
        Case { compute, ..case(model) }.check();
    }
}

/// 640 rows are more than the head takes at once; half of the layers are computed again.
#[test]
fn gradients_of_a_head_in_blocks_and_of_recomputed_layers_are_the_losses_slopes() {
    let compute = ComputeSpec { recompute: Recompute::First(1), ..ComputeSpec::default() };
    Case { rows: 10, micro_batch: 10, compute, ..case(llama(1, false)) }.check();
    Case { rows: 4, micro_batch: 3, compute, ..case(bert()) }.check();
}

/// What the tests above would not notice, they would not prove.
#[test]
fn a_gradient_that_is_a_little_wrong_is_noticed() {
    let case = case(bert());
    let (weights, mut trainer) = (case.weights(), case.trainer());
    let gradients = case.gradients(&mut trainer, &weights);
    let scaled: &dyn Fn(usize, f32) -> f32 = &|_, g| g * 1.01;
    let without_a_row: &dyn Fn(usize, f32) -> f32 = &|i, g| if i / 64 == 0 { 0.0 } else { g };
    let without_half: &dyn Fn(usize, f32) -> f32 = &|i, g| if i % 2 == 0 { 0.0 } else { g };
    for (name, spoil) in [
        ("bert.encoder.layer.0.attention.self.value.weight", scaled),
        ("bert.encoder.layer.1.output.LayerNorm.weight", without_half),
        ("bert.encoder.layer.1.intermediate.dense.weight", without_a_row),
        ("cls.predictions.bias", scaled),
    ] {
        case.compare(&mut trainer, &weights, name, &gradients[name]).unwrap();
        let spoiled: Vec<f32> = gradients[name].iter().enumerate().map(|(i, g)| spoil(i, *g)).collect();
        assert!(case.compare(&mut trainer, &weights, name, &spoiled).is_err(), "{name}");
    }
}
