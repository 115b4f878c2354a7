#include "base/capabilities_json.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include "base/quote.h"
#include "base/text.h"

namespace etwebgpu {
namespace {

constexpr std::int64_t kVersion = 1;

struct Member {
  std::string_view name;
  std::variant<bool Capabilities::*, std::uint32_t Capabilities::*, std::uint64_t Capabilities::*>
      place;
};

constexpr Member kMembers[] = {
    {"max_buffer_size", &Capabilities::max_buffer_size},
    {"max_storage_binding", &Capabilities::max_storage_binding},
    {"max_uniform_binding", &Capabilities::max_uniform_binding},
    {"max_storage_buffers", &Capabilities::max_storage_buffers},
    {"max_workgroup_invocations", &Capabilities::max_workgroup_invocations},
    {"max_workgroup_storage", &Capabilities::max_workgroup_storage},
    {"max_workgroups_per_dimension", &Capabilities::max_workgroups_per_dimension},
    {"storage_alignment", &Capabilities::storage_alignment},
    {"uniform_alignment", &Capabilities::uniform_alignment},
    {"subgroups", &Capabilities::subgroups},
    {"min_subgroup_size", &Capabilities::min_subgroup_size},
    {"max_subgroup_size", &Capabilities::max_subgroup_size},
    {"f16", &Capabilities::f16},
    {"matrix_size", &Capabilities::matrix_size},
    {"matrix_products_from", &Capabilities::matrix_products_from},
    {"few_rows_from", &Capabilities::few_rows_from},
    {"byte_products_from", &Capabilities::byte_products_from},
    {"packed_products", &Capabilities::packed_products},
    {"timestamps", &Capabilities::timestamps},
};

constexpr std::string_view kDialects[] = {"tint", "naga"};

// The largest number is none: JSON readers keep 53 bits.
constexpr std::uint64_t kNever = UINT64_MAX;

std::unexpected<Error> bad(std::string_view name, std::string_view wanted) {
  return fail(ErrorKind::InvalidArgument, "capabilities: '", name, "' must be ", wanted);
}

template <typename Number>
Result<void> read_number(std::string_view name, const Json& json, Number& out) {
  const std::int64_t* number = json.integer();
  if (number == nullptr || *number < 0 || !std::in_range<Number>(*number))
    return bad(name, "a whole number in range");
  out = static_cast<Number>(*number);
  return {};
}

Result<void> read_value(std::string_view name, const Json& json, bool& out) {
  if (json.flag() == nullptr) return bad(name, "true or false");
  out = *json.flag();
  return {};
}
Result<void> read_value(std::string_view name, const Json& json, std::uint32_t& out) {
  return read_number(name, json, out);
}
Result<void> read_value(std::string_view name, const Json& json, std::uint64_t& out) {
  return read_number(name, json, out);
}

template <typename Enum>
Result<void> read_name(std::string_view name, const Json& json,
                       std::span<const std::string_view> names, Enum& out) {
  const std::string* text = json.text();
  const auto at = text ? std::ranges::find(names, *text) : names.end();
  if (at == names.end()) return bad(name, cat("one of ", names.front(), " to ", names.back()));
  out = static_cast<Enum>(at - names.begin());
  return {};
}

Result<void> read_workgroup_size(const Json& json, Capabilities& out) {
  constexpr std::string_view kName = "max_workgroup_size";
  if (!json.items() || json.items()->size() != 3) return bad(kName, "a list of three numbers");
  for (std::size_t i = 0; i < 3; ++i)
    TRY(read_number(kName, (*json.items())[i], out.max_workgroup_size[i]));
  return {};
}

Result<void> read_member(std::string_view name, const Json& json, Capabilities& out) {
  if (name == "version") {
    const bool is_known = json.integer() && *json.integer() == kVersion;
    return is_known ? Result<void>() : bad(name, cat(kVersion));
  }
  if (name == "adapter_class") return read_name(name, json, kAdapterClassNames, out.adapter_class);
  if (name == "dialect") return read_name(name, json, kDialects, out.dialect);
  if (name == "max_workgroup_size") return read_workgroup_size(json, out);
  const auto member = std::ranges::find(kMembers, name, &Member::name);
  CHECK_OR_FAIL(member != std::end(kMembers), ErrorKind::InvalidArgument,
                "capabilities: there is no member ", quoted(name));
  return std::visit([&](auto place) { return read_value(name, json, out.*place); }, member->place);
}

}  // namespace

void write_capabilities(JsonWriter& json, const Capabilities& c) {
  json.member("version", kVersion);
  json.member("adapter_class", name(c.adapter_class));
  json.member("dialect", kDialects[static_cast<std::size_t>(c.dialect)]);
  json.key("max_workgroup_size").begin_array();
  for (const std::uint32_t extent : c.max_workgroup_size) json.value(extent);
  json.end_array();
  for (const Member& member : kMembers) {
    std::visit(
        [&](auto place) {
          const auto value = c.*place;
          if (static_cast<std::uint64_t>(value) != kNever) json.member(member.name, value);
        },
        member.place);
  }
}

Result<Capabilities> read_capabilities(const Json& json) {
  CHECK_OR_FAIL(json.members() != nullptr, ErrorKind::InvalidArgument,
                "capabilities must be a JSON object");
  Capabilities out;
  for (const auto& [name, value] : *json.members()) TRY(read_member(name, value, out));
  return out;
}

}  // namespace etwebgpu
