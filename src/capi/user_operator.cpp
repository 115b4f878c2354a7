#include "capi/user_operator.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/json_value.h"
#include "base/quote.h"
#include "kernels/added_templates.h"
#include "kernels/kernel_source.h"
#include "kernels/template_lines.h"
#include "ops/user_op.h"

namespace etwebgpu {
namespace {

using Argument = UserOp::Argument;
using Member = UserOp::Member;

template <typename... Parts>
std::unexpected<Error> wrong(const Parts&... parts) {
  return fail(ErrorKind::InvalidArgument, parts...);
}

Result<std::string> text_member(const Json& json, std::string_view key) {
  const Json* member = json.find(key);
  if (member == nullptr || member->text() == nullptr) return wrong("'", key, "' must be a text");
  return *member->text();
}

bool is_name(std::string_view text) {
  return !text.empty() && leading_name(text) == text && !is_number(text.substr(0, 1));
}

std::optional<std::size_t> find_argument(const UserOp& op, std::string_view name) {
  const auto at = std::ranges::find(op.arguments, name, &Argument::name);
  if (at == op.arguments.end()) return std::nullopt;
  return static_cast<std::size_t>(at - op.arguments.begin());
}

// --- What the JSON says ---

// NAMESPACE.OPERATOR.OVERLOAD: with a dot, no embedded template can have the name.
Result<void> check_operator_name(std::string_view name) {
  int parts = 0;
  for (std::string_view rest = name; !rest.empty() || parts == 0; ++parts)
    if (!is_name(take_until(rest, '.'))) return wrong(quoted(name), " is no operator's name");
  if (parts != 3) return wrong(quoted(name), " is not written as namespace.operator.overload");
  if (std::ranges::find(all_ops(), name, &Op::name) != all_ops().end())
    return wrong("it is built in and cannot be replaced");
  if (find_op(name) != nullptr) return wrong("it is registered already");
  return {};
}

// A kind for each argument, the output's last: "t f > t" gives "tft".
Result<std::string> read_kinds(std::string_view signature) {
  std::string kinds(take_until(signature, '>'));
  std::erase(kinds, ' ');
  const auto unknown = kinds.find_first_not_of("tfi");
  if (unknown != kinds.npos)
    return wrong("the signature's letter ", quoted(kinds.substr(unknown, 1)),
                 " is none that users' operators take: t (tensor), f (number), i (integer)");
  if (!kinds.contains('t')) return wrong("the signature has no tensor (t) before '>'");
  if (trim(signature) != "t") return wrong("the signature must end in '> t': one tensor");
  return kinds + 't';
}

Result<std::vector<Argument>> read_arguments(const Json& json, std::string_view kinds) {
  const Json* member = json.find("arguments");
  const Json::Array* items = member != nullptr ? member->items() : nullptr;
  if (items == nullptr || items->size() != kinds.size())
    return wrong("'arguments' must be a list of ", kinds.size(),
                 " names, one for each of the signature's letters, the output's last");
  std::vector<Argument> out;
  for (const Json& item : *items) {
    if (item.text() == nullptr || !is_name(*item.text()))
      return wrong("'arguments' must be names of letters, digits and _");
    if (std::ranges::find(out, *item.text(), &Argument::name) != out.end())
      return wrong("two arguments are called '", *item.text(), "'");
    out.push_back({*item.text(), kinds[out.size()]});
  }
  return out;
}

Result<UserOp> read_operator(const Json& json, std::string name) {
  UserOp op{.name = std::move(name)};
  TRY_ASSIGN(op.signature, text_member(json, "signature"));
  TRY_ASSIGN(const std::string kinds, read_kinds(op.signature));
  TRY_ASSIGN(op.arguments, read_arguments(json, kinds));
  TRY_ASSIGN(const std::string like, text_member(json, "sizes_like"));
  const auto argument = find_argument(op, like);
  if (!argument || *argument + 1 == op.arguments.size() || op.arguments[*argument].kind != 't')
    return wrong("'sizes_like' is ", quoted(like), ", which names no tensor that it takes");
  op.sizes_like = *argument;
  return op;
}

// --- What the kernel asks for ---

// "x_count" and the like: the tensor's argument where `name` ends so.
std::optional<std::size_t> tensor_of(const UserOp& op, std::string_view name,
                                     std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  const auto argument = find_argument(op, name.substr(0, name.size() - ending.size()));
  return argument && op.arguments[*argument].kind == 't' ? argument : std::nullopt;
}

Result<Member> read_member(const UserOp& op, std::string_view name) {
  using Kind = Member::Kind;
  std::string kept(name);
  const auto argument = find_argument(op, name);
  if (argument && op.arguments[*argument].kind != 't')
    return Member{std::move(kept),
                  op.arguments[*argument].kind == 'f' ? Kind::Number : Kind::Integer, *argument};
  if (name == "count") return Member{std::move(kept), Kind::Count, op.arguments.size() - 1};
  if (const auto tensor = tensor_of(op, name, "_count"))
    return Member{std::move(kept), Kind::Count, *tensor};
  if (const auto tensor = tensor_of(op, name, "_sizes"))
    return Member{std::move(kept), Kind::Sizes, *tensor};
  return wrong("the kernel mentions params.", name,
               ", which is none of its number arguments, nor count, nor _count or _sizes behind "
               "the name of a tensor");
}

Result<void> read_kernel(UserOp& op, const std::string& kernel) {
  std::vector<KernelTemplate> templates(kernel_templates().begin(), kernel_templates().end());
  templates.push_back({op.name, kernel});
  TRY_ASSIGN(const KernelMentions mentioned, kernel_mentions({.name = op.name}, templates));
  for (Argument& argument : op.arguments) {
    std::string type = argument.name + "_type";
    if (argument.kind == 't' &&
        std::ranges::find(mentioned.parameters, type, &KernelParameter::name) !=
            mentioned.parameters.end())
      argument.type_parameter = std::move(type);
  }
  for (const std::string_view name : mentioned.params) {
    if (std::ranges::find(op.members, name, &Member::name) != op.members.end()) continue;
    TRY_ASSIGN(Member member, read_member(op, name));
    op.members.push_back(std::move(member));
  }
  TRY(kernel_source(sample_variant(op), WgslDialect::Tint, templates));
  return {};
}

Result<void> define(const Json& json, const std::string& name) {
  TRY(check_operator_name(name));
  TRY_ASSIGN(UserOp op, read_operator(json, name));
  TRY_ASSIGN(std::string kernel, text_member(json, "kernel"));
  TRY(read_kernel(op, kernel));
  // Whoever adds the template may add the operator: two threads may come with one name.
  if (!add_template(name, std::move(kernel))) return wrong("it is registered already");
  add_user_op(std::move(op));
  return {};
}

}  // namespace

Result<void> register_user_operator(std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  if (json.members() == nullptr) return wrong("the operator is no JSON object");
  TRY_ASSIGN(const std::string name, text_member(json, "name"));
  auto defined = define(json, name);
  if (!defined)
    return std::unexpected(std::move(defined).error().within("operator ", quoted(name)));
  return {};
}

}  // namespace etwebgpu
