#include "kernels/params_text.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/checked.h"
#include "base/text.h"

namespace etwebgpu {
namespace {

using Type = ParamMember::Type;

// Comma between what `item` makes of 0 .. count - 1.
template <typename Item>
std::string list(std::size_t count, const Item& item) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += cat(i > 0 ? ", " : "", item(i));
  return out;
}

// "u32" or "vec4<u32>".
std::string element_type(const ParamMember& member) {
  constexpr std::string_view names[] = {"u32", "i32", "f32"};
  const std::string_view name = names[static_cast<std::size_t>(member.type)];
  return member.width == 1 ? std::string(name) : cat("vec", member.width, '<', name, '>');
}

std::string type_text(const ParamMember& member) {
  const std::string element = element_type(member);
  return member.count == 0 ? element : cat("array<", element, ", ", member.count, '>');
}

std::string number(Type type, std::uint32_t word) {
  if (type == Type::U32) return cat(word, 'u');
  if (type == Type::I32) return cat(std::bit_cast<std::int32_t>(word));
  const float value = std::bit_cast<float>(word);
  return cat(std::isfinite(value) ? value : 0.0f, 'f');
}

std::string element(const ParamMember& member, const std::uint32_t* words) {
  const std::string numbers =
      list(member.width, [&](std::size_t i) { return number(member.type, words[i]); });
  return member.width == 1 ? numbers : cat(element_type(member), '(', numbers, ')');
}

std::string value(const ParamMember& member, const std::uint32_t* words) {
  if (member.count == 0) return element(member, words);
  return cat(
      "array(",
      list(member.count, [&](std::size_t i) { return element(member, words + i * member.width); }),
      ')');
}

}  // namespace

std::string params_types(const KernelVariant& variant) {
  return list(variant.params.size(), [&](std::size_t i) {
    return cat(variant.params[i].name, ": ", type_text(variant.params[i]));
  });
}

std::string params_values(const KernelVariant& variant) {
  std::size_t at = 0;
  return list(variant.params.size(), [&](std::size_t i) {
    const ParamMember& member = variant.params[i];
    const std::size_t first = round_up<std::size_t>(at, member.width);
    at = first + std::size_t{member.width} * std::max<std::size_t>(member.count, 1);
    return value(member, variant.fixed.data() + first);
  });
}

}  // namespace etwebgpu
