// Operations of a decoder's layers that libtorch makes of several passes over memory, each here in one, with its gradient. What the loops do not
// take (another kind, another device) is composed of libtorch's operations, with the same meaning.
#include "fused.h"

#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "fused_kernels.h"
#include "status.h"

namespace {

using osler::guarded;
using osler::tensor;
using osler::fused::plain;
using osler::fused::Rows;
using osler::fused::rows_a_thread;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
namespace kernel = osler::kernel;

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    const Rows g(gate);
    const Rows u(up);
    const auto out = at::empty(gate.sizes(), gate.options());
    float* const to = out.data_ptr<float>();
    at::parallel_for(0, g.count, rows_a_thread(g.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        kernel::swiglu(to + row * g.width, g.at(row), u.at(row), g.width);
      }
    });
    return out;
  }

  // The two gradients are neighbours in one buffer, so that the product before can take them as one matrix.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Rows d(grads[0]);
    const Rows g(saved[0]);
    const Rows u(saved[1]);
    auto sizes = saved[0].sizes().vec();
    sizes.back() *= 2;
    const auto both = at::empty(sizes, saved[0].options());
    float* const to = both.data_ptr<float>();
    at::parallel_for(0, g.count, rows_a_thread(g.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* const at = to + row * 2 * g.width;
        kernel::swiglu_back(at, at + g.width, d.at(row), g.at(row), u.at(row), g.width);
      }
    });
    return {both.narrow(-1, 0, g.width), both.narrow(-1, g.width, g.width)};
  }
};

// Gives x + delta and its norm, or x and its norm when there is no delta. Both uses of the sum meet in one backward pass.
struct AddNorm : torch::autograd::Function<AddNorm> {
  // Rows whose weight gradients are summed together: fixed, so that the number of threads changes no bit.
  static constexpr int64_t BLOCK = 64;

  static variable_list forward(
      AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& delta, const at::Tensor& weight, double eps) {
    const Rows from(x);
    const auto added = delta ? std::optional<Rows>(*delta) : std::nullopt;
    const auto sum = delta ? at::empty(x.sizes(), x.options()) : x;
    const auto norm = at::empty(x.sizes(), x.options());
    const auto scales = at::empty({from.count}, x.options());
    const float* const w = weight.data_ptr<float>();
    const int64_t width = from.width;
    at::parallel_for(0, from.count, rows_a_thread(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        float* const total = added ? sum.data_ptr<float>() + row * width : nullptr;
        const float squares = kernel::add_squares(total, from.at(row), added ? added->at(row) : nullptr, width);
        const double mean = static_cast<double>(squares) / static_cast<double>(width);
        const float scale = static_cast<float>(1.0 / std::sqrt(mean + eps));
        scales.data_ptr<float>()[row] = scale;
        kernel::scale(norm.data_ptr<float>() + row * width, added ? total : from.at(row), scale, w, width);
      }
    });
    ctx->set_materialize_grads(false);
    ctx->saved_data["added"] = delta.has_value();
    ctx->save_for_backward({sum, weight, scales});
    return {sum, norm};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const bool added = ctx->saved_data["added"].toBool();
    const auto result = [&](const at::Tensor& x_grad, const at::Tensor& weight_grad) -> variable_list {
      return {x_grad, added ? x_grad : at::Tensor(), weight_grad, at::Tensor()};
    };
    if (!grads[1].defined()) {
      return result(grads[0], at::Tensor());
    }
    const auto saved = ctx->get_saved_variables();
    const Rows x(saved[0]);
    const Rows d(grads[1]);
    const auto through = grads[0].defined() ? std::optional<Rows>(grads[0]) : std::nullopt;
    const int64_t width = x.width;
    const int64_t blocks = (x.count + BLOCK - 1) / BLOCK;
    const auto x_grad = at::empty(saved[0].sizes(), saved[0].options());
    const auto parts = at::zeros({blocks, width}, saved[0].options());
    const float* const w = saved[1].data_ptr<float>();
    const float* const scales = saved[2].data_ptr<float>();
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * BLOCK; row < std::min(end * BLOCK, x.count); ++row) {
        kernel::norm_back(
            x_grad.data_ptr<float>() + row * width, parts.data_ptr<float>() + row / BLOCK * width, d.at(row),
            through ? through->at(row) : nullptr, x.at(row), scales[row], w, width);
      }
    });
    return result(x_grad, parts.sum(0));
  }
};

// [batch, heads, time, width] in memory order [batch, time, heads, width], as attention leaves and takes it.
at::Tensor turned(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool back) {
  const auto batch = x.size(0);
  const auto heads = x.size(1);
  const auto time = x.size(2);
  const auto width = x.size(3);
  const auto from = x.stride(3) == 1 ? x : x.contiguous();
  const auto out = at::empty({batch, time, heads, width}, x.options());
  const float* const source = from.data_ptr<float>();
  at::parallel_for(0, batch * time, rows_a_thread(heads * width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / time;
      const int64_t t = row % time;
      const float* const c = cos.data_ptr<float>() + t * width;
      const float* const s = sin.data_ptr<float>() + t * width;
      for (int64_t head = 0; head < heads; ++head) {
        const float* const in = source + b * from.stride(0) + head * from.stride(1) + t * from.stride(2);
        float* const to = out.data_ptr<float>() + (row * heads + head) * width;
        back ? kernel::turn_back(to, in, c, s, width) : kernel::turn(to, in, c, s, width);
      }
    }
  });
  return out.transpose(1, 2);
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    const at::AutoDispatchBelowADInplaceOrView plainly; // what comes out is no view that autograd must know of
    ctx->save_for_backward({cos, sin});
    return turned(x, cos, sin, false);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned(grads[0], saved[0], saved[1], true), at::Tensor(), at::Tensor()};
  }
};

void* owned(const at::Tensor& t) {
  return new at::Tensor(t);
}

bool norm_fits(const at::Tensor& x, const at::Tensor& weight) {
  return plain(x) && plain(weight) && weight.dim() == 1 && weight.is_contiguous() && weight.size(0) > 0 && x.dim() > 0 &&
      x.size(-1) == weight.size(0);
}

bool turn_fits(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto table = [&](const at::Tensor& t) {
    return plain(t) && t.is_contiguous() && t.dim() == 2 && t.size(0) >= x.size(2) && t.size(1) == x.size(3) && !t.requires_grad();
  };
  return plain(x) && x.dim() == 4 && x.size(3) % 2 == 0 && table(cos) && table(sin);
}

} // namespace

extern "C" {

OslerOutcome osler_swiglu(const void* gate, const void* up, void** out) {
  return guarded([&] {
    const auto& g = tensor(gate);
    const auto& u = tensor(up);
    const bool fits = plain(g) && plain(u) && g.dim() > 0 && g.sizes() == u.sizes();
    *out = owned(fits ? SwiGlu::apply(g, u) : at::mul(at::silu(g), u));
  });
}

OslerOutcome osler_add_norm(const void* x, const void* delta, const void* weight, double eps, void** sum, void** norm) {
  return guarded([&] {
    const auto& from = tensor(x);
    const auto& w = tensor(weight);
    const auto added = delta == nullptr ? std::nullopt : std::optional<at::Tensor>(tensor(delta));
    const bool fits = norm_fits(from, w) && (!added || (plain(*added) && added->sizes() == from.sizes()));
    variable_list pair;
    if (fits) {
      pair = AddNorm::apply(from, added, w, eps);
    } else {
      const auto total = added ? at::add(from, *added) : from;
      pair = {total, at::rms_norm(total, w.sizes(), w.to(total.scalar_type()), eps)};
    }
    *norm = owned(pair.at(1));
    *sum = owned(pair.at(0));
  });
}

OslerOutcome osler_rotate(const void* x, const void* cos, const void* sin, void** out) {
  return guarded([&] {
    const auto& from = tensor(x);
    if (turn_fits(from, tensor(cos), tensor(sin))) {
      *out = owned(Rotate::apply(from, tensor(cos), tensor(sin)));
      return;
    }
    const auto table = [&](const void* whole) { return tensor(whole).narrow(0, 0, from.size(-2)).to(from.scalar_type()); };
    // Backward of a roll is a roll; two narrow halves would each fill and add a whole tensor of zeros.
    *out = owned(at::add(at::mul(from, table(cos)), at::mul(at::roll(from, from.size(-1) / 2, -1), table(sin))));
  });
}

OslerOutcome osler_cross_entropy(const void* logits, const void* targets, float weight, double* loss) {
  return guarded([&] {
    const at::NoGradGuard no_grad;
    const auto& rows = tensor(logits);
    const auto& aims = tensor(targets);
    const int64_t count = rows.size(0);
    const int64_t width = rows.size(1);
    const int64_t* const aim = aims.data_ptr<int64_t>();
    for (int64_t row = 0; row < count; ++row) {
      if (aim[row] < 0 || aim[row] >= width) {
        throw std::out_of_range("a target is outside the row of logits");
      }
    }
    std::vector<double> losses(count);
    at::parallel_for(0, count, rows_a_thread(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        losses[row] = kernel::cross_entropy(rows.data_ptr<float>() + row * width, aim[row], weight, width);
      }
    });
    *loss = 0.0;
    for (const double one : losses) {
      *loss += one;
    }
  });
}

} // extern "C"
