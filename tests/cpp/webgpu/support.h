// What the WebGPU tests share: a device on whatever adapter the machine has, wgpu-native's by
// default.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "webgpu/device.h"

namespace etwebgpu {

inline std::string test_library() {
  const char* chosen = std::getenv("ETWEBGPU_TEST_WGPU_LIBRARY");
  return chosen ? chosen : ETWEBGPU_TEST_WGPU_LIBRARY_DEFAULT;
}

inline AdapterChoice test_choice() {
  const char* adapter = std::getenv("ETWEBGPU_TEST_ADAPTER");
  return {test_library(), adapter ? adapter : ""};
}

// A device, or null after a test failure that says why.
inline std::shared_ptr<Device> test_device() {
  Result<std::shared_ptr<Device>> device = Device::acquire(test_choice());
  EXPECT_TRUE(device) << device.error().message;
  return device ? *device : nullptr;
}

}  // namespace etwebgpu

#define EXPECT_OK(expression)                                    \
  do {                                                           \
    const auto& expect_result = (expression);                    \
    EXPECT_TRUE(expect_result) << expect_result.error().message; \
  } while (false)

#define ASSERT_OK(expression)                                    \
  do {                                                           \
    const auto& expect_result = (expression);                    \
    ASSERT_TRUE(expect_result) << expect_result.error().message; \
  } while (false)
