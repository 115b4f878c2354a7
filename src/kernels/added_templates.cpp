#include "kernels/added_templates.h"

#include <memory>

#include "base/kept_list.h"

namespace etwebgpu {
namespace {

struct Added {
  Added(std::string name, std::string text) : name(std::move(name)), text(std::move(text)) {}
  const std::string name, text;
  const KernelTemplate views{name, text};
};

// Never destroyed: devices may outlive the static objects of this library.
auto& added() {
  static auto& list = *new KeptList<std::unique_ptr<const Added>>;
  return list;
}

auto has_name(std::string_view name) {
  return [name](const auto& each) { return each->name == name; };
}

}  // namespace

bool add_template(std::string name, std::string text) {
  auto made = std::make_unique<const Added>(std::move(name), std::move(text));
  const std::string_view kept = made->name;
  return added().add(std::move(made), has_name(kept));
}

const KernelTemplate* added_template(std::string_view name) {
  const auto* found = added().find(has_name(name));
  return found != nullptr ? &(*found)->views : nullptr;
}

}  // namespace etwebgpu
