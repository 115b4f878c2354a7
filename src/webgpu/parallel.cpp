#include "webgpu/parallel.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace etwebgpu {

std::size_t core_count(std::size_t most) {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most);
}

namespace {

// Fewer where the system has a limit of threads.
std::vector<std::thread> start_threads(std::size_t count,
                                       const std::function<void(std::size_t)>& share) {
  std::vector<std::thread> threads;
  try {
    threads.reserve(count);
    while (threads.size() < count) threads.emplace_back(share, threads.size() + 1);
  } catch (const std::system_error&) {
    return threads;
  }
  return threads;
}

}  // namespace

void run_shares(std::size_t count, const std::function<void(std::size_t)>& share) {
  if (count == 0) return;
  std::vector<std::thread> threads = start_threads(count - 1, share);
  share(0);
  for (std::size_t i = threads.size() + 1; i < count; ++i) share(i);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace etwebgpu
