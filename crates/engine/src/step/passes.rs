//! One forward and one backward pass over a micro-batch, with layers that are computed twice instead of kept.
//!
//! A recomputed layer cuts the graph: forward runs it without a graph and keeps its input only; backward runs it again and goes on
//! through what came before it. The numbers are the same as without cuts.

use crate::EngineError;
use crate::models::{Model, Pass};
use osler_torch_dist::backward_with;
use tch::Tensor;

/// A forward pass that waits for its backward.
pub(super) struct Forward {
    /// The states that the head reads, `[batch * time, dim]`.
    pub hidden_nd: Tensor,
    cuts: Vec<Cut>,
}

/// Layer `layer` left no graph: `before` leads to its input, and its output is the leaf `after` of what follows.
struct Cut {
    layer: usize,
    before: Tensor,
    after: Tensor,
}

/// `ready(Some(layer))` is called before a layer's weights are read, `ready(None)` before those after the last layer.
pub(super) fn forward(
    model: &Model,
    ids_bt: &Tensor,
    pass: &Pass,
    recomputed: usize,
    mut ready: impl FnMut(Option<usize>) -> Result<(), EngineError>,
) -> Result<Forward, EngineError> {
    let mut cuts = vec![];
    let mut x_btd = model.embed(ids_bt, pass);
    for layer in 0..model.depth() {
        ready(Some(layer))?;
        x_btd = if layer < recomputed {
            let after = tch::no_grad(|| model.layer(layer, &x_btd, pass)).f_detach()?.f_set_requires_grad(true)?;
            cuts.push(Cut { layer, before: x_btd, after: after.shallow_clone() });
            after
        } else {
            model.layer(layer, &x_btd, pass)
        };
    }
    ready(None)?;
    Ok(Forward { hidden_nd: model.finish(&x_btd).flatten(0, 1), cuts })
}

impl Forward {
    /// Adds every parameter's gradient, given the gradient of the head's input.
    pub fn backward(self, model: &Model, pass: &Pass, hidden_grad_nd: &Tensor) -> Result<(), EngineError> {
        let Self { hidden_nd, mut cuts } = self;
        backward_with(&hidden_nd, hidden_grad_nd)?;
        drop(hidden_nd);
        while let Some(Cut { layer, before, after }) = cuts.pop() {
            let grad_btd = after.grad();
            drop(after);
            let input = before.f_detach()?.f_set_requires_grad(true)?;
            backward_with(&model.layer(layer, &input, pass), &grad_btd)?;
            backward_with(&before, &input.grad())?;
        }
        Ok(())
    }
}
