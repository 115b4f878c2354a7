#include "webgpu/self_test.h"

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "webgpu/runner.h"
#include "webgpu/template_folder.h"

namespace etwebgpu {
namespace {

class TrialConstants final : public ConstantSource {
 public:
  explicit TrialConstants(const MadeUpConstants& made_up) : made_up_(made_up) {}

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    TRY_ASSIGN(std::vector<std::byte> bytes, made_up_.bytes(index));
    return fetched_[index] = std::move(bytes);
  }
  void release(std::int32_t index) override { fetched_.erase(index); }

 private:
  const MadeUpConstants& made_up_;
  std::map<std::int32_t, std::vector<std::byte>> fetched_;
};

class TrialSink final : public OutputSink {
 public:
  Result<void> place(std::size_t index, DType recorded, const Dims& sizes,
                     std::vector<HostDestination>& to) override {
    TrialOutput& out = outputs[index];
    out.dtype = is_floating(recorded) ? DType::Float32 : recorded;
    out.bytes.assign(static_cast<std::size_t>(sizes.numel()) * byte_size(out.dtype), {});
    to.push_back({out.dtype, sizes, {}, out.bytes});
    return {};
  }
  bool wants_wide(std::size_t) const override { return true; }
  Result<void> scalar(std::size_t, std::int64_t) override { return {}; }

  TrialOutputs outputs;
};

std::vector<HostTensor> host_tensors(std::span<const TrialInput> inputs) {
  std::vector<HostTensor> out;
  for (const TrialInput& input : inputs) {
    HostTensor& tensor = out.emplace_back();
    tensor.is_scalar = input.is_scalar;
    tensor.scalar = input.scalar;
    if (input.is_scalar) continue;
    tensor.dtype = input.dtype;
    tensor.sizes = input.sizes;
    tensor.data = input.bytes;
  }
  return out;
}

Result<TrialOutputs> run(KernelTrial& trial, const KernelTester& tester,
                         const std::shared_ptr<Device>& device) {
  TrialConstants constants(tester.constants());
  const RunnerOptions options{
      .memory_limit = kMostTrialMemory, .validate = true, .compile_bounds = false};
  TRY_ASSIGN(const auto runner, Runner::create(std::move(trial.model), device, constants, options));
  TrialSink sink;
  TRY(runner->execute(host_tensors(tester.inputs()), sink));
  return std::move(sink.outputs);
}

Result<void> run_all(KernelTester& tester, const std::shared_ptr<Device>& device) {
  while (true) {
    TRY_ASSIGN(KernelTrial* const trial, tester.next());
    if (trial == nullptr) return {};
    auto outputs = run(*trial, tester, device);
    TRY(outputs ? tester.gave(*std::move(outputs))
                : tester.failed(outputs.error(), device->lost()));
  }
}

}  // namespace

Result<TestedKernels> self_test(const std::shared_ptr<Device>& device, MakeModel make,
                                const ModelOptions& options, KernelVerdicts& verdicts) {
  const Capabilities capabilities = device->capabilities();
  const KernelText text = [&](const KernelVariant& kernel) {
    return used_kernel_source(kernel, capabilities.dialect);
  };
  KernelTester tester(capabilities, std::move(make), options, text, verdicts);
  const Result<void> ran = run_all(tester, device);
  verdicts = tester.verdicts();
  TRY(ran);
  return tester.found();
}

}  // namespace etwebgpu
