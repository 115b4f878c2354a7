// Drivers compile some kernels wrongly, and what comes out looks like any other number. So the
// kernels of a model are tried on the device itself, each against the one that uses no feature.
// This decides what is tried and what follows from it; an executor runs the trials:
//
//   KernelTester tester(...);
//   while (KernelTrial* trial = next()) run *trial with tester.inputs() and tester.constants();
//     then tester.gave(outputs) or tester.failed(error, is_lost)
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/capabilities.h"
#include "base/result.h"
#include "ops/op.h"
#include "plan/kernel_trial.h"
#include "plan/kernel_verdicts.h"
#include "plan/model.h"

namespace etwebgpu {

// The model for a device of these capabilities.
using MakeModel = std::function<Result<std::unique_ptr<Model>>(const Capabilities&)>;

// The WGSL that the executor compiles for a kernel.
using KernelText = std::function<Result<std::string>(const KernelVariant&)>;

struct TestedKernels {
  Capabilities capabilities;  // of the device, less what was given up
  // Kernels that the model would have had and that are wrong here.
  std::vector<KernelVerdict> replaced = {};
};

// Tries those of the model's kernels that the verdicts do not know, on small seeded values, and
// adds to them. As long as one is wrong, features are given up, those that it needs, until all
// kernels that are left agree.
class KernelTester {
 public:
  KernelTester(const Capabilities& device, MakeModel make, const ModelOptions& options,
               KernelText text, KernelVerdicts verdicts);
  KernelTester(const KernelTester&) = delete;
  KernelTester& operator=(const KernelTester&) = delete;
  ~KernelTester();

  // What is to be run next; null when all has been tried. Fails where the model does.
  Result<KernelTrial*> next();

  // Of the trial that next() gave last.
  const std::vector<TrialInput>& inputs() const;
  const MadeUpConstants& constants() const;

  // What became of it. Fails if the device is lost: the kernel's verdict says so, and the next load
  // does without it.
  Result<void> gave(TrialOutputs outputs);
  Result<void> failed(const Error& error, bool is_lost);

  const TestedKernels& found() const { return found_; }
  const KernelVerdicts& verdicts() const { return verdicts_; }

 private:
  class SliceTest;

  Result<bool> begin_round();
  Result<bool> ends_round();
  Result<void> begin_slice(const KernelSlice& slice);
  Result<void> settle(const KernelSlice& slice);
  Result<std::string> key(const KernelVariant& kernel) const;
  Result<const KernelVerdict*> find(const KernelVariant& kernel) const;

  const MakeModel make_;
  const ModelOptions options_;
  const KernelText text_;
  const Capabilities reference_;
  KernelVerdicts verdicts_;
  TestedKernels found_;
  std::unique_ptr<Model> other_;     // the reference's
  std::vector<KernelSlice> slices_;  // of this round
  std::size_t at_ = 0;               // among them
  std::unique_ptr<SliceTest> test_;  // of that one
  bool is_begun_ = false;
};

}  // namespace etwebgpu
