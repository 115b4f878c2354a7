#include "ops/kernel_call.h"

#include <cmath>

namespace etwebgpu {

KernelCall& KernelCall::params(std::initializer_list<Param> members) {
  for (const Param& p : members) {
    add_member(p.member);
    words.insert(words.end(), p.words.begin(), p.words.begin() + p.member.width);
  }
  return *this;
}

KernelCall& KernelCall::param_array(Literal name, std::span<const Extents> elements,
                                    ParamMember::Type type) {
  add_member({name, type, 4, static_cast<std::uint16_t>(elements.size())});
  for (const Extents& element : elements)
    for (const std::int64_t extent : element) words.push_back(static_cast<std::uint32_t>(extent));
  return *this;
}

// Where WGSL has the member begin.
void KernelCall::add_member(const ParamMember& member) {
  kernel.params.push_back(member);
  words.resize(round_up<std::size_t>(words.size(), member.width));
}

KernelCall& KernelCall::fix_params() {
  if (!kernel.params.empty()) {
    kernel.fixed = std::exchange(words, {});
    return *this;
  }
  std::string list, floats;
  for (std::uint32_t word : words) list += cat(list.empty() ? "" : ", ", word);
  for (std::size_t at : float_words) {
    const float value = std::bit_cast<float>(words[at]);  // WGSL has no literal for NaN
    floats += cat(floats.empty() ? "" : ", ", std::isfinite(value) ? value : 0.0f, "f");
  }
  words.clear();
  return define("FIXED", 1).define("PARAMS", list).define("FLOATS", floats);
}

}  // namespace etwebgpu
