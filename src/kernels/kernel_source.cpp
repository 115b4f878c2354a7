#include "kernels/kernel_source.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "kernels/params_text.h"
#include "kernels/template_lines.h"

namespace etwebgpu {
namespace {

class Expander {
 public:
  Expander(const KernelVariant& variant, WgslDialect dialect,
           std::span<const KernelTemplate> templates)
      : variant_(variant), dialect_(dialect), templates_(templates) {
    for (const Literal name : variant.buffers) bindings_.push_back({name});
    if (!variant.params.empty() && variant.fixed.empty()) bindings_.push_back({"params"});
    for (const Literal name : variant.scalars) bindings_.push_back({name});
  }

  Result<std::string> run() {
    TRY(bind_parameters());
    TRY(expand(variant_.name));
    TRY(check_mentions());
    return directives_ + body_;
  }

 private:
  struct Bound {
    std::string_view name, value;
  };
  struct Binding {
    std::string_view name;
    bool mentioned = false;
  };

  Result<void> bind_parameters() {
    TRY_ASSIGN(KernelMentions mentions, kernel_mentions(variant_, templates_));
    const std::vector<KernelParameter>& declared = mentions.parameters;
    mentioned_params_ = std::move(mentions.params);
    bound_.reserve(declared.size() + 8);
    for (const auto& [name, value] : variant_.parameters) {
      const auto parameter = std::ranges::find(declared, name, &KernelParameter::name);
      CHECK_OR_FAIL(parameter != declared.end(), ErrorKind::Internal, "kernel template '",
                    variant_.name, "' has no parameter ", name, ", which is given as '", value,
                    "'");
      CHECK_OR_FAIL(!find(name), ErrorKind::Internal, "kernel template '", variant_.name,
                    "' is given the parameter ", name, " twice");
      CHECK_OR_FAIL(parameter->allows(value), ErrorKind::Internal, "kernel template '",
                    variant_.name, "' is given the parameter ", name, " as '", value,
                    "', which is none of its values ", parameter->allowed);
      bound_.push_back({name, value});
    }
    for (const KernelParameter& p : declared)
      if (p.fallback && !find(p.name)) bound_.push_back({p.name, *p.fallback});
    return {};
  }

  // Of a counter, the innermost, or a parameter; null where none is given.
  const std::string_view* find(std::string_view name) const {
    for (std::size_t i = bound_.size(); i-- > 0;)
      if (bound_[i].name == name) return &bound_[i].value;
    return nullptr;
  }
  Result<std::string_view> value_of(std::string_view name, std::string_view file) const {
    const std::string_view* value = find(name);
    CHECK_OR_FAIL(value, ErrorKind::Internal, "kernel template '", file, "' needs the parameter ",
                  name, ", which kernel '", variant_.name, "' is not given");
    return *value;
  }

  std::unexpected<Error> bad(std::string_view file, std::string_view what, std::string_view where) {
    return fail(ErrorKind::Internal, "kernel template '", file, "': ", what, " in '", trim(where),
                "'");
  }

  // kernel_mentions has been through all includes: they exist, and end.
  Result<void> expand(std::string_view name) {
    return expand_text(name, find_template(name, templates_)->text);
  }

  // An open #if: whether its lines count, and whether none after an #elif or #else can any more.
  struct Branch {
    bool active, taken;
  };

  Result<void> expand_text(std::string_view file, std::string_view text) {
    std::vector<Branch> branches;
    while (!text.empty()) {
      const std::string_view line = take_until(text, '\n');
      std::string_view directive = trim(line);
      TRY_ASSIGN(const bool is_branch, branch(file, directive, branches));
      if (is_branch || (!branches.empty() && !branches.back().active)) continue;
      if (take_prefix(directive, "#repeat ")) {
        TRY(repeat(file, directive, text));
      } else {
        TRY(emit(file, line, directive));
      }
    }
    if (!branches.empty()) return bad(file, "#if without #endif", file);
    return {};
  }

  // Follows #if, #elif, #else and #endif; false for any other line.
  Result<bool> branch(std::string_view file, std::string_view line, std::vector<Branch>& open) {
    std::string_view condition = line;
    if (take_prefix(condition, "#if ")) {
      open.push_back({false, !open.empty() && !open.back().active});
      TRY(enter(file, condition, open.back()));
      return true;
    }
    const bool is_elif = take_prefix(condition, "#elif "), is_else = line == "#else";
    if (!is_elif && !is_else && line != "#endif") return false;
    if (open.empty()) return bad(file, "no #if is open", line);
    if (is_elif) {
      TRY(enter(file, condition, open.back()));
    } else if (is_else) {
      open.back() = {!open.back().taken, true};
    } else {
      open.pop_back();
    }
    return true;
  }
  Result<void> enter(std::string_view file, std::string_view condition, Branch& branch) const {
    branch.active = false;
    if (branch.taken) return {};  // its parameters may have no values
    TRY_ASSIGN(branch.active, holds(file, read_condition(condition)));
    branch.taken = branch.active;
    return {};
  }
  Result<bool> holds(std::string_view file, const Condition& condition) const {
    TRY_ASSIGN(const std::string_view value, value_of(condition.name, file));
    if (condition.kind == Condition::Kind::Bare) return !value.empty() && value != "0";
    return (value == condition.value) == (condition.kind == Condition::Kind::Equal);
  }

  // Takes the block up to the matching #endrepeat off `text` and expands it COUNT times.
  Result<void> repeat(std::string_view file, std::string_view header, std::string_view& text) {
    Repeat loop = read_repeat(header);
    if (!is_number(loop.count)) {
      TRY_ASSIGN(loop.count, value_of(loop.count, file));
    }
    int count = -1;
    std::from_chars(loop.count.data(), loop.count.data() + loop.count.size(), count);
    if (count < 0 || count > 4096) return bad(file, "#repeat needs a count", header);
    if (find(loop.counter)) return bad(file, "the counter has another's name", header);
    TRY_ASSIGN(const std::string_view block, take_block(file, header, text));
    for (int i = 0; i < count; ++i) {
      const std::string number = cat(i);
      bound_.push_back({loop.counter, number});
      TRY(expand_text(file, block));
      bound_.pop_back();
    }
    return {};
  }
  Result<std::string_view> take_block(std::string_view file, std::string_view header,
                                      std::string_view& text) {
    const std::string_view start = text;
    std::string_view block;
    for (int open = 1; open > 0;) {
      if (text.empty()) return bad(file, "#repeat without #endrepeat", header);
      block = start.substr(0, start.size() - text.size());
      const std::string_view directive = trim(take_until(text, '\n'));
      if (directive.starts_with("#repeat ")) ++open;
      if (directive.starts_with("#endrepeat")) --open;
    }
    return block;
  }

  Result<void> emit(std::string_view file, std::string_view line, std::string_view directive) {
    if (take_prefix(directive, "#include ")) {
      Include include = read_include(directive);
      if (include.is_parameter) {
        TRY_ASSIGN(include.name, value_of(include.name, file));
      }
      return expand(include.name);
    }
    if (take_prefix(directive, "#requires ")) return require(file, directive);
    if (take_prefix(directive, "#param ")) {
      TRY(value_of(read_declaration(directive).name, file));
      return {};
    }
    if (directive == "#params") return write_params(file);
    if (directive.starts_with('#')) return bad(file, "unknown directive", directive);
    const std::size_t first = body_.size();
    TRY(substitute(file, line));
    return number_binding(file, first);
  }

  // --- What the call gives by name ---

  Result<void> write_params(std::string_view file) {
    CHECK_OR_FAIL(!variant_.params.empty(), ErrorKind::Internal, "kernel template '", file,
                  "' has #params, but kernel '", variant_.name, "' is given none");
    body_ += cat("struct Params { ", params_types(variant_), " }\n");
    if (variant_.fixed.empty()) {
      body_ += "@group(0) @binding(params) var<uniform> params: Params;\n";
      return number_binding(file, body_.rfind('@'));
    }
    body_ += cat("const params = Params(", params_values(variant_), ");\n");
    return {};
  }

  // Replaces the name in the @binding(NAME) of the text's last line, if there is one.
  Result<void> number_binding(std::string_view file, std::size_t line) {
    constexpr std::string_view before = "@binding(";
    const auto at = body_.find(before, line);
    if (at == std::string::npos) return {};
    const std::string_view name = leading_name(std::string_view(body_).substr(at + before.size()));
    const auto binding = std::ranges::find(bindings_, name, &Binding::name);
    CHECK_OR_FAIL(binding != bindings_.end(), ErrorKind::Internal, "kernel template '", file,
                  "' mentions the binding ", name, ", which kernel '", variant_.name,
                  "' is not given");
    binding->mentioned = true;
    body_.replace(at + before.size(), name.size(), cat(binding - bindings_.begin()));
    return {};
  }

  Result<void> check_mentions() const {
    for (const Binding& binding : bindings_)
      CHECK_OR_FAIL(binding.mentioned, ErrorKind::Internal, "kernel '", variant_.name,
                    "' is given the binding ", binding.name,
                    ", which no line of its text mentions");
    if (variant_.params.empty()) return {};
    for (const ParamMember& member : variant_.params)
      CHECK_OR_FAIL(
          std::ranges::find(mentioned_params_, member.name.view()) != mentioned_params_.end(),
          ErrorKind::Internal, "kernel '", variant_.name, "' is given the param ", member.name,
          ", which its template never mentions as params.", member.name);
    return {};
  }

  // Naga knows subgroup built-ins without a directive and rejects the directive.
  Result<void> require(std::string_view file, std::string_view feature) {
    std::string_view enable;
    if (feature == "f16") {
      enable = "enable f16;\n";
    } else if (feature == "subgroups") {
      enable = dialect_ == WgslDialect::Tint ? "enable subgroups;\n" : "";
    } else if (feature == "subgroup_matrix") {
      // Tint cannot tell that a subgroup's number is the same for all of it.
      enable =
          "enable chromium_experimental_subgroup_matrix;\n"
          "diagnostic(off, chromium.subgroup_matrix_uniformity);\n";
    } else {
      return bad(file, "unknown feature", feature);
    }
    if (directives_.find(enable) == std::string::npos) directives_ += enable;
    return {};
  }

  Result<void> substitute(std::string_view file, std::string_view rest) {
    for (auto at = rest.find("${"); at != std::string_view::npos; at = rest.find("${")) {
      body_ += rest.substr(0, at);
      rest.remove_prefix(at + 2);
      TRY_ASSIGN(const std::string_view value, value_of(take_until(rest, '}'), file));
      body_ += value;
    }
    body_ += rest;
    body_ += '\n';
    return {};
  }

  const KernelVariant& variant_;
  WgslDialect dialect_;
  std::span<const KernelTemplate> templates_;
  std::vector<Bound> bound_;  // parameters, then the counters of the open #repeat blocks
  std::vector<std::string_view> mentioned_params_;
  std::vector<Binding> bindings_;  // in their order
  std::string directives_;
  std::string body_;
};

}  // namespace

Result<std::string> kernel_source(const KernelVariant& variant, WgslDialect dialect,
                                  std::span<const KernelTemplate> templates) {
  return Expander(variant, dialect, templates).run();
}

std::string to_string(const KernelVariant& variant) {
  std::string out = variant.name;
  char separator = '[';
  for (const auto& [key, value] : variant.parameters) {
    out += cat(separator, key, '=', value);
    separator = ',';
  }
  if (separator == ',') out += ']';
  separator = '(';
  for (const auto* names : {&variant.buffers, &variant.scalars}) {
    for (const Literal name : *names) {
      out += cat(separator, name);
      separator = ',';
    }
  }
  if (separator == ',') out += ')';
  if (!variant.params.empty()) out += cat('{', params_types(variant), '}');
  if (!variant.fixed.empty()) out += cat('=', params_values(variant));
  return out;
}

}  // namespace etwebgpu
