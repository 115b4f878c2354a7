// The matrix product through doors of a caller's own, on a device, by the kernels of every class of
// adapter that it can stand for.
#include <algorithm>
#include <cmath>

#include "run.h"
#include "support.h"
#include "support/graph_builder.h"
#include "support/pointwise_convolution.h"

namespace etwebgpu {
namespace {

using testing::GraphBuilder;

struct Convolution {
  std::int64_t batch, channels, height, width, outputs;
  bool bias;
  std::int64_t pixels() const { return height * width; }
};

constexpr float kLow = -1.5f, kHigh = 2.0f;

std::vector<float> made_up(std::int64_t count, std::int64_t seed) {
  std::vector<float> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = std::sin(static_cast<float>(i) * 0.7f + static_cast<float>(seed));
  return out;
}

std::vector<float> expected(const Convolution& s, const std::vector<float>& x,
                            const std::vector<float>& w, const std::vector<float>& bias) {
  std::vector<float> out;
  for (std::int64_t n = 0; n < s.batch; ++n)
    for (std::int64_t o = 0; o < s.outputs; ++o)
      for (std::int64_t p = 0; p < s.pixels(); ++p) {
        double sum = s.bias ? bias[static_cast<std::size_t>(o)] : 0.0f;
        for (std::int64_t k = 0; k < s.channels; ++k)
          sum += double{x[static_cast<std::size_t>((n * s.channels + k) * s.pixels() + p)]} *
                 w[static_cast<std::size_t>(o * s.channels + k)];
        out.push_back(std::clamp(static_cast<float>(sum), kLow, kHigh));
      }
  return out;
}

void check(const std::shared_ptr<Device>& device, AdapterClass adapter, const Convolution& s) {
  GraphBuilder b;
  const ValueId x = b.input({s.batch, s.channels, s.height, s.width});
  const ValueId weight = b.constant({s.outputs, s.channels});
  const ValueId bias = s.bias ? b.constant({s.outputs}) : b.none();
  b.output(b.call(std::string(testing::pointwise_convolution()),
                  {x, weight, bias, b.number(double{kLow}), b.number(double{kHigh})},
                  {s.batch, s.outputs, s.height, s.width}));
  Constants constants;
  const auto w = made_up(s.outputs * s.channels, 1), added = made_up(s.outputs, 2);
  constants.bytes = {bytes_of(w)};
  if (s.bias) constants.bytes.push_back(bytes_of(added));
  Capabilities capabilities = device->capabilities();
  capabilities.adapter_class = adapter;
  auto model = Model::create(std::move(b.graph), capabilities, {});
  ASSERT_OK(model);
  const auto runner = Runner::create(*std::move(model), device, constants, {.validate = true});
  ASSERT_OK(runner);
  const auto values = made_up(s.batch * s.channels * s.pixels(), 3);
  const HostTensor inputs[] = {
      host(DType::Float32, {s.batch, s.channels, s.height, s.width}, values)};
  Outputs outputs;
  ASSERT_OK((*runner)->execute(inputs, outputs));
  const auto y = values_of<float>(outputs.bytes[0]), right = expected(s, values, w, added);
  ASSERT_EQ(y.size(), right.size());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], right[i], 1e-4) << i;
}

TEST(Gemm, APointwiseConvolutionIsALoaderAndAStore) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  for (const AdapterClass adapter : {AdapterClass::Software, AdapterClass::Discrete}) {
    for (const Convolution& s :
         {Convolution{1, 8, 1, 1, 5, true}, Convolution{1, 64, 1, 1, 70, false},
          Convolution{2, 12, 5, 7, 9, true}, Convolution{1, 3, 9, 4, 130, true},
          Convolution{3, 32, 16, 11, 64, false}}) {
      SCOPED_TRACE(cat(name(adapter), ": ", s.batch, "x", s.channels, "x", s.height, "x", s.width));
      check(device, adapter, s);
    }
  }
}

}  // namespace
}  // namespace etwebgpu
