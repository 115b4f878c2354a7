#include "webgpu/parallel.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace etwebgpu {

std::size_t core_count(std::size_t most) {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most);
}

void run_shares(std::size_t count, const std::function<void(std::size_t)>& share) {
  std::vector<std::thread> threads;
  std::size_t begun = 1;
  try {
    threads.reserve(count);
    for (; begun < count; ++begun) threads.emplace_back(share, begun);
  } catch (const std::system_error&) {  // a limit of threads: the rest is done here
  }
  if (count > 0) share(0);
  for (; begun < count; ++begun) share(begun);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace etwebgpu
