// A model on a device: weights uploaded once, then a few submits and one wait per execute.
//
//   TRY_ASSIGN(auto device, Device::acquire(choice));
//   TRY_ASSIGN(auto model, Model::create(std::move(graph), device->capabilities(), options));
//   TRY_ASSIGN(auto runner, Runner::create(std::move(model), device, constants, {}));
//   TRY(runner->execute(inputs, outputs));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/model.h"
#include "webgpu/device.h"
#include "webgpu/generation.h"
#include "webgpu/host_clock.h"
#include "webgpu/host_tensor.h"
#include "webgpu/memory.h"
#include "webgpu/replay.h"
#include "webgpu/upload.h"

namespace etwebgpu {

struct RunnerOptions {
  bool profiling = false;          // time every dispatch; costs a pass each
  std::uint64_t memory_limit = 0;  // bytes on the GPU for this model; 0 = as the device allows
  bool validate = false;       // error scopes around every submit; also with ETWEBGPU_VALIDATE=1
  bool compile_bounds = true;  // pipelines of the plan for the recorded bounds, at load
};

// Where outputs go. Both functions are called before anything is written, once the sizes are known.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // Makes room for output `index` (among the graph's outputs) of these live sizes, and adds where
  // it is written: nowhere, once or several times. `recorded` is its type, int64 for integers that
  // are computed in 64 bits; a destination's may differ where convertible() allows it.
  virtual Result<void> place(std::size_t index, DType recorded, const Dims& sizes,
                             std::vector<HostDestination>& to) = 0;
  // True if integer output `index` is wanted in 64 bits.
  virtual bool wants_wide(std::size_t index) const = 0;
  // The value of a SymInt output.
  virtual Result<void> scalar(std::size_t index, std::int64_t value) = 0;
};

struct DispatchTime {
  std::string_view kernel;  // KernelVariant::name
  std::string_view call;    // name of the operator call it belongs to
  std::uint32_t node_id = 0;
  double begin = 0;  // microseconds since the first dispatch of the execute began
  double microseconds = 0;
};

class Runner {
 public:
  // By index among the model's states: memory that another model has made for it, or null.
  using MadeStates = std::vector<std::shared_ptr<StateBuffer>>;

  // Uploads constants and first contents of states that nobody else has made, and compiles
  // pipelines.
  static Result<std::unique_ptr<Runner>> create(std::unique_ptr<Model> model,
                                                std::shared_ptr<Device> device,
                                                ConstantSource& constants,
                                                const RunnerOptions& options,
                                                const MadeStates& made = {});
  ~Runner();
  Runner(const Runner&) = delete;

  // Runs the model. `inputs` are as many as the graph's. Several threads may call it; calls take
  // turns. After an error the next call works, unless the device is lost.
  Result<void> execute(std::span<const HostTensor> inputs, OutputSink& outputs);

  // For a model of tokens [1, S] and a position [1] whose first output is logits: feeds `token` at
  // `position`, takes the likeliest token after it, and goes on with that, up to `count` times.
  // Chosen tokens stay on the GPU and the host runs a few steps behind: `take` gets each in order
  // and says whether to go on; up to kMostOnTheWay more may then have been fed.
  struct Greedy {
    std::int64_t token = 0, position = 0;
    std::size_t count = 0;
  };
  using TakeToken = std::function<bool(std::int64_t)>;  // must not call the runner
  Result<void> generate(const Greedy& from, const TakeToken& take);

  const Model& model() const { return *model_; }
  const Device& device() const { return *device_; }
  const std::shared_ptr<StateBuffer>& state(std::size_t index) const {
    return memory_.state(index);
  }
  std::uint64_t gpu_bytes() const { return memory_.used_bytes(); }
  // Keeps other threads from executing while what the last execute left is looked at.
  [[nodiscard]] std::unique_lock<std::mutex> hold() const { return std::unique_lock(mutex_); }
  // The plan of the last execute that got so far, valid until the next one; null before.
  const Plan* last_plan() const { return plan_; }
  // With profiling: the dispatches of the last execute, in order.
  std::span<const DispatchTime> times() const { return times_; }
  // Of the last execute, or of a step of generate on average.
  const HostTimes& host_times() const { return clock_.times(); }

 private:
  struct Readback {
    std::size_t plan_output = 0;
    std::uint64_t offset = 0;  // in the staging buffer
    HostDestination to;
  };
  // Commands of a call, and all that they depend on.
  struct Commands {
    struct For {
      std::shared_ptr<void> replay;  // kept, so that no other gets its address
      std::uint64_t memory = 0;      // ModelMemory::generation()
      std::vector<std::uint32_t> live_rows;
      std::vector<std::pair<std::size_t, std::uint64_t>> readbacks;  // outputs and offsets
      bool operator==(const For&) const = default;
    } of;
    std::vector<CommandsHandle> pieces;  // none if not recorded
  };

  Runner(std::unique_ptr<Model> model, std::shared_ptr<Device> device,
         const RunnerOptions& options);
  Result<void> allocate(const MadeStates& made);
  Result<void> place(std::span<const NamedSize> constants, const MadeStates& made);
  Result<void> upload(ConstantSource& constants, const MadeStates& made);
  Result<void> prepare(std::span<const HostTensor> inputs, bool wide_integers);
  bool has_wide_integers(std::span<const HostTensor> inputs, const OutputSink& outputs) const;
  Result<void> read_host_input(std::size_t position, const HostTensor& input);
  Result<Replay*> ready_replay();
  std::span<const std::byte> row_major(const HostTensor& input);
  Result<void> place_outputs(OutputSink& outputs);
  Result<void> place_output(std::size_t plan_output, OutputSink& outputs);
  Result<void> reserve_staging(std::uint64_t bytes);
  void write_scalars();
  Result<void> write_inputs(std::span<const HostTensor> inputs, std::size_t first = 0);
  Result<void> submit(const Replay& replay);
  void note_wanted(const Replay& replay);
  Result<void> send_recorded();
  bool works_beside_gpu() const;
  template <typename Take>
  Result<void> record_pieces(const Replay& replay, std::size_t size, std::size_t growth,
                             const Take& take);
  Result<void> record_next(const Replay& replay);
  void encode_readbacks(WGPUCommandEncoder encoder);
  Result<void> read_outputs();
  Result<void> read_times();
  Result<void> check_generates();
  Result<void> send_step(const Greedy& from, std::size_t step);

  mutable std::mutex mutex_;  // the model and the scratch below
  std::shared_ptr<Device> device_;
  std::unique_ptr<Model> model_;
  RunnerOptions options_;
  ModelMemory memory_;
  std::optional<Profiler> profiler_;
  Buffer staging_;                          // mapped to read outputs
  std::unique_ptr<Generation> generation_;  // once generate() was called
  const Plan* plan_ = nullptr;
  Commands next_;  // recorded while the GPU worked on the last call
  std::vector<DispatchTime> times_;
  HostClock clock_;

  // Scratch of execute, kept so that a step allocates nothing.
  std::vector<HostInput> host_inputs_;
  std::vector<std::vector<std::int64_t>> elements_;  // by input
  std::vector<std::uint32_t> words_;
  std::vector<std::byte> rows_;
  std::vector<HostDestination> places_;
  std::vector<std::int32_t> scalar_words_;
  Commands::For wanted_;
  std::vector<Readback> readbacks_;
  std::uint64_t staged_bytes_ = 0;
};

}  // namespace etwebgpu
