//! Osler's engine: everything that touches a model's numbers. Together with `osler-torch-dist` the only user of libtorch.
//!
//! In the order of the path of data:
//! - [`models`]: Llama-style and GPT-2-style decoders; their parameters carry Hugging Face's names, shapes and order;
//! - [`flat`]: where every parameter, gradient and moment lives in four flat buffers, and how those are cut into slices;
//! - [`reduce`]: gradients of a bucket are summed over the ranks while backward goes on;
//! - [`step`]: the [`Trainer`](step::Trainer): fetch, forward, backward, reduce, agree, clip, update;
//! - [`checkpoint`]: a rank's slice of weights and moments as a file, read back at any world size;
//! - [`hf`]: Hugging Face folders in and out;
//! - [`score`]: log-likelihoods of token sequences, for exams and perplexity;
//! - [`peak`]: how fast this machine multiplies matrices;
//! - [`source`], [`safefile`]: where named tensors come from, and the one file format they are kept in.
//!
//! Randomness is drawn once, for the initial weights (there is no dropout), so a resumed run needs no generator state.
//! Equal bits need an equal number of threads: call [`set_threads`] before anything else.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod error;
pub mod flat;
pub mod hf;
pub mod models;
pub mod peak;
pub mod reduce;
pub mod safefile;
pub mod score;
pub mod source;
pub mod step;

pub use error::EngineError;
pub use osler_torch_dist::{keep_pages, set_threads};
pub use tch::Device;
