#include "kernels/kernel_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace etwebgpu {
namespace {

TEST(KernelSource, ReplacesParameters) {
  const auto text =
      kernel_source({"move", {{"WG", "64"}}, {"src", "dst"}, {{"count"}}}, WgslDialect::Tint);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  EXPECT_NE(text->find("@workgroup_size(64)"), std::string::npos);
  EXPECT_EQ(text->find("${"), std::string::npos);
}

// Of a template `kernel`, and beside it a fragment `part`.
std::string expanded(std::string_view kernel,
                     const std::vector<std::pair<std::string, std::string>>& parameters = {},
                     std::string_view part = "") {
  const KernelTemplate templates[] = {{"kernel", kernel}, {"part", part}};
  const auto text = kernel_source({"kernel", parameters}, WgslDialect::Tint, templates);
  return text ? *text : text.error().message;
}

TEST(KernelSource, DefaultsStandForWhatIsNotGiven) {
  constexpr std::string_view text = "#param A = 1 : 1 | 2  // either\n#param B =\n${A}${B}\n";
  EXPECT_EQ(expanded(text), "1\n");
  EXPECT_EQ(expanded(text, {{"B", "vec2<f32>"}, {"A", "2"}}), "2vec2<f32>\n");
}

TEST(KernelSource, OneBranchOfAnIfHolds) {
  constexpr std::string_view text =
      "#param A = 0\n#if A == x\nfirst\n#elif A != 0\nsecond\n#elif A\nno\n#else\nlast\n#endif\n";
  EXPECT_EQ(expanded(text, {{"A", "x"}}), "first\n");
  EXPECT_EQ(expanded(text, {{"A", "y"}}), "second\n");
  EXPECT_EQ(expanded(text), "last\n");
  constexpr std::string_view nested =
      "#param A = 0\n#if A\n#if A == 2\ntwo\n#elif A == 1\none\n#endif\n#else\nnone\n#endif\n";
  EXPECT_EQ(expanded(nested), "none\n");
  EXPECT_EQ(expanded(nested, {{"A", "1"}}), "one\n");
}

TEST(KernelSource, AParameterIsNeededWhereItsDeclarationIsReached) {
  constexpr std::string_view text =
      "#param A = 0 : 0 | 1\n#if A\n#param AT\n${AT}\n#include \"part.wgsl\"\n#endif\n";
  constexpr std::string_view part = "#param B\n${B}\n";
  EXPECT_EQ(expanded(text, {}, part), "");
  EXPECT_EQ(expanded(text, {{"AT", "3"}}, part), "");
  EXPECT_EQ(expanded(text, {{"A", "1"}, {"AT", "3"}, {"B", "b"}}, part), "3\nb\n");
  EXPECT_EQ(expanded(text, {{"A", "1"}, {"AT", "3"}}, part),
            "kernel template 'part' needs the parameter B, which kernel 'kernel' is not given");
}

TEST(KernelSource, RepeatsGiveTheirCountersToWhatTheyInclude) {
  EXPECT_EQ(expanded("#param N\n#repeat I N\n#repeat J 2\n#include \"part.wgsl\"\n#endrepeat\n"
                     "#endrepeat\n",
                     {{"N", "2"}}, "${I}${J}\n"),
            "00\n01\n10\n11\n");
}

TEST(KernelSource, SaysWhichParameterDoesNotFitItsTemplate) {
  constexpr std::string_view text = "#param A : 0 | 1\n${A}\n";
  EXPECT_EQ(expanded(text, {{"A", "0"}, {"BYROW", "1"}}),
            "kernel template 'kernel' has no parameter BYROW, which is given as '1'");
  EXPECT_EQ(expanded(text, {{"A", "0"}, {"A", "0"}}),
            "kernel template 'kernel' is given the parameter A twice");
  EXPECT_EQ(expanded(text),
            "kernel template 'kernel' needs the parameter A, which kernel 'kernel' is not given");
  EXPECT_EQ(expanded(text, {{"A", "2"}}),
            "kernel template 'kernel' is given the parameter A as '2', which is none of its values "
            "0 | 1");
}

TEST(KernelSource, SaysWhichNameIsNotDeclared) {
  const auto error = [](std::string_view file, std::string_view name) {
    return cat("kernel template '", file, "' mentions ", name,
               ", which is neither a declared parameter nor a #repeat counter");
  };
  EXPECT_EQ(expanded("${X}\n"), error("kernel", "X"));
  EXPECT_EQ(expanded("#if X\n#endif\n"), error("kernel", "X"));
  EXPECT_EQ(expanded("#param A = 0\n#if A\n#elif X == 1\n#endif\n"), error("kernel", "X"));
  EXPECT_EQ(expanded("#repeat I X\n#endrepeat\n"), error("kernel", "X"));
  EXPECT_EQ(expanded("#repeat I 2\n#endrepeat\n${I}\n"), error("kernel", "I"));
  // In branches that do not hold, too.
  EXPECT_EQ(expanded("#param A = 0\n#if A\n#include \"part.wgsl\"\n#endif\n", {}, "${X}\n"),
            error("part", "X"));
}

TEST(KernelSource, SaysWhichDeclarationIsWrong) {
  EXPECT_EQ(expanded("#param A = 1\n"),
            "kernel template 'kernel' declares the parameter A, which nothing in kernel 'kernel' "
            "mentions");
  EXPECT_EQ(expanded("#param A = 2 : 0 | 1\n${A}\n"),
            "kernel template 'kernel' gives the parameter A the default '2', which is none of its "
            "values 0 | 1");
  constexpr std::string_view twice = "#param A = 1\n${A}\n#include \"part.wgsl\"\n";
  EXPECT_EQ(expanded(twice, {}, "#param A = 1\n"),
            "kernel template 'part' declares the parameter A, as 'kernel' does already");
  EXPECT_EQ(
      expanded("#include \"part.wgsl\"\n#include \"part.wgsl\"\n", {}, "#param A = 1\n${A}\n"),
      "1\n1\n");
}

TEST(KernelSource, SaysWhichDirectiveIsWrong) {
  const auto error = [](std::string_view what, std::string_view where) {
    return cat("kernel template 'kernel': ", what, " in '", where, "'");
  };
  EXPECT_EQ(expanded("#if 1\n"),
            "kernel template 'kernel' mentions 1, which is neither a declared "
            "parameter nor a #repeat counter");
  EXPECT_EQ(expanded("#param A = 1\n#if A\n"), error("#if without #endif", "kernel"));
  EXPECT_EQ(expanded("#endif\n"), error("no #if is open", "#endif"));
  EXPECT_EQ(expanded("#else\n"), error("no #if is open", "#else"));
  EXPECT_EQ(expanded("#repeat I 2\n"), error("#repeat without #endrepeat", "I 2"));
  EXPECT_EQ(expanded("#param N\n#repeat I N\n#endrepeat\n", {{"N", "few"}}),
            error("#repeat needs a count", "I N"));
  EXPECT_EQ(expanded("#param N = 2\n#repeat N N\n#endrepeat\n"),
            error("the counter has another's name", "N N"));
  EXPECT_EQ(expanded("#requires rays\n"), error("unknown feature", "rays"));
  EXPECT_EQ(expanded("#define A\n"), error("unknown directive", "#define A"));
  EXPECT_EQ(expanded("#include \"none.wgsl\"\n"), "there is no kernel template 'none'");
  EXPECT_EQ(expanded("#include \"part.wgsl\"\n", {}, "#include \"part.wgsl\"\n"),
            "kernel template 'part' includes itself");
}

constexpr ParamMember kRows = {"rows"}, kEps = {"eps", ParamMember::Type::F32},
                      kLoops = {"loops", ParamMember::Type::I32, 4, 2};

// Of a template `kernel` and a fragment `part`, with what a call gives by name.
std::string bound(KernelVariant variant, std::string_view kernel, std::string_view part = "") {
  const KernelTemplate templates[] = {{"kernel", kernel}, {"part", part}};
  variant.name = "kernel";
  const auto text = kernel_source(variant, WgslDialect::Tint, templates);
  return text ? *text : text.error().message;
}

TEST(KernelSource, NumbersBindingsByTheirNames) {
  EXPECT_EQ(bound({.buffers = {"x", "src0", "out"}, .scalars = {"position"}},
                  "@binding(out) o\n@binding(x) x\n#repeat I 1\n@binding(src${I}) s\n#endrepeat\n"
                  "@binding(position) p\n"),
            "@binding(2) o\n@binding(0) x\n@binding(1) s\n@binding(3) p\n");
}

TEST(KernelSource, WritesTheParamsBetweenBuffersAndScalars) {
  EXPECT_EQ(
      bound({.buffers = {"x"}, .params = {kRows, kEps, kLoops}, .scalars = {"position"}},
            "@binding(x)\n#params\nparams.rows params.eps params.loops\n@binding(position)\n"),
      "@binding(0)\n"
      "struct Params { rows: u32, eps: f32, loops: array<vec4<i32>, 2> }\n"
      "@group(0) @binding(1) var<uniform> params: Params;\n"
      "params.rows params.eps params.loops\n@binding(2)\n");
}

TEST(KernelSource, FixedParamsAreAConstantAndNoBinding) {
  const ParamMember pair{"pair", ParamMember::Type::U32, 2};
  EXPECT_EQ(bound({.params = {kRows, pair, kEps},
                   .scalars = {"position"},
                   .fixed = {7, 0, 1, 2, std::bit_cast<std::uint32_t>(0.5f)}},
                  "#params\n@binding(position)\nparams.rows params.pair params.eps\n"),
            "struct Params { rows: u32, pair: vec2<u32>, eps: f32 }\n"
            "const params = Params(7u, vec2<u32>(1u, 2u), 0.5f);\n"
            "@binding(0)\nparams.rows params.pair params.eps\n");
}

TEST(KernelSource, SaysWhatIsGivenAndNotMentionedOrMentionedAndNotGiven) {
  EXPECT_EQ(bound({.buffers = {"x"}}, "@binding(y)\n"),
            "kernel template 'kernel' mentions the binding y, which kernel 'kernel' is not given");
  EXPECT_EQ(bound({.buffers = {"x", "y"}}, "@binding(x)\n"),
            "kernel 'kernel' is given the binding y, which no line of its text mentions");
  EXPECT_EQ(bound({}, "#params\n"),
            "kernel template 'kernel' has #params, but kernel 'kernel' is given none");
  EXPECT_EQ(bound({.params = {kRows}}, "params.rows\n"),
            "kernel 'kernel' is given the binding params, which no line of its text mentions");
  const std::string unused =
      "kernel 'kernel' is given the param eps, which its template never mentions as params.eps";
  constexpr std::string_view text =
      "#params\nparams.rows params.epsilon\n#param A = 0\n#if A\n#include \"part.wgsl\"\n#endif\n";
  EXPECT_EQ(bound({.params = {kRows, kEps}}, text), unused);
  // In a branch that does not hold, it is mentioned.
  EXPECT_EQ(bound({.params = {kRows, kEps}}, text, "params.eps\n").substr(0, 6), "struct");
}

TEST(KernelSource, VariantTextIsUnique) {
  EXPECT_EQ(to_string({"k", {{"A", "1"}}, {"x", "out"}, {kRows, kEps}, {"position"}}),
            "k[A=1](x,out,position){rows: u32, eps: f32}");
  EXPECT_EQ(to_string({.name = "k", .params = {kRows}, .fixed = {3}}), "k{rows: u32}=3u");
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
