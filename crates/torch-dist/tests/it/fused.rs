//! The fused operations against libtorch's own in double precision, and what they do to leaves, hooks and flat buffers.

use std::sync::{Arc, Mutex};

use osler_torch_dist::{DistError, GradHook, fused, set_grad, set_threads};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn random(shape: &[i64], seed: i64) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(shape, CPU)
}

fn double(t: &Tensor) -> Tensor {
    t.detach().to_kind(Kind::Double)
}

/// Largest difference, counted in the reference's largest value.
fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let scale = wanted.abs().max().double_value(&[]).max(1e-30);
    (found.to_kind(Kind::Double) - wanted).abs().max().double_value(&[]) / scale
}

/// Outputs and gradients of `ours` in single precision against those of `reference` in double: two roads to one number.
fn check(what: &str, inputs: &[Tensor], ours: impl Fn(&[Tensor]) -> Vec<Tensor>, reference: impl Fn(&[Tensor]) -> Vec<Tensor>) {
    let run = |leaves: Vec<Tensor>, f: &dyn Fn(&[Tensor]) -> Vec<Tensor>| {
        let outs = f(&leaves);
        let loss = outs.iter().enumerate().fold(Tensor::from(0.0), |sum, (i, out)| {
            let kind = out.kind();
            sum + (out * random(&out.size(), 100 + i as i64).to_kind(kind)).sum(kind)
        });
        loss.backward();
        let grads: Vec<Tensor> = leaves.iter().map(Tensor::grad).collect();
        (outs, grads)
    };
    let (outs, grads) = run(inputs.iter().map(|t| t.detach().copy().set_requires_grad(true)).collect(), &ours);
    let (wanted, wanted_grads) = run(inputs.iter().map(|t| double(t).set_requires_grad(true)).collect(), &reference);
    for (i, (found, wanted)) in outs.iter().zip(&wanted).enumerate() {
        let far = distance(found, wanted);
        assert!(far < 2e-6, "{what}: output {i} is {far:.1e} away");
    }
    for (i, (found, wanted)) in grads.iter().zip(&wanted_grads).enumerate() {
        let far = distance(found, wanted);
        assert!(far < 4e-6, "{what}: gradient {i} is {far:.1e} away");
    }
}

#[test]
fn swiglu_and_its_gradients_are_libtorchs() {
    for (rows, width) in [(3, 5), (7, 16), (130, 172), (64, 688)] {
        let inputs = [random(&[rows, width], 1) * 4.0, random(&[rows, width], 2)];
        check("swiglu", &inputs, |t| vec![fused::swiglu(&t[0], &t[1]).unwrap()], |t| vec![t[0].silu() * &t[1]]);
    }
    // Parts of one wider tensor, and a tensor whose rows cannot be walked.
    let parts = |t: &[Tensor]| (t[0].narrow(2, 0, 24), t[0].narrow(2, 24, 24));
    let ours = |t: &[Tensor]| vec![fused::swiglu(&parts(t).0, &parts(t).1).unwrap()];
    check("swiglu of parts", &[random(&[2, 9, 48], 3)], ours, |t| vec![parts(t).0.silu() * parts(t).1]);
    let ours = |t: &[Tensor]| vec![fused::swiglu(&t[0].transpose(0, 1), &t[1].transpose(0, 1)).unwrap()];
    let inputs = [random(&[5, 6, 7], 4), random(&[5, 6, 7], 5)];
    check("swiglu transposed", &inputs, ours, |t| vec![(t[0].silu() * &t[1]).transpose(0, 1)]);
}

#[test]
fn the_far_ends_of_swiglu_are_zero_or_the_product_and_not_a_number_stays() {
    let gate = Tensor::from_slice(&[-1e30f32, -200.0, -90.0, 0.0, 90.0, 200.0, 1e30, f32::NAN]);
    let out = fused::swiglu(&gate, &gate.ones_like()).unwrap();
    let values = Vec::<f32>::try_from(&out).unwrap();
    assert!(values[..3].iter().all(|v| v.abs() < 1e-6), "{values:?}");
    assert_eq!(values[3..7], [0.0, 90.0, 200.0, 1e30]);
    assert!(values[7].is_nan());
}

fn rms(x: &Tensor, weight: &Tensor) -> Tensor {
    x * (x.square().mean_dim(-1, true, Kind::Double) + 1e-5).rsqrt() * weight
}

#[test]
fn the_norm_and_the_sum_before_it_have_libtorchs_gradients() {
    for (rows, width) in [(1, 3), (5, 16), (70, 40), (200, 512)] {
        let inputs = [random(&[2, rows, width], 1), random(&[2, rows, width], 2), random(&[width], 3)];
        let both = |(sum, norm): (Tensor, Tensor)| vec![sum, norm];
        let ours = |t: &[Tensor]| both(fused::add_rms_norm(&t[0], Some(&t[1]), &t[2], 1e-5).unwrap());
        check("add and norm", &inputs, ours, |t| vec![&t[0] + &t[1], rms(&(&t[0] + &t[1]), &t[2])]);
        let ours = |t: &[Tensor]| both(fused::add_rms_norm(&t[0], None, &t[1], 1e-5).unwrap());
        let [x, _, weight] = inputs;
        check("norm", &[x, weight], ours, |t| vec![t[0].shallow_clone(), rms(&t[0], &t[1])]);
    }
}

#[test]
fn a_use_of_the_sum_or_the_norm_alone_is_enough() {
    let leaf = || random(&[4, 8], 1).set_requires_grad(true);
    let weight = random(&[8], 2);
    let (x, y) = (leaf(), leaf());
    fused::add_rms_norm(&x, Some(&y), &weight, 1e-5).unwrap().0.sum(Kind::Float).backward();
    assert_eq!(x.grad(), x.ones_like());
    assert_eq!(y.grad(), x.ones_like());
    let (ours, plain) = (leaf(), leaf());
    (fused::add_rms_norm(&ours, None, &weight, 1e-5).unwrap().1 * &y.detach()).sum(Kind::Float).backward();
    (plain.rms_norm([8], Some(&weight), 1e-5) * &y.detach()).sum(Kind::Float).backward();
    assert!(distance(&ours.grad(), &double(&plain.grad())) < 2e-6);
}

#[test]
fn a_turn_is_the_rolled_sum_and_its_gradient_the_turn_back() {
    let (cos, sin) = (random(&[12, 8], 1), random(&[12, 8], 2));
    let rolled = |x: &Tensor| {
        let kind = x.kind();
        x * cos.narrow(0, 0, 9).to_kind(kind) + x.roll([4], [3]) * sin.narrow(0, 0, 9).to_kind(kind)
    };
    let x = random(&[2, 3, 9, 8], 3);
    check("turn", &[x], |t| vec![fused::rotate(&t[0], &cos, &sin).unwrap()], |t| vec![rolled(&t[0])]);
    let x = random(&[2, 9, 3, 8], 4);
    let ours = |t: &[Tensor]| vec![fused::rotate(&t[0].transpose(1, 2), &cos, &sin).unwrap()];
    check("turn of a projection", &[x], ours, |t| vec![rolled(&t[0].transpose(1, 2))]);
}

#[test]
fn products_and_their_gradients_are_libtorchs() {
    let inputs = [random(&[2, 9, 12], 1), random(&[7, 12], 2), random(&[5, 12], 3)];
    let ours = |t: &[Tensor]| fused::linears(&t[0], &[&t[1], &t[2]]).unwrap();
    let reference = |t: &[Tensor]| vec![t[0].matmul(&t[1].tr()), t[0].matmul(&t[2].tr())];
    check("apart", &inputs, ours, reference);
    // Neighbours in one buffer, in reverse order: multiplied as one matrix, and gradients that come back as parts of one buffer.
    let weights = |t: &[Tensor]| (t[1].narrow(0, 4, 4), t[1].narrow(0, 0, 4));
    let inputs = [random(&[2, 9, 12], 4), random(&[8, 12], 5)];
    let chain = |(up, gate): (Tensor, Tensor)| vec![gate.silu() * up];
    let ours = |t: &[Tensor]| {
        let mut outs = fused::linears(&t[0], &[&weights(t).0, &weights(t).1]).unwrap().into_iter();
        let (gate, up) = (outs.next().unwrap(), outs.next().unwrap());
        vec![fused::swiglu(&gate, &up).unwrap()]
    };
    let reference = |t: &[Tensor]| chain((t[0].matmul(&weights(t).1.tr()), t[0].matmul(&weights(t).0.tr())));
    check("neighbours", &inputs, ours, reference);
}

/// Two weights as neighbouring views of a flat buffer, as a trainer keeps them.
fn flat_leaves() -> (Tensor, [Tensor; 2]) {
    let (params, grads) = (random(&[96], 7), Tensor::zeros([96], CPU));
    let leaf = |from: i64| {
        let leaf = params.narrow(0, from, 48).view([4, 12]).detach().set_requires_grad(true);
        set_grad(&leaf, &grads.narrow(0, from, 48).view([4, 12])).unwrap();
        leaf
    };
    let leaves = [leaf(48), leaf(0)];
    (grads, leaves)
}

#[test]
fn gradients_are_added_in_place_and_each_hook_is_called_once_a_pass() {
    let (grads, leaves) = flat_leaves();
    let log: Arc<Mutex<Vec<usize>>> = Arc::default();
    let hook = |(i, leaf): (usize, &Tensor)| {
        let log = Arc::clone(&log);
        GradHook::register(leaf, move || log.lock().unwrap().push(i)).unwrap()
    };
    let _hooks: Vec<GradHook> = leaves.iter().enumerate().map(hook).collect();
    let x = random(&[3, 12], 8);
    let pass = || {
        let outs = fused::linears(&x, &[&leaves[0], &leaves[1]]).unwrap();
        fused::swiglu(&outs[0], &outs[1]).unwrap().sum(Kind::Float).backward();
    };
    let places = leaves.each_ref().map(|leaf| leaf.grad().data_ptr());
    pass();
    let once = grads.copy();
    assert_eq!(log.lock().unwrap().len(), 2);
    pass();
    assert_eq!(leaves.each_ref().map(|leaf| leaf.grad().data_ptr()), places);
    assert!(grads.allclose(&(&once * 2.0), 1e-5, 1e-6, false));
    assert_eq!(log.lock().unwrap().len(), 4);

    let plain = leaves.each_ref().map(|leaf| leaf.detach().set_requires_grad(true));
    (x.matmul(&plain[0].tr()).silu() * x.matmul(&plain[1].tr())).sum(Kind::Float).backward();
    for (ours, plain) in leaves.iter().zip(&plain) {
        assert!(distance(&(ours.grad() / 2.0), &double(&plain.grad())) < 4e-6);
    }
}

#[test]
fn a_weight_that_is_used_twice_has_its_whole_gradient_when_its_hook_is_called() {
    let (_, [leaf, _]) = flat_leaves();
    let seen: Arc<Mutex<Vec<f64>>> = Arc::default();
    let (log, param) = (Arc::clone(&seen), Mutex::new(leaf.shallow_clone()));
    let _hook =
        GradHook::register(&leaf, move || log.lock().unwrap().push(param.lock().unwrap().grad().sum(Kind::Double).double_value(&[])));
    let product = |x: &Tensor| fused::linears(x, &[&leaf]).unwrap().remove(0);
    let x = Tensor::ones([3, 12], CPU);
    (product(&x) + product(&(&x * 2.0)) + x.matmul(&leaf.tr())).sum(Kind::Float).backward();
    // Three rows, each adding 1 + 2 + 1 to every weight of 48.
    assert_eq!(*seen.lock().unwrap(), [3.0 * 4.0 * 48.0]);
}

#[test]
fn a_failing_hook_ends_backward() {
    let (_, leaves) = flat_leaves();
    let hook = GradHook::register(&leaves[0], || Err::<(), _>("the reduction did not start")).unwrap();
    let outs = fused::linears(&random(&[3, 12], 1), &[&leaves[0], &leaves[1]]).unwrap();
    let error = (&outs[0] * &outs[1]).sum(Kind::Float).f_backward().unwrap_err();
    assert!(error.to_string().contains("the reduction did not start"), "{error}");
    assert!(hook.check().is_err());
}

#[test]
fn gradients_that_were_asked_for_are_returned_and_not_added() {
    let (grads, leaves) = flat_leaves();
    let x = random(&[3, 12], 1).set_requires_grad(true);
    let out = fused::linears(&x, &[&leaves[0]]).unwrap().remove(0);
    let asked = Tensor::run_backward(&[out.sum(Kind::Float)], &[&leaves[0], &x], false, false);
    assert!(distance(&asked[0], &double(&x.detach().sum_dim_intlist(0, false, Kind::Float).expand([4, 12], false))) < 2e-6);
    assert_eq!(asked[1].size(), [3, 12]);
    assert_eq!(grads.abs().sum(Kind::Float).double_value(&[]), 0.0);
}

#[test]
fn other_kinds_take_libtorchs_operations() {
    for kind in [Kind::Double, Kind::BFloat16] {
        let x = random(&[2, 5, 16], 1).to_kind(kind).set_requires_grad(true);
        let weight = random(&[16, 16], 2).to_kind(kind).set_requires_grad(true);
        let gain = random(&[16], 3).to_kind(kind);
        let (stream, norm) = fused::add_rms_norm(&x, Some(&x), &gain, 1e-5).unwrap();
        let y = fused::linears(&norm, &[&weight]).unwrap().remove(0);
        let out = fused::swiglu(&y, &stream).unwrap();
        assert_eq!(out.kind(), kind);
        let heads = out.view([2, 5, 2, 8]).transpose(1, 2);
        let table = Tensor::ones([5, 8], CPU);
        let turned = fused::rotate(&heads, &table, &(&table * 0.0)).unwrap();
        assert_eq!((turned.kind(), turned.equal(&heads)), (kind, true));
        turned.sum(kind).backward();
        assert!(weight.grad().defined() && x.grad().defined());
    }
}

#[test]
fn the_cross_entropy_and_its_gradient_are_libtorchs() {
    for (rows, vocab) in [(1, 1), (3, 7), (40, 512), (9, 1000)] {
        let mut logits = random(&[rows, vocab], 1) * 3.0;
        let targets = Tensor::randint(vocab, [rows], (Kind::Int64, Device::Cpu));
        let plain = double(&logits).set_requires_grad(true);
        let wanted = plain.cross_entropy_loss::<Tensor>(&targets, None, tch::Reduction::Sum, -100, 0.0);
        (&wanted * 0.25).backward();
        let found = fused::cross_entropy(&mut logits, &targets, 0.25).unwrap();
        assert!((found - wanted.double_value(&[])).abs() < 1e-5 * (1.0 + found.abs()), "{found} {wanted:?}");
        assert!((double(&logits) - plain.grad()).abs().max().double_value(&[]) < 1e-6);
    }
    let mut poisoned = Tensor::from_slice(&[1.0f32, f32::NAN, 0.0]).view([1, 3]);
    assert!(fused::cross_entropy(&mut poisoned, &Tensor::from_slice(&[0i64]), 1.0).unwrap().is_nan());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut logits = random(&[2, 3], 1);
    let before = logits.copy();
    for targets in [Tensor::from_slice(&[0i64]), Tensor::from_slice(&[0i64, 3]), Tensor::from_slice(&[-1i64, 0]), random(&[2], 1)] {
        assert!(fused::cross_entropy(&mut logits, &targets, 1.0).is_err());
    }
    assert_eq!(logits, before);
    assert!(matches!(fused::linears(&logits, &[]), Err(DistError::Invalid { .. })));
    assert!(fused::linears(&logits, &[&random(&[4, 5], 1)]).is_err());
    assert!(fused::swiglu(&logits, &random(&[5, 7], 1)).is_err());
    assert!(fused::swiglu(&logits, &Tensor::new()).is_err());
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        set_threads(threads).unwrap();
        let leaf = |shape: &[i64], seed| random(shape, seed).set_requires_grad(true);
        let (x, y, weight) = (leaf(&[700, 96], 1), leaf(&[700, 96], 2), leaf(&[96], 3));
        let (sum, norm) = fused::add_rms_norm(&x, Some(&y), &weight, 1e-5).unwrap();
        let out = fused::swiglu(&norm, &sum).unwrap();
        (&out * random(&[700, 96], 4)).sum(Kind::Float).backward();
        let mut logits = random(&[64, 2048], 5);
        let loss = fused::cross_entropy(&mut logits, &Tensor::arange(64, (Kind::Int64, Device::Cpu)), 1.0).unwrap();
        let bits = |t: &Tensor| Vec::<f32>::try_from(t.detach().view(-1)).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        ([out, x.grad(), y.grad(), weight.grad(), logits].each_ref().map(bits), loss.to_bits())
    };
    let alone = run(1);
    assert!(run(2) == alone && run(5) == alone);
    set_threads(1).unwrap();
}
