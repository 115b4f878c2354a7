#include "kernels/kernel_parameters.h"

#include <algorithm>

#include "kernels/added_templates.h"
#include "kernels/template_lines.h"

namespace etwebgpu {
namespace {

// Walks through a kernel and all it includes, as if every #if held.
class Reader {
 public:
  Reader(const KernelVariant& kernel, std::span<const KernelTemplate> templates)
      : kernel_(kernel), templates_(templates) {}

  Result<KernelMentions> read() {
    TRY(walk(kernel_.name, 0));
    // A fragment may name what a later one declares.
    for (const Mention& mention : early_) {
      Declared* found = find(mention.name);
      CHECK_OR_FAIL(found, ErrorKind::Internal, "kernel template '", mention.file, "' mentions ",
                    mention.name, ", which is neither a declared parameter nor a #repeat counter");
      found->mentioned = true;
    }
    KernelMentions out{.parameters = {}, .params = std::move(params_)};
    out.parameters.reserve(declared_.size());
    for (const Declared& d : declared_) {
      CHECK_OR_FAIL(d.mentioned, ErrorKind::Internal, "kernel template '", d.parameter.file,
                    "' declares the parameter ", d.parameter.name, ", which nothing in kernel '",
                    kernel_.name, "' mentions");
      out.parameters.push_back(d.parameter);
    }
    return out;
  }

 private:
  struct Declared {
    KernelParameter parameter;
    bool mentioned = false;
  };
  struct Mention {
    std::string_view name, file;
  };

  Result<void> walk(std::string_view file, int depth) {
    const KernelTemplate* source = find_template(file, templates_);
    CHECK_OR_FAIL(source, ErrorKind::Internal, "there is no kernel template '", file, "'");
    CHECK_OR_FAIL(depth < 8, ErrorKind::Internal, "kernel template '", file, "' includes itself");
    for (std::string_view rest = source->text; !rest.empty();) {
      const std::string_view line = take_until(rest, '\n');
      std::string_view directive = trim(line);
      if (!directive.starts_with('#')) {
        mention_all(line, source->name);
      } else if (take_prefix(directive, "#param ")) {
        TRY(declare(read_declaration(directive), source->name));
      } else if (take_prefix(directive, "#include ")) {
        TRY_ASSIGN(const std::string_view name, template_name(read_include(directive), file));
        TRY(walk(name, depth + 1));
      } else {
        read_block(directive, source->name);
      }
    }
    return {};
  }

  Result<std::string_view> template_name(Include include, std::string_view file) {
    if (!include.is_parameter) return include.name;
    mention(include.name, file);
    for (const auto& [name, value] : kernel_.parameters)
      if (name == include.name) return std::string_view(value);
    const Declared* declared = find(include.name);
    CHECK_OR_FAIL(declared && declared->parameter.fallback, ErrorKind::Internal,
                  "kernel template '", file, "' includes what the parameter ", include.name,
                  " names, which kernel '", kernel_.name, "' is not given");
    return *declared->parameter.fallback;
  }

  void read_block(std::string_view directive, std::string_view file) {
    if (take_prefix(directive, "#if ") || take_prefix(directive, "#elif ")) {
      mention(read_condition(directive).name, file);
    } else if (take_prefix(directive, "#repeat ")) {
      const Repeat repeat = read_repeat(directive);
      if (!is_number(repeat.count)) mention(repeat.count, file);
      counters_.push_back(repeat.counter);
    } else if (directive == "#endrepeat" && !counters_.empty()) {
      counters_.pop_back();
    }
  }

  void mention_all(std::string_view line, std::string_view file) {
    constexpr std::string_view param = "params.";
    for (std::string_view rest = line; rest.find(param) != rest.npos;) {
      rest.remove_prefix(rest.find(param) + param.size());
      params_.push_back(leading_name(rest));
    }
    for (auto at = line.find("${"); at != std::string_view::npos; at = line.find("${")) {
      line.remove_prefix(at + 2);
      mention(take_until(line, '}'), file);
    }
  }
  void mention(std::string_view name, std::string_view file) {
    if (std::ranges::find(counters_, name) != counters_.end()) return;
    if (Declared* found = find(name)) {
      found->mentioned = true;
    } else {
      early_.push_back({name, file});
    }
  }

  Result<void> declare(const Declaration& d, std::string_view file) {
    const KernelParameter p{d.name, file, d.fallback, d.allowed};
    CHECK_OR_FAIL(!p.fallback || p.allows(*p.fallback), ErrorKind::Internal, "kernel template '",
                  file, "' gives the parameter ", p.name, " the default '", *p.fallback,
                  "', which is none of its values ", p.allowed);
    if (const Declared* other = find(p.name)) {
      const bool is_same_line = other->parameter.name.data() == p.name.data();  // included twice
      CHECK_OR_FAIL(is_same_line, ErrorKind::Internal, "kernel template '", file,
                    "' declares the parameter ", p.name, ", as '", other->parameter.file,
                    "' does already");
      return {};
    }
    declared_.push_back({p});
    return {};
  }

  Declared* find(std::string_view name) {
    const auto at = std::ranges::find_if(
        declared_, [name](const Declared& d) { return d.parameter.name == name; });
    return at == declared_.end() ? nullptr : &*at;
  }

  const KernelVariant& kernel_;
  std::span<const KernelTemplate> templates_;
  std::vector<std::string_view> params_;
  std::vector<Declared> declared_;
  std::vector<Mention> early_;              // of names not declared so far
  std::vector<std::string_view> counters_;  // of the open #repeat blocks
};

}  // namespace

bool KernelParameter::allows(std::string_view value) const {
  if (allowed.empty()) return true;
  for (std::string_view rest = allowed; !rest.empty();)
    if (trim(take_until(rest, '|')) == value) return true;
  return false;
}

std::vector<std::string_view> KernelParameter::allowed_values() const {
  std::vector<std::string_view> out;
  for (std::string_view rest = allowed; !rest.empty();) out.push_back(trim(take_until(rest, '|')));
  return out;
}

Result<KernelMentions> kernel_mentions(const KernelVariant& kernel,
                                       std::span<const KernelTemplate> templates) {
  return Reader(kernel, templates).read();
}

const KernelTemplate* find_template(std::string_view name,
                                    std::span<const KernelTemplate> templates) {
  const auto at = std::ranges::find(templates, name, &KernelTemplate::name);
  return at == templates.end() ? added_template(name) : &*at;
}

}  // namespace etwebgpu
