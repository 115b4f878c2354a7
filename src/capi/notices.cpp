#include "capi/notices.h"

#include <utility>

namespace etwebgpu {
namespace {

thread_local std::string notices_of_thread;

}  // namespace

void add_notice(std::string_view sentence) {
  constexpr std::size_t kMost = 64 << 10;  // of a host that never asks
  if (notices_of_thread.size() > kMost) notices_of_thread.clear();
  if (!notices_of_thread.empty()) notices_of_thread += '\n';
  notices_of_thread += sentence;
}

std::string take_notices() { return std::exchange(notices_of_thread, {}); }

}  // namespace etwebgpu
