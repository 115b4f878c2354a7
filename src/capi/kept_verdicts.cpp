#include "capi/kept_verdicts.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <random>
#include <span>
#include <utility>

#include "base/json_value.h"

namespace etwebgpu {
namespace {

namespace fs = std::filesystem;
using Outcome = KernelVerdict::Outcome;

constexpr std::int64_t kVersion = 1;

struct Entry {
  TestedAdapter adapter;
  KernelVerdicts verdicts;
};
using Entries = std::vector<Entry>;

Result<fs::path> path_of_file() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  fs::path base = variable("XDG_CACHE_HOME");
  if (base.empty() && !variable("HOME").empty()) base = fs::path(variable("HOME")) / ".cache";
  CHECK_OR_FAIL(!base.empty(), ErrorKind::NotSupported,
                "results of self tests are not kept, for neither XDG_CACHE_HOME nor HOME is set");
  return base / "executorch-webgpu" / "self_test.json";
}

// --- Reading ---

std::string text_of(const Json& json, std::string_view key) {
  const Json* member = json.find(key);
  return member != nullptr && member->text() != nullptr ? *member->text() : std::string();
}

std::span<const Json> items_of(const Json& json, std::string_view key) {
  const Json* member = json.find(key);
  if (member == nullptr || member->items() == nullptr) return {};
  return *member->items();
}

Entry read_entry(const Json& json) {
  Entry out{{text_of(json, "provider"), text_of(json, "implementation"), text_of(json, "adapter"),
             text_of(json, "driver")},
            {}};
  const Json* trusted = json.find("trusted");
  out.adapter.trusted = trusted != nullptr && trusted->flag() != nullptr && *trusted->flag();
  if (const Json* kernels = json.find("kernels")) out.verdicts = read_verdicts(*kernels);
  return out;
}

Result<Entries> read_file() {
  constexpr std::uintmax_t kLargest = 64 << 20;
  TRY_ASSIGN(const fs::path path, path_of_file());
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) return Entries();
  std::ifstream file(path, std::ios::binary);
  CHECK_OR_FAIL(!error && size <= kLargest && file.is_open(), ErrorKind::InvalidArgument,
                path.string(), ", where results of self tests are kept, cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Result<Json> json = Json::parse(text);
  const Json* version = json ? json->find("version") : nullptr;
  CHECK_OR_FAIL(
      version != nullptr && version->integer() != nullptr && *version->integer() == kVersion,
      ErrorKind::InvalidArgument, path.string(),
      ", where results of self tests are kept, is broken or of another version");
  Entries out;
  for (const Json& entry : items_of(*json, "adapters")) out.push_back(read_entry(entry));
  return out;
}

// --- Writing ---

std::string to_json(const Entries& entries) {
  JsonWriter json;
  json.begin_object().member("version", kVersion).key("adapters").begin_array();
  for (const auto& [adapter, verdicts] : entries) {
    json.begin_object().member("provider", adapter.provider);
    json.member("implementation", adapter.implementation).member("adapter", adapter.adapter);
    json.member("driver", adapter.driver).member("trusted", adapter.trusted);
    json.key("kernels");
    write_verdicts(json, verdicts);
    json.end_object();
  }
  return json.end_array().end_object().take();
}

// Whole or not at all: other processes read and write it, too.
Result<void> write_file(const std::string& text) {
  TRY_ASSIGN(const fs::path path, path_of_file());
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  fs::path beside = path;
  beside += cat(".", std::random_device()());
  {
    std::ofstream file(beside, std::ios::binary);
    file << text;
    if (!file.flush()) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::rename(beside, path, error);
  if (!error) return {};
  std::error_code ignored;
  fs::remove(beside, ignored);
  return fail(ErrorKind::ResourceLimit, "results of self tests cannot be kept in ", path.string(),
              ": ", error.message());
}

std::mutex& file_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

bool is_same_adapter(const TestedAdapter& a, const TestedAdapter& b) {
  return a.provider == b.provider && a.adapter == b.adapter && a.trusted == b.trusted;
}

}  // namespace

TestedAdapter TestedAdapter::of(const Device& device) {
  const AdapterDescription& adapter = device.adapter();
  return {adapter.provider, std::string(device.api().implementation()), adapter.name,
          adapter.driver, device.trusted()};
}

Result<KernelVerdicts> kept_verdicts(const TestedAdapter& adapter) {
  std::lock_guard lock(file_mutex());
  TRY_ASSIGN(Entries entries, read_file());
  const auto found = std::ranges::find(entries, adapter, &Entry::adapter);
  return found == entries.end() ? KernelVerdicts() : std::move(found->verdicts);
}

Result<void> keep_verdicts(const TestedAdapter& adapter, const KernelVerdicts& verdicts) {
  std::lock_guard lock(file_mutex());
  Entries entries = read_file().value_or(Entries());
  std::erase_if(entries,
                [&](const Entry& entry) { return is_same_adapter(entry.adapter, adapter); });
  entries.push_back({adapter, verdicts});
  return write_file(to_json(entries));
}

void write_self_test(JsonWriter& json, const AdapterDescription& adapter,
                     std::string_view implementation) {
  const auto is_of_it = [&](const Entry& entry) {
    const TestedAdapter& tested = entry.adapter;
    return tested.provider == adapter.provider && tested.implementation == implementation &&
           tested.adapter == adapter.name && tested.driver == adapter.driver;
  };
  std::lock_guard lock(file_mutex());
  Entries entries = read_file().value_or(Entries());
  std::erase_if(entries, [&](const Entry& entry) { return !is_of_it(entry); });
  if (entries.empty()) return;
  std::size_t tried = 0, untried = 0;
  std::vector<const KernelVerdict*> replaced;
  for (const Entry& entry : entries) {
    for (const auto& [text, verdict] : entry.verdicts) {
      ++(verdict.outcome == Outcome::Untried ? untried : tried);
      if (verdict.outcome == Outcome::Differs) replaced.push_back(&verdict);
    }
  }
  json.key("self_test").begin_object().member("tried", tried).member("untried", untried);
  json.key("replaced").begin_array();
  for (const KernelVerdict* verdict : replaced) {
    json.begin_object().member("kernel", verdict->kernel);
    write_given_up(json, "without", *verdict);
    json.member("why", verdict->why).end_object();
  }
  json.end_array().end_object();
}

}  // namespace etwebgpu
