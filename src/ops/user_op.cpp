#include "ops/user_op.h"

#include <memory>
#include <utility>

#include "base/kept_list.h"
#include "ops/elementwise/elementwise.h"

namespace etwebgpu {
namespace {

using Member = UserOp::Member;

Result<void> infer(InferContext& c);
Result<void> lower(LowerContext& c);

struct Row {
  explicit Row(UserOp definition) : user(std::move(definition)) {}
  const UserOp user;
  const Op op{user.name, user.signature, infer, lower};
};

// Never destroyed: models refer to it until the process ends.
auto& rows() {
  static auto& list = *new KeptList<std::unique_ptr<const Row>>;
  return list;
}

auto has_name(std::string_view name) {
  return [name](const auto& row) { return row->user.name == name; };
}

// Of a call that check_signature has let through.
const UserOp& definition_of(const CallContext& c) {
  return (*rows().find(has_name(c.call().name)))->user;
}

// Params have 32 bits.
Result<void> check_int32(std::string_view name, std::int64_t value) {
  CHECK_OR_FAIL(std::in_range<std::int32_t>(value), ErrorKind::NotSupported, "'", name, "' is ",
                value, ", and a kernel's integers have 32 bits");
  return {};
}

Result<void> infer(InferContext& c) {
  const UserOp& op = definition_of(c);
  for (std::size_t i = 0; i < op.arguments.size(); ++i) {
    const auto& [name, kind, type_parameter] = op.arguments[i];
    if (kind == 'i') TRY(check_int32(name, c.integer(i)));
    if (kind != 't') continue;
    CHECK_OR_FAIL(!type_parameter.empty() || is_floating(c.dtype(i)), ErrorKind::NotSupported, "'",
                  name, "' is ", etwebgpu::name(c.dtype(i)),
                  ", but the kernel takes it as f32; one with '#param ", name,
                  "_type : f32 | i32' takes both");
  }
  for (const Member& member : op.members)
    CHECK_OR_FAIL(member.kind != Member::Kind::Sizes || c.sizes(member.argument).rank() <= 4,
                  ErrorKind::NotSupported, "params.", member.name, " has room for 4 sizes, but '",
                  op.arguments[member.argument].name, "' has ", c.sizes(member.argument).rank(),
                  " dimensions");
  return c.set_output(c.sizes(op.sizes_like));
}

// The values of a call that is lowered.
struct Live {
  LowerContext& c;

  BufferRef buffer(std::size_t argument) const { return c.value(argument); }
  std::string_view type(std::size_t argument) const {
    return is_floating(c.dtype(argument)) ? "f32" : "i32";
  }
  double number(std::size_t argument) const { return baked_number(c, argument).value; }
  std::int64_t integer(std::size_t argument) const { return c.bake(c.id(argument)); }
  std::int64_t count(std::size_t argument) const { return c.sizes(argument).numel(); }
  // Ones in front.
  Extents sizes(std::size_t argument) const {
    const Dims& dims = c.sizes(argument);
    Extents out{1, 1, 1, 1};
    std::ranges::copy(dims, out.end() - static_cast<std::ptrdiff_t>(dims.rank()));
    return out;
  }
};

struct Zeros {
  BufferRef buffer(std::size_t) const { return {}; }
  std::string_view type(std::size_t) const { return "f32"; }
  double number(std::size_t) const { return 0; }
  std::int64_t integer(std::size_t) const { return 0; }
  std::int64_t count(std::size_t) const { return 0; }
  Extents sizes(std::size_t) const { return {}; }
};

template <typename Values>
Param param(const Member& member, const Values& values) {
  const Literal name = Literal::kept(member.name);
  switch (member.kind) {
    case Member::Kind::Number:
      return {name, values.number(member.argument)};
    case Member::Kind::Integer:
      return {name, Signed{values.integer(member.argument)}};
    case Member::Kind::Count:
      return {name, values.count(member.argument)};
    default:
      return {name, values.sizes(member.argument)};
  }
}

// All that the template gets, by name.
template <typename Values>
void give(KernelCall& k, const UserOp& op, std::uint32_t workgroup, const Values& values) {
  k.define("WG", workgroup);
  const std::size_t output = op.arguments.size() - 1;
  for (std::size_t i = 0; i <= output; ++i) {
    const auto& [name, kind, type_parameter] = op.arguments[i];
    if (kind != 't') continue;
    if (!type_parameter.empty()) k.define(type_parameter, values.type(i));
    const Literal kept = Literal::kept(name);
    i == output ? k.write(kept, values.buffer(i)) : k.read(kept, values.buffer(i));
  }
  for (const Member& member : op.members) k.params({param(member, values)});
}

Result<void> lower(LowerContext& c) {
  const UserOp& op = definition_of(c);
  const std::int64_t elements = c.sizes_of(c.output_id()).numel();
  if (elements == 0) return {};
  const std::uint32_t workgroup = c.workgroup_size(64);
  KernelCall& k = c.emit(op.name);
  give(k, op, workgroup, Live{c});
  k.groups(div_up<std::int64_t>(elements, workgroup));
  return {};
}

}  // namespace

bool add_user_op(UserOp op) {
  auto row = std::make_unique<const Row>(std::move(op));
  const Row& kept = *row;
  return rows().add(std::move(row), has_name(kept.user.name)) && add_op(kept.op);
}

KernelVariant sample_variant(const UserOp& op) {
  KernelCall call;
  call.kernel.name = op.name;
  give(call, op, 64, Zeros{});
  return call.kernel;
}

}  // namespace etwebgpu
