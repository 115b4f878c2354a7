// Rewrites of the graph before planning. Each is a pure function over Graph; model.cpp runs them in
// order.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/storage.h"
#include "ir/graph.h"
#include "ops/op.h"

namespace etwebgpu {

// By call: 1 if its output existed before it: a constant, an input, or the output of an earlier
// call. So mutated buffers are serialized: as calls whose output is the buffer (or its prepacked
// form) itself.
std::vector<std::uint8_t> find_overwrites(const Graph& graph);

// Who writes what, and which values share memory.
struct Aliasing {
  std::vector<ValueId> storage;  // by ValueId: the value whose memory it shares; itself if its own
  std::vector<std::uint8_t> mutated;      // by ValueId, for roots: a constant that some call writes
  std::vector<std::uint8_t> overwritten;  // by ValueId, for roots: written once it had contents
};
Aliasing find_aliases(const Graph& graph);

// By ValueId: how a tensor is stored. KV caches are two f16 a word under FloatType::F16, 8-bit
// integers four a word where all their users take that. With `wide_integers` those that the file
// records as int32 have 64 bits where operators can compute with them: the format has no int64, and
// a host with int64 tensors means them.
std::vector<Storage> choose_storage(const Graph& graph, const Aliasing& aliasing,
                                    FloatType kv_cache, bool wide_integers);

// Whether a constant holds nothing but zeros, by its index.
using ConstantTest = std::function<Result<bool>(std::int32_t)>;

// Fails for an output that looks like the new contents of a mutable buffer, in a program exported
// without alias_buffer_mutations: nobody would keep them. Such outputs are computed from constants
// alone, or from zeros of their own sizes.
Result<void> check_lost_states(const Graph& graph, const ConstantTest& is_zero);

// Fails where a cache is written more than once in an order that the exporter has changed.
Result<void> check_cache_writes(const Graph& graph);

// Where a call that writes arguments in place also returns them, these stand for what it returns.
void replace_returned_arguments(Graph& graph);

// Makes constants of what is dequantized from constants: see fold_dequantize.cpp. By ValueId or
// empty: constants that another graph writes.
Result<void> fold_dequantize(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
                             const ConstantTest& is_zero);

// Fuses linear layers and convolutions with what surrounds them: see fuse_linear.cpp and
// fuse_epilogue.cpp. By ValueId or empty: constants that another graph writes.
void fuse_linear(Graph& graph, std::span<const std::uint8_t> written_elsewhere = {});

// Makes one call of a depthwise convolution and the pointwise one behind it: see
// fuse_depthwise.cpp. After fuse_linear.
void fuse_depthwise(Graph& graph, std::span<const std::uint8_t> written_elsewhere = {});

// Fuses rotary embeddings into the attention over a cache behind them: see fuse_attention.cpp.
void fuse_attention(Graph& graph);

// The number that a constant of one element holds; null where it is none that can be read.
using ConstantNumber = std::function<Result<std::optional<double>>(const TensorInfo&)>;

// Makes one call of an attention without a cache that is written out, and has it read and write by
// strides: see fuse_sdpa.cpp.
Result<void> fuse_sdpa(Graph& graph, std::span<const std::uint8_t> written_elsewhere,
                       const ConstantNumber& number);

// Removes calls that neither reach an output nor write a constant.
void remove_dead_calls(Graph& graph);

}  // namespace etwebgpu
