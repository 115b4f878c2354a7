#include "webgpu/replay.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace etwebgpu {

namespace {

// A query set holds at most 4,096 queries: two for each dispatch.
constexpr std::size_t kDispatchesPerSet = 2048;
constexpr std::size_t kBytesPerDispatch = 2 * sizeof(std::uint64_t);

Signature signature_of(const Plan& plan, const PlannedDispatch& dispatch) {
  Signature signature;
  for (std::uint32_t i = 0; i < dispatch.binding_count; ++i) {
    const PlannedBinding& binding = plan.bindings[dispatch.first_binding + i];
    const bool uniform = binding.space == Space::Uniforms || binding.space == Space::Scalars;
    signature += uniform ? 'u' : binding.access == Access::Read ? 'r' : 'w';
  }
  return signature;
}

}  // namespace

Result<std::shared_ptr<Replay>> Replay::create(std::shared_ptr<Device> device, const Plan& plan,
                                               std::span<const KernelVariant> kernels) {
  const auto held = device->lock();
  std::shared_ptr<Replay> replay(new Replay(device, plan));
  std::vector<PipelineRequest> requests;
  for (const PlannedDispatch& dispatch : plan.dispatches)
    requests.push_back({&kernels[dispatch.kernel], signature_of(plan, dispatch)});
  TRY(device->compile(requests));
  for (const PipelineRequest& request : requests) {
    TRY_ASSIGN(replay->pipelines_.emplace_back(),
               device->pipeline(*request.kernel, request.signature));
  }
  TRY(replay->upload_uniforms());
  TRY_ASSIGN(replay->poison_, WorkgroupPoison::create(device));
  return replay;
}

Replay::~Replay() {
  const auto held = device_->lock();
  steps_.clear();
}

Result<void> Replay::upload_uniforms() {
  if (plan_.uniforms.empty()) return {};
  // Bindings are rounded up to whole vectors; the buffer's zeros behind the bytes may be bound.
  TRY_ASSIGN(uniforms_, device_->buffer("kernel parameters", plan_.uniforms.size(),
                                        WGPUBufferUsage_Uniform | WGPUBufferUsage_CopyDst));
  std::vector<std::byte> bytes = plan_.uniforms;
  bytes.resize(round_up<std::size_t>(bytes.size(), 4));
  device_->api().QueueWriteBuffer(device_->queue(), uniforms_.get(), 0, bytes.data(), bytes.size());
  return {};
}

BindGroupHandle Replay::bind_group(const PlannedDispatch& dispatch, WGPUBindGroupLayout layout,
                                   const ModelMemory& memory) const {
  constexpr std::size_t kMost = 64;
  WGPUBindGroupEntry entries[kMost];
  const std::size_t count = std::min<std::size_t>(dispatch.binding_count, kMost);
  for (std::size_t i = 0; i < count; ++i) {
    const PlannedBinding& binding = plan_.bindings[dispatch.first_binding + i];
    entries[i] = WGPU_BIND_GROUP_ENTRY_INIT;
    entries[i].binding = static_cast<std::uint32_t>(i);
    const BufferRange range = binding.space == Space::Uniforms
                                  ? BufferRange{uniforms_.get(), 0, uniforms_.bytes()}
                                  : memory.at(binding.space, binding.index);
    entries[i].buffer = range.buffer;
    entries[i].offset = range.offset + binding.offset;
    entries[i].size = binding.size;
  }
  WGPUBindGroupDescriptor descriptor = WGPU_BIND_GROUP_DESCRIPTOR_INIT;
  descriptor.layout = layout;
  descriptor.entryCount = count;
  descriptor.entries = entries;
  return {device_->api(), device_->api().DeviceCreateBindGroup(device_->get(), &descriptor)};
}

Result<void> Replay::bind(ModelMemory& memory) {
  if (generation_ == memory.generation()) return {};
  const auto held = device_->lock();
  steps_.clear();
  steps_.resize(plan_.dispatches.size());
  TRY(device_->checked("bindings", [&] {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const PlannedDispatch& dispatch = plan_.dispatches[i];
      steps_[i].grid = dispatch.grid;
      steps_[i].pipeline = pipelines_[i]->pipeline.get();
      const bool empty = dispatch.grid.x == 0 || dispatch.grid.y == 0 || dispatch.grid.z == 0;
      if (!empty) steps_[i].group = bind_group(dispatch, pipelines_[i]->layout, memory);
    }
  }));
  generation_ = memory.generation();
  return {};
}

Grid Replay::live_grid(const Grid& grid, std::span<const std::int32_t> scalars) const {
  if (grid.live < 0) return grid;
  Grid out = grid;
  const std::int64_t work = scalars[static_cast<std::size_t>(grid.live)] + grid.add;
  const std::int64_t most = device_->capabilities().max_workgroups_per_dimension;
  const std::int64_t rows = work > 0 ? div_up(work, std::max<std::int64_t>(1, grid.divide)) : 0;
  out.y = static_cast<std::uint32_t>(std::min(rows, most));
  return out;
}

void Replay::live_rows(std::span<const std::int32_t> scalars,
                       std::vector<std::uint32_t>& out) const {
  out.clear();
  for (const Step& step : steps_)
    if (step.grid.live >= 0) out.push_back(live_grid(step.grid, scalars).y);
}

void Replay::encode(WGPUCommandEncoder encoder, std::size_t first, std::size_t last,
                    std::span<const std::int32_t> scalars, Profiler* profiler) const {
  const Api& api = device_->api();
  PassHandle pass;
  WGPUComputePipeline current = nullptr;
  const auto begin_pass = [&](std::size_t step) {
    WGPUPassTimestampWrites writes;
    WGPUComputePassDescriptor descriptor = WGPU_COMPUTE_PASS_DESCRIPTOR_INIT;
    if (profiler) {
      writes = profiler->writes(step);
      descriptor.timestampWrites = &writes;
    }
    pass = {api, api.CommandEncoderBeginComputePass(encoder, &descriptor)};
    current = nullptr;
  };
  if (!profiler) begin_pass(first);
  for (std::size_t i = first; i < last; ++i) {
    const Step& step = steps_[i];
    const Grid grid = live_grid(step.grid, scalars);
    const bool empty = !step.group || grid.x == 0 || grid.y == 0 || grid.z == 0;
    if (profiler) begin_pass(i);
    if (!empty) {
      if (poison_) {
        poison_->encode(pass.get());
        current = nullptr;
      }
      if (current != step.pipeline) api.ComputePassEncoderSetPipeline(pass.get(), step.pipeline);
      current = step.pipeline;
      api.ComputePassEncoderSetBindGroup(pass.get(), 0, step.group.get(), 0, nullptr);
      api.ComputePassEncoderDispatchWorkgroups(pass.get(), grid.x, grid.y, grid.z);
    }
    if (profiler) api.ComputePassEncoderEnd(pass.get());
  }
  if (!profiler) api.ComputePassEncoderEnd(pass.get());
}

Profiler::~Profiler() {
  const auto held = device_->lock();
  sets_.clear();
}

Result<void> Profiler::reserve(std::size_t dispatches) {
  const std::size_t sets = div_up(std::max<std::size_t>(dispatches, 1), kDispatchesPerSet);
  if (sets_.size() >= sets) return {};
  const auto held = device_->lock();
  CHECK_OR_FAIL(device_->capabilities().timestamps, ErrorKind::NotSupported, "the adapter '",
                device_->adapter().name, "' has no timestamps for profiling");
  const Api& api = device_->api();
  TRY(device_->checked("timestamps", [&] {
    WGPUQuerySetDescriptor descriptor = WGPU_QUERY_SET_DESCRIPTOR_INIT;
    descriptor.type = WGPUQueryType_Timestamp;
    descriptor.count = 2 * kDispatchesPerSet;
    while (sets_.size() < sets)
      sets_.emplace_back(api, api.DeviceCreateQuerySet(device_->get(), &descriptor));
  }));
  const std::uint64_t bytes = sets * kDispatchesPerSet * kBytesPerDispatch;
  TRY_ASSIGN(resolved_, device_->buffer("timestamps", bytes,
                                        WGPUBufferUsage_QueryResolve | WGPUBufferUsage_CopySrc));
  TRY_ASSIGN(staging_, device_->buffer("staging for timestamps", bytes,
                                       WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst));
  return {};
}

WGPUPassTimestampWrites Profiler::writes(std::size_t dispatch) const {
  WGPUPassTimestampWrites writes = WGPU_PASS_TIMESTAMP_WRITES_INIT;
  const auto query = static_cast<std::uint32_t>(2 * (dispatch % kDispatchesPerSet));
  writes.querySet = sets_[dispatch / kDispatchesPerSet].get();
  writes.beginningOfPassWriteIndex = query;
  writes.endOfPassWriteIndex = query + 1;
  return writes;
}

void Profiler::resolve(WGPUCommandEncoder encoder, std::size_t dispatches) const {
  if (dispatches == 0) return;
  const Api& api = device_->api();
  for (std::size_t first = 0; first < dispatches; first += kDispatchesPerSet) {
    const std::size_t count = std::min(kDispatchesPerSet, dispatches - first);
    api.CommandEncoderResolveQuerySet(encoder, sets_[first / kDispatchesPerSet].get(), 0,
                                      static_cast<std::uint32_t>(2 * count), resolved_.get(),
                                      first * kBytesPerDispatch);
  }
  api.CommandEncoderCopyBufferToBuffer(encoder, resolved_.get(), 0, staging_.get(), 0,
                                       dispatches * kBytesPerDispatch);
}

Result<void> Profiler::read(std::size_t dispatches) {
  times_.clear();
  if (dispatches == 0) return {};
  const auto held = device_->lock();
  const std::size_t bytes = dispatches * kBytesPerDispatch;
  TRY(device_->map(staging_, WGPUMapMode_Read, bytes));
  const void* mapped = device_->api().BufferGetConstMappedRange(staging_.get(), 0, bytes);
  std::vector<std::uint64_t> ticks(2 * dispatches);
  if (mapped) std::memcpy(ticks.data(), mapped, bytes);
  device_->api().BufferUnmap(staging_.get());
  const double scale = device_->timestamp_period() / 1000.0;
  const auto since = [&](std::uint64_t from, std::uint64_t to) {
    return to > from ? static_cast<double>(to - from) * scale : 0.0;
  };
  for (std::size_t i = 0; i < dispatches; ++i)
    times_.push_back({since(ticks[0], ticks[2 * i]), since(ticks[2 * i], ticks[2 * i + 1])});
  return {};
}

}  // namespace etwebgpu
