//! Decoders and an encoder. A [`Model`] is a shape and its parameters; it knows nothing of gradients' buffers, ranks or files.
//!
//! Shapes of parameters and ids are checked where they come in; from there on tensor arithmetic fails only when memory runs
//! out, and then it panics: a rank without memory is restarted, not repaired.

mod bert;
mod gpt2;
mod llama;
mod ops;
pub mod params;
mod parts;
mod rope;

use crate::EngineError;
use crate::source::TensorSource;
use bert::Bert;
use gpt2::Gpt2;
use llama::Llama;
pub(crate) use ops::{Pass, document_mask};
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
    Bert(Bert),
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
        // As many as were counted above; one more is a mistake in the family, and an undefined tensor would hide it.
        let mut next = || parts.next().unwrap_or_else(|| panic!("{} takes more parameters than it names", spec.family));
        let net = match spec.family {
            Family::Llama | Family::Qwen2 | Family::Gemma => Net::Llama(Llama::new(spec, &mut next)),
            Family::Gpt2 => Net::Gpt2(Gpt2::new(spec, &mut next)),
            Family::Bert => Net::Bert(Bert::new(spec, &mut next)),
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

    /// The states that the head reads: ids `[batch, time]` to `[batch, time, dim]`.
    pub(crate) fn hidden(&self, ids_bt: &Tensor) -> Tensor {
        self.hidden_in(ids_bt, &Pass::PLAIN)
    }

    fn hidden_in(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        let x_btd = (0..self.depth()).fold(self.embed(ids_bt, pass), |x_btd, i| self.layer(i, &x_btd, pass));
        self.finish(&x_btd)
    }

    /// Layers between [`Self::embed`] and [`Self::finish`].
    pub(crate) fn depth(&self) -> usize {
        self.spec.layers as usize
    }

    /// Ids `[batch, time]` to the stream `[batch, time, dim]`.
    pub(crate) fn embed(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        match &self.net {
            Net::Llama(net) => net.embed(ids_bt, pass),
            Net::Gpt2(net) => net.embed(ids_bt, pass),
            Net::Bert(net) => net.embed(ids_bt, pass),
        }
    }

    /// The stream after layer `index`, which is below [`Self::depth`].
    pub(crate) fn layer(&self, index: usize, x_btd: &Tensor, pass: &Pass) -> Tensor {
        match &self.net {
            Net::Llama(net) => net.layer(index, x_btd, pass),
            Net::Gpt2(net) => net.layer(index, x_btd, pass),
            Net::Bert(net) => net.layer(index, x_btd, pass),
        }
    }

    /// What comes after the layers: the last norm, or bert's transform.
    pub(crate) fn finish(&self, x_btd: &Tensor) -> Tensor {
        match &self.net {
            Net::Llama(net) => net.finish(x_btd),
            Net::Gpt2(net) => net.finish(x_btd),
            Net::Bert(net) => net.finish(x_btd),
        }
    }

    /// `[vocab, dim]`; the embedding itself when the head is tied.
    pub(crate) fn head(&self) -> &Tensor {
        match &self.net {
            Net::Llama(net) => net.head(),
            Net::Gpt2(net) => net.head(),
            Net::Bert(net) => net.head(),
        }
    }

    /// What is added to the logits, `[vocab]`, where a family has it.
    pub(crate) fn head_bias(&self) -> Option<&Tensor> {
        match &self.net {
            Net::Llama(_) | Net::Gpt2(_) => None,
            Net::Bert(net) => Some(net.head_bias()),
        }
    }

    /// The logits of one sequence, row-major `[tokens, vocab]`. For checks against other implementations.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.logits_in(tokens, |_| Ok(Pass::PLAIN))
    }

    /// The same where documents, each up to and with a token `end`, do not see each other.
    pub fn logits_by_document(&self, tokens: &[u32], end: u32) -> Result<Vec<f32>, EngineError> {
        self.logits_in(tokens, |ids| Ok(Pass { mask: Some(document_mask(ids, end, self.spec.family.causal())?), ..Pass::PLAIN }))
    }

    fn logits_in(&self, tokens: &[u32], pass: impl FnOnce(&Tensor) -> Result<Pass, EngineError>) -> Result<Vec<f32>, EngineError> {
        let ids = ids_tensor(&[tokens], tokens.len(), self.vocab, self.spec.max_positions, self.device())?;
        let pass = pass(&ids)?;
        let logits = tch::no_grad(|| self.hidden_in(&ids, &pass).linear(self.head(), self.head_bias()).to_device(Device::Cpu));
        let mut values = vec![0.0; logits.numel()];
        logits.f_copy_data(&mut values, logits.numel())?;
        Ok(values)
    }

    pub fn device(&self) -> Device {
        self.head().device()
    }
}

/// Draws the initial values of `tensors`, parameter by parameter. The same bits for the same seed on every rank and device: a GPU's
/// generator would draw others, so all are drawn on the CPU.
pub(crate) fn initialise(expected: &[Param], tensors: &mut [Tensor], seed: u64, std: f64) {
    tch::manual_seed(seed as i64);
    let _guard = tch::no_grad_guard();
    for (param, tensor) in expected.iter().zip(tensors) {
        let _ = match param.begin {
            Begin::Normal if tensor.device() != Device::Cpu => {
                let mut drawn = Tensor::empty(tensor.size(), (tensor.kind(), Device::Cpu));
                tensor.copy_(&drawn.normal_(0.0, std));
                tensor.shallow_clone()
            }
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

pub(crate) const KIND: Kind = Kind::Float;
