#include "plan/model.h"

#include <algorithm>
#include <limits>
#include <ranges>
#include <string>
#include <utility>

#include "plan/missing_operators.h"
#include "plan/unknown_scalars.h"

namespace etwebgpu {
namespace {

// Prefills of many lengths alternate with decode steps; older plans are made again when needed.
constexpr std::size_t kMaxCachedPlans = 32;

std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

}  // namespace

// --- Load ---

Result<std::unique_ptr<Model>> Model::create(Graph graph, const Capabilities& capabilities,
                                             const ModelOptions& options,
                                             const Surroundings& surroundings) {
  std::unique_ptr<Model> model(new Model(std::move(graph), capabilities, options));
  TRY(model->check_operators());
  TRY(model->resolve_operators());
  TRY(model->check_definitions());
  replace_returned_arguments(model->graph_);
  TRY(check_cache_writes(model->graph_));
  if (options.fuse && surroundings.is_zero)
    TRY(fold_dequantize(model->graph_, surroundings.written_elsewhere, surroundings.is_zero));
  remove_dead_calls(model->graph_);
  if (options.fuse) {
    fuse_linear(model->graph_, surroundings.written_elsewhere);
    fuse_depthwise(model->graph_, surroundings.written_elsewhere);
    fuse_attention(model->graph_);
    TRY(fuse_sdpa(model->graph_, surroundings.written_elsewhere, surroundings.number));
  }
  TRY(model->resolve_operators());
  model->aliasing_ = find_aliases(model->graph_);
  for (std::size_t v = 0; v < surroundings.written_elsewhere.size(); ++v)
    model->aliasing_.mutated[v] |= surroundings.written_elsewhere[v];
  TRY(model->make_tables(surroundings.storages));
  TRY_ASSIGN(model->host_, find_host_reads(model->graph_, model->ops_, model->aliasing_));
  TRY(model->read_host_constants(surroundings));
  model->find_dependencies();
  TRY(model->plan_bounds());
  return model;
}

Result<void> Model::check_operators() const {
  const auto missing = missing_operators(graph_);
  return missing.empty() ? Result<void>() : fail(ErrorKind::NotSupported, describe(missing));
}

Result<void> Model::resolve_operators() {
  ops_.clear();
  for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
    const Call& call = graph_.calls[c];
    const Op* op = find_op(call.name);
    if (auto checked = check_signature(*op, graph_, call); !checked) {
      return std::unexpected(std::move(checked.error()).within("call ", c, " ", call.name));
    }
    ops_.push_back(op);
  }
  return {};
}

// Every tensor and SymInt a call reads must be an input, a constant or an earlier call's output.
Result<void> Model::check_definitions() const {
  std::vector<std::uint8_t> defined(graph_.values.size(), 0);
  auto define = [&](auto&& self, ValueId v) -> void {
    defined[index(v)] = 1;
    if (const auto* list = std::get_if<ValueList>(&graph_.value(v))) {
      for (ValueId item : list->items) self(self, item);
    }
  };
  auto first_undefined = [&](auto&& self, ValueId v) -> ValueId {
    const Value& value = graph_.value(v);
    if (const auto* list = std::get_if<ValueList>(&value)) {
      for (ValueId item : list->items) {
        if (const ValueId found = self(self, item); found != kNoValue) return found;
      }
      return kNoValue;
    }
    const auto* tensor = std::get_if<TensorInfo>(&value);
    const bool needs_definition =
        std::holds_alternative<SymInt>(value) || (tensor && tensor->constant < 0);
    return needs_definition && !defined[index(v)] ? v : kNoValue;
  };

  for (ValueId v : graph_.inputs) define(define, v);
  for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
    const Call& call = graph_.calls[c];
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) {
      const ValueId v = first_undefined(first_undefined, call.args[a]);
      CHECK_OR_FAIL(v == kNoValue, ErrorKind::InvalidProgram, "call ", c, " ", call.name,
                    " reads value ", v, " before any call writes it");
    }
    if (!call.args.empty()) define(define, call.args.back());
  }
  for (ValueId v : graph_.outputs) {
    CHECK_OR_FAIL(first_undefined(first_undefined, v) == kNoValue, ErrorKind::InvalidProgram,
                  "output value ", v, " is never written");
  }
  return {};
}

Result<void> Model::make_tables(std::span<const Storage> storages) {
  const std::size_t count = graph_.values.size();
  tables_.state_of.assign(count, -1);
  tables_.scalar_slot.assign(count, -1);
  live_.sizes.resize(count);
  live_.scalars.assign(count, 0);
  live_.changed.assign(count, 0);
  host_data_.resize(count);
  const auto layout = [&](bool wide_integers) {
    return storages.empty() ? choose_storage(graph_, aliasing_, options_.kv_cache, wide_integers)
                            : std::vector(storages.begin(), storages.end());
  };
  tables_.wide = layout(true);
  tables_.narrow = layout(false);
  for (std::size_t v = 0; v < count; ++v) {
    const auto id = static_cast<ValueId>(v);
    if (graph_.is_symint(id)) {
      tables_.scalar_slot[v] = static_cast<std::int32_t>(tables_.scalars.size());
      tables_.scalars.push_back(id);
    }
    const TensorInfo* info = graph_.tensor(id);
    if (!info) continue;
    live_.sizes[v] = info->bound;
    if (!aliasing_.mutated[v]) continue;
    StateSpec state;
    state.value = id;
    state.initial = {flat_packing(tables_.wide[v]),
                     {PackedPart{info->constant, info->dtype, info->bound}}};
    TRY_ASSIGN(state.bytes, packed_size(state.initial));
    tables_.state_of[v] = static_cast<std::int32_t>(tables_.states.size());
    tables_.states.push_back(std::move(state));
  }
  scalar_values_.assign(tables_.scalars.size(), 0);
  scalar_dirty_.assign(tables_.scalars.size(), 1);
  return {};
}

Result<void> Model::read_host_constants(const Surroundings& surroundings) {
  for (ValueId v : host_.constants) {
    CHECK_OR_FAIL(surroundings.integers, ErrorKind::NotSupported, "the elements of value ", v,
                  ", a constant, are needed on the host");
    TRY_ASSIGN(host_data_[index(v)], surroundings.integers(*graph_.tensor(v)));
  }
  return {};
}

void Model::find_dependencies() {
  for (const Call& call : graph_.calls) {
    std::vector<ValueId> deps;
    auto add = [&](auto&& self, ValueId v) -> void {
      if (graph_.tensor(v) || graph_.is_symint(v)) deps.push_back(v);
      // New content shows where it lies, behind views.
      if (graph_.tensor(v)) deps.push_back(aliasing_.storage[index(v)]);
      if (const auto* list = std::get_if<ValueList>(&graph_.value(v))) {
        for (ValueId item : list->items) self(self, item);
      }
    };
    for (std::size_t a = 0; a + 1 < call.args.size(); ++a) add(add, call.args[a]);
    deps_.push_back(std::move(deps));
  }
}

Result<void> Model::plan_bounds() {
  unknown_scalars_ = find_unknown_scalars(graph_, ops_);
  postponed_.assign(graph_.calls.size(), 0);
  TRY(infer(true, true));
  PlannerInput input = planner_input(false, true);
  input.postponed = postponed_;
  TRY_ASSIGN(bound_plan_, make_plan(input, live_, tables_));
  tables_.constants.seal();
  return {};
}

// --- Each call ---

Result<const Plan*> Model::prepare(std::span<const HostInput> inputs, bool wide_integers) {
  CHECK_OR_FAIL(inputs.size() == graph_.inputs.size(), ErrorKind::InvalidArgument, "the graph has ",
                graph_.inputs.size(), " inputs, but ", inputs.size(), " were given");
  const bool everything = !live_is_valid_;
  live_is_valid_ = false;  // until all of this succeeded
  std::ranges::fill(live_.changed, std::uint8_t{0});
  TRY(set_inputs(inputs));
  TRY(infer(everything, false));
  TRY(update_scalars());
  const bool same_width = std::exchange(wide_integers_, wide_integers) == wide_integers;
  if (everything || current_ == nullptr || !same_width || shapes_changed()) {
    TRY_ASSIGN(current_, find_or_make_plan());
  }
  live_is_valid_ = true;
  return current_;
}

Result<void> Model::set_inputs(std::span<const HostInput> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ValueId v = graph_.inputs[i];
    if (graph_.tensor(v)) {
      TRY(set_tensor_input(i, inputs[i]));
    } else if (live_.scalars[index(v)] != inputs[i].scalar) {
      live_.scalars[index(v)] = inputs[i].scalar;
      live_.changed[index(v)] |= kNewSize;
    }
  }
  return {};
}

Result<void> Model::set_tensor_input(std::size_t position, const HostInput& input) {
  const ValueId v = graph_.inputs[position];
  const Dims& bound = graph_.tensor(v)->bound;
  CHECK_OR_FAIL(input.sizes.rank() == bound.rank(), ErrorKind::InvalidArgument, "input ", position,
                " has sizes ", to_string(input.sizes), ", but the model was exported with ",
                to_string(bound));
  for (std::size_t d = 0; d < bound.rank(); ++d) {
    CHECK_OR_FAIL(input.sizes[d] >= 0 && input.sizes[d] <= bound[d], ErrorKind::InvalidArgument,
                  "input ", position, " has sizes ", to_string(input.sizes), ", but dimension ", d,
                  " was exported with an upper bound of ", bound[d]);
  }
  if (live_.sizes[index(v)] != input.sizes) {
    live_.sizes[index(v)] = input.sizes;
    live_.changed[index(v)] |= kNewSize;
  }
  HostElements& data = host_data_[index(v)];
  CHECK_OR_FAIL(
      !host_.inputs[position] || std::cmp_equal(input.elements.size(), input.sizes.numel()),
      ErrorKind::InvalidArgument, "input ", position, " of sizes ", to_string(input.sizes),
      " brings ", input.elements.size(), " elements to the host, which reads all of them");
  if (host_.inputs[position] && !std::ranges::equal(data, input.elements)) {
    data.assign(input.elements.begin(), input.elements.end());
    live_.changed[index(v)] |= kNewContent;
  }
  return {};
}

// Only calls that depend on something changed are inferred again; a decode step touches a few.
Result<void> Model::infer(bool everything, bool at_load) {
  for (std::size_t c = 0; c < graph_.calls.size(); ++c) {
    const auto changed = [this](ValueId v) { return live_.changed[index(v)] != 0; };
    if (!everything && std::ranges::none_of(deps_[c], changed)) continue;
    auto inferred = infer_call(c, at_load);
    if (!inferred) {
      return std::unexpected(
          std::move(inferred.error()).within("call ", c, " ", graph_.calls[c].name));
    }
  }
  return {};
}

Result<void> Model::infer_call(std::size_t c, bool at_load) {
  InferContext context(graph_, graph_.calls[c], live_, aliasing_.storage,
                       at_load ? std::span<const HostElements>() : host_data_, at_load);
  auto inferred = ops_[c]->infer(context);
  if (!inferred && at_load) return postpone(c, std::move(inferred.error()));
  TRY(inferred);
  return host_.calls[c] && !at_load ? evaluate_call(c) : Result<void>();
}

// Its outputs have their recorded sizes until its integers are known.
Result<void> Model::postpone(std::size_t c, Error error) {
  const Call& call = graph_.calls[c];
  TRY(check_may_wait(graph_, call, unknown_scalars_, std::move(error)));
  const CallContext context(graph_, call, live_);
  for (const ValueId v : context.value_list(context.output_arg()))
    if (const TensorInfo* info = graph_.tensor(v)) live_.sizes[index(v)] = info->bound;
  postponed_[c] = 1;
  return {};
}

Result<void> Model::evaluate_call(std::size_t c) {
  constexpr std::int64_t kMost = 1 << 16;
  const ValueId output = graph_.calls[c].args.back();
  const Dims& sizes = live_.sizes[index(output)];
  CHECK_OR_FAIL(sizes.numel() <= kMost, ErrorKind::NotSupported, "value ", output, " of sizes ",
                to_string(sizes), " is needed on the host, which computes at most ", kMost,
                " elements");
  TRY_ASSIGN(HostElements elements,
             evaluate(graph_, graph_.calls[c], live_, aliasing_.storage, host_data_));
  const std::size_t root = index(aliasing_.storage[index(output)]);
  if (elements == host_data_[root]) return {};
  host_data_[root] = std::move(elements);
  live_.changed[root] |= kNewContent;
  return {};
}

Result<void> Model::update_scalars() {
  for (std::size_t slot = 0; slot < tables_.scalars.size(); ++slot) {
    const std::int64_t value = live_.scalars[index(tables_.scalars[slot])];
    CHECK_OR_FAIL(value >= std::numeric_limits<std::int32_t>::min() &&
                      value <= std::numeric_limits<std::int32_t>::max(),
                  ErrorKind::InvalidArgument, "SymInt value ", tables_.scalars[slot], " would be ",
                  value, ", which does not fit 32 bits");
    if (scalar_values_[slot] == value) continue;
    scalar_values_[slot] = static_cast<std::int32_t>(value);
    scalar_dirty_[slot] = 1;
  }
  return {};
}

void Model::clear_dirty() { std::ranges::fill(scalar_dirty_, std::uint8_t{0}); }

// A changed position changes no plan; a changed size or a baked scalar does.
bool Model::shapes_changed() const {
  for (ValueId v : tables_.baked) {
    if (live_.changed[index(v)]) return true;
  }
  for (std::size_t v = 0; v < live_.changed.size(); ++v) {
    if (live_.changed[v] & kNewSize && graph_.tensor(static_cast<ValueId>(v))) return true;
  }
  return false;
}

Result<const Plan*> Model::find_or_make_plan() {
  auto key_of = [this] {
    std::vector<std::int64_t> key;
    for (std::size_t v = 0; v < live_.sizes.size(); ++v) {
      key.insert(key.end(), live_.sizes[v].begin(), live_.sizes[v].end());
    }
    for (ValueId v : tables_.baked) key.push_back(live_.scalars[index(v)]);
    key.push_back(wide_integers_ || tables_.wide == tables_.narrow);
    return key;
  };
  ++uses_;
  const auto key = key_of();
  for (CachedPlan& cached : plans_) {
    if (cached.key != key) continue;
    cached.last_use = uses_;
    return cached.plan.get();
  }
  TRY_ASSIGN(auto plan, make_plan(planner_input(true, wide_integers_), live_, tables_));
  if (plans_.size() == kMaxCachedPlans) {
    plans_.erase(std::ranges::min_element(plans_, {}, &CachedPlan::last_use));
  }
  // Planning may have baked a scalar for the first time, which makes the key longer.
  plans_.push_back({key_of(), std::move(plan), uses_});
  return plans_.back().plan.get();
}

}  // namespace etwebgpu
