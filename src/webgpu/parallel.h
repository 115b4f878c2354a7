// Work for the processor's cores.
#pragma once

#include <cstddef>
#include <functional>

namespace etwebgpu {

// As many shares of a work as there are cores, `most` at most.
std::size_t core_count(std::size_t most);

// Calls share(0) to share(count - 1), at the same time where threads can be had for it, and returns
// when all have. A share must not throw.
void run_shares(std::size_t count, const std::function<void(std::size_t)>& share);

}  // namespace etwebgpu
