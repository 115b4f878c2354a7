// Plans of whole models, as text: a lost fusion, another kernel or one more buffer shows as a
// difference. Needs no GPU.
#include <gtest/gtest.h>

#include "support/decoder_graph.h"
#include "support/devices.h"
#include "support/encoder_graph.h"
#include "support/plan_text.h"

namespace etwebgpu::testing {
namespace {

// A decoder's plan for so many tokens at a position.
std::string decoder_plan(const DecoderShape& shape, const Capabilities& capabilities,
                         std::int64_t tokens, std::int64_t position,
                         const ModelOptions& options = {}) {
  HostInput inputs[2];
  inputs[0].sizes = {1, tokens};
  inputs[1].sizes = {1};
  inputs[1].elements = {&position, 1};
  return plan_text(decoder_graph(shape), capabilities, options, inputs);
}

TEST(GoldenPlans, SmolLm2) {
  expect_golden("smollm2_decode_gpu", decoder_plan(kSmolLm2, discrete_gpu(), 1, 100));
  expect_golden("smollm2_prefill_gpu", decoder_plan(kSmolLm2, discrete_gpu(), 512, 0));
  expect_golden("smollm2_decode_software", decoder_plan(kSmolLm2, software_adapter(), 1, 100));
  expect_golden("smollm2_prefill_software", decoder_plan(kSmolLm2, software_adapter(), 512, 0));
}

TEST(GoldenPlans, MatrixUnits) {
  Capabilities c = discrete_gpu();
  c.matrix_size = 16;
  const ModelOptions halves{.matmul = FloatType::F16};
  expect_golden("smollm2_prefill_gpu_f16", decoder_plan(kSmolLm2, c, 512, 0, halves));
  expect_golden("1b_prefill_gpu_matrices", decoder_plan(kOneBillion, c, 512, 0));
}

TEST(GoldenPlans, OneBillion) {
  expect_golden("1b_decode_gpu", decoder_plan(kOneBillion, discrete_gpu(), 1, 100));
  expect_golden("1b_prefill_gpu", decoder_plan(kOneBillion, discrete_gpu(), 512, 0));
  Capabilities bytes = discrete_gpu();
  bytes.byte_products_from = 1 << 20;
  expect_golden("1b_decode_gpu_bytes", decoder_plan(kOneBillion, bytes, 1, 100));
}

TEST(GoldenPlans, MiniLm) {
  for (const auto& [name, capabilities] :
       {std::pair("gpu", discrete_gpu()), {"software", software_adapter()}}) {
    HostInput inputs[2];
    for (HostInput& input : inputs) input.sizes = {1, 40};
    expect_golden(cat("minilm_", name),
                  plan_text(encoder_graph(kMiniLm), capabilities, {}, inputs));
  }
}

}  // namespace
}  // namespace etwebgpu::testing
