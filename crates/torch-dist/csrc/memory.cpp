// An allocator of CPU memory that keeps large blocks for the next step instead of giving them back to the kernel, which would have to find and
// clear their pages anew each time.
#include "status.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

namespace {

constexpr size_t LARGE = size_t{1} << 20; // what is smaller is malloc's, which keeps it by itself
constexpr size_t PAGE = 4096;
constexpr size_t HUGE_PAGE = size_t{2} << 20;
constexpr size_t SLACK = size_t{64} << 20;

class Keeper final : public at::Allocator {
 public:
  at::DataPtr allocate(size_t bytes) override {
    void* data = bytes < LARGE ? c10::alloc_cpu(bytes) : large(bytes);
    return {data, data, &release, at::Device(at::DeviceType::CPU)};
  }

  at::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, size_t count) const override { std::memcpy(to, from, count); }

  int64_t drop() {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(shrink(0));
  }

  static Keeper& only() {
    static Keeper* const keeper = new Keeper; // never freed: tensors may outlive every other static object
    return *keeper;
  }

 private:
  static void release(void* data) {
    if (!only().take_back(data)) {
      c10::free_cpu(data);
    }
  }

  void* large(size_t bytes) {
    TORCH_CHECK_WITH(OutOfMemoryError, bytes <= SIZE_MAX / 2, "no tensor has ", bytes, " bytes");
    const size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
    const std::lock_guard lock(mutex_);
    // A kept block that is hardly larger; what is much larger would be missed by the next tensor of its size.
    const auto fit = kept_.lower_bound(size);
    if (fit != kept_.end() && fit->first <= size + size / 8) {
      void* const data = fit->second;
      kept_bytes_ -= fit->first;
      live_bytes_ += fit->first;
      live_.emplace(data, fit->first);
      kept_.erase(fit);
      return data;
    }
    // The process never holds more than it once needed at a time, and some slack: blocks of forgotten sizes go first.
    const size_t limit = std::max(most_, live_bytes_ + size) + SLACK;
    if (live_bytes_ + kept_bytes_ + size > limit) {
      shrink(limit - live_bytes_ - size);
    }
    void* data = map(size);
    if (data == nullptr) {
      shrink(0);
      data = map(size);
    }
    TORCH_CHECK_WITH(OutOfMemoryError, data != nullptr, "there is no memory for ", bytes, " bytes");
    live_.emplace(data, size);
    live_bytes_ += size;
    most_ = std::max(most_, live_bytes_);
    return data;
  }

  // False for what is not one of the large blocks.
  bool take_back(void* data) {
    if (reinterpret_cast<uintptr_t>(data) % PAGE != 0) {
      return false;
    }
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(data);
    if (found == live_.end()) {
      return false;
    }
    kept_.emplace(found->second, data);
    kept_bytes_ += found->second;
    live_bytes_ -= found->second;
    live_.erase(found);
    return true;
  }

  // Gives kept blocks back, the largest first, until `limit` bytes of them are left; returns how many bytes went.
  size_t shrink(size_t limit) {
    size_t given = 0;
    while (kept_bytes_ > limit && !kept_.empty()) {
      const auto last = std::prev(kept_.end());
      munmap(last->second, last->first);
      kept_bytes_ -= last->first;
      given += last->first;
      kept_.erase(last);
    }
    return given;
  }

  // Begins at a huge page where the block can hold one, and asks for such pages: fewer faults, fewer misses of the page table.
  static void* map(size_t size) {
    const size_t extra = size >= HUGE_PAGE ? HUGE_PAGE - PAGE : 0;
    void* const raw = mmap(nullptr, size + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
      return nullptr;
    }
    auto* const begin = static_cast<char*>(raw);
    const size_t skip = extra == 0 ? 0 : (HUGE_PAGE - reinterpret_cast<uintptr_t>(begin) % HUGE_PAGE) % HUGE_PAGE;
    if (skip > 0) {
      munmap(begin, skip);
    }
    if (extra > skip) {
      munmap(begin + skip + size, extra - skip);
    }
    if (extra > 0) {
      madvise(begin + skip, size, MADV_HUGEPAGE); // refused where the kernel has none: small pages then
    }
    return begin + skip;
  }

  std::mutex mutex_;
  std::multimap<size_t, void*> kept_;
  std::unordered_map<void*, size_t> live_;
  size_t kept_bytes_ = 0;
  size_t live_bytes_ = 0;
  size_t most_ = 0; // live bytes, at most
};

} // namespace

extern "C" {

OslerOutcome osler_keep_pages() {
  return osler::guarded([] { c10::SetCPUAllocator(&Keeper::only(), /*priority=*/1); });
}

OslerOutcome osler_release_pages(int64_t* bytes) {
  return osler::guarded([&] { *bytes = Keeper::only().drop(); });
}

} // extern "C"
