#include "status.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <new>

#include <c10/util/Exception.h>
#include <gloo/common/error.h>

namespace osler {
namespace {

// libtorch and Gloo have no exception type of their own for a passed deadline: they only say so in words.
bool speaks_of_time(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text.find("timed out") != std::string::npos || text.find("timeout") != std::string::npos;
}

// NCCL reports a broken GPU as it does a broken peer.
bool speaks_of_cuda(const std::string& text) {
  return text.find("CUDA error") != std::string::npos || text.find("cuda error") != std::string::npos;
}

OslerOutcome outcome(OslerCode code, const std::string& message) {
  return {code, osler_message_copy(message.data(), message.size())};
}

OslerOutcome timed(OslerCode otherwise, const std::string& message) {
  return outcome(speaks_of_time(message) ? OSLER_TIMEOUT : otherwise, message);
}

} // namespace

OslerCode kind_of_failure(const std::string& message) {
  return speaks_of_time(message) ? OSLER_TIMEOUT : speaks_of_cuda(message) ? OSLER_TORCH : OSLER_PEER;
}

void rethrow_with(const std::string& more) {
  if (more.empty()) {
    throw;
  }
  const OslerOutcome known = describe();
  const std::string text = known.message == nullptr ? "" : known.message;
  osler_message_free(known.message);
  throw Failure(static_cast<OslerCode>(known.code), text.find(more) == std::string::npos ? text + "; " + more : text);
}

OslerOutcome describe() noexcept {
  try {
    try {
      throw;
    } catch (const Failure& error) {
      return outcome(error.code, error.what());
    } catch (const gloo::IoException& error) {
      return timed(OSLER_PEER, error.what());
    } catch (const c10::DistStoreError& error) {
      return timed(OSLER_STORE, error.what_without_backtrace());
    } catch (const c10::DistNetworkError& error) {
      return timed(OSLER_STORE, error.what_without_backtrace());
    } catch (const c10::DistError& error) {
      return outcome(kind_of_failure(error.what_without_backtrace()), error.what_without_backtrace());
    } catch (const c10::Error& error) {
      return timed(OSLER_TORCH, error.what_without_backtrace());
    } catch (const std::exception& error) {
      return timed(OSLER_TORCH, error.what());
    } catch (...) {
      return outcome(OSLER_TORCH, "an exception that is not a std::exception");
    }
  } catch (...) {
    return {OSLER_TORCH, nullptr}; // no memory to say more
  }
}

} // namespace osler

extern "C" {

char* osler_message_copy(const char* bytes, size_t length) {
  auto* copy = static_cast<char*>(std::malloc(length + 1));
  if (copy != nullptr) {
    std::memcpy(copy, bytes, length);
    copy[length] = '\0';
  }
  return copy;
}

void osler_message_free(char* message) {
  std::free(message);
}

} // extern "C"
