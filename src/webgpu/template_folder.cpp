#include "webgpu/template_folder.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace etwebgpu {
namespace {

struct Templates {
  std::deque<std::string> texts;  // names and texts from files
  std::vector<KernelTemplate> all;
};

void put(Templates& templates, std::string name, std::string text) {
  const std::string_view kept_name = templates.texts.emplace_back(std::move(name));
  const std::string_view kept_text = templates.texts.emplace_back(std::move(text));
  const auto known = std::ranges::find(templates.all, kept_name, &KernelTemplate::name);
  if (known == templates.all.end()) {
    templates.all.push_back({kept_name, kept_text});
  } else {
    known->text = kept_text;
  }
}

Result<Templates> read(const char* folder) {
  namespace fs = std::filesystem;
  Templates out;
  out.all.assign(kernel_templates().begin(), kernel_templates().end());
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".wgsl") continue;
    std::ifstream file(entry->path(), std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    CHECK_OR_FAIL(!file.bad() && file.is_open(), ErrorKind::InvalidArgument,
                  "ETWEBGPU_TEMPLATES: ", entry->path().string(), " cannot be read");
    put(out, entry->path().stem().string(), std::move(text));
  }
  CHECK_OR_FAIL(!error, ErrorKind::InvalidArgument, "ETWEBGPU_TEMPLATES: the folder ", folder,
                " cannot be read: ", error.message());
  return out;
}

Result<std::span<const KernelTemplate>> used_templates() {
  const char* folder = std::getenv("ETWEBGPU_TEMPLATES");
  if (folder == nullptr || *folder == '\0') return kernel_templates();
  // Never destroyed: devices may outlive the static objects of this library.
  static const auto* const templates = new Result<Templates>(read(folder));
  if (!*templates) return std::unexpected(templates->error());
  return std::span<const KernelTemplate>((*templates)->all);
}

}  // namespace

Result<std::string> used_kernel_source(const KernelVariant& variant, WgslDialect dialect) {
  TRY_ASSIGN(const auto templates, used_templates());
  return kernel_source(variant, dialect, templates);
}

}  // namespace etwebgpu
