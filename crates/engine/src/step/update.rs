//! The end of a step: the gradient's norm over all ranks, clipping, AdamW on what this rank owns.

use super::{Exchange, Trainer};
use crate::EngineError;
use crate::flat::{Entry, Run, narrow, runs};
use osler_core::spec::OptimizerSpec;
use osler_torch_dist::{AdamW, fused_adamw_step};
use tch::{Kind, Tensor};

impl Trainer {
    /// The global norm before clipping; the same on all ranks. Reads the summed gradients of this rank's own values only, unless the sum
    /// is whole on every rank.
    pub(super) fn grad_norm(&self) -> Result<f64, EngineError> {
        let own = if self.sums_are_whole() { 0..self.buffers.layout.len() } else { self.buffers.own.clone() };
        let part = |entry: &Entry| {
            let values = entry.offset.max(own.start)..(entry.offset + entry.len).min(own.end);
            (!values.is_empty()).then(|| narrow(&self.buffers.grads, &values)?.f_norm().map_err(EngineError::from))
        };
        let norms = self.buffers.layout.entries().iter().filter_map(part).collect::<Result<Vec<Tensor>, _>>()?;
        let mut squares = match norms.is_empty() {
            true => Tensor::f_zeros([1], (Kind::Double, self.options.device))?,
            false => Tensor::f_stack(&norms, 0)?.f_to_kind(Kind::Double)?.f_square()?.f_sum(Kind::Double)?.f_view([1])?,
        };
        if let (Some(group), false) = (&self.group, self.sums_are_whole()) {
            group.all_reduce_sum(&mut squares)?.wait(self.options.timeout)?;
        }
        Ok(squares.f_double_value(&[0])?.sqrt())
    }

    fn sums_are_whole(&self) -> bool {
        match &self.exchange {
            Exchange::Alone | Exchange::Tree { .. } => true,
            Exchange::Overlapped { shared, .. } => shared.is_none(),
        }
    }

    /// Clips and updates this rank's own values.
    pub(super) fn update(&mut self, norm: f64, lr: f64) -> Result<(), EngineError> {
        let OptimizerSpec { beta1, beta2, eps, weight_decay, decay, clip, .. } = self.options.optimizer;
        let own = self.buffers.own.clone();
        if clip > 0.0 && clip < norm + 1e-6 {
            let _ = narrow(&self.buffers.grads, &own)?.g_mul_scalar_(clip / (norm + 1e-6));
        }
        let runs = runs(&self.buffers.layout, &own, decay);
        for decays in [true, false] {
            let alike: Vec<&Run> = runs.iter().filter(|run| run.decays == decays).collect();
            if alike.is_empty() {
                continue;
            }
            let of = |flat: &Tensor| alike.iter().map(|run| narrow(flat, &run.values)).collect::<Result<Vec<_>, _>>();
            let (mut exp_avgs, mut exp_avg_sqs) = (vec![], vec![]);
            for run in &alike {
                let [exp_avg, exp_avg_sq] = self.buffers.moments(&run.values)?;
                exp_avgs.push(exp_avg);
                exp_avg_sqs.push(exp_avg_sq);
            }
            let hyper = AdamW { lr, beta1, beta2, eps, weight_decay: if decays { weight_decay } else { 0.0 } };
            let (params, grads) = (of(&self.buffers.params)?, of(&self.buffers.grads)?);
            fused_adamw_step(&params, &grads, &exp_avgs, &exp_avg_sqs, self.updates as i64 + 1, hyper)?;
        }
        self.updates += 1;
        Ok(())
    }
}
