#include "capi/delegate.h"

#include <mutex>
#include <set>
#include <utility>

#include "capi/delegate_constants.h"
#include "capi/kept_verdicts.h"
#include "capi/notices.h"
#include "format/delegate.h"
#include "plan/model.h"
#include "webgpu/self_test.h"

namespace etwebgpu {
namespace {

void publish_states(const Runner& runner, const std::shared_ptr<DelegateStates>& states) {
  const auto specs = runner.model().states();
  for (std::size_t i = 0; i < specs.size(); ++i)
    states->set_buffer(specs[i].value, runner.state(i));
  DelegateStates::publish(states);
}

// What the model may use of the device once its kernels have been tried there.
Result<Capabilities> tested_capabilities(const std::shared_ptr<Device>& device,
                                         const MakeModel& make, const ModelOptions& options,
                                         std::vector<std::string>& notices) {
  const TestedAdapter adapter = TestedAdapter::of(*device);
  Result<KernelVerdicts> kept = kept_verdicts(adapter);
  if (!kept) notices.push_back(cat("self test: ", kept.error().message));
  KernelVerdicts verdicts = kept.value_or(KernelVerdicts());
  const std::size_t known = verdicts.size();
  const Result<TestedKernels> tested = self_test(device, make, options, verdicts);
  if (verdicts.size() != known) {
    if (auto written = keep_verdicts(adapter, verdicts); !written)
      notices.push_back(cat("self test: ", written.error().message));
  }
  TRY(tested);
  const std::string where = cat(device->adapter().name, " (", device->adapter().driver, ")");
  for (const KernelVerdict& verdict : tested->replaced)
    notices.push_back(replacement_text(verdict, where));
  return tested->capabilities;
}

// Elements of constants that embeddings look up as floats: those of 4 bits are another operator's,
// and those of 8 are made of others.
std::uint64_t float_table_elements(const Graph& graph) {
  std::set<std::int32_t> tables;
  std::uint64_t elements = 0;
  for (const Call& call : graph.calls) {
    if (call.name != "aten.embedding.default" || call.args.empty()) continue;
    const TensorInfo* table = graph.tensor(call.args[0]);
    if (table == nullptr || table->constant < 0 || !tables.insert(table->constant).second) continue;
    if (graph.constants[static_cast<std::size_t>(table->constant)].made) continue;
    elements += static_cast<std::uint64_t>(table->bound.numel());
  }
  return elements;
}

// What there is no memory for, with what it would be without floats in embeddings.
Error with_embeddings(Error error, std::uint64_t elements) {
  if (error.kind != ErrorKind::ResourceLimit || elements == 0) return error;
  constexpr std::uint64_t kGroup = 32;
  const std::uint64_t packed = elements / 2 + elements / kGroup * kWord;
  error.message = cat(error.message, "; its embedding has ", elements * kWord, " bytes, and ",
                      packed, " in 4 bits");
  return error;
}

}  // namespace

Result<std::shared_ptr<Device>> acquire_device(const Options& options) {
  static auto* mutex = new std::mutex;
  static auto* latest =
      new std::shared_ptr<Device>;  // not destroyed at exit: drivers may be gone by then
  TRY(ensure_providers());
  TRY_ASSIGN(std::shared_ptr<Device> device,
             Device::acquire({options.provider, options.adapter, options.trusted}));
  std::lock_guard lock(*mutex);
  *latest = device;
  return device;
}

Result<LoadedDelegate> load_delegate(const DelegateSource& source, const Options& options,
                                     bool trace, const DelegateStates* before) {
  TRY_ASSIGN(Graph graph, decode_delegate(source.blob));
  TRY_ASSIGN(const FilePart constant_section, delegate_constants(source.blob));
  TRY_ASSIGN(std::shared_ptr<Device> device, acquire_device(options));
  DelegateConstants constants(graph.constants, FileHead(source.blob).part(constant_section),
                              source.named);
  const auto is_zero = [&](std::int32_t constant) { return holds_zeros(constants, constant); };
  if (!source.aliased) TRY(check_lost_states(graph, is_zero));

  LoadedDelegate loaded;
  const std::uint64_t float_elements = float_table_elements(graph);
  std::unique_lock<std::mutex> loading;
  std::vector<std::uint8_t> written_elsewhere;
  if (source.origin && options.shared_states) {
    loading = DelegateStates::lock();
    TRY_ASSIGN(loaded.states, DelegateStates::resolve(graph, *source.origin, before));
    written_elsewhere = loaded.states->written_elsewhere(graph);
  }
  const auto integers = [&](const TensorInfo& constant) {
    return read_integers(constants, constant);
  };
  const auto number = [&](const TensorInfo& constant) { return read_number(constants, constant); };
  const Surroundings surroundings{written_elsewhere, integers, is_zero, number};
  Capabilities capabilities = device->capabilities();
  if (options.self_test) {
    const MakeModel make = [&](const Capabilities& chosen) {
      return Model::create(graph, chosen, options.model, surroundings);
    };
    TRY_ASSIGN(capabilities, tested_capabilities(device, make, options.model, loaded.notices));
    for (const std::string& notice : loaded.notices) add_notice(notice);
  }
  TRY_ASSIGN(auto model,
             Model::create(std::move(graph), capabilities, options.model, surroundings));
  constants.add(model->graph().constants);
  Runner::MadeStates made;
  for (const StateSpec& state : model->states())
    made.push_back(loaded.states ? loaded.states->buffer(state.value) : nullptr);
  RunnerOptions runner;
  runner.profiling = (options.profiling || trace) && device->capabilities().timestamps;
  runner.memory_limit = options.memory_limit;
  auto created = Runner::create(std::move(model), std::move(device), constants, runner, made);
  if (!created) return std::unexpected(with_embeddings(created.error(), float_elements));
  loaded.runner = std::move(*created);
  if (loaded.states) publish_states(*loaded.runner, loaded.states);
  return loaded;
}

namespace {
thread_local std::vector<std::weak_ptr<Runner>> loaded;  // on this thread, in order
}

void note_delegate(const std::shared_ptr<Runner>& runner) {
  std::erase_if(loaded, [](const auto& earlier) { return earlier.expired(); });
  loaded.push_back(runner);
}

std::vector<std::shared_ptr<Runner>> latest_delegates(std::size_t most) {
  std::vector<std::shared_ptr<Runner>> runners;
  for (const auto& one : loaded) {
    if (auto runner = one.lock()) runners.push_back(std::move(runner));
  }
  if (runners.size() > most) {
    runners.erase(runners.begin(), runners.end() - static_cast<std::ptrdiff_t>(most));
  }
  return runners;
}

}  // namespace etwebgpu
