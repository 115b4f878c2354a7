// WGSL text of a kernel variant. Kernels are .wgsl templates beside their operators, embedded at
// build time. Directives are whole lines:
//
//   #param NAME [= DEFAULT] [: VALUE | VALUE ...]  // what it is
//       declares a parameter of this template and of all that the kernel includes. A name has one
//       declaration, in the kernel or in the fragment that needs it, and is mentioned somewhere.
//       Without a default it must be given where this line is reached: inside an #if that does not
//       hold, or in a fragment that is not included, it may be left out. Everywhere, WG is how many
//       invocations a workgroup has.
//   ${NAME}
//       replaced by the parameter's value
//   #if NAME / #elif NAME == VALUE / #elif NAME != VALUE / #else / #endif
//       may nest; NAME alone holds if its value is neither "0" nor empty
//   #repeat I N / #endrepeat
//       the lines between, N times (a number or a parameter) with ${I} = 0, 1, ...; may nest. For
//       unrolling where a compiler must not fail to: Naga's loops carry a bound check that stops
//       drivers from unrolling
//   #include "file.wgsl"
//       another template, with the same parameters and counters
//   #include ${NAME}
//       the template that the parameter names: a place for one of several fragments that give the
//       same functions
//   #requires subgroups | f16 | subgroup_matrix
//       becomes the dialect's enable directive, first in the text
//   #params
//       the struct Params of the members that the call gives, and `params` of that type: a uniform,
//       or a constant where they are fixed. Comments before it say what members are. One that the
//       template mentions and the call does not give is an error of WGSL
//   @binding(NAME)
//       in any line: the number of the buffer or live scalar that the call gives by that name
//
// What a call gives (ops/kernel_call.h), the template mentions: a parameter, a binding or a member
// of Params that it does not is an error, and so is a binding that the call lacks.
//
// tests/cpp plans graphs of every operator for every class of device, and expands and compiles each
// variant that they ask for, on each provider.
#pragma once

#include <span>
#include <string>

#include "base/capabilities.h"
#include "base/kernel_variant.h"
#include "base/result.h"
#include "kernels/kernel_parameters.h"

namespace etwebgpu {

// Each parameter of the variant must be declared, given once and have one of its values.
Result<std::string> kernel_source(const KernelVariant& variant, WgslDialect dialect,
                                  std::span<const KernelTemplate> templates = kernel_templates());

// A short unique text for a variant: "rms_norm[WG=64,VEC=4](x,out){rows: u32, eps: f32}", and "="
// with their values where params are fixed.
std::string to_string(const KernelVariant& variant);

}  // namespace etwebgpu
