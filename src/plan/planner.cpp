#include "plan/planner.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "kernels/kernel_source.h"
#include "plan/slots.h"

namespace etwebgpu {
namespace {

constexpr std::uint64_t kMinBinding = 16;

// The dispatches that bind an activation, in order, and how.
using Uses = std::vector<std::pair<std::int32_t, Access>>;

// A buffer of the plan while it is being made: an activation root, a scratch buffer or a redirect.
struct Activation {
  std::uint64_t bytes = 0;
  std::int32_t first = std::numeric_limits<std::int32_t>::max();
  std::int32_t last = -1;
  Uses uses = {};
  bool at_host = false;  // an input or an output
};

// Where an activation lies, once slots exist.
struct SlotRange {
  std::uint32_t slot = 0;
  std::uint64_t offset = 0;
};

// A kernel call with its buffers resolved to places; slot indices are activations until slots
// exist.
struct Placed {
  KernelCall call;
  std::uint32_t graph_call = 0;
  std::vector<PlannedBinding> bindings;
};

class Planner {
 public:
  Planner(const PlannerInput& input, const LiveState& live, SharedTables& tables)
      : in_(input),
        live_(live),
        tables_(tables),
        layout_(input.layout(tables)),
        activation_of_(input.graph.values.size(), -1) {}

  Result<std::unique_ptr<Plan>> run() {
    plan_ = std::make_unique<Plan>();
    TRY(place_inputs());
    for (std::size_t c = 0; c < in_.graph.calls.size(); ++c) {
      auto lowered = lower_call(c);
      if (!lowered) {
        return std::unexpected(
            std::move(lowered.error()).within("call ", c, " ", in_.graph.calls[c].name));
      }
    }
    TRY(place_outputs());
    assign_memory();
    emit_dispatches();
    return std::move(plan_);
  }

 private:
  // --- Values ---

  ValueId root(ValueId v) const { return in_.aliasing.storage[static_cast<std::size_t>(v)]; }
  const Dims& sizes(ValueId v) const { return live_.sizes[static_cast<std::size_t>(v)]; }

  Storage storage(ValueId v) const { return layout_[static_cast<std::size_t>(v)]; }
  std::uint64_t bytes_of(ValueId v) const {
    return std::max(round_up(storage_bytes(storage(v), sizes(v).numel()), kMinBinding),
                    kMinBinding);
  }

  std::uint32_t new_activation(std::uint64_t bytes) {
    activations_.push_back({bytes});
    return static_cast<std::uint32_t>(activations_.size() - 1);
  }

  // The activation behind a root value, made on first use.
  std::uint32_t activation(ValueId root_id) {
    std::int32_t& index = activation_of_[static_cast<std::size_t>(root_id)];
    if (index < 0) index = static_cast<std::int32_t>(new_activation(bytes_of(root_id)));
    return static_cast<std::uint32_t>(index);
  }

  Activation& touch(std::uint32_t index, std::int32_t time) {
    Activation& a = activations_[index];
    a.first = std::min(a.first, time);
    a.last = std::max(a.last, time);
    return a;
  }

  // Of what a call binds: operators bind pieces of what is larger.
  Result<void> check_binding(std::uint64_t bytes, const BufferRef& buffer) const {
    constexpr std::string_view kinds[] = {"value", "packed constant", "scratch buffer"};
    CHECK_OR_FAIL(bytes <= in_.capabilities.max_storage_binding, ErrorKind::ResourceLimit,
                  kinds[static_cast<std::size_t>(buffer.kind)], " ", buffer.index,
                  " needs a binding of ", bytes, " bytes, but the adapter's limit is ",
                  in_.capabilities.max_storage_binding);
    return {};
  }

  // The place of a value's memory; activations get their (not yet assigned) index.
  Result<PlannedBinding> place(ValueId value) {
    const ValueId r = root(value);
    const TensorInfo& info = *in_.graph.tensor(r);
    PlannedBinding out;
    out.size = bytes_of(value);
    if (const std::int32_t state = tables_.state_of[static_cast<std::size_t>(r)]; state >= 0) {
      out.space = Space::State;
      out.index = static_cast<std::uint32_t>(state);
      out.size = std::min(out.size, tables_.states[out.index].bytes);
    } else if (info.constant >= 0) {
      out.space = Space::Constant;
      TRY_ASSIGN(const std::int32_t index,
                 tables_.constants.add({flat_packing(storage(r)),
                                        {PackedPart{info.constant, info.dtype, info.bound}}}));
      out.index = static_cast<std::uint32_t>(index);
    } else {
      out.index = activation(r);
    }
    return out;
  }

  // --- Inputs and outputs ---

  Result<void> place_inputs() {
    for (ValueId v : in_.graph.inputs) {
      const TensorInfo* info = in_.graph.tensor(v);
      if (info && root(v) == v && info->constant < 0) touch(activation(v), 0).at_host = true;
    }
    return {};
  }

  Result<void> place_outputs() {
    const auto end = static_cast<std::int32_t>(placed_.size());
    for (std::size_t i = 0; i < in_.graph.outputs.size(); ++i) {
      const ValueId v = in_.graph.outputs[i];
      const TensorInfo* info = in_.graph.tensor(v);
      if (!info) continue;
      TRY_ASSIGN(const PlannedBinding at, place(v));
      if (at.space == Space::Slot) touch(at.index, end).at_host = true;
      plan_->outputs.push_back({static_cast<std::uint32_t>(i), at.space, at.index, info->host_dtype,
                                storage(v), sizes(v), true});
    }
    return {};
  }

  // --- Lowering ---

  Result<void> lower_call(std::size_t c) {
    const Call& call = in_.graph.calls[c];
    if (in_.host_only[c] || !in_.ops[c]->lower) return {};
    if (!in_.postponed.empty() && in_.postponed[c]) return {};
    if (call.args.size() >= 2 && in_.ops[c]->is_view &&
        root(call.args.back()) == root(call.args.front())) {
      return {};
    }
    const LowerContext::Services services{in_.capabilities,     in_.options,
                                          tables_.constants,    in_.aliasing.storage,
                                          in_.aliasing.mutated, layout_};
    LowerContext context(in_.graph, call, live_, services);
    context.narrow_inputs(*in_.ops[c]);
    TRY(in_.ops[c]->lower(context));
    std::vector<std::uint32_t> scratch;
    for (std::uint64_t bytes : context.scratch_sizes()) scratch.push_back(new_activation(bytes));
    for (ValueId v : context.baked()) {
      if (std::ranges::find(tables_.baked, v) == tables_.baked.end()) tables_.baked.push_back(v);
    }
    for (KernelCall& kernel : context.take_calls()) {
      TRY(place_kernel(std::move(kernel), static_cast<std::uint32_t>(c), scratch));
    }
    return {};
  }

  Result<void> place_kernel(KernelCall kernel, std::uint32_t c,
                            std::span<const std::uint32_t> scratch) {
    TRY(check_grid(kernel.grid));
    Placed placed;
    placed.graph_call = c;
    for (const StorageBinding& b : kernel.buffers) {
      TRY_ASSIGN(PlannedBinding at, place_binding(b, scratch));
      placed.bindings.push_back(at);
    }
    // A call without work is dropped only here: its constants may be needed at other live sizes.
    if (kernel.grid.x == 0 || kernel.grid.y == 0 || kernel.grid.z == 0) return {};
    placed.call = std::move(kernel);
    TRY(separate_reads_from_writes(placed));
    return {};
  }

  Result<PlannedBinding> place_binding(const StorageBinding& b,
                                       std::span<const std::uint32_t> scratch) {
    PlannedBinding at;
    if (b.buffer.kind == BufferRef::Kind::Value) {
      TRY_ASSIGN(at, place(b.buffer.index));
    } else if (b.buffer.kind == BufferRef::Kind::Scratch) {
      at.index = scratch[static_cast<std::size_t>(b.buffer.index)];
      at.size = activations_[at.index].bytes;
    } else {
      at.space = Space::Constant;
      at.index = static_cast<std::uint32_t>(b.buffer.index);
      TRY_ASSIGN(at.size, packed_size(tables_.constants.constants()[at.index]));
    }
    at.access = b.access;
    at.offset = b.offset;
    if (b.size != 0)
      at.size = b.size;
    else
      at.size -= std::min(at.size - kMinBinding, b.offset);
    if (at.space != Space::Slot || in_.check_activation_limits) {
      TRY(check_binding(at.size, b.buffer));
    }
    return at;
  }

  Result<void> check_grid(const Grid& grid) const {
    const std::uint32_t limit = in_.capabilities.max_workgroups_per_dimension;
    CHECK_OR_FAIL(!in_.check_activation_limits || std::max({grid.x, grid.y, grid.z}) <= limit,
                  ErrorKind::ResourceLimit, "the work needs ", grid.x, " x ", grid.y, " x ", grid.z,
                  " workgroups, but the adapter's limit per dimension is ", limit);
    return {};
  }

  // WebGPU refuses a buffer that one dispatch both reads and writes. The write then goes to a
  // buffer of its own, copied back afterwards.
  Result<void> separate_reads_from_writes(Placed& placed) {
    std::vector<Placed> copies;
    for (std::size_t i = 0; i < placed.bindings.size(); ++i) {
      PlannedBinding& write = placed.bindings[i];
      if (write.access != Access::ReadWrite || !conflicts(placed, i)) continue;
      PlannedBinding copy_of = write;
      write.space = Space::Slot;
      write.index = new_activation(write.size);
      write.offset = 0;
      copies.push_back(copy_back(write, copy_of, placed.graph_call));
    }
    commit(std::move(placed));
    for (Placed& copy : copies) commit(std::move(copy));
    return {};
  }

  static bool conflicts(const Placed& placed, std::size_t i) {
    const PlannedBinding& write = placed.bindings[i];
    for (std::size_t j = 0; j < placed.bindings.size(); ++j) {
      const PlannedBinding& other = placed.bindings[j];
      if (j != i && other.space == write.space && other.index == write.index) return true;
    }
    return false;
  }

  Placed copy_back(PlannedBinding from, PlannedBinding to, std::uint32_t c) const {
    constexpr std::int64_t kWorkgroup = 64;
    const auto words = static_cast<std::int64_t>(to.size / kWord);
    Placed copy;
    copy.graph_call = c;
    copy.call.kernel.name = "move";
    copy.call.kernel.buffers = {"src", "dst"};
    copy.call.define("WG", kWorkgroup).param("count", words).groups(div_up(words, kWorkgroup));
    from.access = Access::Read;
    copy.bindings = {from, to};
    return copy;
  }

  void commit(Placed placed) {
    const auto time = static_cast<std::int32_t>(placed_.size());
    for (const PlannedBinding& b : placed.bindings) {
      if (b.space == Space::Slot) touch(b.index, time).uses.emplace_back(time, b.access);
    }
    placed_.push_back(std::move(placed));
  }

  // --- Memory ---

  void assign_memory() {
    const std::vector<SlotRange> places = assign_activations();
    std::vector<std::uint8_t> used(activations_.size(), 0);
    for (Placed& p : placed_) {
      for (PlannedBinding& b : p.bindings) {
        if (b.space != Space::Slot) continue;
        used[b.index] = 1;
        b.offset += places[b.index].offset;
        b.index = places[b.index].slot;
      }
    }
    for (PlannedTensor& t : plan_->outputs) {
      if (t.space != Space::Slot) continue;
      used[t.index] = 1;
      t.index = places[t.index].slot;
    }
    for (std::size_t i = 0; i < in_.graph.inputs.size(); ++i) {
      const ValueId v = in_.graph.inputs[i];
      const TensorInfo* info = in_.graph.tensor(v);
      if (!info) continue;
      const std::int32_t a = activation_of_[static_cast<std::size_t>(v)];
      const bool on_device = a >= 0 && used[static_cast<std::size_t>(a)];
      plan_->inputs.push_back({static_cast<std::uint32_t>(i), Space::Slot,
                               on_device ? places[static_cast<std::size_t>(a)].slot : 0,
                               info->host_dtype, storage(v), sizes(v), on_device});
    }
  }

  // Small activations that the same dispatches read, and the same write, share a slot (q, k and v
  // of one token): what a dispatch costs the host follows the number of buffers behind its
  // bindings.
  std::vector<SlotRange> assign_activations() {
    std::vector<SlotRange> places(activations_.size());
    std::vector<Lifetime> lifetimes;
    std::map<Uses, std::uint32_t> used_alike;  // the lifetime that such activations have in common
    for (std::size_t i = 0; i < activations_.size(); ++i) {
      const Activation& a = activations_[i];
      if (a.last < 0) continue;
      if (!a.at_host) {
        const auto alike = used_alike.find(a.uses);
        if (alike != used_alike.end() && append(lifetimes[alike->second], a.bytes, places[i])) {
          places[i].slot = alike->second;
          continue;
        }
        used_alike[a.uses] = static_cast<std::uint32_t>(lifetimes.size());
      }
      places[i].slot = static_cast<std::uint32_t>(lifetimes.size());
      lifetimes.push_back({a.bytes, a.first, a.last});
    }
    SlotPlan slots = assign_slots(lifetimes);
    plan_->slots = std::move(slots.slots);
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (activations_[i].last >= 0) places[i].slot = slots.slot_of[places[i].slot];
    }
    return places;
  }

  bool append(Lifetime& lifetime, std::uint64_t bytes, SlotRange& place) const {
    constexpr std::uint64_t kSmall = 64 << 10;
    const std::uint64_t alignment = in_.capabilities.storage_alignment;
    const std::uint64_t offset = round_up(lifetime.bytes, alignment);
    if (bytes > kSmall || offset > kSmall - bytes) return false;
    place.offset = offset;
    lifetime.bytes = offset + bytes;
    return true;
  }

  // --- Dispatches ---

  std::uint32_t kernel_index(const KernelVariant& variant) {
    const auto [it, is_new] = tables_.kernel_index.try_emplace(
        to_string(variant), static_cast<std::uint32_t>(tables_.kernels.size()));
    if (is_new) tables_.kernels.push_back(variant);
    return it->second;
  }

  // Parameter bytes are shared between dispatches with equal contents (the layers of a model).
  PlannedBinding uniform(const std::vector<std::uint32_t>& words) {
    std::string bytes(round_up(words.size() * kWord, kMinBinding), '\0');
    std::memcpy(bytes.data(), words.data(), words.size() * kWord);
    const auto [it, is_new] = uniform_offsets_.try_emplace(bytes, plan_->uniforms.size());
    if (is_new) {
      const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
      plan_->uniforms.insert(plan_->uniforms.end(), begin, begin + bytes.size());
      plan_->uniforms.resize(
          round_up<std::size_t>(plan_->uniforms.size(), in_.capabilities.uniform_alignment));
    }
    return {Space::Uniforms, 0, Access::Read, it->second, bytes.size()};
  }

  // A live SymInt has its own uniform; a fixed integer in its place is a parameter like any other.
  PlannedBinding scalar(ValueId v) {
    const std::int32_t slot = tables_.scalar_slot[static_cast<std::size_t>(v)];
    if (slot < 0) return uniform({static_cast<std::uint32_t>(fixed_integer(v)), 0, 0, 0});
    return {Space::Scalars, static_cast<std::uint32_t>(slot), Access::Read, 0, kMinBinding};
  }

  std::int64_t fixed_integer(ValueId v) const {
    return CallContext(in_.graph, in_.graph.calls.front(), live_).integer_of(v);
  }

  // Rows that follow a fixed integer are fixed rows.
  void resolve_live_rows(Grid& grid) const {
    if (grid.live == kNoValue) return;
    const std::int32_t slot = tables_.scalar_slot[static_cast<std::size_t>(grid.live)];
    if (slot < 0) {
      grid.y = static_cast<std::uint32_t>(div_up(fixed_integer(grid.live) + grid.add, grid.divide));
    }
    grid.live = slot;
  }

  void emit_dispatches() {
    for (Placed& p : placed_) {
      PlannedDispatch d;
      d.kernel = kernel_index(p.call.kernel);
      d.call = p.graph_call;
      d.grid = p.call.grid;
      resolve_live_rows(d.grid);
      d.first_binding = static_cast<std::uint32_t>(plan_->bindings.size());
      for (const PlannedBinding& b : p.bindings) plan_->bindings.push_back(b);
      if (!p.call.words.empty()) plan_->bindings.push_back(uniform(p.call.words));
      for (ValueId v : p.call.scalars) plan_->bindings.push_back(scalar(v));
      d.binding_count = static_cast<std::uint32_t>(plan_->bindings.size()) - d.first_binding;
      plan_->dispatches.push_back(d);
    }
  }

  const PlannerInput& in_;
  const LiveState& live_;
  SharedTables& tables_;
  const std::span<const Storage> layout_;
  std::unique_ptr<Plan> plan_;
  std::vector<Activation> activations_;
  std::vector<std::int32_t> activation_of_;  // by ValueId of a root
  std::vector<Placed> placed_;
  std::unordered_map<std::string, std::uint64_t> uniform_offsets_;
};

}  // namespace

Result<std::unique_ptr<Plan>> make_plan(const PlannerInput& input, const LiveState& live,
                                        SharedTables& tables) {
  return Planner(input, live, tables).run();
}

}  // namespace etwebgpu
