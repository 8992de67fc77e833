// Loops over rows of f32 in CPU memory, free of libtorch. Each is compiled for several instruction sets, and the processor picks when the
// program is loaded: the same machine always runs the same one. Sums go over fixed lanes in a fixed order, so the number of threads and the
// alignment of a row change no bit.
#pragma once

#include <cstdint>

namespace osler::kernel {

// out = gate * sigmoid(gate) * up
void swiglu(float* out, const float* gate, const float* up, int64_t count);
// The gradients of gate and up from that of out.
void swiglu_back(float* gate_grad, float* up_grad, const float* grad, const float* gate, const float* up, int64_t count);

// sum = x + delta; returns sum over sum^2. `sum` may be null when `delta` is: x alone then.
float add_squares(float* sum, const float* x, const float* delta, int64_t count);
// out = x * scale * weight
void scale(float* out, const float* x, float scale, const float* weight, int64_t count);
// One row of an RMSNorm's backward: the norm's own gradient, plus that of the sum where `through` is not null. Adds to weight_grad.
void norm_back(
    float* x_grad, float* weight_grad, const float* grad, const float* through, const float* x, float scale, const float* weight,
    int64_t count);

// One head's turn: out[j] = x[j] * cos[j] + x[j -+ half] * sin[j]. out may be x.
void turn(float* out, const float* x, const float* cos, const float* sin, int64_t width);
// Its transpose, which brings gradients back.
void turn_back(float* out, const float* x, const float* cos, const float* sin, int64_t width);

// From a row of logits to the gradient of `weight` times its cross-entropy, in place. Returns the negative log-likelihood.
double cross_entropy(float* logits, int64_t target, float weight, int64_t count);

} // namespace osler::kernel
