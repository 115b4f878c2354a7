#include "plan/live_values.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace etwebgpu {
namespace {

using Scalar = std::int64_t;

constexpr Scalar kLeast = std::numeric_limits<std::int32_t>::min();
constexpr Scalar kMost = std::numeric_limits<std::int32_t>::max();
// Neighbours of the given value that are all tried, where scalars follow it and where none does.
constexpr Scalar kEvery = 4096, kFew = 16;
constexpr std::size_t kMostElements = 1 << 16;
constexpr std::size_t kMostRanges = 3;  // the corners of more would be too many

// Calls of one plan with other values than those given.
class Trials {
 public:
  Trials(Model& model, std::span<const HostInput> inputs, bool wide_integers)
      : model_(model), wide_integers_(wide_integers), inputs_(inputs.begin(), inputs.end()) {
    for (HostInput& input : inputs_) {
      elements_.emplace_back(input.elements.begin(), input.elements.end());
      input.elements = elements_.back();
    }
  }

  Result<LiveValues> run() {
    TRY(restore());
    for (const Scalar scalar : model_.scalar_values()) out_.scalars.push_back({scalar, {}});
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (!model_.graph().tensor(model_.graph().inputs[i])) TRY(add({.input = i}));
      CHECK_OR_FAIL(elements_[i].size() <= kMostElements, ErrorKind::NotSupported, "input ", i,
                    " has ", elements_[i].size(),
                    " elements, each of which a plan may depend on, "
                    "but ",
                    kMostElements, " are the most that are tried");
      for (std::size_t e = 0; e < elements_[i].size(); ++e)
        TRY(add({.input = i, .element = static_cast<Scalar>(e)}));
    }
    // The values given are no longer what scalars count from.
    for (LiveScalar& scalar : out_.scalars)
      for (std::size_t v = 0; v < given_.size(); ++v) scalar.base -= scalar.factors[v] * given_[v];
    return std::move(out_);
  }

 private:
  Scalar& place(const LiveValue& value) {
    return value.element < 0 ? inputs_[value.input].scalar
                             : elements_[value.input][static_cast<std::size_t>(value.element)];
  }

  bool prepares() {
    const auto plan = model_.prepare(inputs_, wide_integers_);
    return plan && *plan == plan_;
  }

  // The given values again: a plan in use stays in the model's cache, however many others come.
  Result<void> restore() {
    TRY_ASSIGN(plan_, model_.prepare(inputs_, wide_integers_));
    return {};
  }

  // Adds a value that makes a difference.
  Result<void> add(LiveValue value) {
    const Scalar given = place(value);
    value.least = value.most = given;
    given_.push_back(given);
    out_.values.push_back(value);
    const bool holds_nearby = find_factors(given);
    const bool is_followed = std::ranges::any_of(
        out_.scalars, [](const LiveScalar& scalar) { return scalar.factors.back() != 0; });
    LiveValue& found = out_.values.back();
    if (holds_nearby && out_.values.size() <= kMostRanges) {
      const Scalar every = is_followed ? kEvery : kFew;
      found.most = given + reach(given, 1, kMost - given, every);
      found.least = given - reach(given, -1, given - kLeast, every);
    }
    if (!is_followed && found.least == kLeast && found.most == kMost) drop();
    return restore();
  }
  void drop() {
    out_.values.pop_back();
    given_.pop_back();
    for (LiveScalar& scalar : out_.scalars) scalar.factors.pop_back();
  }

  // From the next value, or the one before. False where the plan holds for neither.
  bool find_factors(Scalar given) {
    Scalar& at = place(out_.values.back());
    const auto step = [&](Scalar by) {
      at = given + by;
      const bool worked = prepares();
      at = given;
      if (!worked) return false;
      for (std::size_t slot = 0; slot < out_.scalars.size(); ++slot) {
        const Scalar factor = (model_.scalar_values()[slot] - out_.scalars[slot].base) * by;
        out_.scalars[slot].factors.push_back(factor);
      }
      return true;
    };
    if (step(1) || step(-1)) return true;
    for (LiveScalar& scalar : out_.scalars) scalar.factors.push_back(0);
    return false;
  }

  // How many steps from the given value the plan holds, `most` at most.
  Scalar reach(Scalar given, Scalar direction, Scalar most, Scalar every) {
    Scalar good = 0;
    Scalar bad = most + 1;
    const auto try_at = [&](Scalar steps) {
      const bool worked = holds(given + direction * steps);
      (worked ? good : bad) = steps;
      return worked;
    };
    while (good < std::min(every, most))
      if (!try_at(good + 1)) return good;
    while (good < most && try_at(std::min(2 * good, most))) continue;
    while (bad - good > 1) try_at(good + (bad - good) / 2);
    return good;
  }

  // With the last value as given here, and those before at either end of their ranges.
  bool holds(Scalar value) {
    const std::size_t before = out_.values.size() - 1;
    bool all = true;
    for (unsigned corner = 0; all && corner < 1u << before; ++corner) {
      for (std::size_t v = 0; v < before; ++v)
        place(out_.values[v]) = corner >> v & 1 ? out_.values[v].most : out_.values[v].least;
      place(out_.values[before]) = value;
      all = prepares() && is_as_expected();
    }
    for (std::size_t v = 0; v <= before; ++v) place(out_.values[v]) = given_[v];
    if (!all) std::ignore = model_.prepare(inputs_, wide_integers_);
    return all;
  }

  bool is_as_expected() {
    for (std::size_t slot = 0; slot < out_.scalars.size(); ++slot) {
      const auto& [base, factors] = out_.scalars[slot];
      Scalar expected = base;
      for (std::size_t v = 0; v < factors.size(); ++v)
        expected += factors[v] * (place(out_.values[v]) - given_[v]);
      if (model_.scalar_values()[slot] != expected) return false;
    }
    return true;
  }

  Model& model_;
  bool wide_integers_;
  std::vector<HostInput> inputs_;
  std::vector<HostElements> elements_;  // by input
  const Plan* plan_ = nullptr;
  LiveValues out_;
  std::vector<Scalar> given_;  // by value
};

}  // namespace

Result<LiveValues> find_live_values(Model& model, std::span<const HostInput> inputs,
                                    bool wide_integers) {
  return Trials(model, inputs, wide_integers).run();
}

void write_live_values(JsonWriter& json, const LiveValues& live) {
  write_array(json, "values", live.values, [&](const LiveValue& value) {
    json.begin_object().member("input", value.input).key("element");
    value.element < 0 ? json.null() : json.value(value.element);
    json.member("least", value.least).member("most", value.most).end_object();
  });
  write_array(json, "scalars", live.scalars, [&](const LiveScalar& scalar) {
    json.begin_object().member("base", scalar.base);
    write_array(json, "factors", scalar.factors, [&](std::int64_t f) { json.value(f); });
    json.end_object();
  });
}

}  // namespace etwebgpu
