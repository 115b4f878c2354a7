#include "plan/kernel_trial.h"

#include <optional>
#include <span>
#include <utility>

#include "base/elements.h"
#include "kernels/kernel_source.h"
#include "ops/quantized/dequantized.h"
#include "plan/trial_values.h"

namespace etwebgpu {
namespace {

std::uint64_t byte_count(DType dtype, const Dims& sizes) {
  return static_cast<std::uint64_t>(sizes.numel()) * byte_size(dtype);
}

std::uint64_t bytes_of(const TensorInfo& info) { return byte_count(info.dtype, info.bound); }

Result<void> check_size(std::uint64_t bytes) {
  CHECK_OR_FAIL(bytes <= kMostTrialMemory, ErrorKind::ResourceLimit, "a tensor of ", bytes,
                " bytes is too large to be tried");
  return {};
}

// Rounded operands make sums of thousands of products differ by a thousandth of the largest.
double tolerance(const ModelOptions& options) {
  const bool rounds = options.matmul == FloatType::F16 || options.kv_cache == FloatType::F16;
  return rounds ? 1e-2 : 1e-3;
}

Result<std::vector<TrialInput>> made_up_inputs(const KernelSlice& slice) {
  constexpr std::uint64_t kSeed = 1 << 20;  // no constant's
  std::vector<TrialInput> out;
  for (std::size_t i = 0; i < slice.sizes.size(); ++i) {
    const TensorInfo* info = slice.graph.tensor(slice.graph.inputs[i]);
    TrialInput& input = out.emplace_back();
    input.is_scalar = info == nullptr;
    input.scalar = slice.scalars[i];
    if (info == nullptr) continue;
    TRY(check_size(byte_count(info->dtype, slice.sizes[i])));
    input.dtype = info->dtype;
    input.sizes = slice.sizes[i];
    input.bytes = made_up(info->dtype, input.sizes, false, kSeed + i);
  }
  return out;
}

}  // namespace

MadeUpConstants::MadeUpConstants(const Graph& graph) : graph_(graph) {
  for (const Value& value : graph.values)
    if (const auto* info = std::get_if<TensorInfo>(&value)) add(*info);
  for (const Constant& constant : graph.constants) {
    if (!constant.made) continue;
    add(constant.made->elements);
    add(constant.made->scales);
    if (constant.made->zero_points) add(*constant.made->zero_points);
  }
}

// Of several tensors of a constant the largest.
void MadeUpConstants::add(const TensorInfo& info) {
  if (info.constant < 0) return;
  const TensorInfo*& known = tensors_[info.constant];
  if (known == nullptr || bytes_of(*known) < bytes_of(info)) known = &info;
}

Result<std::vector<std::byte>> MadeUpConstants::bytes(std::int32_t index) const {
  const auto tensor = tensors_.find(index);
  CHECK_OR_FAIL(tensor != tensors_.end(), ErrorKind::Internal, "constant ", index,
                " is in no value");
  const TensorInfo& info = *tensor->second;
  TRY(check_size(bytes_of(info)));
  const auto& made = graph_.constants[static_cast<std::size_t>(index)].made;
  if (!made) return made_up(info.dtype, info.bound, true, static_cast<std::uint64_t>(index));
  // Kernels read it, or what it is made of.
  TRY_ASSIGN(const std::vector<std::byte> elements, bytes(made->elements.constant));
  TRY_ASSIGN(const std::vector<std::byte> scales, bytes(made->scales.constant));
  if (!made->zero_points) return dequantize(*made, elements, scales, {});
  TRY_ASSIGN(const std::vector<std::byte> zero_points, bytes(made->zero_points->constant));
  return dequantize(*made, elements, scales, zero_points);
}

Result<HostElements> MadeUpConstants::integers(const TensorInfo& info) const {
  TRY_ASSIGN(const std::vector<std::byte> made, bytes(info.constant));
  return etwebgpu::integers(info.dtype, made);
}

SliceTrials::SliceTrials(const KernelSlice& slice, const ModelOptions& options)
    : slice_(&slice), options_(options), constants_(slice.graph) {
  options_.fuse = false;  // slices are of rewritten graphs
}

Result<SliceTrials> SliceTrials::of(const KernelSlice& slice, const ModelOptions& options) {
  SliceTrials out(slice, options);
  TRY_ASSIGN(out.inputs_, made_up_inputs(slice));
  return out;
}

Result<KernelTrial> SliceTrials::plan(const Capabilities& capabilities) const {
  Surroundings surroundings = slice_->surroundings();
  surroundings.integers = [&](const TensorInfo& info) { return constants_.integers(info); };
  KernelTrial trial;
  TRY_ASSIGN(trial.model, Model::create(slice_->graph, capabilities, options_, surroundings));
  std::vector<std::vector<std::int64_t>> elements(inputs_.size());
  std::vector<HostInput> host;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const TrialInput& input = inputs_[i];
    if (!input.is_scalar && trial.model->wants_host_data(i))
      elements[i] = etwebgpu::integers(input.dtype, input.bytes);
    host.push_back({.sizes = input.sizes, .elements = elements[i], .scalar = input.scalar});
  }
  TRY_ASSIGN(const Plan* plan, trial.model->prepare(host));
  for (const PlannedDispatch& dispatch : plan->dispatches)
    trial.kernels.insert(to_string(trial.model->kernels()[dispatch.kernel]));
  return trial;
}

std::string SliceTrials::difference(const TrialOutputs& got, const TrialOutputs& wanted) const {
  for (const auto& [index, output] : wanted) {
    const auto other = got.find(index);
    if (other == got.end()) return cat("output ", index, " is missing");
    const auto text =
        etwebgpu::difference(output.dtype, other->second.bytes, output.bytes, tolerance(options_));
    if (text) return cat("output ", index, ", ", *text);
  }
  return "";
}

}  // namespace etwebgpu
