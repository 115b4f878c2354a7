// One delegate of a program that is compiled ahead of time: its model and the plans asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "capi/delegate.h"
#include "capi/delegate_constants.h"
#include "plan/call_match.h"
#include "plan/live_values.h"
#include "plan/model.h"

namespace etwebgpu {

// What the delegates of a program have in common: texts of kernels, each once, and the parameters
// of all plans.
class SharedTexts {
 public:
  // The text's place.
  std::size_t add(std::string text);
  // Where the bytes begin.
  std::size_t add(std::span<const std::byte> uniforms);

  std::span<const std::string> texts() const { return texts_; }
  std::span<const std::byte> uniforms() const { return uniforms_; }

 private:
  std::vector<std::string> texts_;
  std::unordered_map<std::string, std::size_t> places_;
  std::vector<std::byte> uniforms_;
};

// A value between a program's delegates: the live sizes of a tensor, or an integer.
struct LiveEdge {
  Dims sizes;
  std::int64_t scalar = 0;
  bool operator==(const LiveEdge&) const = default;
};

class CompiledDelegate {
 public:
  // By value: the number of a buffer, among the program's.
  using SharedValues = std::map<ValueId, std::size_t>;

  // The source's blob and data must outlive this. `shared`: states that other delegates have, too.
  static Result<std::unique_ptr<CompiledDelegate>> create(const DelegateSource& source,
                                                          const Capabilities& capabilities,
                                                          const ModelOptions& options,
                                                          SharedValues shared);

  const Model& model() const { return *model_; }

  // Notes which of a call's values are which: the same for all calls with these numbers, of which
  // the one that leaves the least open says most.
  Result<CallMatch> match(std::span<const PassedValue> values);
  // Makes plans for these inputs, unless there are some, and gives the outputs.
  Result<std::vector<LiveEdge>> plan(std::span<const LiveEdge> inputs, SharedTexts& texts);

  // Adds the members to the open object.
  void write(JsonWriter& json) const;
  std::size_t constant_count() const {
    return model_->constants().size() + model_->states().size();
  }
  // Of constants, then of states.
  Result<void> read_constant(std::size_t number,
                             const std::function<bool(std::span<const std::byte>)>& take);

 private:
  struct Made {
    std::vector<LiveEdge> inputs;
    std::optional<bool> wide_integers;  // unset: for both
    LiveValues live = {};
    Plan plan = {};
    std::size_t uniforms = 0;
  };
  struct Matched {
    std::vector<std::int64_t> values;
    CallMatch match;
  };

  CompiledDelegate(const DelegateSource& source, std::vector<Constant> constants,
                   std::span<const std::byte> in_blob)
      : constants_(std::move(constants), in_blob, source.named), aliased_(source.aliased) {}

  Result<void> make(std::span<const LiveEdge> edges, SharedTexts& texts);
  Result<void> keep(const Plan& plan, std::optional<bool> wide, std::span<const LiveEdge> edges,
                    std::span<const HostInput> inputs, SharedTexts& texts);
  std::vector<LiveEdge> outputs_of(const Made& made) const;

  DelegateConstants constants_;
  bool aliased_;
  SharedValues shared_;
  std::unique_ptr<Model> model_;
  std::vector<Matched> matches_;
  std::vector<Made> plans_;
  std::map<std::uint32_t, std::size_t> kernels_;  // by number in the model: place of the text
};

}  // namespace etwebgpu
