// The WebGPU tests as a shared library: a Python process hands over Dawn's functions and runs them
// (run_on_dawn.py), since Dawn comes as a Python extension without exported symbols.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdio>

#include "webgpu/provider.h"

extern "C" __attribute__((visibility("default"))) int etwg_run_tests(int argc, char** argv,
                                                                     const char* const* symbols,
                                                                     void* const* addresses,
                                                                     std::size_t count) {
  const auto registered =
      etwebgpu::register_provider("dawn", std::span(symbols, count), std::span(addresses, count));
  if (!registered) {
    std::fprintf(stderr, "%s\n", registered.error().message.c_str());
    return 1;
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
