//! Gradient hooks: be told, in the midst of a backward pass, that one parameter's gradient is complete.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use tch::Tensor;

use crate::DistError;
use crate::sys::{self, pointer};
use crate::tensor::parameter;

/// What a callback may return: nothing, or a result whose error ends the backward pass.
pub trait HookOutcome {
    fn failure(self) -> Option<String>;
}

impl HookOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> HookOutcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// A callback on one leaf tensor, until it is dropped. The callback runs each time that a backward pass has added to the leaf's gradient, on the thread
/// that does it: for CPU tensors the one that called `backward`, for GPU tensors libtorch's thread of that device.
///
/// A callback that fails or panics makes `f_backward` return an error (tch's `backward` panics on it), and [`GradHook::check`] tells it
/// again; gradients are incomplete then. After a panic the callback is not called again.
#[must_use = "dropping the hook removes it"]
pub struct GradHook {
    param: Tensor,
    state: *const c_void,
    fault: Arc<Mutex<Option<String>>>,
}

// SAFETY: `state` is only compared, never followed; all else is Send, and disarming locks on the C++ side.
unsafe impl Send for GradHook {}

struct State {
    callback: Mutex<Box<dyn FnMut() -> Option<String> + Send>>,
    fault: Arc<Mutex<Option<String>>>,
}

impl GradHook {
    /// One hook per tensor at a time. Registering is like any change of a tensor: not while a backward pass through it is running.
    ///
    /// # Errors
    /// [`DistError::Invalid`] when `param` is not a leaf that requires a gradient, or has a hook already.
    pub fn register<F, R>(param: &Tensor, mut callback: F) -> Result<Self, DistError>
    where
        F: FnMut() -> R + Send + 'static,
        R: HookOutcome,
    {
        const NAME: &str = "GradHook::register";
        parameter(NAME, param)?;
        let fault = Arc::new(Mutex::new(None));
        let callback = Mutex::new(Box::new(move || callback().failure()) as Box<dyn FnMut() -> Option<String> + Send>);
        let state = Box::into_raw(Box::new(State { callback, fault: Arc::clone(&fault) })).cast::<c_void>();
        // SAFETY: the tensor is borrowed for the call; on success C++ owns `state` and gives it back through `release` exactly once.
        let outcome = unsafe { sys::osler_hook_arm(pointer(param), state, call, release) };
        match outcome.check(|| NAME.to_owned(), Duration::ZERO) {
            Ok(()) => Ok(Self { param: param.shallow_clone(), state, fault }),
            Err(error) => {
                // SAFETY: C++ refused the state, so it is still ours, and nobody else knows it.
                drop(unsafe { Box::from_raw(state.cast::<State>()) });
                Err(match error {
                    DistError::RankTaken { operation, reason } => DistError::Invalid { operation, reason },
                    other => other,
                })
            }
        }
    }

    /// The first failure of the callback since registration, if there was one.
    pub fn check(&self) -> Result<(), DistError> {
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Ok(()),
            Some(reason) => Err(DistError::Hook { reason: reason.clone() }),
        }
    }
}

impl Drop for GradHook {
    /// Safe at any time, also from within the callback: a call that is under way ends first, then the callback is dropped.
    fn drop(&mut self) {
        // SAFETY: our own reference keeps the tensor alive; C++ frees the state after the last call of it.
        unsafe { sys::osler_hook_disarm(pointer(&self.param), self.state) }
    }
}

impl State {
    fn run(&self) -> Option<String> {
        let failure = match self.callback.try_lock() {
            Ok(mut callback) => match catch_unwind(AssertUnwindSafe(|| {
                let callback = &mut *callback;
                callback()
            })) {
                Ok(outcome) => outcome,
                Err(payload) => {
                    let reason = format!("the callback panicked: {}", words(&*payload));
                    // Whatever the panic left half done is not run again.
                    let told = reason.clone();
                    *callback = Box::new(move || Some(told.clone()));
                    Some(reason)
                }
            },
            Err(TryLockError::WouldBlock) => Some("the callback was entered again while it ran".to_owned()),
            Err(TryLockError::Poisoned(_)) => Some("the callback panicked before".to_owned()),
        };
        if let Some(reason) = &failure {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.clone());
        }
        failure
    }
}

/// Called by C++ during backward. Nothing may unwind out of here.
unsafe extern "C" fn call(state: *mut c_void, message: *mut *mut c_char) -> i32 {
    let failure = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `state` is the box of `register`, which C++ keeps until no call is under way; it is only shared here.
        unsafe { &*state.cast::<State>() }.run()
    }))
    .unwrap_or_else(|_| Some("the callback's failure could not be described".to_owned()));
    match failure {
        None => 0,
        Some(reason) => {
            // SAFETY: `message` is a valid place; the copy is C++'s to free.
            unsafe { *message = sys::osler_message_copy(reason.as_ptr().cast(), reason.len()) };
            1
        }
    }
}

/// Called by C++ once, when the hook is gone and no call is under way.
unsafe extern "C" fn release(state: *mut c_void) {
    // A callback whose destructor panics must not unwind into C++; there is nobody left to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `state` is the box of `register`, handed back exactly once.
        drop(unsafe { Box::from_raw(state.cast::<State>()) });
    }));
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
