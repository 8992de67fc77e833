// Written for Osler, not taken from Gloo. The libtorch wheel ships ProcessGroupGloo.hpp but not the Gloo headers that it includes.
// Only libtorch constructs, calls and destroys these types; what stands here is what that header must see to compile.
// The exceptions are caught by type, which C++ matches by name: the bases must be the true ones.
#pragma once

#include <stdexcept>

namespace gloo {

struct Exception : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct IoException : public Exception {
  using Exception::Exception;
};

} // namespace gloo
