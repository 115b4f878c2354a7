#include "capi/delegate.h"

#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/elements.h"
#include "base/zeros.h"
#include "capi/kept_verdicts.h"
#include "capi/notices.h"
#include "format/delegate.h"
#include "ops/quantized/dequantized.h"
#include "plan/model.h"
#include "webgpu/self_test.h"

namespace etwebgpu {
namespace {

Result<bool> holds_zeros(ConstantSource& constants, std::int32_t index) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(index));
  const bool zeros = all_zero(bytes);
  constants.release(index);
  return zeros;
}

Result<HostElements> read_integers(ConstantSource& constants, const TensorInfo& constant) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(constant.constant));
  const auto needed = static_cast<std::size_t>(constant.bound.numel()) * byte_size(constant.dtype);
  HostElements elements = integers(constant.dtype, bytes.first(std::min(needed, bytes.size())));
  constants.release(constant.constant);
  return elements;
}

Result<std::optional<double>> read_number(ConstantSource& constants, const TensorInfo& constant) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(constant.constant));
  const std::optional<double> number = first_float(constant.dtype, bytes);
  constants.release(constant.constant);
  return number;
}

void publish_states(const Runner& runner, const std::shared_ptr<DelegateStates>& states) {
  const auto specs = runner.model().states();
  for (std::size_t i = 0; i < specs.size(); ++i)
    states->set_buffer(specs[i].value, runner.state(i));
  DelegateStates::publish(states);
}

// Constants by their index in the graph: from the blob, from named data, or made of others.
class DelegateConstants final : public ConstantSource {
 public:
  DelegateConstants(std::vector<Constant> constants, std::span<const std::byte> in_blob,
                    NamedDataSource& named)
      : constants_(std::move(constants)), in_blob_(in_blob), named_(named) {}

  // Those that passes have added.
  void add(std::span<const Constant> constants) {
    constants_.assign(constants.begin(), constants.end());
  }

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    return fetch(index, index);
  }
  void release(std::int32_t index) override { release(index, index); }

 private:
  const Constant& constant(std::int32_t index) const {
    return constants_[static_cast<std::size_t>(index)];
  }

  // For as long as `use` is not released: a constant may have several.
  Result<std::span<const std::byte>> fetch(std::int32_t index, std::int32_t use) {
    const Constant& constant = this->constant(index);
    if (constant.made || constant.fill) {
      TRY_ASSIGN(std::vector<std::byte> bytes, make(constant));
      return std::span<const std::byte>(made_[use] = std::move(bytes));
    }
    if (!constant.key.empty()) return fetch_named(use, constant);
    CHECK_OR_FAIL(range_fits(constant.offset, constant.length, in_blob_.size()),
                  ErrorKind::InvalidProgram, "constant ", index, ": bytes [", constant.offset,
                  ", +", constant.length, ") lie outside the blob's ", in_blob_.size());
    return in_blob_.subspan(constant.offset, constant.length);
  }
  void release(std::int32_t index, std::int32_t use) {
    made_.erase(use);
    if (!constant(index).key.empty()) named_.release(use);
  }

  Result<std::vector<std::byte>> make(const Constant& constant) {
    if (constant.fill) {
      const std::vector<float> floats(constant.length / sizeof(float), *constant.fill);
      const auto bytes = std::as_bytes(std::span(floats));
      return std::vector(bytes.begin(), bytes.end());
    }
    const Dequantized& made = *constant.made;
    const Part elements(*this, made.elements.constant, 0), scales(*this, made.scales.constant, 1);
    TRY_ASSIGN(const std::span<const std::byte> of_elements, elements.bytes());
    TRY_ASSIGN(const std::span<const std::byte> of_scales, scales.bytes());
    if (!made.zero_points) return dequantize(made, of_elements, of_scales, {});
    const Part zero_points(*this, made.zero_points->constant, 2);
    TRY_ASSIGN(const std::span<const std::byte> of_zero_points, zero_points.bytes());
    return dequantize(made, of_elements, of_scales, of_zero_points);
  }

  // What a constant is made of, while it is made.
  class Part {
   public:
    Part(DelegateConstants& from, std::int32_t index, std::int32_t number)
        : from_(from), index_(index), use_(-1 - number), bytes_(from.fetch(index, use_)) {}
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    ~Part() {
      if (bytes_) from_.release(index_, use_);
    }
    const Result<std::span<const std::byte>>& bytes() const { return bytes_; }

   private:
    DelegateConstants& from_;
    std::int32_t index_, use_;
    Result<std::span<const std::byte>> bytes_;
  };

  Result<std::span<const std::byte>> fetch_named(std::int32_t use, const Constant& constant) {
    auto bytes = named_.fetch(use, constant.key);
    if (!bytes)
      return std::unexpected(std::move(bytes).error().within("weight '", constant.key, "'"));
    if (bytes->size() < constant.length) {
      named_.release(use);
      return fail(ErrorKind::InvalidProgram, "weight '", constant.key, "' has ", bytes->size(),
                  " bytes, but the graph needs ", constant.length);
    }
    return bytes;
  }

  std::vector<Constant> constants_;
  std::span<const std::byte> in_blob_;
  NamedDataSource& named_;
  std::map<std::int32_t, std::vector<std::byte>> made_;  // by use
};

std::string replacement_text(const Device& device, const KernelVerdict& verdict) {
  std::string features;
  for (const KernelFeature feature : verdict.given_up)
    features += cat(features.empty() ? "" : ", ", name(feature));
  const std::string_view kernel = std::string_view(verdict.kernel);
  return cat("self test: the kernel ", kernel.substr(0, kernel.find_first_of("[(")),
             " is wrong on ", device.adapter().name, " (", device.adapter().driver,
             "), and the model does without ", features, ": ", verdict.why);
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
  const Result<SelfTest> tested = self_test(device, make, options, verdicts);
  if (verdicts.size() != known) {
    if (auto written = keep_verdicts(adapter, verdicts); !written)
      notices.push_back(cat("self test: ", written.error().message));
  }
  TRY(tested);
  for (const KernelVerdict& verdict : tested->replaced)
    notices.push_back(replacement_text(*device, verdict));
  return tested->capabilities;
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
  TRY_ASSIGN(loaded.runner,
             Runner::create(std::move(model), std::move(device), constants, runner, made));
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
