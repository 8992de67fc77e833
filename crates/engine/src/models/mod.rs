//! Decoders. A [`Model`] is a shape and its parameters; it knows nothing of gradients' buffers, ranks or files.
//!
//! Shapes of parameters and ids are checked where they come in; from there on tensor arithmetic fails only when memory runs
//! out, and then it panics: a rank without memory is restarted, not repaired.

mod gpt2;
mod llama;
pub mod params;
mod rope;

use crate::EngineError;
use crate::source::TensorSource;
use gpt2::Gpt2;
use llama::Llama;
use osler_core::spec::{Family, ModelSpec};
use params::{Begin, Param, parameters};
use tch::{Device, Kind, Tensor};

pub struct Model {
    spec: ModelSpec,
    vocab: usize,
    net: Net,
}

enum Net {
    Llama(Llama),
    Gpt2(Gpt2),
}

impl Model {
    /// Puts a model together from its parameters in the order of [`parameters`]; the tensors are shared, not copied.
    pub fn assemble(spec: &ModelSpec, vocab: usize, tensors: &[Tensor]) -> Result<Self, EngineError> {
        let expected = parameters(spec, vocab)?;
        if tensors.len() != expected.len() {
            return Err(EngineError::Model(vec![format!("{} tensors given, {} expected", tensors.len(), expected.len())]));
        }
        for (param, tensor) in expected.iter().zip(tensors) {
            if tensor.size() != dims(&param.shape) {
                return Err(EngineError::tensor(&param.name, format!("shape {:?}, expected {:?}", tensor.size(), param.shape)));
            }
        }
        let mut parts = tensors.iter().map(Tensor::shallow_clone);
        let mut next = || parts.next().unwrap_or_default();
        let net = match spec.family {
            Family::Llama => Net::Llama(Llama::new(spec, &mut next)),
            Family::Gpt2 => Net::Gpt2(Gpt2::new(spec, &mut next)),
        };
        Ok(Self { spec: spec.clone(), vocab, net })
    }

    /// A model for scoring: f32 weights from `source`, no gradients.
    pub fn from_source(spec: &ModelSpec, vocab: usize, source: &mut dyn TensorSource, device: Device) -> Result<Self, EngineError> {
        let read = |param: &Param| {
            let values = source.read(&param.name, &param.shape)?;
            Ok(Tensor::f_from_slice(&values)?.f_view(dims(&param.shape).as_slice())?.f_to_device(device)?)
        };
        let tensors = parameters(spec, vocab)?.iter().map(read).collect::<Result<Vec<_>, EngineError>>()?;
        Self::assemble(spec, vocab, &tensors)
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The states that the head reads, after the last norm: ids `[batch, time]` to `[batch, time, dim]`.
    pub(crate) fn hidden(&self, ids_bt: &Tensor) -> Tensor {
        match &self.net {
            Net::Llama(net) => net.hidden(ids_bt),
            Net::Gpt2(net) => net.hidden(ids_bt),
        }
    }

    /// `[vocab, dim]`; the embedding itself when the head is tied.
    pub(crate) fn head(&self) -> &Tensor {
        match &self.net {
            Net::Llama(net) => net.head(),
            Net::Gpt2(net) => net.head(),
        }
    }

    /// The logits of one sequence, row-major `[tokens, vocab]`. For checks against other implementations.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let ids = ids_tensor(&[tokens], tokens.len(), self.vocab, self.spec.max_positions, self.device())?;
        let logits = tch::no_grad(|| self.hidden(&ids).linear::<&Tensor>(self.head(), None).to_device(Device::Cpu));
        let mut values = vec![0.0; logits.numel()];
        logits.f_copy_data(&mut values, logits.numel())?;
        Ok(values)
    }

    pub fn device(&self) -> Device {
        self.head().device()
    }
}

/// Draws the initial values of `tensors`, parameter by parameter. The same bits for the same seed on every rank.
pub(crate) fn initialise(expected: &[Param], tensors: &mut [Tensor], seed: u64, std: f64) {
    tch::manual_seed(seed as i64);
    let _guard = tch::no_grad_guard();
    for (param, tensor) in expected.iter().zip(tensors) {
        let _ = match param.begin {
            Begin::Normal => tensor.normal_(0.0, std),
            Begin::Ones => tensor.fill_(1.0),
            Begin::Zeros => tensor.zero_(),
        };
    }
}

pub(crate) fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|n| *n as i64).collect()
}

/// Token rows as one `[rows, width]` tensor, shorter rows filled with zeros on the right. Checks every id.
pub(crate) fn ids_tensor(rows: &[&[u32]], width: usize, vocab: usize, positions: u32, device: Device) -> Result<Tensor, EngineError> {
    if rows.is_empty() || width == 0 {
        return Err(EngineError::Batch("there are no tokens".into()));
    }
    if width > positions as usize {
        return Err(EngineError::Batch(format!("{width} tokens in a row, the model sees {positions} at most")));
    }
    let mut ids = vec![0i64; rows.len() * width];
    for (row, into) in rows.iter().zip(ids.chunks_mut(width)) {
        if let Some(id) = row.iter().find(|id| **id as usize >= vocab) {
            return Err(EngineError::Batch(format!("token id {id} is outside the vocabulary of {vocab}")));
        }
        into.iter_mut().zip(*row).for_each(|(to, id)| *to = i64::from(*id));
    }
    Ok(Tensor::f_from_slice(&ids)?.f_view([rows.len() as i64, width as i64])?.f_to_device(device)?)
}

/// Causal attention over `[batch, heads, time, head_dim]`, back as `[batch, time, heads * head_dim]`.
fn attend(q_bhtd: &Tensor, k_bgtd: &Tensor, v_bgtd: &Tensor) -> Tensor {
    let (batch, heads, time, width) = q_bhtd.size4().unwrap_or_default();
    let grouped = k_bgtd.size4().unwrap_or_default().1 != heads;
    let out = Tensor::scaled_dot_product_attention::<&Tensor>(q_bhtd, k_bgtd, v_bgtd, None, 0.0, true, None, grouped);
    out.transpose(1, 2).reshape([batch, time, heads * width])
}

pub(crate) const KIND: Kind = Kind::Float;
