#include "webgpu/self_test.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <span>
#include <utility>

#include "base/elements.h"
#include "kernels/kernel_source.h"
#include "ops/quantized/dequantized.h"
#include "plan/kernel_slices.h"
#include "plan/trial_values.h"
#include "webgpu/runner.h"
#include "webgpu/template_folder.h"

namespace etwebgpu {
namespace {

using Outcome = KernelVerdict::Outcome;

// FNV-1a.
std::string hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::string digits;
  for (int shift = 60; shift >= 0; shift -= 4) digits += "0123456789abcdef"[hash >> shift & 15];
  return digits;
}

// --- What a slice computes with ---

constexpr std::uint64_t kMostMemory = 1ull << 30;

std::uint64_t byte_count(DType dtype, const Dims& sizes) {
  return static_cast<std::uint64_t>(sizes.numel()) * byte_size(dtype);
}

Result<void> check_size(std::uint64_t bytes) {
  CHECK_OR_FAIL(bytes <= kMostMemory, ErrorKind::ResourceLimit, "a tensor of ", bytes,
                " bytes is too large to be tried");
  return {};
}

class MadeUpConstants final : public ConstantSource {
 public:
  explicit MadeUpConstants(const Graph& graph) : graph_(graph) {
    for (const Value& value : graph.values)
      if (const auto* info = std::get_if<TensorInfo>(&value)) add(*info);
    for (const Constant& constant : graph.constants) {
      if (!constant.made) continue;
      add(constant.made->elements);
      add(constant.made->scales);
      if (constant.made->zero_points) add(*constant.made->zero_points);
    }
  }

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    TRY_ASSIGN(std::vector<std::byte> bytes, make(index));
    return made_[index] = std::move(bytes);
  }
  void release(std::int32_t index) override { made_.erase(index); }

  Result<HostElements> integers(const TensorInfo& info) const {
    TRY_ASSIGN(const std::vector<std::byte> bytes, make(info.constant));
    return etwebgpu::integers(info.dtype, bytes);
  }

 private:
  // Of several tensors of a constant the largest.
  void add(const TensorInfo& info) {
    if (info.constant < 0) return;
    const TensorInfo*& known = tensors_[info.constant];
    if (known == nullptr || bytes_of(*known) < bytes_of(info)) known = &info;
  }
  static std::uint64_t bytes_of(const TensorInfo& info) {
    return byte_count(info.dtype, info.bound);
  }

  Result<std::vector<std::byte>> make(std::int32_t index) const {
    const auto tensor = tensors_.find(index);
    CHECK_OR_FAIL(tensor != tensors_.end(), ErrorKind::Internal, "constant ", index,
                  " is in no value");
    const TensorInfo& info = *tensor->second;
    TRY(check_size(bytes_of(info)));
    const auto& made = graph_.constants[static_cast<std::size_t>(index)].made;
    if (!made) return made_up(info.dtype, info.bound, true, static_cast<std::uint64_t>(index));
    // Kernels read it, or what it is made of.
    TRY_ASSIGN(const std::vector<std::byte> elements, make(made->elements.constant));
    TRY_ASSIGN(const std::vector<std::byte> scales, make(made->scales.constant));
    if (!made->zero_points) return dequantize(*made, elements, scales, {});
    TRY_ASSIGN(const std::vector<std::byte> zero_points, make(made->zero_points->constant));
    return dequantize(*made, elements, scales, zero_points);
  }

  const Graph& graph_;
  std::map<std::int32_t, const TensorInfo*> tensors_;  // by constant
  std::map<std::int32_t, std::vector<std::byte>> made_;
};

// A slice's inputs, on the host.
struct TrialInputs {
  static Result<TrialInputs> of(const KernelSlice& slice) {
    constexpr std::uint64_t kSeed = 1 << 20;  // no constant's
    TrialInputs out;
    for (std::size_t i = 0; i < slice.sizes.size(); ++i) {
      const TensorInfo* info = slice.graph.tensor(slice.graph.inputs[i]);
      HostTensor& tensor = out.tensors.emplace_back();
      tensor.is_scalar = info == nullptr;
      tensor.scalar = slice.scalars[i];
      if (info == nullptr) continue;
      TRY(check_size(byte_count(info->dtype, slice.sizes[i])));
      tensor.dtype = info->dtype;
      tensor.sizes = slice.sizes[i];
      tensor.data = out.bytes.emplace_back(made_up(info->dtype, tensor.sizes, false, kSeed + i));
    }
    return out;
  }

  std::vector<HostTensor> tensors;
  std::vector<std::vector<std::byte>> bytes;  // moves with them
};

class TrialOutputs final : public OutputSink {
 public:
  struct Output {
    DType dtype = DType::Float32;
    std::vector<std::byte> bytes = {};
  };

  Result<void> place(std::size_t index, DType recorded, const Dims& sizes,
                     std::vector<HostDestination>& to) override {
    Output& out = all[index];
    out.dtype = is_floating(recorded) ? DType::Float32 : recorded;
    out.bytes.assign(static_cast<std::size_t>(sizes.numel()) * byte_size(out.dtype), {});
    to.push_back({out.dtype, sizes, {}, out.bytes});
    return {};
  }
  bool wants_wide(std::size_t) const override { return true; }
  Result<void> scalar(std::size_t, std::int64_t) override { return {}; }

  std::map<std::size_t, Output> all;  // by number
};

// --- One slice with one choice of kernels ---

// Its plan's kernels, and what they give.
struct Trial {
  std::unique_ptr<Model> model;
  std::set<std::string> kernels = {};
  TrialOutputs outputs = {};
};

// Rounded operands make sums of thousands of products differ by a thousandth of the largest.
double tolerance(const ModelOptions& options) {
  const bool rounds = options.matmul == FloatType::F16 || options.kv_cache == FloatType::F16;
  return rounds ? 1e-2 : 1e-3;
}

std::optional<std::string> difference(const TrialOutputs& got, const TrialOutputs& wanted,
                                      double tolerance) {
  for (const auto& [index, output] : wanted.all) {
    const auto other = got.all.find(index);
    if (other == got.all.end()) return cat("output ", index, " is missing");
    const auto text =
        etwebgpu::difference(output.dtype, other->second.bytes, output.bytes, tolerance);
    if (text) return cat("output ", index, ", ", *text);
  }
  return std::nullopt;
}

// Of one slice.
class Trials {
 public:
  Trials(const KernelSlice& slice, const TrialInputs& inputs, const std::shared_ptr<Device>& device,
         const ModelOptions& options)
      : slice_(slice), inputs_(inputs), device_(device), options_(options) {
    options_.fuse = false;
  }

  Result<Trial> plan(const Capabilities& capabilities) const {
    MadeUpConstants constants(slice_.graph);
    Surroundings surroundings = slice_.surroundings();
    surroundings.integers = [&](const TensorInfo& info) { return constants.integers(info); };
    Trial trial;
    TRY_ASSIGN(trial.model, Model::create(slice_.graph, capabilities, options_, surroundings));
    std::vector<std::vector<std::int64_t>> elements(inputs_.tensors.size());
    std::vector<HostInput> host;
    for (std::size_t i = 0; i < inputs_.tensors.size(); ++i) {
      const HostTensor& tensor = inputs_.tensors[i];
      if (!tensor.is_scalar && trial.model->wants_host_data(i))
        elements[i] = integers(tensor.dtype, tensor.data);
      host.push_back({.sizes = tensor.sizes, .elements = elements[i], .scalar = tensor.scalar});
    }
    TRY_ASSIGN(const Plan* plan, trial.model->prepare(host));
    for (const PlannedDispatch& dispatch : plan->dispatches)
      trial.kernels.insert(to_string(trial.model->kernels()[dispatch.kernel]));
    return trial;
  }

  Result<void> run(Trial& trial) const {
    MadeUpConstants constants(slice_.graph);
    const RunnerOptions options{
        .memory_limit = kMostMemory, .validate = true, .compile_bounds = false};
    TRY_ASSIGN(const auto runner,
               Runner::create(std::move(trial.model), device_, constants, options));
    return runner->execute(inputs_.tensors, trial.outputs);
  }

  // Runs it; what is wrong with its results, or "".
  Result<std::string> fault(Trial& trial, const TrialOutputs& wanted) const {
    TRY(run(trial));
    return difference(trial.outputs, wanted, tolerance(options_)).value_or("");
  }

 private:
  const KernelSlice& slice_;
  const TrialInputs& inputs_;
  const std::shared_ptr<Device>& device_;
  ModelOptions options_;
};

// --- All of them ---

class Tester {
 public:
  Tester(const std::shared_ptr<Device>& device, const ModelOptions& options,
         KernelVerdicts& verdicts)
      : device_(device), options_(options), verdicts_(verdicts) {}

  Result<SelfTest> run(const MakeModel& make) {
    SelfTest out{.capabilities = device_->capabilities()};
    // What cannot do without a feature has nothing to be compared with.
    const auto other = make(reference_);
    while (other && out.capabilities != reference_) {
      TRY_ASSIGN(const auto model, make(out.capabilities));
      Capabilities lowered = out.capabilities;
      bool is_wrong = false;
      for (const KernelSlice& slice : kernel_slices(*model, **other)) {
        TRY(judge(slice, out.capabilities));
        for (const KernelVariant& kernel : slice.kernels) {
          TRY_ASSIGN(const KernelVerdict* const verdict, find(kernel));
          if (verdict->outcome != Outcome::Differs) continue;
          is_wrong = true;
          for (const KernelFeature feature : verdict->given_up) lowered = without(lowered, feature);
          out.replaced.push_back(*verdict);
        }
      }
      if (!is_wrong) break;
      // A verdict of another day may blame what is not there.
      out.capabilities = lowered == out.capabilities ? reference_ : lowered;
    }
    return out;
  }

 private:
  Result<std::string> key(const KernelVariant& kernel) const {
    TRY_ASSIGN(const std::string text, used_kernel_source(kernel, device_->capabilities().dialect));
    return hash_of(text);
  }

  // Null for an unknown one.
  Result<const KernelVerdict*> find(const KernelVariant& kernel) const {
    TRY_ASSIGN(const std::string id, key(kernel));
    const auto known = verdicts_.find(id);
    return known == verdicts_.end() ? nullptr : &known->second;
  }

  Result<void> note(const KernelVariant& kernel, KernelVerdict verdict) {
    TRY_ASSIGN(const std::string id, key(kernel));
    verdict.kernel = to_string(kernel);
    verdicts_.try_emplace(id, std::move(verdict));
    return {};
  }

  Result<void> note_all(const KernelSlice& slice, const KernelVerdict& verdict) {
    for (const KernelVariant& kernel : slice.kernels) TRY(note(kernel, verdict));
    return {};
  }

  // Every kernel of the slice has a verdict afterwards.
  Result<void> judge(const KernelSlice& slice, const Capabilities& capabilities) {
    bool is_known = true;
    for (const KernelVariant& kernel : slice.kernels) {
      TRY_ASSIGN(const KernelVerdict* const verdict, find(kernel));
      is_known &= verdict != nullptr;
    }
    if (is_known) return {};
    const Result<TrialInputs> inputs = TrialInputs::of(slice);
    if (!inputs) return untried(slice, inputs.error());
    return try_slice(slice, Trials(slice, *inputs, device_, options_), capabilities);
  }

  Result<void> try_slice(const KernelSlice& slice, const Trials& trials,
                         const Capabilities& capabilities) {
    auto wanted = trials.plan(reference_), got = trials.plan(capabilities);
    if (!wanted || !got) return untried(slice, (wanted ? got : wanted).error());
    if (auto ran = trials.run(*wanted); !ran) return untried(slice, ran.error());
    const auto fault = trials.fault(*got, wanted->outputs);
    if (!fault && device_->lost()) return lost(slice, fault.error());
    if (!fault && fault.error().kind == ErrorKind::ResourceLimit)
      return untried(slice, fault.error());
    if (fault && fault->empty()) return agrees(slice, got->kernels);
    const std::string& why = fault ? *fault : fault.error().message;
    return blame(slice, trials, capabilities, wanted->outputs, cat(slice.call, ": ", why));
  }

  Result<void> untried(const KernelSlice& slice, const Error& why) {
    if (device_->lost()) return std::unexpected(why);
    return note_all(slice, {Outcome::Untried, {}, cat(slice.call, ": ", why.message)});
  }

  Result<void> agrees(const KernelSlice& slice, const std::set<std::string>& tried) {
    for (const KernelVariant& kernel : slice.kernels) {
      const bool was_tried = tried.contains(to_string(kernel));
      TRY(note(kernel,
               was_tried ? KernelVerdict{}
                         : KernelVerdict{
                               Outcome::Untried, {}, cat(slice.call, " takes another by itself")}));
    }
    return {};
  }

  Result<void> lost(const KernelSlice& slice, const Error& error) {
    KernelVerdict verdict{Outcome::Differs, {}, cat(slice.call, ": ", error.message)};
    verdict.given_up.assign(kKernelFeatures.begin(), kKernelFeatures.end());
    TRY(note_all(slice, verdict));
    return std::unexpected(Error(error).within("trial of kernels of ", slice.call));
  }

  // Gives up features that the slice's kernels use, one after the other, until the rest agrees.
  // Those that it then does without are wrong.
  Result<void> blame(const KernelSlice& slice, const Trials& trials, Capabilities capabilities,
                     const TrialOutputs& wanted, std::string why) {
    KernelVerdict verdict{Outcome::Differs, {}, std::move(why)};
    TRY_ASSIGN(Trial trial, trials.plan(capabilities));
    for (const KernelFeature feature : kKernelFeatures) {
      const Capabilities lowered = without(capabilities, feature);
      if (lowered == capabilities) continue;
      auto next = trials.plan(lowered);
      if (!next || next->kernels == trial.kernels) continue;
      capabilities = lowered;
      trial.kernels = next->kernels;
      verdict.given_up.push_back(feature);
      const auto fault = trials.fault(*next, wanted);
      if (!fault && device_->lost()) return lost(slice, fault.error());
      if (fault && fault->empty()) break;
    }
    for (const KernelVariant& kernel : slice.kernels)
      TRY(note(kernel, trial.kernels.contains(to_string(kernel)) ? KernelVerdict{} : verdict));
    return {};
  }

  const std::shared_ptr<Device>& device_;
  const ModelOptions& options_;
  KernelVerdicts& verdicts_;
  const Capabilities reference_ = reference(device_->capabilities());
};

}  // namespace

Result<SelfTest> self_test(const std::shared_ptr<Device>& device, const MakeModel& make,
                           const ModelOptions& options, KernelVerdicts& verdicts) {
  return Tester(device, options, verdicts).run(make);
}

}  // namespace etwebgpu
