// The group over Gloo, for CPU memory.
#include "group.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace {

// Above the tags of send and recv (16 bits) and of Rust's exchanges.
constexpr int ABORT_TAG = 0x7fff0000;

class GlooGroup final : public osler::Group {
 public:
  explicit GlooGroup(c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo) : gloo_(std::move(gloo)) {}

  c10d::Backend& backend() override {
    return *gloo_;
  }

  // libtorch has no abort for Gloo. But a receive that passes its deadline makes Gloo close all connections of the group with an error,
  // which ends every operation in flight on both ends of each.
  void abort() override {
    for (int peer = 0; peer < gloo_->getSize(); ++peer) {
      if (peer == gloo_->getRank()) {
        continue;
      }
      bool posted = false;
      try {
        std::vector<at::Tensor> nothing{at::empty({1}, at::kByte)};
        const auto work = gloo_->recv(nothing, peer, ABORT_TAG);
        posted = true;
        work->wait(std::chrono::milliseconds(1));
      } catch (const std::exception&) {
        // The deadline, as meant; or this connection is broken already, and closing the others needs one that is not.
        if (posted) {
          return;
        }
      }
    }
  }

  bool tells(c10d::Work& work) const override {
    return dynamic_cast<c10d::ProcessGroupGloo::AsyncWork*>(&work) != nullptr;
  }

  std::string failure() override {
    return {};
  }

 private:
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
};

} // namespace

extern "C" OslerOutcome osler_group_gloo(
    void* store, const char* prefix, const char* address, int32_t rank, int32_t world, int64_t meet_ms, int64_t timeout_ms,
    void** out) {
  return osler::guarded([&] {
    const auto meet = std::chrono::milliseconds(meet_ms);
    const auto scoped = osler::enter(store, prefix, rank, meet);
    auto options = c10d::ProcessGroupGloo::Options::create(meet);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(scoped, rank, world, options);
    gloo->setTimeout(std::chrono::milliseconds(timeout_ms));
    osler::Group* group = new GlooGroup(std::move(gloo));
    *out = group;
  });
}
