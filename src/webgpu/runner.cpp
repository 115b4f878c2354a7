#include "webgpu/runner.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <ranges>
#include <utility>

#include "base/checked.h"
#include "base/elements.h"
#include "webgpu/developer_switch.h"

namespace etwebgpu {

namespace {

constexpr std::uint64_t kScalarBytes = 16;

std::string describe(std::string_view role, std::size_t index, const PackedConstant& constant) {
  if (constant.parts.empty()) return cat(role, " ", index);
  const PackedPart& part = constant.parts.front();
  return cat(role, " ", index, " (", name(part.dtype), " ", to_string(part.dims),
             constant.parts.size() > 1 ? ", stacked)" : ")");
}

bool is_made(const Runner::MadeStates& made, std::size_t state) {
  return state < made.size() && made[state] != nullptr;
}

std::uint64_t bytes_of(const PlannedTensor& tensor) {
  return storage_bytes(tensor.storage, tensor.sizes.numel());
}

// What there is no memory for, with what the whole takes and what would make it less.
Error with_needs(Error error, std::uint64_t weights, std::span<const StateSpec> states) {
  if (error.kind != ErrorKind::ResourceLimit) return error;
  std::uint64_t all = 0, floats = 0;
  for (const auto& [value, initial, bytes] : states) {
    all += bytes;
    const bool is_float = initial.packing == Packing::Words && !initial.parts.empty() &&
                          initial.parts[0].dtype == DType::Float32;
    if (is_float) floats += bytes;
  }
  error.message = cat(error.message, "; the program has ", weights, " bytes of weights");
  if (all > 0) error.message = cat(error.message, " and ", all, " of states");
  if (floats > 0)
    error.message = cat(error.message, ", which the option kv_cache_dtype f16 makes ",
                        all - floats / 2, ", and a shorter context less");
  return error;
}

}  // namespace

Runner::Runner(std::unique_ptr<Model> model, std::shared_ptr<Device> device,
               const RunnerOptions& options)
    : device_(std::move(device)),
      model_(std::move(model)),
      options_(options),
      memory_(device_, options.memory_limit) {
  options_.validate |= switched_on("ETWEBGPU_VALIDATE");
  elements_.resize(model_->graph().inputs.size());
}

Runner::~Runner() {
  const auto held = device_->lock();
  next_ = {};
  wanted_ = {};
  model_.reset();  // the plans' bind groups go before the buffers they name
}

Result<std::unique_ptr<Runner>> Runner::create(std::unique_ptr<Model> model,
                                               std::shared_ptr<Device> device,
                                               ConstantSource& constants,
                                               const RunnerOptions& options,
                                               const MadeStates& made) {
  TRY(device->status());
  std::unique_ptr<Runner> runner(new Runner(std::move(model), std::move(device), options));
  TRY(runner->allocate(made));
  TRY(runner->upload(constants, made));
  if (options.profiling) {
    runner->profiler_.emplace(runner->device_);
    TRY(runner->profiler_->reserve(1));
  }
  if (!options.compile_bounds) return runner;
  const Plan& bound = runner->model_->bound_plan();
  TRY(Replay::create(runner->device_, bound, runner->model_->kernels()));
  return runner;
}

Result<void> Runner::allocate(const MadeStates& made) {
  const auto constants = model_->constants();
  std::vector<NamedSize> sizes;
  std::uint64_t weights = 0;
  for (std::size_t i = 0; i < constants.size(); ++i) {
    TRY_ASSIGN(const std::uint64_t bytes, packed_size(constants[i]));
    sizes.push_back({describe("constant", i, constants[i]), bytes});
    weights += bytes;
  }
  const Result<void> placed = place(sizes, made);
  if (!placed) return std::unexpected(with_needs(placed.error(), weights, model_->states()));
  return memory_.make_scalars(model_->scalars().size());
}

Result<void> Runner::place(std::span<const NamedSize> constants, const MadeStates& made) {
  TRY(memory_.add_constants(constants));
  const auto states = model_->states();
  for (std::size_t i = 0; i < states.size(); ++i) {
    const auto& [value, initial, bytes] = states[i];
    const std::string what = describe("state", i, initial);
    TRY(is_made(made, i) ? memory_.add_state(what, bytes, initial.packing, made[i])
                         : memory_.add_state(what, bytes, initial.packing));
  }
  return {};
}

Result<void> Runner::upload(ConstantSource& constants, const MadeStates& made) {
  std::vector<UploadTarget> targets;
  for (std::uint32_t i = 0; i < model_->constants().size(); ++i)
    targets.push_back({&model_->constants()[i], memory_.at(Space::Constant, i)});
  for (std::uint32_t i = 0; i < model_->states().size(); ++i)
    if (!is_made(made, i))
      targets.push_back({&model_->states()[i].initial, memory_.at(Space::State, i)});
  return upload_constants(device_, targets, constants);
}

Result<void> Runner::execute(std::span<const HostTensor> inputs, OutputSink& outputs) {
  std::lock_guard own(mutex_);
  const auto held = device_->lock();
  clock_.start();
  TRY(device_->status());
  TRY(prepare(inputs, has_wide_integers(inputs, outputs)));
  TRY_ASSIGN(const Replay* const replay, ready_replay());
  TRY(place_outputs(outputs));
  write_scalars();
  TRY(write_inputs(inputs));
  clock_.note(&HostTimes::prepare);
  TRY(submit(*replay));
  clock_.note(&HostTimes::encode);
  TRY(record_next(*replay));
  clock_.note(&HostTimes::ahead);
  TRY(read_outputs());
  clock_.note(&HostTimes::read);
  if (profiler_) TRY(read_times());
  return device_->status();
}

// Host data that the model looks at, and the plan for the inputs' sizes.
namespace {

// ETWEBGPU_LOSE_DEVICE=N: at every Nth call of this process.
void lose_if_asked(Device& device) {
  static const unsigned long every = switched_to("ETWEBGPU_LOSE_DEVICE");
  static std::atomic<unsigned long> calls = 0;
  if (every > 0 && ++calls % every == 0) device.destroy("ETWEBGPU_LOSE_DEVICE");
}

}  // namespace

Result<void> Runner::prepare(std::span<const HostTensor> inputs, bool wide_integers) {
  lose_if_asked(*device_);
  TRY(device_->status());
  const Graph& graph = model_->graph();
  CHECK_OR_FAIL(inputs.size() == graph.inputs.size(), ErrorKind::InvalidArgument,
                "the model takes ", graph.inputs.size(), " inputs and was given ", inputs.size());
  host_inputs_.resize(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) TRY(read_host_input(i, inputs[i]));
  plan_ = nullptr;
  TRY_ASSIGN(plan_, model_->prepare(host_inputs_, wide_integers));
  return {};
}

bool Runner::has_wide_integers(std::span<const HostTensor> inputs,
                               const OutputSink& outputs) const {
  const auto is_wide = [](const HostTensor& input) {
    return !input.is_scalar && input.dtype == DType::Int64;
  };
  if (std::ranges::any_of(inputs, is_wide)) return true;
  for (std::size_t i = 0; i < model_->graph().outputs.size(); ++i)
    if (outputs.wants_wide(i)) return true;
  return false;
}

Result<void> Runner::read_host_input(std::size_t position, const HostTensor& input) {
  HostInput& out = host_inputs_[position];
  out = {input.sizes, {}, input.scalar};
  const TensorInfo* info = model_->graph().tensor(model_->graph().inputs[position]);
  const std::string what = cat("input ", position);
  if (info) {
    CHECK_OR_FAIL(!input.is_scalar, ErrorKind::InvalidArgument, what,
                  " must be a tensor, not a scalar");
    CHECK_OR_FAIL(convertible(input.dtype, info->host_dtype), ErrorKind::InvalidArgument, what,
                  " is ", name(input.dtype), ", but the model was exported with ",
                  name(info->host_dtype));
  } else if (input.is_scalar) {
    return {};
  }
  std::uint64_t count = 1;
  for (std::int64_t extent : input.sizes) {
    const auto product = checked_mul(count, static_cast<std::uint64_t>(extent));
    CHECK_OR_FAIL(extent >= 0 && product, ErrorKind::InvalidArgument, what,
                  " has impossible sizes ", to_string(input.sizes));
    count = *product;
  }
  CHECK_OR_FAIL(count == input.data.size() / byte_size(input.dtype), ErrorKind::InvalidArgument,
                what, " of sizes ", to_string(input.sizes), " brings ", input.data.size(),
                " bytes");
  const bool integer = !is_floating(input.dtype);
  if (info && model_->wants_host_data(position) && integer) {
    elements_[position] = integers(input.dtype, row_major(input));
    out.elements = elements_[position];
  } else if (!info) {
    // A tensor where the graph has a SymInt.
    CHECK_OR_FAIL(count == 1 && integer, ErrorKind::InvalidArgument, what,
                  " must be one integer, not a ", name(input.dtype), " tensor of sizes ",
                  to_string(input.sizes));
    out.scalar = integers(input.dtype, input.data).front();
  }
  return {};
}

Result<Replay*> Runner::ready_replay() {
  TRY(memory_.fit_slots(plan_->slots));
  if (!plan_->replay) {
    TRY_ASSIGN(plan_->replay, Replay::create(device_, *plan_, model_->kernels()));
  }
  auto* replay = static_cast<Replay*>(plan_->replay.get());
  TRY(replay->bind(memory_));
  if (profiler_) TRY(profiler_->reserve(plan_->dispatches.size()));
  return replay;
}

// The input's bytes in row-major order, valid until the next call.
std::span<const std::byte> Runner::row_major(const HostTensor& input) {
  if (is_row_major(input.sizes, input.strides)) return input.data;
  rows_.resize(input.data.size());
  gather(input, rows_);
  return rows_;
}

Result<void> Runner::place_outputs(OutputSink& outputs) {
  readbacks_.clear();
  staged_bytes_ = 0;
  for (std::size_t i = 0; i < plan_->outputs.size(); ++i) TRY(place_output(i, outputs));
  const auto scalars = model_->scalars();
  for (std::size_t i = 0; i < model_->graph().outputs.size(); ++i) {
    const ValueId value = model_->graph().outputs[i];
    if (!model_->graph().is_symint(value)) continue;
    const auto slot = std::ranges::find(scalars, value) - scalars.begin();
    TRY(outputs.scalar(i, model_->scalar_values()[static_cast<std::size_t>(slot)]));
  }
  return reserve_staging(staged_bytes_);
}

// An output is staged once, however often it is wanted.
Result<void> Runner::place_output(std::size_t plan_output, OutputSink& outputs) {
  constexpr std::uint64_t kMapAlignment = 8;
  const PlannedTensor& output = plan_->outputs[plan_output];
  places_.clear();
  const DType type = output.storage == Storage::I64 ? DType::Int64 : output.dtype;
  TRY(outputs.place(output.position, type, output.sizes, places_));
  const std::int64_t count = output.sizes.numel();
  std::erase_if(places_, [](const HostDestination& to) { return to.data.empty(); });
  if (places_.empty() || count == 0) return {};
  for (const HostDestination& to : places_) {
    CHECK_OR_FAIL(convertible(to.dtype, output.dtype), ErrorKind::InvalidArgument, "output ",
                  output.position, " is wanted as ", name(to.dtype), ", but the model gives ",
                  name(output.dtype));
    CHECK_OR_FAIL(to.data.size() / byte_size(to.dtype) >= static_cast<std::uint64_t>(count),
                  ErrorKind::InvalidArgument, "output ", output.position, " of sizes ",
                  to_string(output.sizes), " does not fit ", to.data.size(), " bytes");
    readbacks_.push_back({plan_output, staged_bytes_, to});
  }
  staged_bytes_ = round_up(staged_bytes_ + bytes_of(output), kMapAlignment);
  return {};
}

Result<void> Runner::reserve_staging(std::uint64_t bytes) {
  if (bytes <= staging_.bytes()) return {};
  next_.pieces.clear();  // they copy to the buffer that goes
  memory_.forget(staging_);
  staging_ = Buffer();
  TRY_ASSIGN(staging_, memory_.make("staging for outputs", bytes,
                                    WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst));
  return {};
}

void Runner::write_scalars() {
  const auto values = model_->scalar_values();
  const auto dirty = model_->scalar_dirty();
  const std::uint64_t stride = device_->capabilities().uniform_alignment;
  const auto changed = [](auto flag) { return flag != 0; };
  const auto begin = std::ranges::find_if(dirty, changed);
  if (begin == dirty.end()) return;
  const auto end = std::ranges::find_if(dirty | std::views::reverse, changed).base();
  // One write from the first to the last: each is a copy of its own on the device.
  const auto first = static_cast<std::size_t>(begin - dirty.begin());
  const auto count = static_cast<std::size_t>(end - begin);
  const std::size_t words = stride / sizeof(std::int32_t);
  scalar_words_.assign((count - 1) * words + kScalarBytes / sizeof(std::int32_t), 0);
  for (std::size_t i = 0; i < count; ++i) scalar_words_[i * words] = values[first + i];
  device_->api().QueueWriteBuffer(device_->queue(), memory_.scalars().get(), first * stride,
                                  scalar_words_.data(),
                                  scalar_words_.size() * sizeof(std::int32_t));
  model_->clear_dirty();
}

// Inputs from position `first` on.
Result<void> Runner::write_inputs(std::span<const HostTensor> inputs, std::size_t first) {
  for (const PlannedTensor& planned : plan_->inputs) {
    const std::uint64_t bytes = bytes_of(planned);
    if (!planned.on_device || bytes == 0 || planned.position < first) continue;
    const HostTensor& input = inputs[planned.position];
    const std::span<const std::byte> rows = row_major(input);
    const void* words = rows.data();
    if (!is_stored_as_is(planned.storage, input.dtype) || rows.size() != bytes) {
      words_.resize(bytes / kWord);
      TRY(to_words(cat("input ", planned.position), input.dtype, rows, planned.storage, words_));
      words = words_.data();
    }
    const BufferRange to = memory_.at(planned.space, planned.index);
    device_->api().QueueWriteBuffer(device_->queue(), to.buffer, to.offset, words, bytes);
  }
  return {};
}

// Whether the host encodes while the GPU works on what came before: a software adapter needs the
// same cores, and a profile its dispatches in one submit.
bool Runner::works_beside_gpu() const {
  return device_->capabilities().adapter_class != AdapterClass::Software && !profiler_;
}

// One submit, or several, so that a GPU works on the first dispatches while the next are encoded. A
// call like the last, as the steps of a decode are, finds its commands recorded.
Result<void> Runner::submit(const Replay& replay) {
  constexpr std::size_t kDispatchesPerSubmit = 24;
  std::size_t piece = replay.size();
  if (works_beside_gpu()) {
    note_wanted(replay);
    if (!next_.pieces.empty() && wanted_ == next_.of) return send_recorded();
    piece = kDispatchesPerSubmit;
  }
  return record_pieces(replay, piece, 1, [&](const CommandsHandle& commands) {
    return device_->send("execute", commands, options_.validate);
  });
}

void Runner::note_wanted(const Replay& replay) {
  wanted_.replay = plan_->replay;
  wanted_.memory = memory_.generation();
  replay.live_rows(model_->scalar_values(), wanted_.live_rows);
  wanted_.readbacks.clear();
  for (const Readback& readback : readbacks_)
    wanted_.readbacks.emplace_back(readback.plan_output, readback.offset);
}

// Commands are good for one submit, whether it succeeds or not.
Result<void> Runner::send_recorded() {
  Result<void> sent;
  for (const CommandsHandle& piece : next_.pieces)
    if (sent) sent = device_->send("execute", piece, options_.validate);
  next_.pieces.clear();
  return sent;
}

// All dispatches: `size` of them in the first piece, and in each `growth` times as many as before.
template <typename Take>
Result<void> Runner::record_pieces(const Replay& replay, std::size_t size, std::size_t growth,
                                   const Take& take) {
  for (std::size_t first = 0;; first += std::exchange(size, size * growth)) {
    const std::size_t last = std::min(replay.size(), first + size);
    const auto record = [&](WGPUCommandEncoder encoder) {
      replay.encode(encoder, first, last, model_->scalar_values(),
                    profiler_ ? &*profiler_ : nullptr);
      if (last == replay.size()) encode_readbacks(encoder);
    };
    TRY_ASSIGN(CommandsHandle commands,  // std::ref: allocates nothing
               device_->record("execute", std::ref(record), options_.validate));
    TRY(take(std::move(commands)));
    if (last == replay.size()) return {};
  }
}

// Once a plan has come twice, what a third call would submit is recorded while the GPU works on the
// second.
Result<void> Runner::record_next(const Replay& replay) {
  // A provider that does the most of its work in the submit takes about half a dispatch's time on
  // the GPU for each: a piece is submitted while the GPU works on the one before.
  constexpr std::size_t kFirstPiece = 12, kGrowth = 2;
  if (!works_beside_gpu()) return {};
  const bool repeats = next_.of.replay == wanted_.replay;
  std::swap(next_.of, wanted_);
  next_.pieces.clear();
  if (!repeats) return {};
  const auto keep = [&](CommandsHandle commands) {
    next_.pieces.push_back(std::move(commands));
    return Result<void>();
  };
  const Result<void> recorded = record_pieces(replay, kFirstPiece, kGrowth, keep);
  if (!recorded) next_.pieces.clear();  // never a part of a call
  return recorded;
}

void Runner::encode_readbacks(WGPUCommandEncoder encoder) {
  for (std::size_t i = 0; i < readbacks_.size(); ++i) {
    const Readback& readback = readbacks_[i];
    if (i > 0 && readbacks_[i - 1].offset == readback.offset) continue;  // wanted twice
    const PlannedTensor& output = plan_->outputs[readback.plan_output];
    const BufferRange from = memory_.at(output.space, output.index);
    device_->api().CommandEncoderCopyBufferToBuffer(
        encoder, from.buffer, from.offset, staging_.get(), readback.offset, bytes_of(output));
  }
  if (profiler_) profiler_->resolve(encoder, plan_->dispatches.size());
}

Result<void> Runner::read_outputs() {
  if (readbacks_.empty()) return {};
  TRY(device_->map(staging_, WGPUMapMode_Read, staged_bytes_));
  clock_.note(&HostTimes::wait);
  const auto* mapped = static_cast<const std::byte*>(
      device_->api().BufferGetConstMappedRange(staging_.get(), 0, staged_bytes_));
  for (const Readback& readback : readbacks_) {
    if (!mapped) break;
    const PlannedTensor& output = plan_->outputs[readback.plan_output];
    const std::byte* stored = mapped + readback.offset;
    const std::int64_t count = output.sizes.numel();
    const HostDestination& to = readback.to;
    if (is_row_major(to.sizes, to.strides)) {
      load_elements(output.storage, stored, count, to.dtype, to.data.data());
    } else {
      rows_.resize(to.data.size());
      load_elements(output.storage, stored, count, to.dtype, rows_.data());
      scatter(rows_, to);
    }
  }
  device_->api().BufferUnmap(staging_.get());
  CHECK_OR_FAIL(mapped, ErrorKind::Internal, "the outputs' staging memory was not mapped");
  return {};
}

Result<void> Runner::read_times() {
  TRY(profiler_->read(plan_->dispatches.size()));
  times_.clear();
  const std::span<const Profiler::Time> times = profiler_->times();
  for (std::size_t i = 0; i < times.size(); ++i) {
    const PlannedDispatch& dispatch = plan_->dispatches[i];
    const Call& call = model_->graph().calls[dispatch.call];
    times_.push_back({model_->kernels()[dispatch.kernel].name, call.name, call.node_id,
                      times[i].begin, times[i].microseconds});
  }
  return {};
}

}  // namespace etwebgpu
