// Every kernel of the corpus (support/kernel_corpus.h) compiles on the device.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "kernels/kernel_source.h"
#include "support.h"
#include "support/kernel_corpus.h"

namespace etwebgpu {
namespace {

using testing::CorpusKernel;

// What the kernel needs and the device lacks, or "".
std::string lacking(const CorpusKernel& kernel, const Capabilities& device) {
  const auto text = kernel_source(kernel.variant, WgslDialect::Tint);
  if (!text) return "";  // compiling it says why
  const auto enables = [&](std::string_view feature) {
    return text->find(cat("enable ", feature, ";")) != std::string::npos;
  };
  const Capabilities& made_for = kernel.made_for->capabilities;
  if (enables("chromium_experimental_subgroup_matrix") &&
      device.matrix_size != made_for.matrix_size)
    return cat("matrices of ", made_for.matrix_size);
  if (enables("f16") && !device.f16) return "f16";
  if (enables("subgroups") && !device.subgroups) return "subgroups";
  const bool fits = made_for.max_workgroup_invocations <= device.max_workgroup_invocations &&
                    made_for.max_workgroup_storage <= device.max_workgroup_storage;
  return fits ? "" : "larger workgroups";
}

TEST(Kernels, AllCompile) {
  const std::shared_ptr<Device> device = test_device();
  ASSERT_TRUE(device);
  const auto held = device->lock();
  std::map<std::string, int> skipped;
  int compiled = 0;
  for (const CorpusKernel& kernel : testing::kernel_corpus().kernels) {
    if (const std::string what = lacking(kernel, device->capabilities()); !what.empty()) {
      ++skipped[what];
      continue;
    }
    EXPECT_OK(device->pipeline(kernel.variant, kernel.bindings));
    ++compiled;
  }
  std::printf("[ kernels  ] %d compiled\n", compiled);
  for (const auto& [what, count] : skipped)
    std::printf("[ kernels  ] %d skipped, which need %s\n", count, what.c_str());
}

}  // namespace
}  // namespace etwebgpu
