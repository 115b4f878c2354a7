// Whole models on a device: uploads, dtypes at the boundary, live sizes, states, limits, loss,
// threads.
#include "webgpu/runner.h"

#include <cstring>
#include <map>
#include <thread>

#include "run.h"
#include "support.h"
#include "support/copy_bytes.h"
#include "support/graph_builder.h"

namespace etwebgpu {
namespace {

using testing::GraphBuilder;

HostTensor host_scalar(std::int64_t value) {
  HostTensor out;
  out.is_scalar = true;
  out.scalar = value;
  return out;
}

// y[S, 8] = x[S, 8] * w[8]
Graph scale_graph(std::int64_t bound = 64, std::int64_t width = 8) {
  GraphBuilder b;
  const ValueId x = b.input({bound, width});
  b.output(b.multiply(x, b.constant({width})));
  return std::move(b.graph);
}

Constants scale_constants(std::size_t width = 8) {
  std::vector<float> w(width);
  for (std::size_t i = 0; i < width; ++i) w[i] = static_cast<float>(i % 1000) - 3.5f;
  Constants constants;
  constants.bytes = {bytes_of(w)};
  return constants;
}

void check_scale(Runner& runner, std::int64_t rows, std::size_t width = 8) {
  std::vector<float> x(static_cast<std::size_t>(rows) * width);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 77) * 0.25f;
  const HostTensor inputs[] = {host(DType::Float32, {rows, static_cast<std::int64_t>(width)}, x)};
  Outputs outputs;
  ASSERT_OK(runner.execute(inputs, outputs));
  EXPECT_EQ(outputs.sizes[0], (Dims{rows, static_cast<std::int64_t>(width)}));
  const auto y = values_of<float>(outputs.bytes[0]);
  ASSERT_EQ(y.size(), x.size());
  for (std::size_t i = 0; i < y.size(); ++i)
    ASSERT_EQ(y[i], x[i] * (static_cast<float>(i % width % 1000) - 3.5f)) << i;
}

TEST(Runner, SizesShrinkAndGrow) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants = scale_constants();
  const auto runner = load(device, scale_graph(), constants, {.validate = true});
  ASSERT_OK(runner);
  for (std::int64_t rows : {3, 1, 64, 2, 0, 64, 63, 1}) check_scale(**runner, rows);
  EXPECT_EQ(constants.fetched[0], 1);
  EXPECT_EQ(constants.released[0], 1);
  EXPECT_OK(device->status());
}

TEST(Runner, LargeConstantsStream) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  constexpr std::size_t kWidth = 5'000'011;  // 20 MB: three stages, and no round size
  Constants constants = scale_constants(kWidth);
  const auto runner = load(device, scale_graph(1, kWidth), constants, {.validate = true});
  ASSERT_OK(runner);
  check_scale(**runner, 1, kWidth);
}

TEST(Runner, BytesPassTheBoundaryFourAWord) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  add_op(testing::kCopyBytes);
  GraphBuilder b;
  const auto copy = [&](ValueId x) {
    b.output(b.call("test.copy_bytes", {x}, b.bound(x), b.graph.tensor(x)->dtype));
  };
  for (const DType dtype : {DType::Int8, DType::UInt8, DType::Bool}) copy(b.input({9}, dtype));
  copy(b.constant({5}, DType::Int8));
  Constants constants;
  const std::vector<std::int8_t> weight = {-128, -1, 0, 1, 127};
  constants.bytes = {bytes_of(weight)};
  const auto runner = load(device, std::move(b.graph), constants, {.validate = true});
  ASSERT_OK(runner);
  EXPECT_EQ((*runner)->model().constants()[0].packing, Packing::Bytes);
  for (const std::int64_t count : {9, 5, 4, 1, 0}) {
    std::vector<std::int8_t> small;
    std::vector<std::uint8_t> natural, flag;
    for (std::int64_t i = 0; i < count; ++i) {
      small.push_back(static_cast<std::int8_t>(31 * i - 128));
      natural.push_back(static_cast<std::uint8_t>(255 - 31 * i));
      flag.push_back(static_cast<std::uint8_t>(i % 3 == 1));
    }
    const HostTensor inputs[] = {host(DType::Int8, {count}, small),
                                 host(DType::UInt8, {count}, natural),
                                 host(DType::Bool, {count}, flag)};
    Outputs outputs;
    ASSERT_OK((*runner)->execute(inputs, outputs));
    EXPECT_EQ(values_of<std::int8_t>(outputs.bytes[0]), small);
    EXPECT_EQ(values_of<std::uint8_t>(outputs.bytes[1]), natural);
    EXPECT_EQ(values_of<std::uint8_t>(outputs.bytes[2]), flag);
    EXPECT_EQ(values_of<std::int8_t>(outputs.bytes[3]), weight);
  }
}

TEST(Runner, EveryDtypePassesTheBoundary) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  GraphBuilder b;
  const auto unary = [&](const char* op, DType dtype) {
    b.output(b.call(op, {b.input({4}, dtype)}, {4}, dtype));
  };
  unary("aten.neg.default", DType::Float32);
  unary("aten.neg.default", DType::Float16);
  unary("aten.neg.default", DType::Int32);
  unary("aten.neg.default", DType::Int32);
  unary("aten.logical_not.default", DType::Bool);
  Constants constants;
  const auto runner = load(device, std::move(b.graph), constants, {.validate = true});
  ASSERT_OK(runner);
  const std::vector<float> f = {1.5f, -2.0f, 0.0f, 1e30f};
  const std::vector<std::uint16_t> h = {0x3C00, 0xC000, 0x0001, 0x7BFF};
  const std::vector<std::int32_t> i = {1, -2, 0, INT32_MAX};
  const std::vector<std::int64_t> l = {5, -6, 0, INT32_MAX};
  const std::vector<std::uint8_t> flags = {0, 1, 0, 1};
  std::vector<HostTensor> inputs = {host(DType::Float32, {4}, f), host(DType::Float16, {4}, h),
                                    host(DType::Int32, {4}, i), host(DType::Int64, {4}, l),
                                    host(DType::Bool, {4}, flags)};
  Outputs outputs;
  outputs.wanted[2] = DType::Int32;
  outputs.wanted[3] = DType::Int64;
  ASSERT_OK((*runner)->execute(inputs, outputs));
  EXPECT_EQ(values_of<float>(outputs.bytes[0]), (std::vector<float>{-1.5f, 2.0f, 0.0f, -1e30f}));
  EXPECT_EQ(values_of<std::uint16_t>(outputs.bytes[1]),
            (std::vector<std::uint16_t>{0xBC00, 0x4000, 0x8001, 0xFBFF}));
  EXPECT_EQ(values_of<std::int32_t>(outputs.bytes[2]),
            (std::vector<std::int32_t>{-1, 2, 0, -INT32_MAX}));
  EXPECT_EQ(values_of<std::int64_t>(outputs.bytes[3]),
            (std::vector<std::int64_t>{-5, 6, 0, -INT32_MAX}));
  EXPECT_EQ(values_of<std::uint8_t>(outputs.bytes[4]), (std::vector<std::uint8_t>{1, 0, 1, 0}));

  const auto expect_error = [&](std::span<const HostTensor> bad, std::string_view part) {
    const auto result = (*runner)->execute(bad, outputs);
    ASSERT_FALSE(result) << part;
    EXPECT_EQ(result.error().kind, ErrorKind::InvalidArgument);
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  };
  expect_error(std::span(inputs).first(4), "5 inputs");
  auto bad = inputs;
  bad[3] = host(DType::Float32, {4}, f);
  expect_error(bad, "input 3 is float32");
  bad[3] = host(DType::Int64, {5}, l);
  expect_error(bad, "32 bytes");
  bad[3] = host(DType::Int32, {2, 2}, i);
  expect_error(bad, "[2, 2]");
  bad[3] = host_scalar(1);
  expect_error(bad, "not a scalar");
  outputs.wanted[0] = DType::Int64;
  expect_error(inputs, "output 0 is wanted as int64");
  outputs.wanted.erase(0);
  ASSERT_OK((*runner)->execute(inputs, outputs));  // still usable
}

// cache[1, 16, 1, 4] = value at pos; y = cache + 1; sizes of value give the SymInt output.
TEST(Runner, StatesLastAndScalarsFollow) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  GraphBuilder b;
  const ValueId value = b.input({1, 4, 1, 4}), position = b.scalar_input();
  const ValueId cache = b.constant({1, 16, 1, 4}), ones = b.constant({1});
  b.call("update_cache.default", {value, cache, position}, Dims{1});
  b.output(b.multiply(cache, ones));
  b.output(b.call("sym_size.int", {value, b.number(1)}, b.scalar()));
  Constants constants;
  constants.bytes = {bytes_of(std::vector<float>(64, 7.0f)), bytes_of(std::vector<float>{1.0f})};
  const auto runner = load(device, std::move(b.graph), constants, {.validate = true});
  ASSERT_OK(runner);
  std::vector<float> expected(64, 7.0f);
  Outputs outputs;
  const auto write = [&](std::int64_t tokens, std::int64_t at, bool as_tensor) {
    const std::vector<float> data(static_cast<std::size_t>(tokens * 4),
                                  static_cast<float>(at) + 0.5f);
    std::ranges::copy(data, expected.begin() + at * 4);
    const std::vector<std::int64_t> position = {at};
    const HostTensor inputs[] = {host(DType::Float32, {1, tokens, 1, 4}, data),
                                 as_tensor ? host(DType::Int64, {1}, position) : host_scalar(at)};
    ASSERT_OK((*runner)->execute(inputs, outputs));
    EXPECT_EQ(values_of<float>(outputs.bytes[0]), expected);
    EXPECT_EQ(outputs.scalars[1], tokens);
  };
  write(3, 0, false);
  write(1, 3, true);
  write(1, 4, false);
  write(4, 12, true);
  write(2, 0, false);
  EXPECT_OK(device->status());
}

TEST(Runner, MemoryLimitNamesTheTensor) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants = scale_constants(1 << 16);
  const std::uint64_t before = device->allocated_bytes();
  const auto runner = load(device, scale_graph(4, 1 << 16), constants, {.memory_limit = 100'000});
  ASSERT_FALSE(runner);
  EXPECT_EQ(runner.error().kind, ErrorKind::ResourceLimit);
  for (const char* part :
       {"constant 0", "[65536]", "262144", "100000", "the program has 262144 bytes of weights"})
    EXPECT_NE(runner.error().message.find(part), std::string::npos) << runner.error().message;
  EXPECT_EQ(device->allocated_bytes(), before);
}

TEST(Runner, ActivationsCountTowardsTheLimit) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants = scale_constants();
  const auto runner = load(device, scale_graph(1024), constants, {.memory_limit = 20'000});
  ASSERT_OK(runner);
  check_scale(**runner, 8);
  const std::vector<float> x(1024 * 8);
  const HostTensor inputs[] = {host(DType::Float32, {1024, 8}, x)};
  Outputs outputs;
  const auto result = (*runner)->execute(inputs, outputs);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::ResourceLimit);
  check_scale(**runner, 16);  // smaller ones still work
}

TEST(Runner, ShortConstantIsAnError) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants;
  constants.bytes = {std::vector<std::byte>(12)};
  const auto runner = load(device, scale_graph(), constants);
  ASSERT_FALSE(runner);
  EXPECT_EQ(runner.error().kind, ErrorKind::InvalidProgram);
  EXPECT_EQ(constants.fetched, constants.released);
}

TEST(Runner, LostDeviceFailsTheCallAndTheNextLoadWorks) {
  {
    const auto device = test_device();
    ASSERT_TRUE(device);
    Constants constants = scale_constants();
    const auto runner = load(device, scale_graph(), constants);
    ASSERT_OK(runner);
    check_scale(**runner, 4);
    device->destroy();
    const std::vector<float> x(8);
    const HostTensor inputs[] = {host(DType::Float32, {1, 8}, x)};
    for (int i = 0; i < 2; ++i) {
      Outputs outputs;
      const auto result = (*runner)->execute(inputs, outputs);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().kind, ErrorKind::DeviceLost) << result.error().message;
      EXPECT_NE(result.error().message.find("load the program again"), std::string::npos);
    }
    const auto again = load(device, scale_graph(), constants);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().kind, ErrorKind::DeviceLost);
  }
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants = scale_constants();
  const auto runner = load(device, scale_graph(), constants);
  ASSERT_OK(runner);
  check_scale(**runner, 4);
}

TEST(Runner, ProfilingNamesDispatches) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  if (!device->capabilities().timestamps) GTEST_SKIP() << "no timestamps";
  Constants constants = scale_constants();
  const auto runner = load(device, scale_graph(), constants, {.profiling = true});
  ASSERT_OK(runner);
  check_scale(**runner, 64);
  ASSERT_EQ((*runner)->times().size(), (*runner)->last_plan()->dispatches.size());
  for (const DispatchTime& time : (*runner)->times()) {
    EXPECT_EQ(time.call, "aten.mul.Tensor");
    EXPECT_FALSE(time.kernel.empty());
    EXPECT_GE(time.microseconds, 0.0);
  }
}

TEST(Runner, ManyThreadsAndModels) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Constants constants = scale_constants();
  std::vector<std::unique_ptr<Runner>> runners;
  for (int i = 0; i < 2; ++i) {
    auto runner = load(device, scale_graph(), constants);
    ASSERT_OK(runner);
    runners.push_back(*std::move(runner));
  }
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t rows = 1; rows <= 20; ++rows)
        check_scale(*runners[t % 2], (rows * 7 + t) % 65);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_OK(device->status());
}

}  // namespace
}  // namespace etwebgpu
