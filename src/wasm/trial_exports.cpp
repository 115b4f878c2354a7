#include "wasm/trial_exports.h"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/capabilities_json.h"
#include "base/json.h"
#include "base/json_value.h"
#include "base/quote.h"
#include "kernels/kernel_source.h"
#include "plan/kernel_tester.h"
#include "wasm/loading.h"
#include "wasm/results.h"

using namespace etwebgpu;
using namespace etwebgpu::wasm;

namespace {

using Bytes = std::vector<std::byte>;

// What models of the delegate are made of, as often as one is wanted.
struct Ingredients {
  Graph graph;
  Settings settings;
  std::map<std::uint32_t, Bytes> constants;

  Result<std::unique_ptr<Model>> make(const Capabilities& capabilities) const {
    Settings other = settings;
    other.capabilities = capabilities;
    return make_model(graph, other, [&](std::uint32_t index) {
      const auto found = constants.find(index);
      return found == constants.end() ? std::span<const std::byte>() : std::span(found->second);
    });
  }
};

}  // namespace

struct EtwgTest {
  EtwgTest(Ingredients made_of, KernelVerdicts verdicts)
      : ingredients(std::move(made_of)),
        tester(
            ingredients.settings.capabilities,
            [&](const Capabilities& less) { return ingredients.make(less); },
            ingredients.settings.options,
            [dialect = ingredients.settings.capabilities.dialect](const KernelVariant& kernel) {
              return kernel_source(kernel, dialect);
            },
            std::move(verdicts)) {}

  Ingredients ingredients;
  KernelTester tester;
  TrialOutputs outputs = {};  // of the trial that runs
};

namespace {

Result<std::unique_ptr<EtwgTest>> make_test(const Graph& graph, std::string_view device,
                                            std::span<const EtwgConstant> constants,
                                            std::string_view verdicts) {
  TRY_ASSIGN(Settings settings, settings_of(device));
  TRY_ASSIGN(const Json known, Json::parse(verdicts));
  Ingredients ingredients{graph, std::move(settings), {}};
  for (const EtwgConstant& constant : constants) {
    const auto bytes = bytes_of(constant.data, constant.size);
    ingredients.constants[constant.index].assign(bytes.begin(), bytes.end());
  }
  return std::make_unique<EtwgTest>(std::move(ingredients), read_verdicts(known));
}

Result<void> end_trial(EtwgTest& test, std::uint32_t how, std::string_view why) {
  constexpr std::uint32_t kGave = 0, kFull = 2, kLost = 3;
  if (how == kGave) return test.tester.gave(std::exchange(test.outputs, {}));
  test.outputs.clear();
  const ErrorKind kind = how == kFull ? ErrorKind::ResourceLimit : ErrorKind::Internal;
  return test.tester.failed(Error{kind, std::string(why)}, how == kLost);
}

}  // namespace

extern "C" {

EXPORT(etwg_test)
EtwgTest* etwg_test(const EtwgDelegate* delegate, const char* device, std::uint32_t device_size,
                    const EtwgConstant* constants, std::uint32_t constant_count,
                    const char* verdicts, std::uint32_t verdicts_size) {
  return keep_handle(make_test(delegate->graph, {device, device_size},
                               std::span(constants, constant_count), {verdicts, verdicts_size}));
}
EXPORT(etwg_end_test) void etwg_end_test(EtwgTest* test) { delete test; }

EXPORT(etwg_next_trial) Model* etwg_next_trial(EtwgTest* test) {
  result.clear();
  auto trial = test->tester.next();
  if (trial) return *trial == nullptr ? nullptr : (*trial)->model.release();
  result = std::move(trial.error().message);
  return nullptr;
}

EXPORT(etwg_trial_inputs) void etwg_trial_inputs(const EtwgTest* test) {
  JsonWriter json;
  json.begin_array();
  for (const TrialInput& input : test->tester.inputs()) {
    json.begin_object();
    if (input.is_scalar) {
      json.member("scalar", input.scalar);
    } else {
      json.member("dtype", name(input.dtype)).member("sizes", input.sizes);
    }
    json.end_object();
  }
  result = json.end_array().take();
}
EXPORT(etwg_trial_input) void etwg_trial_input(const EtwgTest* test, std::uint32_t input) {
  const auto& inputs = test->tester.inputs();
  result.clear();
  if (input < inputs.size()) keep_bytes(inputs[input].bytes);
}
EXPORT(etwg_trial_constant)
bool etwg_trial_constant(const EtwgTest* test, std::uint32_t constant) {
  auto bytes = test->tester.constants().bytes(static_cast<std::int32_t>(constant));
  if (!bytes) return keep(Result<std::string>(std::unexpected(std::move(bytes.error()))));
  keep_bytes(*bytes);
  return true;
}

EXPORT(etwg_trial_output)
bool etwg_trial_output(EtwgTest* test, std::uint32_t output, const char* dtype,
                       std::uint32_t dtype_size, const std::uint8_t* data, std::uint32_t size) {
  const std::optional<DType> known = dtype_named({dtype, dtype_size});
  if (!known) {
    result = cat("there is no type ", quoted({dtype, dtype_size}));
    return false;
  }
  const auto bytes = bytes_of(data, size);
  test->outputs[output] = {*known, Bytes(bytes.begin(), bytes.end())};
  return true;
}
EXPORT(etwg_trial_ended)
bool etwg_trial_ended(EtwgTest* test, std::uint32_t how, const char* why, std::uint32_t size) {
  const auto ended = end_trial(*test, how, {why, size});
  if (!ended) result = ended.error().message;
  return ended.has_value();
}

EXPORT(etwg_test_json)
void etwg_test_json(const EtwgTest* test, const char* where, std::uint32_t size) {
  const TestedKernels& found = test->tester.found();
  JsonWriter json;
  json.begin_object().key("capabilities").begin_object();
  write_capabilities(json, found.capabilities);
  json.end_object().key("replaced").begin_array();
  for (const KernelVerdict& verdict : found.replaced)
    json.value(replacement_text(verdict, {where, size}));
  json.end_array().key("verdicts");
  write_verdicts(json, test->tester.verdicts());
  result = json.end_object().take();
}

}  // extern "C"
