// The stack of one thread, for another one of the same process: the first is interrupted by a signal and writes down where it stands.
#include "status.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <mutex>

#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>

namespace {

constexpr int ROOM = 96;
constexpr int OWN = 2; // the handler, and the kernel's way into it

std::mutex askers;
bool watching = false;
bool owed = false; // an answer that did not come in time may come still
pthread_t watched;
sem_t answered;
// Written by the watched thread between the signal and sem_post, read after sem_wait.
void* frames[ROOM];
int found = 0;

void answer(int /*signal*/) {
  const int kept = errno;
  found = backtrace(frames, ROOM);
  sem_post(&answered);
  errno = kept;
}

timespec from_now(int64_t ms) {
  timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_sec += ms / 1000;
  at.tv_nsec += (ms % 1000) * 1000000;
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec += 1;
    at.tv_nsec -= 1000000000;
  }
  return at;
}

bool wait_until(const timespec& at) {
  while (sem_clockwait(&answered, CLOCK_MONOTONIC, &at) != 0) {
    if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

} // namespace

extern "C" {

OslerOutcome osler_stack_watch() {
  return osler::guarded([] {
    const std::lock_guard lock(askers);
    watched = pthread_self();
    if (watching) {
      return;
    }
    // Loads what unwinding needs, which a signal handler must not.
    found = backtrace(frames, ROOM);
    struct sigaction action = {};
    action.sa_handler = answer;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (sem_init(&answered, 0, 0) != 0 || sigaction(SIGUSR2, &action, nullptr) != 0) {
      throw std::runtime_error("install the handler of SIGUSR2");
    }
    watching = true;
  });
}

OslerOutcome osler_stack_take(int64_t wait_ms, void** out, size_t room, size_t* count) {
  return osler::guarded([&] {
    const std::lock_guard lock(askers);
    *count = 0;
    if (!watching) {
      throw std::runtime_error("no thread is watched");
    }
    const timespec until = from_now(wait_ms);
    if (owed && !wait_until(until)) {
      throw osler::Failure(OSLER_TIMEOUT, "the thread has not answered the signal before this one");
    }
    while (sem_trywait(&answered) == 0) { // somebody else sent the signal
    }
    owed = true;
    if (pthread_kill(watched, SIGUSR2) != 0) {
      owed = false;
      throw std::runtime_error("the thread is gone");
    }
    if (!wait_until(until)) {
      throw osler::Failure(OSLER_TIMEOUT, "the thread does not answer its signal");
    }
    owed = false;
    *count = std::min(room, static_cast<size_t>(std::max(found - OWN, 0)));
    std::copy_n(frames + OWN, *count, out);
  });
}

} // extern "C"
