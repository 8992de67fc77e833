// Products of one input with several weights whose gradients go straight into the weights' own gradient memory.
//
// Autograd's way makes a new tensor for every weight's gradient and every product's part of the input's gradient, and adds it afterwards. Here
// the product itself adds. Weights that are neighbours in memory, as in a flat buffer, are multiplied as one matrix, and so are their gradients.
#include "fused.h"

#include <numeric>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/variable.h>

#include "status.h"

namespace {

using osler::guarded;
using osler::tensor;
using osler::fused::plain;
using osler::fused::Rows;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Several matrices of equal width as one, and the row at which each begins in it.
struct Stacked {
  at::Tensor whole; // undefined when they are not neighbours
  std::vector<int64_t> starts;
};

// Neighbours in one storage, in whatever order.
Stacked stack(const std::vector<at::Tensor>& parts) {
  std::vector<size_t> order(parts.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return parts[a].storage_offset() < parts[b].storage_offset(); });
  Stacked found{{}, std::vector<int64_t>(parts.size())};
  const auto& first = parts[order[0]];
  int64_t rows = 0;
  for (const size_t i : order) {
    const auto& part = parts[i];
    if (!part.is_contiguous() || !part.is_alias_of(first) || part.size(1) != first.size(1) ||
        part.storage_offset() != first.storage_offset() + rows * first.size(1)) {
      return found;
    }
    found.starts[i] = rows;
    rows += part.size(0);
  }
  found.whole = first.as_strided({rows, first.size(1)}, {first.size(1), 1});
  return found;
}

// The gradients of one matrix' columns as that matrix, when that is what they are in memory.
at::Tensor side_by_side(const std::vector<Rows>& grads, const std::vector<int64_t>& starts, int64_t width) {
  const auto& first = grads[0];
  const int64_t offset = first.tensor.storage_offset() - starts[0];
  for (size_t i = 0; i < grads.size(); ++i) {
    const auto& part = grads[i];
    if (part.stride != width || !part.tensor.is_alias_of(first.tensor) || part.tensor.storage_offset() != offset + starts[i]) {
      return {};
    }
  }
  return offset < 0 ? at::Tensor() : first.tensor.as_strided({first.count, width}, {width, 1}, offset);
}

at::Tensor flat(const Rows& rows) {
  return rows.tensor.as_strided({rows.count, rows.width}, {rows.stride, 1});
}

// The memory that the weight's gradient is gathered in, when backward may write there itself: a leaf that has it already, in a pass that
// gathers gradients in leaves (not one that was asked for some).
at::Tensor place_of_gradient(const at::Tensor& weight) {
  const auto* asked = torch::autograd::get_current_graph_task_exec_info();
  if ((asked != nullptr && !asked->empty()) || !weight.is_leaf() || at::GradMode::is_enabled()) {
    return {};
  }
  const auto& grad = weight.grad();
  const bool fits = plain(grad) && grad.is_contiguous() && grad.sizes() == weight.sizes() && !grad.requires_grad();
  return fits && torch::autograd::impl::hooks(weight).empty() ? grad : at::Tensor();
}

struct Linears : torch::autograd::Function<Linears> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, at::TensorList weights) {
    const at::AutoDispatchBelowADInplaceOrView plainly; // what comes out is no view that autograd must know of
    const Rows rows(x);
    const auto x_ni = flat(rows);
    auto sizes = x.sizes().vec();
    const auto shaped = [&](const at::Tensor& y_no) {
      auto strides = y_no.strides().vec();
      sizes.back() = y_no.size(1);
      std::vector<int64_t> steps(sizes.size(), 1);
      int64_t step = strides[0];
      for (size_t d = sizes.size() - 1; d-- > 0;) {
        steps[d] = step;
        step *= sizes[d];
      }
      return y_no.as_strided(sizes, steps, y_no.storage_offset());
    };
    const auto stacked = stack(weights.vec());
    variable_list outs;
    if (stacked.whole.defined()) {
      const auto whole = at::mm(x_ni, stacked.whole.t());
      for (size_t i = 0; i < weights.size(); ++i) {
        outs.push_back(shaped(whole.narrow(1, stacked.starts[i], weights[i].size(0))));
      }
    } else {
      for (const auto& weight : weights) {
        outs.push_back(shaped(at::mm(x_ni, weight.t())));
      }
    }
    variable_list saved{x};
    saved.insert(saved.end(), weights.begin(), weights.end());
    ctx->save_for_backward(saved);
    return outs;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Rows x(saved[0]);
    const auto x_ni = flat(x);
    const std::vector<at::Tensor> weights(saved.begin() + 1, saved.end());
    const std::vector<Rows> each(grads.begin(), grads.end());
    const auto stacked = stack(weights);
    const auto whole = stacked.whole.defined() ? side_by_side(each, stacked.starts, stacked.whole.size(0)) : at::Tensor();

    variable_list results(saved.size());
    if (ctx->needs_input_grad(0)) {
      auto x_grad = at::empty({x.count, x.width}, x.tensor.options());
      if (whole.defined()) {
        at::mm_out(x_grad, whole, stacked.whole);
      } else {
        for (size_t i = 0; i < weights.size(); ++i) {
          at::addmm_out(x_grad, x_grad, flat(each[i]), weights[i], i == 0 ? 0 : 1, 1);
        }
      }
      results[0] = x_grad.view(saved[0].sizes());
    }
    weight_gradients(ctx, weights, each, x_ni, whole, results);
    return results;
  }

  static void weight_gradients(
      AutogradContext* ctx, const std::vector<at::Tensor>& weights, const std::vector<Rows>& each, const at::Tensor& x_ni,
      const at::Tensor& whole, variable_list& results) {
    std::vector<at::Tensor> places;
    for (size_t i = 0; i < weights.size(); ++i) {
      const bool wanted = ctx->needs_input_grad(i + 1);
      places.push_back(wanted ? place_of_gradient(weights[i]) : at::Tensor());
      if (wanted && !places[i].defined()) {
        results[i + 1] = at::mm(flat(each[i]).t(), x_ni);
      }
    }
    const bool all = std::all_of(places.begin(), places.end(), [](const at::Tensor& place) { return place.defined(); });
    auto together = all && whole.defined() ? stack(places) : Stacked();
    if (together.whole.defined()) {
      together.whole.addmm_(whole.t(), x_ni);
    } else {
      for (size_t i = 0; i < weights.size(); ++i) {
        if (places[i].defined()) {
          places[i].addmm_(flat(each[i]).t(), x_ni);
        }
      }
    }
  }
};

} // namespace

extern "C" OslerOutcome osler_linears(const void* x, const void* const* weights, size_t count, void** outs) {
  return guarded([&] {
    const auto& from = tensor(x);
    std::vector<at::Tensor> all;
    bool fits = plain(from) && from.dim() > 1 && from.numel() > 0;
    for (size_t i = 0; i < count; ++i) {
      const auto& weight = tensor(weights[i]);
      fits = fits && plain(weight) && weight.dim() == 2 && weight.is_contiguous() && weight.size(1) == from.size(-1);
      all.push_back(weight);
    }
    variable_list results;
    if (fits) {
      results = Linears::apply(from, at::TensorList(all));
    } else {
      for (const auto& weight : all) {
        results.push_back(at::linear(from, weight.to(from.scalar_type())));
      }
    }
    for (size_t i = 0; i < count; ++i) {
      outs[i] = new at::Tensor(results.at(i));
    }
  });
}
