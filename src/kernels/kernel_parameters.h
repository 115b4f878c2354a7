// The parameters that a kernel template and the fragments it includes declare (kernel_source.h has
// the syntax).
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/kernel_variant.h"
#include "base/result.h"

namespace etwebgpu {

// Name and text of a template.
struct KernelTemplate {
  std::string_view name;
  std::string_view text;
};

// Every embedded template: kernels, and the fragments they include.
std::span<const KernelTemplate> kernel_templates();

struct KernelParameter {
  std::string_view name;
  std::string_view file;                     // the template that declares it
  std::optional<std::string_view> fallback;  // its value where none is given
  std::string_view allowed;                  // "0 | 1"; empty: any value

  bool allows(std::string_view value) const;
  std::vector<std::string_view> allowed_values() const;
};

// What a kernel's template and all that it includes mention, whatever their #ifs say.
struct KernelMentions {
  std::vector<KernelParameter> parameters;
  std::vector<std::string_view> params;  // the names after "params."
};

// Which fragments are included may follow from parameters that the variant is given. Also an error:
// what is wrong with the templates whatever the parameters' values, such as a name that is neither
// a parameter nor a counter.
Result<KernelMentions> kernel_mentions(const KernelVariant& kernel,
                                       std::span<const KernelTemplate> templates);

// Among `templates`, else among those that programs added (kernels/added_templates.h); or null.
const KernelTemplate* find_template(std::string_view name,
                                    std::span<const KernelTemplate> templates);

}  // namespace etwebgpu
