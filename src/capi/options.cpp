#include "capi/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <mutex>

#include "capi/data_files.h"

namespace etwebgpu {
namespace {

Result<void> parse_flag(std::string_view value, bool& out) {
  out = value == "1" || value == "true";
  CHECK_OR_FAIL(out || value == "0" || value == "false", ErrorKind::InvalidArgument,
                "expected 0 or 1, got '", value, "'");
  return {};
}

Result<void> parse_float_type(std::string_view value, FloatType& out) {
  CHECK_OR_FAIL(value == "f32" || value == "f16", ErrorKind::InvalidArgument,
                "expected f32 or f16, got '", value, "'");
  out = value == "f16" ? FloatType::F16 : FloatType::F32;
  return {};
}

Result<void> parse_bytes(std::string_view value, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
  CHECK_OR_FAIL(error == std::errc() && end == value.data() + value.size(),
                ErrorKind::InvalidArgument, "expected a number of bytes, got '", value, "'");
  return {};
}

Result<void> parse_provider(Options& options, std::string_view value) {
  options.provider = value;
  return {};
}
Result<void> parse_adapter(Options& options, std::string_view value) {
  options.adapter = value;
  return {};
}

Result<void> parse_files(Options& options, std::string_view value) {
  TRY_ASSIGN(options.data_files, parse_data_files(value));
  return {};
}

struct OptionSpec {
  std::string_view key;
  const char* environment;
  Result<void> (*parse)(Options&, std::string_view);
};

constexpr OptionSpec kOptions[] = {
    {"provider", "ETWEBGPU_PROVIDER", parse_provider},
    {"adapter", "ETWEBGPU_ADAPTER", parse_adapter},
    {"profiling", "ETWEBGPU_PROFILING",
     [](Options& o, std::string_view v) { return parse_flag(v, o.profiling); }},
    {"kv_cache_dtype", "ETWEBGPU_KV_CACHE_DTYPE",
     [](Options& o, std::string_view v) { return parse_float_type(v, o.model.kv_cache); }},
    {"matmul_dtype", "ETWEBGPU_MATMUL_DTYPE",
     [](Options& o, std::string_view v) { return parse_float_type(v, o.model.matmul); }},
    {"memory_limit", "ETWEBGPU_MEMORY_LIMIT",
     [](Options& o, std::string_view v) { return parse_bytes(v, o.memory_limit); }},
    {"trusted", "ETWEBGPU_TRUSTED",
     [](Options& o, std::string_view v) { return parse_flag(v, o.trusted); }},
    {"self_test", "ETWEBGPU_SELF_TEST",
     [](Options& o, std::string_view v) { return parse_flag(v, o.self_test); }},
    {"shared_states", "ETWEBGPU_SHARED_STATES",
     [](Options& o, std::string_view v) { return parse_flag(v, o.shared_states); }},
    {"data_files", "ETWEBGPU_DATA_FILES", parse_files},
};
constexpr auto kKeys = [] {
  std::array<std::string_view, std::size(kOptions)> keys;
  std::ranges::transform(kOptions, keys.begin(), &OptionSpec::key);
  return keys;
}();

using OptionTexts = std::array<std::string, std::size(kOptions)>;

// Never destroyed: models may outlive the static objects of this library.
struct OptionStore {
  std::mutex mutex;
  OptionTexts texts;
};
OptionStore& store() {
  static auto* instance = new OptionStore;
  return *instance;
}

thread_local OptionTexts thread_texts;

Result<std::size_t> find_key(std::string_view key) {
  const auto found = std::ranges::find(kKeys, key);
  if (found != kKeys.end()) return static_cast<std::size_t>(found - kKeys.begin());
  std::string known;
  for (std::string_view name : kKeys) known += cat(known.empty() ? "" : ", ", name);
  return fail(ErrorKind::InvalidArgument, "unknown option '", key, "'; there are ", known);
}

Result<void> parse(std::size_t index, std::string_view value, Options& options) {
  auto parsed = kOptions[index].parse(options, value);
  if (!parsed) return std::unexpected(std::move(parsed).error().within("option ", kKeys[index]));
  return {};
}

// The key's index, once it is known and its value is understood.
Result<std::size_t> checked_key(std::string_view key, std::string_view value) {
  TRY_ASSIGN(const std::size_t index, find_key(key));
  Options ignored;
  if (!value.empty()) TRY(parse(index, value, ignored));
  return index;
}

}  // namespace

std::span<const std::string_view> option_keys() { return kKeys; }

Result<void> set_option(std::string_view key, std::string_view value) {
  TRY_ASSIGN(const std::size_t index, checked_key(key, value));
  std::lock_guard lock(store().mutex);
  store().texts[index] = value;
  return {};
}

Result<void> set_thread_option(std::string_view key, std::string_view value) {
  TRY_ASSIGN(const std::size_t index, checked_key(key, value));
  thread_texts[index] = value;
  return {};
}

std::string option_text(std::string_view key) {
  const auto index = find_key(key);
  if (!index) return "";
  if (!thread_texts[*index].empty()) return thread_texts[*index];
  {
    std::lock_guard lock(store().mutex);
    if (!store().texts[*index].empty()) return store().texts[*index];
  }
  const char* value = std::getenv(kOptions[*index].environment);
  return value == nullptr ? "" : value;
}

Result<Options> resolve_options(std::span<const OptionText> overrides) {
  std::array<std::string, std::size(kOptions)> texts;
  for (std::size_t i = 0; i < texts.size(); ++i) texts[i] = option_text(kKeys[i]);
  for (const auto& [key, value] : overrides) {
    TRY_ASSIGN(const std::size_t index, find_key(key));
    texts[index] = value;
  }
  Options options;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].empty()) TRY(parse(i, texts[i], options));
  }
  return options;
}

}  // namespace etwebgpu
