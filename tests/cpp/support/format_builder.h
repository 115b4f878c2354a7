// Builds delegate blobs, programs (.pte) and tensor data files (.ptd) for tests, from the schemas'
// object forms: so tests can also say what no exporter would.
#pragma once

#include <flat_tensor_generated.h>
#include <program_generated.h>
#include <vk_graph_generated.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

// Expects `part` inside `text`; shows both otherwise.
#define EXPECT_SAYS(text, part) \
  EXPECT_PRED_FORMAT2(::testing::IsSubstring, std::string(part), std::string(text))

namespace etwebgpu::testing {

using ByteVector = std::vector<std::byte>;
using NamedBytes = std::vector<std::pair<std::string, ByteVector>>;

template <typename T>
void put(ByteVector& out, std::size_t offset, T value) {
  if (out.size() < offset + sizeof value) out.resize(offset + sizeof value);
  std::memcpy(out.data() + offset, &value, sizeof value);
}

void put_text(ByteVector& out, std::size_t offset, std::string_view text);

void append_bytes(ByteVector& out, std::span<const std::byte> bytes);

void pad_to(ByteVector& out, std::size_t alignment);

ByteVector bytes_of(const flatbuffers::FlatBufferBuilder& builder);

// A graph under construction. Every function returns the new value's id.
struct BlobBuilder {
  vkgraph::VkGraphT graph;

  template <typename T>
  int add(T value) {
    auto entry = std::make_unique<vkgraph::VkValueT>();
    entry->value.Set(std::move(value));
    graph.values.push_back(std::move(entry));
    return static_cast<int>(graph.values.size()) - 1;
  }
  int none() { return add(vkgraph::NullT()); }
  int symint() { return add(vkgraph::SymIntT()); }
  int integer(std::int64_t v) {
    vkgraph::IntT value;
    value.int_val = v;
    return add(std::move(value));
  }
  int number(double v) {
    vkgraph::DoubleT value;
    value.double_val = v;
    return add(std::move(value));
  }
  int boolean(bool v) {
    vkgraph::BoolT value;
    value.bool_val = v;
    return add(std::move(value));
  }
  int text(std::string v) {
    vkgraph::StringT value;
    value.string_val = std::move(v);
    return add(std::move(value));
  }
  int ints(std::vector<std::int64_t> items) {
    vkgraph::IntListT value;
    value.items = std::move(items);
    return add(std::move(value));
  }
  int list(std::vector<std::int32_t> items) {
    vkgraph::ValueListT value;
    value.items = std::move(items);
    return add(std::move(value));
  }
  int tensor(std::vector<std::uint32_t> dims,
             vkgraph::VkDataType dtype = vkgraph::VkDataType::FLOAT32, int constant = -1) {
    vkgraph::VkTensorT value;
    value.dims = std::move(dims);
    value.datatype = dtype;
    value.constant_id = constant;
    value.mem_obj_id = -1;
    return add(std::move(value));
  }
  // A tensor whose bytes are named data; `bytes` is the whole length.
  int constant(std::string key, std::vector<std::uint32_t> dims,
               vkgraph::VkDataType dtype = vkgraph::VkDataType::FLOAT32) {
    using enum vkgraph::VkDataType;
    std::uint64_t length = dtype == UINT8 || dtype == INT8 ? 1 : 4;
    for (std::uint32_t extent : dims) length *= extent;
    auto bytes = std::make_unique<vkgraph::VkBytesT>();
    bytes->offset = std::numeric_limits<std::uint64_t>::max();
    bytes->length = length;
    bytes->named_key = std::move(key);
    graph.constants.push_back(std::move(bytes));
    return tensor(std::move(dims), dtype, static_cast<int>(graph.constants.size()) - 1);
  }
  int input(int id) {
    graph.input_ids.push_back(static_cast<std::uint32_t>(id));
    return id;
  }
  void output(int id) { graph.output_ids.push_back(static_cast<std::uint32_t>(id)); }
  // Returns the last argument: the output.
  int call(std::string name, std::vector<std::int32_t> args) {
    auto entry = std::make_unique<vkgraph::OperatorCallT>();
    entry->name = std::move(name);
    entry->args = std::move(args);
    entry->node_id = static_cast<std::uint32_t>(graph.chain.size());
    graph.chain.push_back(std::move(entry));
    return graph.chain.back()->args.back();
  }
};

// c = a + b with dynamic rows.
BlobBuilder add_blob();

// One decoder layer with everything a language model's graph has: named constants, KV caches that
// share a key, a position read from an input, dynamic length, lists of outputs, views with SymInts.
BlobBuilder decoder_blob();

// Every constant of a graph with made-up content.
NamedBytes named_data_of(const vkgraph::VkGraphT& graph);

ByteVector delegate_blob(const vkgraph::VkGraphT& graph, std::span<const std::byte> constants = {});

// A program with method "forward" (tokens, position → logits) that is one delegate call, and
// constant methods get_max_seq_len = 32 and use_kv_cache = true. The delegate is segment 0, named
// data follow.
executorch_flatbuffer::ProgramT program_object(const NamedBytes& named);

// The same with other values, the last being the output, and without constant methods.
executorch_flatbuffer::ProgramT program_object(
    const std::vector<executorch_flatbuffer::EValueT>& values,
    const std::vector<std::string>& keys);

// One that does more than to call its delegate: a kernel, a jump, a move and a freed value, over
// values of all kinds, of which 9 is a constant in segment 1 and 10 a mutable buffer with first
// contents in segment 2.
executorch_flatbuffer::ProgramT stepped_program_object();
ByteVector stepped_file(executorch_flatbuffer::ProgramT program = stepped_program_object());

// Of dynamic sizes.
executorch_flatbuffer::EValueT tensor_value(std::vector<std::int32_t> sizes,
                                            executorch_flatbuffer::ScalarType type);

// What comes before the first segment.
ByteVector program_head(executorch_flatbuffer::ProgramT program,
                        std::span<const std::uint64_t> sizes);

// The file of a program whose segments get `contents` (delegate first, then named data).
ByteVector program_file(executorch_flatbuffer::ProgramT program,
                        const std::vector<ByteVector>& contents);

ByteVector program_file(const vkgraph::VkGraphT& graph);

ByteVector tensor_file(const NamedBytes& named);

}  // namespace etwebgpu::testing
