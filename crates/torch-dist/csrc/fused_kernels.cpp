#include "fused_kernels.h"

#include <bit>
#include <cmath>

// Older compilers, and others, make the plain form only: slower, never wrong.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define OSLER_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OSLER_CLONES
#endif

namespace osler::kernel {
namespace {

constexpr int64_t LANES = 16;

// e^x to about one unit in the last place between -87 and 88, and the value at the nearer end beyond. Cody and Waite's reduction, then a
// polynomial; no branch and no table, so that loops over it become vector code. Not a number stays that.
inline __attribute__((always_inline)) float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float MAGIC = 12582912.0f; // 1.5 * 2^23: adding it rounds to a whole number, which then stands in the low bits
  const float shifted = x * 1.44269504088896341f + MAGIC;
  const float whole = shifted - MAGIC;
  float r = x - whole * 0.693359375f;
  r = r - whole * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(MAGIC) + 127u;
  return p * std::bit_cast<float>(exponent << 23);
}

inline __attribute__((always_inline)) double total(const float* lanes) {
  double sum = 0.0;
  for (int64_t j = 0; j < LANES; ++j) {
    sum += lanes[j];
  }
  return sum;
}

} // namespace

OSLER_CLONES void swiglu(float* __restrict out, const float* __restrict gate, const float* __restrict up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
  }
}

OSLER_CLONES void swiglu_back(
    float* __restrict gate_grad, float* __restrict up_grad, const float* __restrict grad, const float* __restrict gate,
    const float* __restrict up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float sigmoid = 1.0f / (1.0f + exponential(-gate[i]));
    up_grad[i] = grad[i] * gate[i] * sigmoid;
    gate_grad[i] = grad[i] * up[i] * sigmoid * (1.0f + gate[i] * (1.0f - sigmoid));
  }
}

OSLER_CLONES float add_squares(float* sum, const float* x, const float* delta, int64_t count) {
  float lanes[LANES] = {};
  int64_t i = 0;
  if (delta != nullptr) {
    for (; i + LANES <= count; i += LANES) {
      for (int64_t j = 0; j < LANES; ++j) {
        const float value = x[i + j] + delta[i + j];
        sum[i + j] = value;
        lanes[j] += value * value;
      }
    }
    for (; i < count; ++i) {
      sum[i] = x[i] + delta[i];
      lanes[i % LANES] += sum[i] * sum[i];
    }
  } else {
    for (; i + LANES <= count; i += LANES) {
      for (int64_t j = 0; j < LANES; ++j) {
        lanes[j] += x[i + j] * x[i + j];
      }
    }
    for (; i < count; ++i) {
      lanes[i % LANES] += x[i] * x[i];
    }
  }
  return static_cast<float>(total(lanes));
}

OSLER_CLONES void scale(float* __restrict out, const float* __restrict x, float scale, const float* __restrict weight, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = x[i] * scale * weight[i];
  }
}

OSLER_CLONES void norm_back(
    float* __restrict x_grad, float* __restrict weight_grad, const float* __restrict grad, const float* __restrict through,
    const float* __restrict x, float scale, const float* __restrict weight, int64_t count) {
  float lanes[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int64_t j = 0; j < LANES; ++j) {
      lanes[j] += grad[i + j] * weight[i + j] * x[i + j];
    }
  }
  for (; i < count; ++i) {
    lanes[i % LANES] += grad[i] * weight[i] * x[i];
  }
  const float along = static_cast<float>(total(lanes) * scale * scale * scale / static_cast<double>(count));
  for (i = 0; i < count; ++i) {
    weight_grad[i] += grad[i] * x[i] * scale;
    x_grad[i] = grad[i] * weight[i] * scale - x[i] * along;
  }
  if (through != nullptr) {
    for (i = 0; i < count; ++i) {
      x_grad[i] += through[i];
    }
  }
}

OSLER_CLONES void turn(float* out, const float* x, const float* __restrict cos, const float* __restrict sin, int64_t width) {
  const int64_t half = width / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float low = x[j];
    const float high = x[j + half];
    out[j] = low * cos[j] + high * sin[j];
    out[j + half] = high * cos[j + half] + low * sin[j + half];
  }
}

OSLER_CLONES void turn_back(float* out, const float* x, const float* __restrict cos, const float* __restrict sin, int64_t width) {
  const int64_t half = width / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float low = x[j];
    const float high = x[j + half];
    out[j] = low * cos[j] + high * sin[j + half];
    out[j + half] = high * cos[j + half] + low * sin[j];
  }
}

OSLER_CLONES double cross_entropy(float* logits, int64_t target, float weight, int64_t count) {
  float most[LANES];
  for (float& lane : most) {
    lane = logits[0];
  }
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (int64_t j = 0; j < LANES; ++j) {
      most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
    }
  }
  for (; i < count; ++i) {
    most[0] = logits[i] > most[0] ? logits[i] : most[0];
  }
  float peak = most[0];
  for (const float lane : most) {
    peak = lane > peak ? lane : peak;
  }
  const double aim = static_cast<double>(logits[target]) - peak;
  float lanes[LANES] = {};
  for (i = 0; i + LANES <= count; i += LANES) {
    for (int64_t j = 0; j < LANES; ++j) {
      const float value = exponential(logits[i + j] - peak);
      logits[i + j] = value;
      lanes[j] += value;
    }
  }
  for (; i < count; ++i) {
    logits[i] = exponential(logits[i] - peak);
    lanes[i % LANES] += logits[i];
  }
  const double sum = total(lanes);
  const float share = static_cast<float>(weight / sum);
  for (i = 0; i < count; ++i) {
    logits[i] *= share;
  }
  logits[target] -= weight;
  return std::log(sum) - aim;
}

} // namespace osler::kernel
