// Gradient hooks, gradients and parameters as views, and the numeric switches of the process.
#include "status.h"

#include <memory>
#include <mutex>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace {

using osler::Failure;
using osler::guarded;
using osler::tensor;

// What a live GradHook put on its tensor.
struct Armed {
  void* state = nullptr;
  OslerHookCall call = nullptr;
  OslerHookDrop drop = nullptr;

  Armed() = default;
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;
  ~Armed() {
    if (drop != nullptr) {
      drop(state);
    }
  }
};

// Sits on a tensor from its first hook until the tensor dies, so that no backward pass can see its hook freed. Arming and disarming
// swap what is inside; a pass that is under way holds its own reference.
class Shell final : public torch::autograd::PostAccumulateGradHook {
 public:
  void operator()(const at::Tensor& /*param*/) override {
    const auto armed = current();
    if (!armed) {
      return;
    }
    char* text = nullptr;
    if (armed->call(armed->state, &text) != 0) {
      const std::string reason = text == nullptr ? "unknown reason" : text;
      osler_message_free(text);
      throw Failure(OSLER_HOOK, "gradient hook failed: " + reason);
    }
  }

  bool arm(const std::shared_ptr<Armed>& fresh) {
    const std::lock_guard lock(mutex_);
    if (armed_) {
      return false;
    }
    armed_ = fresh;
    return true;
  }

  void disarm(const void* state) {
    std::shared_ptr<Armed> last; // dropped after the lock: the callback's own destructor may do anything
    const std::lock_guard lock(mutex_);
    if (armed_ && armed_->state == state) {
      last.swap(armed_);
    }
  }

 private:
  std::shared_ptr<Armed> current() {
    const std::lock_guard lock(mutex_);
    return armed_;
  }

  std::mutex mutex_;
  std::shared_ptr<Armed> armed_;
};

} // namespace

extern "C" {

OslerOutcome osler_hook_arm(const void* param, void* state, OslerHookCall call, OslerHookDrop drop) {
  return guarded([&] {
    auto& place = torch::autograd::impl::post_acc_grad_hooks(tensor(param));
    if (!place) {
      torch::autograd::impl::set_post_acc_grad_hooks(tensor(param), std::make_unique<Shell>());
    }
    auto* shell = dynamic_cast<Shell*>(place.get());
    auto armed = std::make_shared<Armed>();
    armed->state = state;
    armed->call = call;
    if (shell == nullptr || !shell->arm(armed)) {
      throw Failure(OSLER_TAKEN, "this tensor has a gradient hook already; drop that one first");
    }
    armed->drop = drop; // last: until here the state is still the caller's
  });
}

void osler_hook_disarm(const void* param, const void* state) {
  const auto outcome = guarded([&] {
    if (auto* shell = dynamic_cast<Shell*>(torch::autograd::impl::post_acc_grad_hooks(tensor(param)).get())) {
      shell->disarm(state);
    }
  });
  osler_message_free(outcome.message);
}

OslerOutcome osler_tensor_facts(const void* pointer, OslerFacts* out) {
  return guarded([&] {
    const auto& t = tensor(pointer);
    OslerFacts facts{};
    facts.defined = t.defined();
    if (t.defined()) {
      facts.known_device = t.device().is_cpu() || t.device().is_cuda();
      facts.plain = t.layout() == at::kStrided && t.has_storage() && !t.is_conj() && !t.is_neg();
      facts.contiguous = facts.plain && t.is_contiguous();
      facts.leaf = t.is_leaf();
      facts.requires_grad = t.requires_grad();
      facts.numel = facts.plain ? t.numel() : 0;
    }
    *out = facts;
  });
}

OslerOutcome osler_set_grad(const void* param, const void* grad) {
  return guarded([&] { tensor(param).mutable_grad() = tensor(grad); });
}

OslerOutcome osler_backward(const void* output, const void* grad) {
  return guarded([&] { tensor(output).backward(tensor(grad)); });
}

OslerOutcome osler_set_data(const void* param, const void* view) {
  return guarded([&] { tensor(param).set_data(tensor(view)); });
}

OslerOutcome osler_set_threads(int32_t threads) {
  return guarded([&] { at::set_num_threads(threads); });
}

OslerOutcome osler_deterministic(int32_t on) {
  return guarded([&] { at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/false); });
}

} // extern "C"
