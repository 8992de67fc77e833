// Written for Osler, not taken from Gloo. The libtorch wheel ships ProcessGroupGloo.hpp but not the Gloo headers that it includes.
// Only libtorch constructs, calls and destroys these types; what stands here is what that header must see to compile.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

} // namespace gloo
