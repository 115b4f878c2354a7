#include "plan/kernel_tester.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "kernels/kernel_source.h"

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

}  // namespace

// One slice: the reference's kernels first, then the model's. Where these differ, features that
// they use are given up, one after the other, until the rest agrees; kernels that it then does
// without are wrong.
class KernelTester::SliceTest {
 public:
  SliceTest(const KernelSlice& slice, SliceTrials trials, const Capabilities& capabilities,
            const Capabilities& reference)
      : slice_(slice),
        trials_(std::move(trials)),
        capabilities_(capabilities),
        reference_(reference) {}

  // Null when every kernel has its verdict.
  KernelTrial* next() {
    if (stage_ == Stage::Reference) return plan_both() ? &wanted_trial_ : nullptr;
    if (stage_ == Stage::Own) return &trial_;
    if (stage_ == Stage::Less && give_up_next()) return &trial_;
    stage_ = Stage::Over;
    return nullptr;
  }

  void gave(TrialOutputs outputs) {
    if (stage_ == Stage::Reference) {
      wanted_ = std::move(outputs);
      stage_ = Stage::Own;
      return;
    }
    const std::string fault = trials_.difference(outputs, wanted_);
    if (!fault.empty()) return differs(fault);
    if (stage_ == Stage::Own) agrees();
    stage_ = Stage::Over;
  }

  void failed(const Error& error, bool is_lost) {
    if (stage_ == Stage::Reference) return is_lost ? over() : untried(error);
    if (is_lost) return lost(error);
    if (stage_ == Stage::Own && error.kind == ErrorKind::ResourceLimit) return untried(error);
    differs(error.message);
  }

  const SliceTrials& trials() const { return trials_; }
  const KernelSlice& slice() const { return slice_; }

  KernelVerdict verdict_of(const KernelVariant& kernel) const {
    const std::string text = to_string(kernel);
    if (verdict_.outcome == Outcome::Agrees && !own_kernels_.contains(text))
      return {Outcome::Untried, {}, cat(slice_.call, " takes another by itself")};
    if (is_blamed_ && trial_.kernels.contains(text)) return {};
    return verdict_;
  }
  bool has_verdicts() const { return has_verdicts_; }

 private:
  enum class Stage : std::uint8_t { Reference, Own, Less, Over };

  bool plan_both() {
    auto wanted = trials_.plan(reference_), own = trials_.plan(capabilities_);
    if (!wanted || !own) {
      untried((wanted ? own : wanted).error());
      return false;
    }
    wanted_trial_ = *std::move(wanted);
    trial_ = *std::move(own);
    own_kernels_ = trial_.kernels;
    return true;
  }

  void over() { stage_ = Stage::Over; }
  void agrees() { conclude({}); }
  void untried(const Error& why) {
    conclude({Outcome::Untried, {}, cat(slice_.call, ": ", why.message)});
  }
  void lost(const Error& error) {
    KernelVerdict verdict{Outcome::Differs, {}, cat(slice_.call, ": ", error.message)};
    verdict.given_up.assign(kKernelFeatures.begin(), kKernelFeatures.end());
    is_blamed_ = false;
    conclude(std::move(verdict));
  }
  void conclude(KernelVerdict verdict) {
    verdict_ = std::move(verdict);
    has_verdicts_ = true;
    stage_ = Stage::Over;
  }

  // The verdict grows by what is given up.
  void differs(std::string_view why) {
    if (stage_ == Stage::Less) return;
    conclude({Outcome::Differs, {}, cat(slice_.call, ": ", why)});
    is_blamed_ = true;
    stage_ = Stage::Less;
  }

  // A trial with other kernels than the one before, if there is another feature to give up for
  // that.
  bool give_up_next() {
    while (feature_ < kKernelFeatures.size()) {
      const KernelFeature feature = kKernelFeatures[feature_++];
      const Capabilities lowered = without(capabilities_, feature);
      if (lowered == capabilities_) continue;
      auto next = trials_.plan(lowered);
      if (!next || next->kernels == trial_.kernels) continue;
      capabilities_ = lowered;
      trial_ = *std::move(next);
      verdict_.given_up.push_back(feature);
      return true;
    }
    return false;
  }

  const KernelSlice& slice_;
  const SliceTrials trials_;
  Capabilities capabilities_;
  const Capabilities& reference_;
  Stage stage_ = Stage::Reference;
  KernelTrial wanted_trial_ = {}, trial_ = {};  // the latest
  std::set<std::string> own_kernels_;
  TrialOutputs wanted_;
  std::size_t feature_ = 0;  // of kKernelFeatures: the next
  KernelVerdict verdict_;    // of the slice's kernels
  bool has_verdicts_ = false, is_blamed_ = false;
};

KernelTester::KernelTester(const Capabilities& device, MakeModel make, const ModelOptions& options,
                           KernelText text, KernelVerdicts verdicts)
    : make_(std::move(make)),
      options_(options),
      text_(std::move(text)),
      reference_(reference(device)),
      verdicts_(std::move(verdicts)),
      found_{.capabilities = device} {}

KernelTester::~KernelTester() = default;

Result<KernelTrial*> KernelTester::next() {
  while (true) {
    if (test_ != nullptr) {
      if (KernelTrial* trial = test_->next()) return trial;
      TRY(settle(test_->slice()));
      ++at_;
    }
    if (at_ < slices_.size()) {
      TRY(begin_slice(slices_[at_]));
      continue;
    }
    TRY_ASSIGN(const bool goes_on, ends_round());
    if (!goes_on) return nullptr;
  }
}

const std::vector<TrialInput>& KernelTester::inputs() const { return test_->trials().inputs(); }
const MadeUpConstants& KernelTester::constants() const { return test_->trials().constants(); }

Result<void> KernelTester::gave(TrialOutputs outputs) {
  test_->gave(std::move(outputs));
  return {};
}

Result<void> KernelTester::failed(const Error& error, bool is_lost) {
  test_->failed(error, is_lost);
  if (!is_lost) return {};
  TRY(settle(test_->slice()));
  return std::unexpected(Error(error).within("trial of kernels of ", slices_[at_].call));
}

// False if there is nothing to try.
Result<bool> KernelTester::begin_round() {
  if (found_.capabilities == reference_ || other_ == nullptr) return false;
  TRY_ASSIGN(const auto model, make_(found_.capabilities));
  slices_ = kernel_slices(*model, *other_);
  at_ = 0;
  return true;
}

// False when the kernels that are left agree.
Result<bool> KernelTester::ends_round() {
  if (!std::exchange(is_begun_, true)) {
    auto other = make_(reference_);
    if (other) other_ = *std::move(other);  // else there is nothing to compare with
    return begin_round();
  }
  Capabilities lowered = found_.capabilities;
  bool is_wrong = false;
  for (const KernelSlice& slice : slices_) {
    for (const KernelVariant& kernel : slice.kernels) {
      TRY_ASSIGN(const KernelVerdict* const verdict, find(kernel));
      if (verdict->outcome != Outcome::Differs) continue;
      is_wrong = true;
      for (const KernelFeature feature : verdict->given_up) lowered = without(lowered, feature);
      found_.replaced.push_back(*verdict);
    }
  }
  if (!is_wrong) return false;
  // A verdict of another day may blame what is not there.
  found_.capabilities = lowered == found_.capabilities ? reference_ : lowered;
  return begin_round();
}

// Nothing is to be tried of a slice whose kernels are known, or that is too large.
Result<void> KernelTester::begin_slice(const KernelSlice& slice) {
  bool is_known = true;
  for (const KernelVariant& kernel : slice.kernels) {
    TRY_ASSIGN(const KernelVerdict* const verdict, find(kernel));
    is_known &= verdict != nullptr;
  }
  auto trials = SliceTrials::of(slice, options_);
  if (!is_known && trials) {
    test_ = std::make_unique<SliceTest>(slice, *std::move(trials), found_.capabilities, reference_);
    return {};
  }
  ++at_;
  if (is_known) return {};
  for (const KernelVariant& kernel : slice.kernels) {
    TRY_ASSIGN(const std::string id, key(kernel));
    verdicts_.try_emplace(id, KernelVerdict{Outcome::Untried, to_string(kernel),
                                            cat(slice.call, ": ", trials.error().message)});
  }
  return {};
}

// Takes the verdicts of the slice that has been tried.
Result<void> KernelTester::settle(const KernelSlice& slice) {
  const std::unique_ptr<SliceTest> test = std::move(test_);
  if (!test->has_verdicts()) return {};
  for (const KernelVariant& kernel : slice.kernels) {
    TRY_ASSIGN(const std::string id, key(kernel));
    KernelVerdict verdict = test->verdict_of(kernel);
    verdict.kernel = to_string(kernel);
    verdicts_.try_emplace(id, std::move(verdict));
  }
  return {};
}

Result<std::string> KernelTester::key(const KernelVariant& kernel) const {
  TRY_ASSIGN(const std::string text, text_(kernel));
  return hash_of(text);
}

// Null for an unknown one.
Result<const KernelVerdict*> KernelTester::find(const KernelVariant& kernel) const {
  TRY_ASSIGN(const std::string id, key(kernel));
  const auto known = verdicts_.find(id);
  return known == verdicts_.end() ? nullptr : &known->second;
}

}  // namespace etwebgpu
