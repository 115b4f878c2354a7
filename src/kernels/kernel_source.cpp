#include "kernels/kernel_source.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

namespace etwebgpu {
namespace {

const KernelTemplate* find_template(std::string_view name) {
  for (const KernelTemplate& t : kernel_templates()) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

std::string_view trim(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

// Takes the next line off `text`, without its newline.
std::string_view take_line(std::string_view& text) {
  const auto end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text = trim(text.substr(prefix.size()));
  return true;
}

class Expander {
 public:
  Expander(const KernelVariant& variant, WgslDialect dialect)
      : variant_(variant), dialect_(dialect) {}

  Result<std::string> run() {
    TRY(expand(variant_.name, 0));
    return directives_ + body_;
  }

 private:
  const std::string* find(std::string_view name) const {
    for (const auto& [key, value] : counters_) {
      if (key == name) return &value;
    }
    for (const auto& [key, value] : variant_.parameters) {
      if (key == name) return &value;
    }
    return nullptr;
  }

  std::unexpected<Error> bad(std::string_view file, std::string_view what, std::string_view where) {
    return fail(ErrorKind::Internal, "kernel template '", file, "': ", what, " in '", where, "'");
  }

  Result<void> expand(std::string_view name, int depth) {
    const KernelTemplate* source = find_template(name);
    CHECK_OR_FAIL(source != nullptr && depth < 8, ErrorKind::Internal, "there is no kernel '", name,
                  "'");
    return expand_text(name, source->text, depth);
  }

  Result<void> expand_text(std::string_view name, std::string_view text, int depth) {
    std::vector<bool> active;  // one entry per open #if
    while (!text.empty()) {
      const std::string_view line = take_line(text);
      std::string_view directive = trim(line);
      if (take_prefix(directive, "#if ")) {
        active.push_back(holds(directive));
      } else if (take_prefix(directive, "#else")) {
        if (active.empty()) return bad(name, "#else without #if", line);
        active.back() = !active.back();
      } else if (take_prefix(directive, "#endif")) {
        if (active.empty()) return bad(name, "#endif without #if", line);
        active.pop_back();
      } else if (std::ranges::find(active, false) != active.end()) {
        continue;
      } else if (take_prefix(directive, "#repeat ")) {
        TRY(repeat(name, directive, text, depth));
      } else {
        TRY(emit(name, line, depth));
      }
    }
    if (!active.empty()) return bad(name, "#if without #endif", name);
    return {};
  }

  // Takes the block up to the matching #endrepeat off `text` and expands it COUNT times.
  Result<void> repeat(std::string_view file, std::string_view header, std::string_view& text,
                      int depth) {
    const auto space = header.find(' ');
    if (space == std::string_view::npos)
      return bad(file, "#repeat needs a name and a count", header);
    const std::string_view variable = header.substr(0, space);
    std::string_view count_text = trim(header.substr(space));
    if (const std::string* value = find(count_text)) count_text = *value;
    int count = -1;
    std::from_chars(count_text.data(), count_text.data() + count_text.size(), count);
    if (count < 0 || count > 4096) return bad(file, "#repeat needs a count", header);

    const std::string_view start = text;
    std::string_view block;
    for (int open = 1; open > 0;) {
      if (text.empty()) return bad(file, "#repeat without #endrepeat", header);
      block = start.substr(0, start.size() - text.size());
      const std::string_view directive = trim(take_line(text));
      if (directive.starts_with("#repeat ")) ++open;
      if (directive.starts_with("#endrepeat")) --open;
    }
    for (int i = 0; i < count; ++i) {
      counters_.emplace_back(variable, cat(i));
      TRY(expand_text(file, block, depth));
      counters_.pop_back();
    }
    return {};
  }

  Result<void> emit(std::string_view file, std::string_view line, int depth) {
    std::string_view directive = trim(line);
    if (take_prefix(directive, "#include ")) {
      directive.remove_prefix(1);  // the opening quote
      return expand(directive.substr(0, directive.find(".wgsl")), depth + 1);
    }
    if (take_prefix(directive, "#requires ")) return require(file, directive);
    return substitute(file, line);
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

  bool holds(std::string_view condition) const {
    for (const std::string_view op : {"==", "!="}) {
      const auto at = condition.find(op);
      if (at == std::string_view::npos) continue;
      const std::string* value = find(trim(condition.substr(0, at)));
      const bool equal = value && *value == trim(condition.substr(at + 2));
      return equal == (op == "==");
    }
    const std::string* value = find(trim(condition));
    return value && *value != "0" && *value != "false";
  }

  Result<void> substitute(std::string_view file, std::string_view line) {
    std::string_view rest = line;
    for (auto at = rest.find("${"); at != std::string_view::npos; at = rest.find("${")) {
      const auto end = rest.find('}', at);
      const std::string* value =
          end == std::string_view::npos ? nullptr : find(rest.substr(at + 2, end - at - 2));
      if (!value) return bad(file, "parameter without a value", line);
      body_ += rest.substr(0, at);
      body_ += *value;
      rest.remove_prefix(end + 1);
    }
    body_ += rest;
    body_ += '\n';
    return {};
  }

  const KernelVariant& variant_;
  WgslDialect dialect_;
  std::vector<std::pair<std::string, std::string>> counters_;  // of the open #repeat blocks
  std::string directives_;
  std::string body_;
};

}  // namespace

Result<std::string> kernel_source(const KernelVariant& variant, WgslDialect dialect) {
  return Expander(variant, dialect).run();
}

std::string to_string(const KernelVariant& variant) {
  std::string out = variant.name;
  if (variant.parameters.empty()) return out;
  char separator = '[';
  for (const auto& [key, value] : variant.parameters) {
    out += cat(separator, key, '=', value);
    separator = ',';
  }
  return out + ']';
}

}  // namespace etwebgpu
