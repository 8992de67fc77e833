// What both backends offer to the collectives of group.cpp, and how a rank enters a gang.
#pragma once

#include "status.h"

#include <chrono>
#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace osler {

// One rank's end of a process group. A `void* group` of the C ABI points to this.
class Group {
 public:
  virtual ~Group() = default;

  virtual c10d::Backend& backend() = 0;

  // Breaks what is in flight, here and at the other ranks. The group is of no use afterwards.
  virtual void abort() = 0;

  // Whether a work without a wait knows that it is done, and not only the wait itself.
  virtual bool tells(c10d::Work& work) const = 0;

  // What the backend knows of a failure beyond what a work's own wait says; empty when all is well.
  virtual std::string failure() = 0;
};

// The generation's part of the store, on a connection of its own, so that one store may serve groups with different timeouts and from
// several threads. Claims the rank: a second claim fails with OSLER_TAKEN.
c10::intrusive_ptr<c10d::Store> enter(void* store, const char* prefix, int32_t rank, std::chrono::milliseconds timeout);

} // namespace osler
