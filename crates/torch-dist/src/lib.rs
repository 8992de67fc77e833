//! What [`tch`] lacks for data-parallel training, safely wrapped: process groups (Gloo, NCCL), gradient hooks, fused AdamW.
//!
//! libtorch exports all of this in C++; a small C++ layer (`csrc/`) and this crate make it safe Rust. Nothing panics across the
//! language border in either direction, every blocking call has a deadline, and a dead or silent peer is a [`DistError`], never a
//! hang. All `unsafe` code of the workspace lives here.
//!
//! | Need | Use |
//! |---|---|
//! | ranks find each other | [`Store::host`] on one of them, [`Store::connect`] on the others |
//! | a fenced group of ranks | [`ProcessGroup::gloo`] for CPU memory, [`ProcessGroup::nccl`] for GPUs: ranks of another generation or world size can never meet it |
//! | collectives, asynchronous | [`ProcessGroup::all_reduce_sum`] and its sisters return a [`Work`]; [`Work::wait`] takes a deadline |
//! | a rank that cannot go on | [`ProcessGroup::abort`]: the others get an error at once |
//! | overlap of backward and reduction | [`GradHook::register`] on each parameter |
//! | gradients and parameters in flat buffers | [`set_grad`], [`set_data`] |
//! | backward from a gradient computed elsewhere | [`backward_with`] |
//! | the optimizer | [`fused_adamw_step`]: PyTorch's `AdamW(fused=True)`, with moments that the caller owns and can save |
//! | a layer's operations in fewer passes over memory | [`fused`] |
//! | freed memory that stays with the process | [`keep_pages`] |
//! | where a thread stands that does not come back | [`stack`] |
//! | the same bits again | [`set_threads`], [`use_deterministic_algorithms`] |
//!
//! # Example: one rank of a data-parallel step
//!
//! ```no_run
//! use std::time::Duration;
//! use osler_torch_dist::{AdamW, GroupOptions, ProcessGroup, Store, fused_adamw_step};
//! use tch::{Device, Kind, Tensor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (rank, world_size, generation, limit) = (0, 2, 7, Duration::from_secs(60));
//! let store = Store::host([127, 0, 0, 1].into(), 29500, world_size, limit)?; // the others: Store::connect("127.0.0.1", 29500, ..)
//! let group = ProcessGroup::gloo(&store, GroupOptions::new(rank, world_size, generation, limit))?;
//!
//! let weight = Tensor::zeros([8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
//! let (exp_avg, exp_avg_sq) = (weight.detach().zeros_like(), weight.detach().zeros_like());
//! (&weight - 1.0).square().sum(Kind::Float).f_backward()?;
//!
//! let mut grad = weight.grad();
//! group.all_reduce_sum(&mut grad)?.wait(limit)?;
//! let _ = grad.divide_scalar_(world_size as f64);
//! fused_adamw_step(&[weight], &[grad], &[exp_avg], &[exp_avg_sq], 1, AdamW { lr: 1e-3, ..AdamW::default() })?;
//! # Ok(())
//! # }
//! ```
//!
//! # What stays with the caller
//!
//! - Every rank must issue the same collectives with the same sizes in the same order. Gloo ends the process when two ranks disagree
//!   about the size of one collective, so let them compare plans with [`ProcessGroup::agree`] first.
//! - The store speaks without authentication: bind it to loopback or to a trusted network.
//! - After any error of a collective the group has ended, here and soon at every other rank. Drop it, and join a new one under the next
//!   generation.
//!
//! # CUDA
//!
//! The build follows `LIBTORCH`: with a libtorch that has CUDA, [`ProcessGroup::nccl`] is compiled in; without, it is
//! [`DistError::Unavailable`]. Everything above a group is the same code for both; only [`ProcessGroup::device`] differs.

mod collectives;
mod deadline;
mod device;
mod error;
mod exchange;
pub mod fused;
mod group;
mod hook;
mod memory;
mod numeric;
mod optim;
pub mod stack;
mod store;
mod sys;
mod tensor;
mod work;

pub use device::cuda_device;
pub use error::DistError;
pub use group::{GroupOptions, ProcessGroup};
pub use hook::{GradHook, HookOutcome};
pub use memory::{keep_pages, release_pages};
pub use numeric::{set_threads, use_deterministic_algorithms};
pub use optim::{AdamW, fused_adamw_step};
pub use store::Store;
pub use tensor::{backward_with, set_data, set_grad};
pub use work::Work;
