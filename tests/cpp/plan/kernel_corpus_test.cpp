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

// Templates that no other template includes by name: kernels, and fragments that parameters name.
std::vector<std::string_view> top_templates() {
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

std::vector<KernelParameter> parameters_of(const KernelVariant& kernel) {
  auto mentions = kernel_mentions(kernel, kernel_templates());
  EXPECT_TRUE(mentions) << mentions.error().message;
  return mentions ? std::move(mentions->parameters) : std::vector<KernelParameter>();
}

struct Occurring {
  std::set<std::string, std::less<>> templates;  // as a kernel, or as a parameter's value
  std::set<std::string> values;
  std::set<std::string> allowed;  // what could be a value
};

// The values that the variant gives to parameters, or leaves to their defaults.
void collect(const KernelVariant& variant, Occurring& out) {
  out.templates.insert(variant.name);
  for (const KernelParameter& parameter : parameters_of(variant)) {
    for (const std::string_view value : parameter.allowed_values())
      out.allowed.insert(named(parameter, value));
    const auto given = std::ranges::find_if(variant.parameters, [&](const auto& named_value) {
      return named_value.first == parameter.name;
    });
    if (given == variant.parameters.end() && !parameter.fallback) continue;
    const std::string_view value =
        given != variant.parameters.end() ? std::string_view(given->second) : *parameter.fallback;
    out.values.insert(named(parameter, value));
    out.templates.emplace(value);
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
  Occurring found;
  for (const CorpusKernel& kernel : kernel_corpus().kernels) collect(kernel.variant, found);
  for (const std::string_view name : top_templates())
    EXPECT_TRUE(found.templates.contains(name)) << name;
  for (const std::string& value : found.allowed) EXPECT_TRUE(found.values.contains(value)) << value;
}

}  // namespace
}  // namespace etwebgpu::testing
