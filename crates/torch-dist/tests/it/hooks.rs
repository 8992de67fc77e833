//! Gradient hooks: when, how often, on what, and what happens when they fail.

use std::sync::{Arc, Mutex};

use osler_torch_dist::{DistError, GradHook, ProcessGroup, Work, set_grad};
use tch::{Device, Kind, Tensor};

use crate::gang::{PATIENT, gang};

type Log = Arc<Mutex<Vec<usize>>>;

fn leaf(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

fn logging(log: &Log, entry: usize) -> impl FnMut() + Send + 'static {
    let log = Arc::clone(log);
    move || log.lock().unwrap().push(entry)
}

fn backward(params: &[Tensor]) -> Result<(), tch::TchError> {
    let input = Tensor::from_slice(&[1.0f32, 2.0]);
    params.iter().fold(input, |x, weight| (x * weight).tanh()).sum(Kind::Float).f_backward()
}

#[test]
fn hooks_fire_once_per_backward_in_reverse_order_of_use() {
    let params: Vec<Tensor> = (0..4).map(|_| leaf(&[0.5, -0.25])).collect();
    let log = Log::default();
    let hooks: Vec<GradHook> = params.iter().enumerate().map(|(at, param)| GradHook::register(param, logging(&log, at)).unwrap()).collect();
    backward(&params).unwrap();
    assert_eq!(*log.lock().unwrap(), [3, 2, 1, 0]);
    backward(&params).unwrap();
    assert_eq!(*log.lock().unwrap(), [3, 2, 1, 0, 3, 2, 1, 0]);
    assert!(hooks.iter().all(|hook| hook.check().is_ok()));
}

#[test]
fn a_parameter_used_twice_is_reported_once_with_its_whole_gradient() {
    let weight = leaf(&[3.0]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, param) = (Arc::clone(&seen), Mutex::new(weight.shallow_clone()));
    let hook = GradHook::register(&weight, move || {
        log.lock().unwrap().push(param.lock().unwrap().grad().double_value(&[0]));
    })
    .unwrap();
    (&weight * &weight + &weight * 5.0).sum(Kind::Float).backward();
    assert_eq!(*seen.lock().unwrap(), [11.0]);
    drop(hook);
}

#[test]
fn it_runs_on_the_thread_that_called_backward() {
    let weight = leaf(&[1.0]);
    let thread = Arc::new(Mutex::new(None));
    let place = Arc::clone(&thread);
    let _hook = GradHook::register(&weight, move || *place.lock().unwrap() = Some(std::thread::current().id())).unwrap();
    weight.square().sum(Kind::Float).backward();
    assert_eq!(*thread.lock().unwrap(), Some(std::thread::current().id()));
}

#[test]
fn a_dropped_hook_is_silent_and_frees_its_callback_and_the_place() {
    let params = [leaf(&[1.0, 1.0])];
    let log = Log::default();
    let hook = GradHook::register(&params[0], logging(&log, 1)).unwrap();
    let taken = GradHook::register(&params[0], || ()).err().unwrap();
    assert!(matches!(taken, DistError::Invalid { .. }), "{taken:?}");
    drop(hook);
    assert_eq!(Arc::strong_count(&log), 1, "the callback is gone");
    backward(&params).unwrap();
    assert!(log.lock().unwrap().is_empty());
    let _second = GradHook::register(&params[0], logging(&log, 2)).unwrap();
    backward(&params).unwrap();
    assert_eq!(*log.lock().unwrap(), [2]);
}

#[test]
fn a_hook_may_drop_itself_while_it_runs() {
    let params = [leaf(&[1.0, 1.0])];
    let log = Log::default();
    let own: Arc<Mutex<Option<GradHook>>> = Arc::default();
    let (inside, entry) = (Arc::clone(&own), Arc::clone(&log));
    let hook = GradHook::register(&params[0], move || {
        drop(inside.lock().unwrap().take());
        entry.lock().unwrap().push(1);
    });
    *own.lock().unwrap() = Some(hook.unwrap());
    backward(&params).unwrap();
    backward(&params).unwrap();
    assert_eq!(*log.lock().unwrap(), [1]);
    assert_eq!(Arc::strong_count(&log), 1, "the callback was freed after its last run");
}

#[test]
fn a_hook_outlives_the_last_handle_of_its_tensor_and_the_other_way_round() {
    let log = Log::default();
    let weight = leaf(&[2.0]);
    let loss = weight.square().sum(Kind::Float);
    let hook = GradHook::register(&weight, logging(&log, 1)).unwrap();
    drop(weight);
    loss.backward();
    drop(loss);
    assert_eq!(*log.lock().unwrap(), [1]);
    drop(hook);
    assert_eq!(Arc::strong_count(&log), 1);
}

#[test]
fn a_panic_becomes_an_error_of_backward_and_of_the_hook() {
    let params = [leaf(&[1.0, 1.0])];
    let hook = GradHook::register(&params[0], || -> () { panic!("on purpose {}", 42) }).unwrap();
    for _ in 0..2 {
        let error = backward(&params).unwrap_err().to_string();
        assert!(error.contains("on purpose 42"), "{error}");
        assert!(matches!(hook.check(), Err(DistError::Hook { reason }) if reason.contains("on purpose 42")));
    }
    drop(hook);
    backward(&params).unwrap();
}

#[test]
fn an_error_from_the_callback_ends_backward() {
    let params = [leaf(&[1.0, 1.0]), leaf(&[1.0, 1.0])];
    let log = Log::default();
    let _silent = GradHook::register(&params[0], logging(&log, 0)).unwrap();
    let hook = GradHook::register(&params[1], || Err::<(), _>("the reduction did not start")).unwrap();
    assert!(backward(&params).unwrap_err().to_string().contains("the reduction did not start"));
    assert!(hook.check().is_err());
    assert!(log.lock().unwrap().is_empty(), "what came after was not run");
}

#[test]
fn only_leaves_that_require_gradients_take_hooks() {
    let plain = Tensor::zeros([2], (Kind::Float, Device::Cpu));
    let inner = leaf(&[1.0]) * 2.0;
    for tensor in [plain, inner, Tensor::new()] {
        assert!(matches!(GradHook::register(&tensor, || ()), Err(DistError::Invalid { .. })));
    }
}

#[test]
fn reduction_from_hooks_equals_the_gradient_of_the_whole_batch() {
    gang("hooks::reduction_from_hooks_equals_the_gradient_of_the_whole_batch", 2, |seat| {
        let group = Arc::new(seat.join(PATIENT));
        let batch = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25]).view([4, 1]);
        let loss = |weights: &[Tensor], rows: &Tensor| weights.iter().fold(rows.shallow_clone(), |x, w| (x * w).tanh()).sum(Kind::Float);
        let weights = || [leaf(&[0.5, -0.3, 0.8]), leaf(&[1.5, 0.1, -0.7])];

        let whole = weights();
        loss(&whole, &batch).backward();

        let mine = weights();
        let flat = Tensor::zeros([6], (Kind::Float, Device::Cpu));
        let works: Arc<Mutex<Vec<Work>>> = Arc::default();
        let hooks: Vec<GradHook> = (mine.iter().zip([0, 3]))
            .map(|(weight, start)| {
                let view = flat.narrow(0, start, 3);
                set_grad(weight, &view).unwrap();
                let (bucket, works, group) = (Mutex::new(view), Arc::clone(&works), Arc::<ProcessGroup>::clone(&group));
                GradHook::register(weight, move || -> Result<(), DistError> {
                    works.lock().unwrap().push(group.all_reduce_sum(&mut bucket.lock().unwrap())?);
                    Ok(())
                })
                .unwrap()
            })
            .collect();
        loss(&mine, &batch.narrow(0, 2 * seat.rank as i64, 2)).f_backward().unwrap();
        assert_eq!(works.lock().unwrap().len(), 2);
        works.lock().unwrap().drain(..).for_each(|work| work.wait(PATIENT).unwrap());
        for (mine, whole) in mine.iter().zip(&whole) {
            assert!(mine.grad().allclose(&whole.grad(), 1e-6, 1e-6, false));
        }
        drop(hooks);
    });
}
