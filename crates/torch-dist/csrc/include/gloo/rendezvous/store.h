// Written for Osler, not taken from Gloo. The libtorch wheel ships ProcessGroupGloo.hpp but not the Gloo headers that it includes.
// Only libtorch constructs, calls and destroys these types; what stands here is what that header must see to compile.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace gloo::rendezvous {

class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, const std::vector<char>& value) = 0;
  virtual std::vector<char> get(const std::string& key) = 0;
  virtual void wait(const std::vector<std::string>& keys) = 0;
  virtual void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) = 0;
};

} // namespace gloo::rendezvous
