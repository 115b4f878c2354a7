// Which kernel a problem takes, and how that divides the work: plain data, chosen from capabilities
// and sizes alone, so that any device's choice is a unit test. Families add named fields for what
// their lowering needs to know.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace etwebgpu {

// Parameters of a kernel's template.
using Defines = std::vector<std::pair<std::string_view, std::int64_t>>;

struct Route {
  std::string_view kernel;
  Defines defines = {};
  std::int64_t groups = 0;  // workgroups, where they follow from the route alone
  bool fixed = false;       // the params are part of the kernel (KernelCall::fix_params)
};

}  // namespace etwebgpu
