// WGSL text of a kernel variant. Kernels are .wgsl templates beside this file, embedded at build
// time:
//   ${NAME}                      replaced by the parameter's value
//   #if NAME / #if NAME == V / #if NAME != V / #else / #endif     whole lines, may nest;
//                                bare NAME holds if the parameter is given and is neither "0" nor
//                                "false"
//   #repeat I N / #endrepeat     the lines between, N times (a number or a parameter) with ${I} =
//   0,
//                                1, ...; may nest. For unrolling where a compiler must not fail to:
//                                Naga's loops carry a bound check that stops drivers from unrolling
//   #include "file.wgsl"         another template, same parameters
//   #requires subgroups | f16 | subgroup_matrix     becomes the dialect's enable directive, first
//   in the text
// A template's leading comment lists its parameters; tests/ expand and compile every variant in
// kernel_variants() on each provider.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/capabilities.h"
#include "base/result.h"
#include "ops/kernel_call.h"

namespace etwebgpu {

Result<std::string> kernel_source(const KernelVariant& variant, WgslDialect dialect);

// Name and template text of every embedded kernel.
struct KernelTemplate {
  std::string_view name;
  std::string_view text;
};
std::span<const KernelTemplate> kernel_templates();

// A short unique text for a variant: "linear_q4_gemv[WG=64,BIAS=0]".
std::string to_string(const KernelVariant& variant);

}  // namespace etwebgpu
