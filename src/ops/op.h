// An operator is one pair of pure functions of live sizes: `infer` gives output sizes and live
// scalars, `lower` gives kernel calls. Both run at load with the recorded bounds and again whenever
// live sizes change: there is no other copy of an operator's shape arithmetic.
//
// Arguments are checked once, at load, against the operator's signature; after that the accessors
// of CallContext cannot fail on kind. What depends on values (a dim in range, matching sizes) is
// checked by infer, which returns an error that names the value.
//
// On the GPU every element of an activation is one 32-bit word: f32 for floating dtypes, i32 for
// integers and bool (0 or 1). Operators that can also take other storages (base/storage.h) say so:
// Op::takes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/result.h"
#include "base/storage.h"
#include "ir/graph.h"
#include "ops/kernel_call.h"
#include "ops/packing.h"
#include "ops/route.h"

namespace etwebgpu {

// Reasons to infer a value's users again: a new size or scalar; new elements of a host-read input.
inline constexpr std::uint8_t kNewSize = 1;
inline constexpr std::uint8_t kNewContent = 2;

// Sizes of every tensor and values of every SymInt, for one call of the model.
struct LiveState {
  std::vector<Dims> sizes;            // by ValueId; bounds at load
  std::vector<std::int64_t> scalars;  // by ValueId; meaningful for SymInts
  std::vector<std::uint8_t> changed;  // by ValueId: kNewSize, kNewContent
};

enum class FloatType : std::uint8_t { F32, F16 };

struct ModelOptions {
  FloatType kv_cache = FloatType::F32;  // how mutable tensors are stored where that is possible
  // What linear layers and attention over many rows multiply; F16 where the device has matrix
  // units for it.
  FloatType matmul = FloatType::F32;
  bool fuse = true;  // false runs the graph call by call, for comparison
};

struct Op;

class CallContext {
 public:
  CallContext(const Graph& graph, const Call& call, const LiveState& live)
      : graph_(graph), call_(call), live_(live) {}

  std::size_t arg_count() const { return call_.args.size(); }
  ValueId id(std::size_t arg) const { return call_.args[arg]; }
  ValueId optional_id(std::size_t arg) const { return is_none(arg) ? kNoValue : id(arg); }
  ValueId output_id() const { return call_.args.back(); }
  std::size_t output_arg() const { return call_.args.size() - 1; }

  bool is_none(std::size_t arg) const { return graph_.is_none(id(arg)); }
  bool is_tensor(std::size_t arg) const { return graph_.tensor(id(arg)) != nullptr; }
  bool is_symint(std::size_t arg) const { return graph_.is_symint(id(arg)); }

  const TensorInfo& tensor(std::size_t arg) const { return *graph_.tensor(id(arg)); }
  DType dtype(std::size_t arg) const { return tensor(arg).dtype; }
  const Dims& sizes(std::size_t arg) const { return sizes_of(id(arg)); }
  const Dims& sizes_of(ValueId value) const { return live_.sizes[static_cast<std::size_t>(value)]; }
  const Dims& bound(std::size_t arg) const { return tensor(arg).bound; }

  // Int, Bool, or the live value of a SymInt. What `lower` reads of those is part of the plan.
  std::int64_t integer(std::size_t arg) const { return integer_of(id(arg)); }
  std::int64_t integer_of(ValueId value) const;
  std::int64_t integer_or(std::size_t arg, std::int64_t fallback) const {
    return arg >= arg_count() || is_none(arg) ? fallback : integer(arg);
  }
  // Int, Bool, Double or live SymInt as a number.
  double number(std::size_t arg) const;
  double number_or(std::size_t arg, double fallback) const {
    return arg >= arg_count() || is_none(arg) ? fallback : number(arg);
  }
  bool boolean(std::size_t arg) const { return integer(arg) != 0; }
  // IntList, or ValueList of Int and SymInt with their live values; None gives an empty list.
  std::vector<std::int64_t> int_list(std::size_t arg) const;
  // Items of a ValueList; a single tensor counts as a list of one.
  std::span<const ValueId> value_list(std::size_t arg) const;
  std::string_view text(std::size_t arg) const;  // "" for None

  // A dimension argument normalized to [0, rank); rank 0 counts as rank 1, as in PyTorch.
  Result<std::size_t> dim(std::size_t arg, std::size_t rank) const {
    return normalize_dim(integer(arg), rank);
  }
  static Result<std::size_t> normalize_dim(std::int64_t value, std::size_t rank);

  const Graph& graph() const { return graph_; }
  const Call& call() const { return call_; }
  // The same for another call of the graph.
  CallContext of(const Call& other) const { return {graph_, other, live_}; }

 protected:
  const Graph& graph_;
  const Call& call_;
  const LiveState& live_;
  std::vector<ValueId>* scalars_read_ = nullptr;  // SymInts whose values were asked for
};

class InferContext : public CallContext {
 public:
  // `host_data[v]` is the content of graph input v where the host provided it, else empty;
  // `storage[v]` is the value whose memory v shares.
  InferContext(const Graph& graph, const Call& call, LiveState& live,
               std::span<const ValueId> storage,
               std::span<const std::vector<std::int64_t>> host_data, bool at_load)
      : CallContext(graph, call, live),
        state_(live),
        storage_(storage),
        host_data_(host_data),
        at_load_(at_load) {}

  // Live sizes of a tensor; an error if the rank differs from the recorded one or an extent is
  // negative or passes its bound.
  Result<void> set_sizes(ValueId value, const Dims& sizes);
  Result<void> set_output(const Dims& sizes) { return set_sizes(output_id(), sizes); }
  void set_scalar(ValueId value, std::int64_t scalar);

  // At load SymInts have no values yet: infer gives outputs their bounds where sizes depend on one.
  bool at_load() const { return at_load_; }
  // Integers of a graph input on the host (through views); empty at load or for other tensors.
  std::span<const std::int64_t> host_elements(std::size_t arg) const;

 private:
  LiveState& state_;
  std::span<const ValueId> storage_;
  std::span<const std::vector<std::int64_t>> host_data_;
  bool at_load_;
};

// Where lowering keeps what outlives one call: the model's packed constants.
class ConstantPool {
 public:
  // Index of the packed constant, added if new. After seal(), an unknown one is an error: its bytes
  // are gone.
  Result<std::int32_t> add(const PackedConstant& constant);
  void seal() { sealed_ = true; }
  std::span<const PackedConstant> constants() const { return constants_; }

 private:
  std::vector<PackedConstant> constants_;
  bool sealed_ = false;
};

class LowerContext : public CallContext {
 public:
  struct Services {
    const Capabilities& capabilities;
    const ModelOptions& options;
    ConstantPool& constants;
    std::span<const ValueId>
        storage;  // by ValueId: the value whose memory it shares (itself if none)
    std::span<const std::uint8_t> mutated;  // by ValueId: some call writes into this constant
    std::span<const Storage> layout;        // by ValueId
  };

  LowerContext(const Graph& graph, const Call& call, const LiveState& live,
               const Services& services)
      : CallContext(graph, call, live), services_(services) {
    scalars_read_ = &baked_;
  }
  LowerContext(const LowerContext&) = delete;
  LowerContext& operator=(const LowerContext&) = delete;

  const Capabilities& capabilities() const { return services_.capabilities; }
  const ModelOptions& options() const { return services_.options; }

  BufferRef value(std::size_t arg) const { return value_of(id(arg)); }
  BufferRef value_of(ValueId value) const;
  BufferRef output() const { return value_of(output_id()); }
  // How the value is stored: in words, or as Op::takes says of the argument.
  Storage storage(std::size_t arg) const { return storage_of(id(arg)); }
  Storage storage_of(ValueId value) const;
  // Has an operator read 32 bits of what is stored in 64 where it does not take that: before
  // `lower`.
  void narrow_inputs(const Op& op);
  // The value in 32 bits, saturated where it is stored in 64: what is out of range stays so.
  BufferRef narrowed(ValueId value);
  // A buffer of so many elements that lives during this call only.
  BufferRef scratch(std::int64_t elements, Storage storage = Storage::F32);

  // True if both values live in one buffer: a call that writes one while it still reads the other
  // must go through scratch.
  bool shares_memory(ValueId a, ValueId b) const {
    const auto& storage = services_.storage;
    return storage[static_cast<std::size_t>(a)] == storage[static_cast<std::size_t>(b)];
  }

  // True if the argument is (a view of) a constant nobody writes.
  bool is_constant(std::size_t arg) const { return constant_of(id(arg)) >= 0; }
  // Part for packing: constant index with the argument's recorded dtype and dims. Fails for
  // activations.
  Result<PackedPart> part(std::size_t arg) const { return part_of(id(arg)); }
  Result<PackedPart> part_of(ValueId value) const;
  Result<BufferRef> packed(const PackedConstant& constant);

  // Writes a live SymInt's value into the plan, as every accessor of values does. The plan is then
  // only reused while the value is the same; bind positions with KernelCall::scalar instead.
  std::int64_t bake(ValueId value) { return integer_of(value); }

  // Starts a kernel call; the reference is valid until the next emit.
  KernelCall& emit(std::string_view kernel);
  // With the route's defines, and its groups where it has some.
  KernelCall& emit(const Route& route);

  bool is_software() const { return capabilities().adapter_class == AdapterClass::Software; }
  // Invocations per workgroup: `wanted` clamped to the device, a power of two.
  std::uint32_t workgroup_size(std::uint32_t wanted) const;

  // What was lowered, for the planner.
  std::vector<KernelCall> take_calls() { return std::move(calls_); }
  std::span<const std::uint64_t> scratch_sizes() const { return scratch_; }
  std::span<const ValueId> baked() const { return baked_; }

 private:
  std::int32_t constant_of(ValueId value) const;
  const Services& services_;
  std::vector<std::pair<ValueId, BufferRef>> narrowed_;
  std::vector<KernelCall> calls_;
  std::vector<std::uint64_t> scratch_;
  std::vector<ValueId> baked_;
};

// Arguments by position; the last stands for all from there on.
using Args = std::uint32_t;
inline constexpr Args kAllArgs = ~Args{0};
constexpr Args args(std::initializer_list<unsigned> positions) {
  Args out = 0;
  for (const unsigned position : positions) out |= Args{1} << position;
  return out;
}
constexpr bool holds(Args args, std::size_t position) {
  return args >> std::min<std::size_t>(position, 31) & 1;
}

// Which arguments, inputs and outputs, may be stored otherwise than in a word for each element
// (passes/storage.cpp chooses). `lower` asks LowerContext::storage which way it is.
struct Takes {
  Args i64 = 0;         // else the input is narrowed before, to the nearest 32 bits
  Args half_pairs = 0;  // a KV cache under FloatType::F16
  Args bytes = 0;       // 8-bit integers and bool, where all that read and write them take bytes

  constexpr bool operator()(Storage storage, std::size_t arg) const {
    switch (storage) {
      case Storage::I64:
        return holds(i64, arg);
      case Storage::HalfPairs:
        return holds(half_pairs, arg);
      case Storage::Bytes:
        return holds(bytes, arg);
      default:
        return true;
    }
  }
};

// Argument kinds in a signature, one character each, outputs after '>':
//   t tensor    i Int/Bool/SymInt    f number (Int, Bool, Double, SymInt)    n tensor or number
//   l list of Int/SymInt    v list of tensors (or one tensor)    o list of tensors or None items
//   s string or None    y SymInt    _ anything (ignored)    ? after a kind: or None
// Spaces are ignored. Trailing inputs may be missing only where they are written in [brackets].
struct Op {
  std::string_view name;
  std::string_view signature;
  Result<void> (*infer)(InferContext&);
  Result<void> (*lower)(LowerContext&) = nullptr;  // null: nothing runs on the device
  Args mutated_args = 0;                           // written in place
  // The output is the first argument's elements in the same order, or readers know that it is not
  // (ops/movement/strided.h): memory is shared where the two have the same GPU element type.
  // `lower` still copies (and converts), for when sharing would be wrong.
  bool is_view = false;
  bool reads_host = false;  // infer calls host_elements(0)
  bool internal = false;    // made by passes; refused in files
  Takes takes = {};
};

// An operator that takes integers of 64 bits in any argument.
constexpr Op wide_op(std::string_view name, std::string_view signature,
                     Result<void> (*infer)(InferContext&), Result<void> (*lower)(LowerContext&)) {
  return {.name = name,
          .signature = signature,
          .infer = infer,
          .lower = lower,
          .takes = {.i64 = kAllArgs}};
}

// The operators of a table whose rows have a name and a signature, with 8-bit tensors as bytes.
template <typename Form, std::size_t N>
constexpr std::array<Op, N> byte_ops(const Form (&forms)[N], Result<void> (*infer)(InferContext&),
                                     Result<void> (*lower)(LowerContext&)) {
  std::array<Op, N> ops{};
  for (std::size_t i = 0; i < N; ++i)
    ops[i] = {.name = forms[i].name,
              .signature = forms[i].signature,
              .infer = infer,
              .lower = lower,
              .takes = {.bytes = kAllArgs}};
  return ops;
}

// The operator of that name, or null. Internal operators are found too, and added ones.
const Op* find_op(std::string_view name);
// Every operator that is built in, sorted by name.
std::span<const Op* const> all_ops();
// Adds an operator that a program brings, for good: `op` stays. False where its name is taken.
bool add_op(const Op& op);

// Checks a call's arguments against its operator's signature.
Result<void> check_signature(const Op& op, const Graph& graph, const Call& call);

}  // namespace etwebgpu
