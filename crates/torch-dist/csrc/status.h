// Exceptions stop here: `guarded` runs a body and turns whatever it throws into an OslerOutcome.
#pragma once

#include <stdexcept>
#include <string>

#include <ATen/core/Tensor.h>
#include <torch/version.h>

#include "osler_dist.h"

#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "this crate declares parts of libtorch 2.11 by hand: another version needs a look at csrc/include and csrc/group.cpp first"
#endif

namespace osler {

// A failure whose kind we know ourselves.
struct Failure : public std::runtime_error {
  Failure(OslerCode code, const std::string& message) : std::runtime_error(message), code(code) {}
  OslerCode code;
};

// Names the exception that is being handled. To be called inside a catch block only.
OslerOutcome describe() noexcept;

// Rethrows the exception that is being handled, with `more` added to what it says. To be called inside a catch block only.
[[noreturn]] void rethrow_with(const std::string& more);

// A passed deadline or a lost peer, by the words of a backend that has no types for them.
OslerCode kind_of_failure(const std::string& message);

template <class Body>
OslerOutcome guarded(Body&& body) noexcept {
  try {
    body();
    return {OSLER_OK, nullptr};
  } catch (...) {
    return describe();
  }
}

inline const at::Tensor& tensor(const void* pointer) {
  return *static_cast<const at::Tensor*>(pointer);
}

} // namespace osler
