//! Fused AdamW against the formula in double precision, and its continuation from saved moments.

use osler_torch_dist::{AdamW, DistError, fused_adamw_step};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);
const OPTIONS: AdamW = AdamW { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };

struct State {
    params: Vec<Tensor>,
    exp_avgs: Vec<Tensor>,
    exp_avg_sqs: Vec<Tensor>,
}

const SHAPES: [&[i64]; 3] = [&[7, 5], &[64], &[1]];

/// Numbers between -1 and 1 without a random generator.
fn value(seed: usize, at: usize) -> f64 {
    ((seed * 7919 + at * 104_729) % 2003) as f64 / 1001.5 - 1.0
}

fn tensors(seed: usize) -> Vec<Tensor> {
    let make = |(list, shape): (usize, &&[i64])| {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count as usize).map(|at| value(seed + 31 * list, at) as f32).collect();
        Tensor::from_slice(&values).view(*shape)
    };
    SHAPES.iter().enumerate().map(make).collect()
}

impl State {
    fn new() -> Self {
        let zeros = || SHAPES.iter().map(|shape| Tensor::zeros(*shape, CPU)).collect();
        let params = tensors(1).into_iter().map(|tensor| tensor.set_requires_grad(true)).collect();
        Self { params, exp_avgs: zeros(), exp_avg_sqs: zeros() }
    }

    fn saved(&self) -> Self {
        let copy = |list: &[Tensor]| list.iter().map(|tensor| tensor.detach().copy()).collect();
        Self { params: copy(&self.params), exp_avgs: copy(&self.exp_avgs), exp_avg_sqs: copy(&self.exp_avg_sqs) }
    }

    fn update(&self, step: i64) {
        let grads = tensors(100 + step as usize);
        fused_adamw_step(&self.params, &grads, &self.exp_avgs, &self.exp_avg_sqs, step, OPTIONS).unwrap();
    }

    fn all(&self) -> impl Iterator<Item = &Tensor> {
        self.params.iter().chain(&self.exp_avgs).chain(&self.exp_avg_sqs)
    }
}

/// One element's five updates as the paper writes them.
fn reference(list: usize, at: usize) -> f64 {
    let AdamW { lr, beta1, beta2, eps, weight_decay } = OPTIONS;
    let (mut p, mut m, mut v) = (f64::from(value(1 + 31 * list, at) as f32), 0.0, 0.0);
    for step in 1..=5 {
        let g = f64::from(value(100 + step + 31 * list, at) as f32);
        p -= lr * weight_decay * p;
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        let corrected = v / (1.0 - beta2.powi(step as i32));
        p -= lr * (m / (1.0 - beta1.powi(step as i32))) / (corrected.sqrt() + eps);
    }
    p
}

#[test]
fn five_updates_follow_the_formula() {
    let state = State::new();
    (1..=5).for_each(|step| state.update(step));
    for (list, param) in state.params.iter().enumerate() {
        for (at, found) in Vec::<f32>::try_from(param.detach().view(-1)).unwrap().into_iter().enumerate() {
            let wanted = reference(list, at);
            assert!((f64::from(found) - wanted).abs() < 1e-6, "tensor {list}[{at}]: {found} for {wanted}");
        }
    }
}

#[test]
fn saved_moments_continue_with_the_same_bits() {
    let straight = State::new();
    (1..=3).for_each(|step| straight.update(step));
    let resumed = straight.saved();
    for state in [&straight, &resumed] {
        (4..=5).for_each(|step| state.update(step));
    }
    assert!(straight.all().zip(resumed.all()).all(|(one, other)| one.equal(other)));
    assert!(straight.params.iter().all(|param| param.requires_grad() && param.is_leaf()));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let state = State::new();
    let before = state.saved();
    let grads = tensors(5);
    let with = |at: usize, tensor: Tensor| {
        let mut list: Vec<Tensor> = grads.iter().map(Tensor::shallow_clone).collect();
        list[at] = tensor;
        list
    };
    for (grads, step, options, words) in [
        (with(0, Tensor::zeros([5, 7], CPU)), 1, OPTIONS, "grads[0]"),
        (with(1, Tensor::zeros([64], (Kind::Double, Device::Cpu))), 1, OPTIONS, "grads[1]"),
        (with(0, Tensor::zeros([5, 7], CPU).transpose(0, 1)), 1, OPTIONS, "not contiguous"),
        (with(2, Tensor::new()), 1, OPTIONS, "undefined"),
        (with(2, Tensor::zeros([1], (Kind::Int, Device::Cpu))), 1, OPTIONS, "not a floating point"),
        (vec![], 1, OPTIONS, "grads has 0 tensors"),
        (tensors(5), 0, OPTIONS, "step 0"),
        (tensors(5), i64::MAX, OPTIONS, "out of range"),
        (tensors(5), 1, AdamW { lr: f64::NAN, ..OPTIONS }, "lr = NaN"),
        (tensors(5), 1, AdamW { beta2: 1.0, ..OPTIONS }, "beta2 = 1"),
        (tensors(5), 1, AdamW { eps: -1.0, ..OPTIONS }, "eps"),
    ] {
        match fused_adamw_step(&state.params, &grads, &state.exp_avgs, &state.exp_avg_sqs, step, options) {
            Err(DistError::Invalid { reason, .. }) => {
                assert!(reason.contains(words), "{words}: {reason}")
            }
            other => panic!("{words}: {other:?}"),
        }
    }
    assert!(matches!(fused_adamw_step(&[], &[], &[], &[], 1, OPTIONS), Err(DistError::Invalid { .. })));
    assert!(state.all().zip(before.all()).all(|(one, other)| one.equal(other)));
}
