// Written for Osler, not taken from Gloo. The libtorch wheel ships ProcessGroupGloo.hpp but not the Gloo headers that it includes.
// Only libtorch constructs, calls and destroys these types; what stands here is what that header must see to compile.
#pragma once

namespace gloo::transport {

class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};

} // namespace gloo::transport
