// What plans ask of the kernel templates, over the corpus: every template and every value that a
// template allows occur, and all expand.
#include "support/kernel_corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "kernels/kernel_source.h"

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
