// What plans ask of the kernel templates, over the corpus: every template and every value that a
// template allows occur, and all expand.
#include "support/kernel_corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "kernels/kernel_source.h"
#include "plan/model.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

// Templates that no other template includes.
std::vector<std::string_view> entry_templates() {
  std::vector<std::string_view> out;
  for (const KernelTemplate& kernel : kernel_templates()) {
    const std::string include = cat("#include \"", kernel.name, ".wgsl\"");
    if (std::ranges::none_of(kernel_templates(), [&](const KernelTemplate& other) {
          return other.text.find(include) != std::string_view::npos;
        }))
      out.push_back(kernel.name);
  }
  return out;
}

std::string named(const KernelParameter& parameter, std::string_view value) {
  return cat(parameter.file, ' ', parameter.name, '=', value);
}

std::vector<KernelParameter> parameters_of(std::string_view kernel) {
  auto parameters = kernel_parameters(kernel, kernel_templates());
  EXPECT_TRUE(parameters) << parameters.error().message;
  return parameters ? *std::move(parameters) : std::vector<KernelParameter>();
}

// The values that the variant gives to parameters, or leaves to their defaults.
void collect_values(const KernelVariant& variant, std::set<std::string>& out) {
  for (const KernelParameter& parameter : parameters_of(variant.name)) {
    const auto given = std::ranges::find_if(variant.parameters, [&](const auto& named_value) {
      return named_value.first == parameter.name;
    });
    if (given != variant.parameters.end())
      out.insert(named(parameter, given->second));
    else if (parameter.fallback)
      out.insert(named(parameter, *parameter.fallback));
  }
}

TEST(KernelCorpus, EveryGraphHasAPlanOnEveryClassOfDevice) {
  for (const std::string& error : kernel_corpus().errors) ADD_FAILURE() << error;
}

TEST(KernelCorpus, EveryKernelExpandsInBothDialects) {
  for (const CorpusKernel& kernel : kernel_corpus().kernels) {
    for (const WgslDialect dialect : {WgslDialect::Tint, WgslDialect::Naga}) {
      const auto text = kernel_source(kernel.variant, dialect);
      EXPECT_TRUE(text) << to_string(kernel.variant) << ": " << text.error().message;
    }
  }
}

Graph linear_layer(std::int64_t rows, std::int64_t depth, std::int64_t columns) {
  GraphBuilder b;
  b.output(b.linear(b.input({rows, depth}), columns));
  return std::move(b.graph);
}

// The routes compute parameters from sizes; the corpus has some sizes only.
TEST(KernelCorpus, LinearLayersOfManySizesExpand) {
  std::set<std::string> expanded;
  for (const DeviceClass& device : device_classes()) {
    for (const std::int64_t depth : {32, 96, 288, 576, 960, 1536, 2560, 3072, 5120, 8192, 14336}) {
      for (const std::int64_t columns : {8, 200, 4096, 49152}) {
        for (const std::int64_t rows : {1, 5, 300}) {
          const auto model = Model::create(linear_layer(rows, depth, columns), device.capabilities,
                                           device.options);
          ASSERT_TRUE(model) << model.error().message;
          for (const KernelVariant& kernel : (*model)->kernels()) {
            if (!expanded.insert(to_string(kernel)).second) continue;
            const auto text = kernel_source(kernel, WgslDialect::Tint);
            EXPECT_TRUE(text) << device.name << ": " << text.error().message;
          }
        }
      }
    }
  }
  EXPECT_GT(expanded.size(), 300u);
}

TEST(KernelCorpus, EveryTemplateAndAllowedValueOccurs) {
  std::set<std::string_view> kernels;
  std::set<std::string> values;
  for (const CorpusKernel& kernel : kernel_corpus().kernels) {
    kernels.insert(kernel.variant.name);
    collect_values(kernel.variant, values);
  }
  for (const std::string_view kernel : entry_templates()) {
    EXPECT_TRUE(kernels.contains(kernel)) << kernel;
    for (const KernelParameter& parameter : parameters_of(kernel)) {
      for (const std::string_view value : parameter.allowed_values()) {
        EXPECT_TRUE(values.contains(named(parameter, value))) << named(parameter, value);
      }
    }
  }
}

}  // namespace
}  // namespace etwebgpu::testing
