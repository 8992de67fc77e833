// Rendezvous store, collectives over either backend, and the works they return. Stores and works are heap-allocated intrusive pointers.
#include "group.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

namespace {

using osler::Failure;
using osler::Group;
using osler::guarded;
using osler::tensor;

using Store = c10::intrusive_ptr<c10d::Store>;
using Work = c10::intrusive_ptr<c10d::Work>;

template <class Handle>
void release(void* handle) noexcept {
  try {
    delete static_cast<Handle*>(handle);
  } catch (...) {
    // A destructor that fails leaves nobody to tell.
  }
}

void open_store(const char* host, const c10d::TCPStoreOptions& options, void** out) {
  *out = new Store(c10::make_intrusive<c10d::TCPStore>(host, options));
}

template <class Start>
OslerOutcome start(void* group, void** out, Start&& begin) noexcept {
  return guarded([&] {
    Work work = begin(static_cast<Group*>(group)->backend());
    if (!work) {
      throw Failure(OSLER_TORCH, "libtorch returned no work");
    }
    *out = new Work(std::move(work));
  });
}

} // namespace

c10::intrusive_ptr<c10d::Store> osler::enter(void* store, const char* prefix, int32_t rank, std::chrono::milliseconds timeout) {
  auto connection = (*static_cast<Store*>(store))->clone();
  connection->setTimeout(timeout);
  auto scoped = c10::make_intrusive<c10d::PrefixStore>(prefix, connection);
  if (scoped->add("claim/" + std::to_string(rank), 1) != 1) {
    throw Failure(OSLER_TAKEN, "another process, or an earlier attempt, has joined with this rank");
  }
  return scoped;
}

extern "C" {

OslerOutcome osler_store_host(int32_t fd, const char* host, uint16_t port, size_t world, int64_t timeout_ms, void** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = true;
    options.numWorkers = world;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    // A socket of ours, because libtorch's own would listen on every interface.
    options.masterListenFd = fd;
    open_store(host, options, out);
  });
}

OslerOutcome osler_store_connect(const char* host, uint16_t port, size_t world, int64_t timeout_ms, void** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.numWorkers = world;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    open_store(host, options, out);
  });
}

void osler_store_free(void* store) {
  release<Store>(store);
}

void osler_group_free(void* group) {
  release<Group>(group);
}

OslerOutcome osler_group_abort(void* group) {
  return guarded([&] { static_cast<Group*>(group)->abort(); });
}

OslerOutcome osler_all_reduce_sum(void* group, const void* in_out, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor(in_out)};
    return backend.allreduce(tensors);
  });
}

OslerOutcome osler_broadcast(void* group, const void* in_out, int64_t root, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor(in_out)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return backend.broadcast(tensors, options);
  });
}

OslerOutcome osler_reduce_sum(void* group, const void* in_out, int64_t root, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor(in_out)};
    c10d::ReduceOptions options;
    options.rootRank = root;
    return backend.reduce(tensors, options);
  });
}

OslerOutcome osler_all_gather(void* group, const void* const* outputs, size_t count, const void* input, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<std::vector<at::Tensor>> targets(1);
    for (size_t i = 0; i < count; ++i) {
      targets[0].push_back(tensor(outputs[i]));
    }
    std::vector<at::Tensor> sources{tensor(input)};
    return backend.allgather(targets, sources);
  });
}

OslerOutcome osler_all_gather_into(void* group, const void* output, const void* input, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    // libtorch cuts the output along its first dimension; flat views make that rank after rank for any shape.
    at::Tensor target = tensor(output).detach().view(-1);
    at::Tensor source = tensor(input).detach().view(-1);
    return backend._allgather_base(target, source);
  });
}

OslerOutcome osler_reduce_scatter_sum(void* group, const void* output, const void* input, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    at::Tensor target = tensor(output).detach().view(-1);
    at::Tensor source = tensor(input).detach().view(-1);
    return backend._reduce_scatter_base(target, source);
  });
}

OslerOutcome osler_barrier(void* group, int32_t cuda_device, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    c10d::BarrierOptions options;
    if (cuda_device >= 0) {
      options.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(cuda_device));
    }
    return backend.barrier(options);
  });
}

OslerOutcome osler_send(void* group, const void* input, int32_t peer, int32_t tag, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor(input)};
    return backend.send(tensors, peer, tag);
  });
}

OslerOutcome osler_recv(void* group, const void* output, int32_t peer, int32_t tag, void** out) {
  return start(group, out, [&](c10d::Backend& backend) {
    std::vector<at::Tensor> tensors{tensor(output)};
    return backend.recv(tensors, peer, tag);
  });
}

OslerOutcome osler_work_wait(void* group, void* work, int64_t timeout_ms) {
  return guarded([&] {
    auto& owner = *static_cast<Group*>(group);
    try {
      if (!(*static_cast<Work*>(work))->wait(std::chrono::milliseconds(timeout_ms))) {
        throw Failure(OSLER_PEER, "the operation was aborted");
      }
    } catch (...) {
      osler::rethrow_with(owner.failure());
    }
    // A communicator that a watchdog aborted lets its kernels end, and then the work looks done.
    if (const auto failure = owner.failure(); !failure.empty()) {
      throw Failure(osler::kind_of_failure(failure), failure);
    }
  });
}

OslerOutcome osler_work_done(void* group, void* work, int32_t* out) {
  return guarded([&] {
    auto& wanted = **static_cast<Work*>(work);
    *out = !static_cast<Group*>(group)->tells(wanted) ? -1 : wanted.isCompleted() ? 1 : 0;
  });
}

void osler_work_free(void* work) {
  release<Work>(work);
}

} // extern "C"
