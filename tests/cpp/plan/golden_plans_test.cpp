// Plans of whole models and of every fusion, as text: a lost fusion, another kernel or one more
// buffer shows as a difference. Needs no GPU.
#include <gtest/gtest.h>

#include "kernels/kernel_source.h"
#include "support/decoder_graph.h"
#include "support/encoder_graph.h"
#include "support/plan_text.h"

namespace etwebgpu::testing {
namespace {

// A discrete GPU through Dawn, as an H200 reports itself, apart from its matrix units.
Capabilities gpu() {
  Capabilities c;
  c.adapter_class = AdapterClass::Discrete;
  c.max_buffer_size = 1ull << 38;
  c.max_storage_binding = (1ull << 32) - 4;
  c.max_storage_buffers = 16;
  c.max_workgroup_invocations = 1024;
  c.max_workgroup_size[0] = c.max_workgroup_size[1] = 1024;
  c.max_workgroup_storage = 48 << 10;
  c.storage_alignment = c.uniform_alignment = 64;
  c.subgroups = c.f16 = c.timestamps = true;
  c.min_subgroup_size = c.max_subgroup_size = 32;
  return c;
}

Capabilities software() {
  Capabilities c;
  c.adapter_class = AdapterClass::Software;
  c.subgroups = true;
  c.min_subgroup_size = c.max_subgroup_size = 8;
  return c;
}

std::string plan_of(Graph graph, const Capabilities& capabilities, const ModelOptions& options,
                    std::span<const HostInput> inputs) {
  auto model = Model::create(std::move(graph), capabilities, options);
  EXPECT_TRUE(model) << model.error().message;
  if (!model) return {};
  const auto plan = (*model)->prepare(inputs);
  EXPECT_TRUE(plan) << plan.error().message;
  for (const KernelVariant& kernel : (*model)->kernels()) {
    const auto text = kernel_source(kernel, capabilities.dialect);
    EXPECT_TRUE(text) << text.error().message;
  }
  return plan ? plan_text(**model, **plan) : std::string();
}

// A decoder's plan for so many tokens at a position.
std::string decoder_plan(const DecoderShape& shape, const Capabilities& capabilities,
                         std::int64_t tokens, std::int64_t position,
                         const ModelOptions& options = {}) {
  HostInput inputs[2];
  inputs[0].sizes = {1, tokens};
  inputs[1].sizes = {1};
  inputs[1].elements = {&position, 1};
  return plan_of(decoder_graph(shape), capabilities, options, inputs);
}

TEST(GoldenPlans, SmolLm2) {
  expect_golden("smollm2_decode_gpu", decoder_plan(kSmolLm2, gpu(), 1, 100));
  expect_golden("smollm2_prefill_gpu", decoder_plan(kSmolLm2, gpu(), 512, 0));
  expect_golden("smollm2_decode_software", decoder_plan(kSmolLm2, software(), 1, 100));
  expect_golden("smollm2_prefill_software", decoder_plan(kSmolLm2, software(), 512, 0));
}

TEST(GoldenPlans, MatrixUnits) {
  Capabilities c = gpu();
  c.matrix_size = 16;
  const ModelOptions halves{.matmul = FloatType::F16};
  expect_golden("smollm2_prefill_gpu_f16", decoder_plan(kSmolLm2, c, 512, 0, halves));
}

TEST(GoldenPlans, OneBillion) {
  expect_golden("1b_decode_gpu", decoder_plan(kOneBillion, gpu(), 1, 100));
  expect_golden("1b_prefill_gpu", decoder_plan(kOneBillion, gpu(), 512, 0));
  Capabilities bytes = gpu();
  bytes.byte_products_from = 1 << 20;
  expect_golden("1b_decode_gpu_bytes", decoder_plan(kOneBillion, bytes, 1, 100));
}

TEST(GoldenPlans, MiniLm) {
  for (const auto& [name, capabilities] : {std::pair("gpu", gpu()), {"software", software()}}) {
    HostInput inputs[2];
    for (HostInput& input : inputs) input.sizes = {1, 40};
    expect_golden(cat("minilm_", name), plan_of(encoder_graph(kMiniLm), capabilities, {}, inputs));
  }
}

}  // namespace
}  // namespace etwebgpu::testing
