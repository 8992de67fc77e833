//! A task that can be frozen: it does nothing until it thaws, as a stopped process does.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// Frozen until then.
pub type Until = Rc<Cell<Instant>>;

pub struct Freeze<F> {
    inner: Pin<Box<F>>,
    until: Until,
    thaw: Pin<Box<Sleep>>,
}

impl<F> Freeze<F> {
    pub fn new(inner: F) -> (Self, Until) {
        let until = Rc::new(Cell::new(Instant::now()));
        let thaw = Box::pin(sleep_until(until.get()));
        (Self { inner: Box::pin(inner), until: until.clone(), thaw }, until)
    }
}

impl<F: Future> Future for Freeze<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let until = self.until.get();
        if until > Instant::now() {
            self.thaw.as_mut().reset(until);
            if self.thaw.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(context)
    }
}
