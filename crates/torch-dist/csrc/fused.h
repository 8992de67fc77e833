// What the fused operations share: which tensors they take, and rows of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

namespace osler::fused {

// f32 in dense CPU memory: the fused loops are made for this, libtorch's own operations serve everything else.
inline bool plain(const at::Tensor& t) {
  return t.defined() && t.layout() == at::kStrided && t.has_storage() && t.device().is_cpu() && t.scalar_type() == at::kFloat &&
      !t.is_conj() && !t.is_neg();
}

// A tensor as rows of its last dimension, one every `stride` values. Keeps the memory alive; copies only what cannot be seen so.
struct Rows {
  explicit Rows(const at::Tensor& t) : tensor(even(t) ? t : t.contiguous()) {
    width = tensor.size(-1);
    count = width == 0 ? 0 : tensor.numel() / width;
    stride = width;
    for (int64_t d = tensor.dim() - 2; d >= 0; --d) {
      if (tensor.size(d) > 1) {
        stride = tensor.stride(d);
        break;
      }
    }
  }

  float* at(int64_t row) const { return tensor.data_ptr<float>() + row * stride; }

  // Dense in the last dimension, and the dimensions before it can be walked with one stride.
  static bool even(const at::Tensor& t) {
    if (t.stride(-1) != 1 && t.size(-1) != 1) {
      return false;
    }
    int64_t expected = -1;
    for (int64_t d = t.dim() - 2; d >= 0; --d) {
      if (t.size(d) == 1) {
        continue;
      }
      if (expected >= 0 && t.stride(d) != expected) {
        return false;
      }
      if (expected < 0 && t.stride(d) < t.size(-1)) {
        return false; // expanded or overlapping rows
      }
      expected = t.stride(d) * t.size(d);
    }
    return true;
  }

  at::Tensor tensor;
  int64_t width = 0;
  int64_t count = 0;
  int64_t stride = 0;
};

// Values that are worth a thread of their own; libtorch's number.
constexpr int64_t GRAIN = 32768;

inline int64_t rows_a_thread(int64_t width) {
  return std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, width));
}

} // namespace osler::fused
