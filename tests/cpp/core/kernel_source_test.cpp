#include "kernels/kernel_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <sstream>
#include <string>

namespace etwebgpu {
namespace {

TEST(KernelSource, ReplacesParameters) {
  const auto text = kernel_source({"move", {{"WG", "64"}}}, WgslDialect::Tint);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_NE(text->find("@workgroup_size(64)"), std::string::npos);
  EXPECT_EQ(text->find("${"), std::string::npos);
}

TEST(KernelSource, NamesAMissingParameterAndAnUnknownKernel) {
  const auto no_value = kernel_source({"move", {}}, WgslDialect::Tint);
  ASSERT_FALSE(no_value.has_value());
  EXPECT_NE(no_value.error().message.find("move"), std::string::npos);
  const auto unknown = kernel_source({"no_such_kernel", {}}, WgslDialect::Tint);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("no_such_kernel"), std::string::npos);
}

TEST(KernelSource, VariantTextIsUnique) {
  EXPECT_EQ(to_string({"gemv", {{"WG", "64"}, {"BIAS", "1"}}}), "gemv[WG=64,BIAS=1]");
  EXPECT_EQ(to_string({"gemv", {}}), "gemv");
}

// The provider does not guard against endless loops (PipelineCache::make_shader).
TEST(KernelSource, LoopsAreCounted) {
  std::size_t loops = 0;
  for (const auto& [name, text] : kernel_templates()) {
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
      line.resize(std::min(line.find("//"), line.size()));
      EXPECT_EQ(line.find("while"), std::string::npos) << name << ": " << line;
      EXPECT_EQ(line.find("loop {"), std::string::npos) << name << ": " << line;
      const std::size_t at = line.find("for (");
      if (at == std::string::npos) continue;
      ++loops;
      const std::regex counted(
          R"(for \(var (\w+) = [^;]+; \1 [<>]=? [^;]+; \1(\+\+| [+*/]= | >>= ).*\) \{)");
      EXPECT_TRUE(std::regex_search(line, counted)) << name << ": " << line;
    }
  }
  EXPECT_GT(loops, 50u);
}

}  // namespace
}  // namespace etwebgpu
