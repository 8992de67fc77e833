// One call of libtorch's fused AdamW kernel over lists of tensors.
#include "status.h"

#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

namespace {

std::vector<at::Tensor> list(const void* const* pointers, size_t count) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    tensors.push_back(osler::tensor(pointers[i]));
  }
  return tensors;
}

} // namespace

extern "C" OslerOutcome osler_fused_adamw(
    const void* const* params, const void* const* grads, const void* const* exp_avgs, const void* const* exp_avg_sqs, size_t count,
    int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay) {
  return osler::guarded([&] {
    const at::NoGradGuard no_grad;
    const auto targets = list(params, count);
    // The kernel reads the number of this update, as torch.optim leaves it after its own increment.
    const auto counter = at::full({}, static_cast<double>(step), targets.at(0).options().dtype(at::kFloat).requires_grad(false));
    const std::vector<at::Tensor> steps(count, counter);
    at::_fused_adamw_(
        targets, list(grads, count), list(exp_avgs, count), list(exp_avg_sqs, count), /*max_exp_avg_sqs=*/{}, steps, lr, beta1, beta2,
        weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}
