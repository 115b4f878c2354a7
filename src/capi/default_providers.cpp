#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>

#include "capi/delegate.h"
#include "webgpu/provider.h"

namespace etwebgpu {
namespace {

#if defined(__APPLE__)
constexpr std::string_view kSuffix = ".dylib";
#else
constexpr std::string_view kSuffix = ".so";
#endif

std::atomic<bool> host_registered = false;

// The folder this library lies in, with a slash at its end; "" when it cannot be told.
std::string own_folder() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &info) == 0 || info.dli_fname == nullptr) {
    return "";
  }
  const std::string path = info.dli_fname;
  const auto slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash + 1);
}

Result<void> register_usual_libraries() {
  // site-packages/executorch_webgpu/lib/ -> site-packages/wgpu/resources/
  const std::string beside =
      cat(own_folder(), "../../wgpu/resources/libwgpu_native-release", kSuffix);
  if (access(beside.c_str(), R_OK) == 0) return register_provider_library("wgpu-native", beside);
  TRY(register_provider_library("wgpu-native", cat("libwgpu_native", kSuffix)));
  return register_provider_library("dawn", cat("libwebgpu_dawn", kSuffix));
}

}  // namespace

void note_provider_registered() { host_registered = true; }

Result<void> ensure_providers() {
  static std::mutex mutex;
  static bool looked = false;
  std::lock_guard lock(mutex);
  if (host_registered || looked) return {};
  looked = true;
  return register_usual_libraries();
}

}  // namespace etwebgpu
