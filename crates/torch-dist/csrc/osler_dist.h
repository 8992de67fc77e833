// The C ABI between the Rust crate and libtorch. Mirrored by hand in src/sys.rs: change both together.
//
// Rules that every function keeps:
//   - nothing unwinds: C++ exceptions become an OslerOutcome, whose message the caller frees with osler_message_free;
//   - tensors are borrowed `at::Tensor*` (the pointers that tch hands out); what must outlive the call is copied (a counted reference);
//   - `out` handles are written only when the outcome is OSLER_OK, and each has one `_free`.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

enum OslerCode : int32_t {
  OSLER_OK = 0,
  OSLER_TORCH = 1,    // any other failure inside libtorch
  OSLER_TIMEOUT = 2,  // a deadline passed
  OSLER_PEER = 3,     // a connection to another rank broke
  OSLER_STORE = 4,    // the rendezvous store failed or is gone
  OSLER_TAKEN = 5,    // the rank, or the hook's place, is already taken
  OSLER_HOOK = 6,     // a gradient hook failed
};

struct OslerOutcome {
  int32_t code;
  char* message; // null when the code is OSLER_OK, or when there was no memory for it
};

struct OslerFacts {
  int32_t defined;
  int32_t known_device; // CPU or CUDA
  int32_t plain; // dense strided memory without conjugate or negative bit: data_ptr tells the whole truth
  int32_t contiguous;
  int32_t leaf;
  int32_t requires_grad;
  int64_t numel;
};

char* osler_message_copy(const char* bytes, size_t length);
void osler_message_free(char* message);

// The listening socket `fd` passes to the store in every case.
OslerOutcome osler_store_host(int32_t fd, const char* host, uint16_t port, size_t world, int64_t timeout_ms, void** out);
OslerOutcome osler_store_connect(const char* host, uint16_t port, size_t world, int64_t timeout_ms, void** out);
void osler_store_free(void* store);

OslerOutcome osler_group_gloo(
    void* store, const char* prefix, const char* address, int32_t rank, int32_t world, int64_t meet_ms, int64_t timeout_ms,
    void** out);
// Only in a build against a libtorch with CUDA.
OslerOutcome osler_group_nccl(
    void* store, const char* prefix, int32_t rank, int32_t world, int32_t device, int64_t meet_ms, int64_t timeout_ms,
    void** out);
OslerOutcome osler_group_abort(void* group);
void osler_group_free(void* group);

// The collectives only enqueue; the caller serializes them per group.
OslerOutcome osler_all_reduce_sum(void* group, const void* tensor, void** out);
OslerOutcome osler_reduce_sum(void* group, const void* tensor, int64_t root, void** out);
OslerOutcome osler_broadcast(void* group, const void* tensor, int64_t root, void** out);
OslerOutcome osler_all_gather(void* group, const void* const* outputs, size_t count, const void* input, void** out);
OslerOutcome osler_all_gather_into(void* group, const void* output, const void* input, void** out);
// NCCL only: libtorch's imitation for Gloo waits without a deadline.
OslerOutcome osler_reduce_scatter_sum(void* group, const void* output, const void* input, void** out);
// `cuda_device` is negative for a group without one.
OslerOutcome osler_barrier(void* group, int32_t cuda_device, void** out);
OslerOutcome osler_send(void* group, const void* tensor, int32_t peer, int32_t tag, void** out);
OslerOutcome osler_recv(void* group, const void* tensor, int32_t peer, int32_t tag, void** out);

// `group` is the one that started `work`.
OslerOutcome osler_work_wait(void* group, void* work, int64_t timeout_ms);
// Writes 1 or 0, or -1 when only a wait can tell.
OslerOutcome osler_work_done(void* group, void* work, int32_t* out);
void osler_work_free(void* work);

// A hook's state belongs to the tensor once arming succeeded; `drop` is called exactly once, never while `call` runs.
typedef int32_t (*OslerHookCall)(void* state, char** message);
typedef void (*OslerHookDrop)(void* state);
OslerOutcome osler_hook_arm(const void* param, void* state, OslerHookCall call, OslerHookDrop drop);
void osler_hook_disarm(const void* param, const void* state);

OslerOutcome osler_tensor_facts(const void* tensor, OslerFacts* out);
OslerOutcome osler_set_grad(const void* param, const void* grad);
OslerOutcome osler_backward(const void* output, const void* grad);
OslerOutcome osler_set_data(const void* param, const void* view);
OslerOutcome osler_set_threads(int32_t threads);
OslerOutcome osler_deterministic(int32_t on);

OslerOutcome osler_fused_adamw(
    const void* const* params, const void* const* grads, const void* const* exp_avgs, const void* const* exp_avg_sqs, size_t count,
    int64_t step, double lr, double beta1, double beta2, double eps, double weight_decay);

// Fused operations with their gradients; `out` handles are new tensors, owned by the caller.
OslerOutcome osler_swiglu(const void* gate, const void* up, void** out);
OslerOutcome osler_add_norm(const void* x, const void* delta, const void* weight, double eps, void** sum, void** norm); // delta may be null
OslerOutcome osler_rotate(const void* x, const void* cos, const void* sin, void** out);
OslerOutcome osler_linears(const void* x, const void* const* weights, size_t count, void** outs);
// Both checked by the caller: f32 [rows, vocab] and i64 [rows], contiguous, in CPU memory.
OslerOutcome osler_cross_entropy(const void* logits, const void* targets, float weight, double* loss);
// Replaces libtorch's allocator of CPU memory, see src/memory.rs.
OslerOutcome osler_keep_pages();
OslerOutcome osler_release_pages(int64_t* bytes);

// Where a thread of this process stands, see src/stack.rs. `frames` has room for `room` return addresses.
OslerOutcome osler_stack_watch();
OslerOutcome osler_stack_take(int64_t wait_ms, void** frames, size_t room, size_t* count);

} // extern "C"
