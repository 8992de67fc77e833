// The group over NCCL, for the memory of one CUDA device. Compiled only against a libtorch with CUDA.
#include "group.h"

#include <atomic>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace {

// libtorch exports no reader for what is written on a communicator that was aborted. This class has no objects; deriving it lets the
// protected members be named.
struct Opened : public c10d::NCCLComm {
  static std::string reason_of(c10d::NCCLComm& comm) {
    const std::lock_guard lock(comm.*&Opened::mutex_);
    return (comm.*&Opened::commFailureReason_).value_or(std::string());
  }

  static bool aborted(c10d::NCCLComm& comm) {
    const std::lock_guard lock(comm.*&Opened::mutex_);
    return comm.*&Opened::aborted_;
  }
};

class Watched final : public c10d::ProcessGroupNCCL {
 public:
  Watched(
      const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, const c10::intrusive_ptr<Options>& options, at::Device device)
      : ProcessGroupNCCL(store, rank, size, options) {
    // By default the watchdog ends the process after a failure. Here it aborts the communicators, so that kernels end and every wait
    // comes back with the reason.
    asyncErrorHandling_ = c10d::CleanUpOnly;
    setBoundDeviceId(device);
    // Meets the other ranks now, under the caller's deadline, and not in the first collective.
    eagerConnectSingleDevice(device);
  }

  std::string failure() {
    std::string text;
    switch (getError()) {
      case c10d::ErrorType::SUCCESS:
        break;
      case c10d::ErrorType::TIMEOUT:
        text = "the watchdog ended a collective that passed its timeout";
        break;
      case c10d::ErrorType::COMM_ERROR:
        text = "the watchdog saw an error of a communicator";
        break;
      case c10d::ErrorType::REMOTE_ERROR:
        text = "another rank reported an error";
        break;
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [name, comm] : devNCCLCommMap_) {
      if (!comm || !Opened::aborted(*comm)) {
        continue;
      }
      const auto reason = Opened::reason_of(*comm);
      text += (text.empty() ? "" : ": ") + (reason.empty() ? "a communicator was aborted" : reason);
    }
    return text;
  }
};

class NcclGroup final : public osler::Group {
 public:
  explicit NcclGroup(c10::intrusive_ptr<Watched> nccl) : nccl_(std::move(nccl)) {}
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  ~NcclGroup() override {
    try {
      // Flushing waits for the other ranks, which after a failure are not there.
      if (!aborted_ && failure().empty()) {
        nccl_->shutdown();
      } else {
        nccl_->abort();
      }
    } catch (const std::exception&) {
      // A destructor that fails leaves nobody to tell.
    }
  }

  c10d::Backend& backend() override {
    return *nccl_;
  }

  void abort() override {
    aborted_ = true;
    nccl_->abort();
  }

  bool tells(c10d::Work& /*work*/) const override {
    return true;
  }

  std::string failure() override {
    return aborted_ ? "this rank aborted the group" : nccl_->failure();
  }

 private:
  c10::intrusive_ptr<Watched> nccl_;
  std::atomic<bool> aborted_ = false;
};

} // namespace

extern "C" OslerOutcome osler_group_nccl(
    void* store, const char* prefix, int32_t rank, int32_t world, int32_t device, int64_t meet_ms, int64_t timeout_ms,
    void** out) {
  return osler::guarded([&] {
    const auto scoped = osler::enter(store, prefix, rank, std::chrono::milliseconds(meet_ms));
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    const at::Device place(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    osler::Group* group = new NcclGroup(c10::make_intrusive<Watched>(scoped, rank, world, options, place));
    *out = group;
  });
}
