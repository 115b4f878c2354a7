#include "webgpu/generation.h"

#include <cstring>
#include <utility>

#include "kernels/token_choice.h"
#include "webgpu/runner.h"

namespace etwebgpu {

namespace {

// As the recorded dtype has it; integers only.
std::span<const std::byte> bytes_of(const std::int64_t& value, DType dtype) {
  // Little endian: the low half comes first.
  return std::as_bytes(std::span(&value, 1)).first(byte_size(dtype));
}

}  // namespace

Result<std::unique_ptr<Generation>> Generation::create(std::shared_ptr<Device> device,
                                                       ModelMemory& memory) {
  std::unique_ptr<Generation> made(new Generation(std::move(device)));
  // For where tokens have 64 bits; the high word stays 0.
  TRY_ASSIGN(made->chosen_, memory.make("the chosen token", storage_bytes(Storage::I64, 1),
                                        WGPUBufferUsage_Storage | WGPUBufferUsage_CopySrc));
  for (Landing& landing : made->landings_) {
    TRY_ASSIGN(landing.buffer, memory.make("staging for a token", kWord,
                                           WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst));
  }
  TRY_ASSIGN(made->poison_, WorkgroupPoison::create(made->device_));
  return made;
}

Generation::~Generation() {
  const auto held = device_->lock();
  group_ = {};
}

Result<void> Generation::bind(const Plan& plan, const ModelMemory& memory) {
  CHECK_OR_FAIL(!plan.outputs.empty() && plan.outputs[0].storage == Storage::F32 &&
                    !plan.outputs[0].sizes.empty() && plan.outputs[0].sizes.numel() > 0,
                ErrorKind::InvalidArgument, "the model's first output is not logits");
  const PlannedTensor& token = plan.inputs[0];
  input_ = token.on_device ? memory.at(token.space, token.index) : BufferRange{};
  input_.bytes = storage_bytes(token.storage, 1);
  const PlannedTensor& logits = plan.outputs[0];
  if (group_ && logits == logits_ && generation_ == memory.generation()) return {};
  TRY(bind_logits(logits, memory.at(logits.space, logits.index)));
  logits_ = logits;
  generation_ = memory.generation();
  return {};
}

Result<void> Generation::bind_logits(const PlannedTensor& logits, const BufferRange& at) {
  const std::int64_t count = logits.sizes.back();
  const std::uint32_t most = device_->capabilities().max_workgroup_invocations;
  const std::int64_t first = logits.sizes.numel() - count;
  const KernelVariant kernel = greedy_token(first, count, most);
  TRY_ASSIGN(pipeline_, device_->pipeline(kernel, Signature("rw")));
  const BufferRange buffers[] = {at, {chosen_.get(), 0, chosen_.bytes()}};
  std::array<WGPUBindGroupEntry, std::size(buffers)> entries;
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    entries[i] = WGPU_BIND_GROUP_ENTRY_INIT;
    entries[i].binding = i;
    entries[i].buffer = buffers[i].buffer;
    entries[i].offset = buffers[i].offset;
    entries[i].size = buffers[i].bytes;
  }
  WGPUBindGroupDescriptor descriptor = WGPU_BIND_GROUP_DESCRIPTOR_INIT;
  descriptor.layout = pipeline_->layout;
  descriptor.entryCount = entries.size();
  descriptor.entries = entries.data();
  return device_->checked("bindings", [&] {
    group_ = {device_->api(), device_->api().DeviceCreateBindGroup(device_->get(), &descriptor)};
  });
}

void Generation::encode_feed(WGPUCommandEncoder encoder) const {
  if (!input_.buffer) return;
  device_->api().CommandEncoderCopyBufferToBuffer(encoder, chosen_.get(), 0, input_.buffer,
                                                  input_.offset, input_.bytes);
}

void Generation::encode_choice(WGPUCommandEncoder encoder, std::size_t step) const {
  const Api& api = device_->api();
  {
    const PassHandle pass(api, api.CommandEncoderBeginComputePass(encoder, nullptr));
    if (poison_) poison_->encode(pass.get());
    api.ComputePassEncoderSetPipeline(pass.get(), pipeline_->pipeline.get());
    api.ComputePassEncoderSetBindGroup(pass.get(), 0, group_.get(), 0, nullptr);
    api.ComputePassEncoderDispatchWorkgroups(pass.get(), 1, 1, 1);
    api.ComputePassEncoderEnd(pass.get());
  }
  const Landing& landing = landings_[step % kMostOnTheWay];
  api.CommandEncoderCopyBufferToBuffer(encoder, chosen_.get(), 0, landing.buffer.get(), 0, kWord);
}

void Generation::ask(std::size_t step) {
  Landing& landing = landings_[step % kMostOnTheWay];
  device_->start_map(landing.buffer, WGPUMapMode_Read, kWord, landing.map);
}

Result<std::int64_t> Generation::receive(std::size_t step) {
  Landing& landing = landings_[step % kMostOnTheWay];
  TRY(device_->finish_map(landing.buffer, landing.map));
  const Api& api = device_->api();
  const auto held = device_->lock();
  const void* mapped = api.BufferGetConstMappedRange(landing.buffer.get(), 0, kWord);
  std::int32_t token = 0;
  if (mapped) std::memcpy(&token, mapped, kWord);
  api.BufferUnmap(landing.buffer.get());
  CHECK_OR_FAIL(mapped, ErrorKind::Internal, "a token's staging memory was not mapped");
  return token;
}

// --- The loop ---

Result<void> Runner::generate(const Greedy& from, const TakeToken& take) {
  std::lock_guard own(mutex_);
  TRY(check_generates());
  CHECK_OR_FAIL(
      std::in_range<std::int32_t>(from.token) && std::in_range<std::int32_t>(from.position),
      ErrorKind::InvalidArgument, "token ", from.token, " at position ", from.position,
      " does not fit int32");
  std::size_t most = from.count, sent = 0, received = 0;
  Result<void> outcome;
  bool wanted = true;
  clock_.start();
  while (wanted && received < most) {
    if (sent < most && sent - received < Generation::kMostOnTheWay) {
      outcome = send_step(from, sent);
      outcome ? ++sent : most = sent;  // what is on its way still arrives
      continue;
    }
    const Result<std::int64_t> token = generation_->receive(received++);
    clock_.note(&HostTimes::wait);
    if (!token) outcome = std::unexpected(token.error());
    wanted = token && take(*token);
    clock_.note(&HostTimes::read);
  }
  while (received < sent) {
    const Result<std::int64_t> unwanted = generation_->receive(received++);
    if (!unwanted && outcome) outcome = std::unexpected(unwanted.error());
    clock_.note(&HostTimes::wait);
  }
  clock_.average(sent);
  return outcome;
}

Result<void> Runner::check_generates() {
  const Graph& graph = model_->graph();
  const auto is_integer_tensor = [&](std::size_t i) {
    const TensorInfo* info = graph.tensor(graph.inputs[i]);
    return info && !is_floating(info->host_dtype) && byte_size(info->host_dtype) >= kWord;
  };
  CHECK_OR_FAIL(graph.inputs.size() == 2 && is_integer_tensor(0) &&
                    (graph.is_symint(graph.inputs[1]) || is_integer_tensor(1)),
                ErrorKind::InvalidArgument,
                "only a model of tokens [1, S] and a position [1] generates");
  if (generation_) return {};
  TRY_ASSIGN(generation_, Generation::create(device_, memory_));
  return {};
}

// One token's call: everything but waiting for what it gives.
Result<void> Runner::send_step(const Greedy& from, std::size_t step) {
  const auto held = device_->lock();
  TRY(device_->status());
  const Graph& graph = model_->graph();
  const std::int64_t position = from.position + static_cast<std::int64_t>(step);
  const DType token_type = graph.tensor(graph.inputs[0])->host_dtype;
  HostTensor inputs[2];
  inputs[0].dtype = token_type;
  inputs[0].sizes = {1, 1};
  inputs[0].data = bytes_of(from.token, token_type);
  if (const TensorInfo* info = graph.tensor(graph.inputs[1])) {
    inputs[1].dtype = info->host_dtype;
    inputs[1].sizes = {1};
    inputs[1].data = bytes_of(position, info->host_dtype);
  } else {
    inputs[1].is_scalar = true;
    inputs[1].scalar = position;
  }
  TRY(prepare(inputs, true));
  TRY_ASSIGN(const Replay* const replay, ready_replay());
  TRY(generation_->bind(*plan_, memory_));
  write_scalars();
  TRY(write_inputs(inputs, step == 0 ? 0 : 1));
  clock_.note(&HostTimes::prepare);
  const auto record = [&](WGPUCommandEncoder encoder) {
    if (step > 0) generation_->encode_feed(encoder);
    replay->encode(encoder, 0, replay->size(), model_->scalar_values(), nullptr);
    generation_->encode_choice(encoder, step);
  };
  TRY(device_->submit("generate", std::ref(record), options_.validate));  // allocates nothing
  generation_->ask(step);
  clock_.note(&HostTimes::encode);
  return {};
}

}  // namespace etwebgpu
