#include "wasm/loading.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "base/capabilities_json.h"
#include "base/elements.h"
#include "base/json_value.h"
#include "base/quote.h"

namespace etwebgpu::wasm {
namespace {

Result<FloatType> float_type(std::string_view option, const Json& json) {
  const std::string* text = json.text();
  const bool is_f16 = text && *text == "f16";
  CHECK_OR_FAIL(is_f16 || (text && *text == "f32"), ErrorKind::InvalidArgument, "option '", option,
                "' must be f32 or f16");
  return is_f16 ? FloatType::F16 : FloatType::F32;
}

// None unless the settings have some.
Result<std::vector<std::int32_t>> numbers(std::string_view name, const Json& settings) {
  std::vector<std::int32_t> out;
  const Json* json = settings.find(name);
  if (json == nullptr) return out;
  CHECK_OR_FAIL(json->items(), ErrorKind::InvalidArgument, "'", name, "' must be a list");
  for (const Json& item : *json->items()) {
    CHECK_OR_FAIL(item.integer(), ErrorKind::InvalidArgument, "'", name,
                  "' must be a list of whole numbers");
    out.push_back(static_cast<std::int32_t>(*item.integer()));
  }
  return out;
}

}  // namespace

Result<Settings> settings_of(std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  Settings out;
  if (const Json* capabilities = json.find("capabilities")) {
    TRY_ASSIGN(out.capabilities, read_capabilities(*capabilities));
  }
  TRY_ASSIGN(out.zero_constants, numbers("zero_constants", json));
  TRY_ASSIGN(out.shared_states, numbers("shared_states", json));
  const Json* options = json.find("options");
  if (!options || !options->members()) return out;
  for (const auto& [name, value] : *options->members()) {
    CHECK_OR_FAIL(name == "kv_cache_dtype" || name == "matmul_dtype", ErrorKind::InvalidArgument,
                  "there is no option ", quoted(name));
    FloatType& type = name == "matmul_dtype" ? out.options.matmul : out.options.kv_cache;
    TRY_ASSIGN(type, float_type(name, value));
  }
  return out;
}

Result<std::unique_ptr<Model>> make_model(Graph graph, const Settings& settings,
                                          const KnownConstants& constants) {
  const auto bytes = [&](const TensorInfo& tensor) {
    return constants(static_cast<std::uint32_t>(tensor.constant));
  };
  const auto elements = [&](const TensorInfo& tensor) -> Result<HostElements> {
    const auto needed = static_cast<std::size_t>(tensor.bound.numel()) * byte_size(tensor.dtype);
    const auto given = bytes(tensor);
    CHECK_OR_FAIL(given.size() >= needed, ErrorKind::NotSupported,
                  "the host computes with constant ", tensor.constant, " of ", needed,
                  " bytes, which is not among those given");
    return integers(tensor.dtype, given.first(needed));
  };
  const auto number = [&](const TensorInfo& tensor) -> Result<std::optional<double>> {
    return first_float(tensor.dtype, bytes(tensor));
  };
  const auto is_zero = [&](std::int32_t constant) -> Result<bool> {
    return std::ranges::find(settings.zero_constants, constant) != settings.zero_constants.end();
  };
  std::vector<std::uint8_t> shared(graph.values.size(), 0);
  for (const std::int32_t value : settings.shared_states) {
    CHECK_OR_FAIL(value >= 0 && std::cmp_less(value, shared.size()), ErrorKind::InvalidArgument,
                  "'shared_states': the graph has no value ", value);
    shared[static_cast<std::size_t>(value)] = 1;
  }
  return Model::create(
      std::move(graph), settings.capabilities, settings.options,
      {.written_elsewhere = shared, .integers = elements, .is_zero = is_zero, .number = number});
}

}  // namespace etwebgpu::wasm
