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

inline void put_text(ByteVector& out, std::size_t offset, std::string_view text) {
  if (out.size() < offset + text.size()) out.resize(offset + text.size());
  std::memcpy(out.data() + offset, text.data(), text.size());
}

inline void append_bytes(ByteVector& out, std::span<const std::byte> bytes) {
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

inline void pad_to(ByteVector& out, std::size_t alignment) {
  while (out.size() % alignment != 0) out.push_back(std::byte{0});
}

inline ByteVector bytes_of(const flatbuffers::FlatBufferBuilder& builder) {
  const auto* data = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {data, data + builder.GetSize()};
}

// A graph under construction. Every function returns the new value's id.
struct GraphBuilder {
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
    std::uint64_t length = dtype == vkgraph::VkDataType::UINT8 ? 1 : 4;
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
inline GraphBuilder add_graph() {
  GraphBuilder b;
  const int x = b.input(b.tensor({8, 16}));
  const int y = b.input(b.tensor({8, 16}));
  b.output(b.call("aten.add.Tensor", {x, y, b.integer(1), b.tensor({8, 16})}));
  return b;
}

// One decoder layer with everything a language model's graph has: named constants, KV caches that
// share a key, a position read from an input, dynamic length, lists of outputs, views with SymInts.
inline GraphBuilder decoder_graph() {
  using vkgraph::VkDataType;
  constexpr std::uint32_t kVocabulary = 64, kDim = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16;
  constexpr std::uint32_t kContext = 32, kLength = 31, kGroup = 32, kHidden = 96;
  GraphBuilder b;
  const int tokens = b.input(b.tensor({1, kLength}, VkDataType::INT32));
  const int position = b.input(b.tensor({1}, VkDataType::INT32));
  const int none = b.none(), zero = b.integer(0), one = b.integer(1), minus_one = b.integer(-1);
  const int group = b.integer(kGroup), yes = b.boolean(true);
  const int pos = b.call("et_vk.select_as_symint.default", {position, zero, zero, b.symint()});
  const int length = b.call("sym_size.int", {tokens, one, b.symint()});
  const int end = b.call("add", {pos, length, b.symint()});

  auto linear = [&](const std::string& key, int x, std::uint32_t rows, std::uint32_t k) {
    const int weight = b.constant(key + ".weight", {rows, k / 2}, VkDataType::UINT8);
    const int scales = b.constant(key + ".scales", {k / kGroup, rows});
    return b.call("et_vk.linear_q4gsw.default",
                  {x, weight, scales, group, none, b.tensor({1, kLength, rows})});
  };
  auto norm = [&](const std::string& key, int x) {
    return b.call("et_vk.rms_norm.default",
                  {x, b.constant(key, {kDim}), b.number(1e-5), b.tensor({1, kLength, kDim})});
  };
  auto heads = [&](int x, std::uint32_t count) {
    const int sizes = b.list({one, length, b.integer(count), b.integer(kHeadDim)});
    return b.call("aten.view_copy.default", {x, sizes, b.tensor({1, kLength, count, kHeadDim})});
  };
  auto table = [&](const std::string& key) {
    const int whole = b.constant(key, {kContext, kHeadDim / 2});
    return b.call("aten.slice_copy.Tensor",
                  {whole, zero, pos, end, one, b.tensor({kLength, kHeadDim / 2})});
  };

  const int embedded =
      b.call("et_vk.embedding_q4gsw.default",
             {b.constant("embedding.weight", {kVocabulary, kDim / 2}, VkDataType::UINT8),
              b.constant("embedding.scales", {kVocabulary, kDim / kGroup}), group, tokens, yes,
              b.tensor({1, kLength, kDim})});
  const int normed = norm("norm1", embedded);
  const int q = heads(linear("q", normed, kHeads * kHeadDim, kDim), kHeads);
  const int k = heads(linear("k", normed, kKvHeads * kHeadDim, kDim), kKvHeads);
  const int v = heads(linear("v", normed, kKvHeads * kHeadDim, kDim), kKvHeads);
  const int rotated_q = b.tensor({1, kLength, kHeads, kHeadDim});
  const int rotated_k = b.tensor({1, kLength, kKvHeads, kHeadDim});
  const int cos = table("cos"), sin = table("sin");
  b.call("et_vk.apply_rotary_emb.default", {q, k, cos, sin, b.list({rotated_q, rotated_k})});
  const int k_cache = b.constant("zeros", {1, kContext, kKvHeads, kHeadDim});
  const int v_cache = b.constant("zeros", {1, kContext, kKvHeads, kHeadDim});
  const int attended = b.call("sdpa_with_kv_cache.default",
                              {rotated_q, rotated_k, v, k_cache, v_cache, pos, one, none,
                               b.number(0.0), yes, none, b.tensor({1, kLength, kHeads, kHeadDim})});
  const int flat =
      b.call("aten.view_copy.default",
             {attended, b.list({one, length, b.integer(kDim)}), b.tensor({1, kLength, kDim})});
  const int residual = b.call("aten.add.Tensor", {embedded, linear("o", flat, kDim, kDim), one,
                                                  b.tensor({1, kLength, kDim})});
  const int normed2 = norm("norm2", residual);
  const int gate = linear("gate", normed2, kHidden, kDim);
  const int up = linear("up", normed2, kHidden, kDim);
  const int sigmoid = b.call("aten.sigmoid.default", {gate, b.tensor({1, kLength, kHidden})});
  const int silu = b.call("aten.mul.Tensor", {gate, sigmoid, b.tensor({1, kLength, kHidden})});
  const int gated = b.call("aten.mul.Tensor", {silu, up, b.tensor({1, kLength, kHidden})});
  const int out = b.call("aten.add.Tensor", {residual, linear("down", gated, kDim, kHidden), one,
                                             b.tensor({1, kLength, kDim})});
  const int last = b.call("aten.select_copy.int", {out, one, minus_one, b.tensor({1, kDim})});
  const int head = b.constant("embedding.weight", {kVocabulary, kDim / 2}, VkDataType::UINT8);
  const int head_scales = b.constant("head.scales", {kDim / kGroup, kVocabulary});
  b.output(b.call("et_vk.linear_q4gsw.default",
                  {last, head, head_scales, group, none, b.tensor({1, kVocabulary})}));
  return b;
}

// Every constant of a graph with made-up content.
inline NamedBytes named_data_of(const vkgraph::VkGraphT& graph) {
  NamedBytes out;
  for (const auto& constant : graph.constants) {
    bool seen = constant->named_key.empty();
    for (const auto& entry : out) seen = seen || entry.first == constant->named_key;
    if (seen) continue;
    ByteVector bytes(constant->length);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i * 37) & 63);
    out.emplace_back(constant->named_key, std::move(bytes));
  }
  return out;
}

inline ByteVector delegate_blob(const vkgraph::VkGraphT& graph,
                                std::span<const std::byte> constants = {}) {
  flatbuffers::FlatBufferBuilder builder;
  vkgraph::FinishVkGraphBuffer(builder, vkgraph::VkGraph::Pack(builder, &graph));
  const ByteVector flatbuffer = bytes_of(builder);
  constexpr std::uint32_t kHeader = 32;
  ByteVector blob(kHeader);
  put_text(blob, 4, "VH00");
  put<std::uint16_t>(blob, 8, 30);
  put<std::uint32_t>(blob, 10, kHeader);
  put<std::uint32_t>(blob, 14, static_cast<std::uint32_t>(flatbuffer.size()));
  append_bytes(blob, flatbuffer);
  pad_to(blob, 16);
  put<std::uint32_t>(blob, 18, static_cast<std::uint32_t>(blob.size()));
  put<std::uint64_t>(blob, 22, constants.size());
  append_bytes(blob, constants);
  return blob;
}

// Appends segments behind `file` and records them in `segments`; returns the bytes they take.
template <typename Segment>
ByteVector lay_out(const std::vector<ByteVector>& contents,
                   std::vector<std::unique_ptr<Segment>>& segments) {
  ByteVector data;
  for (const ByteVector& bytes : contents) {
    pad_to(data, 16);
    auto segment = std::make_unique<Segment>();
    segment->offset = data.size();
    segment->size = bytes.size();
    segments.push_back(std::move(segment));
    append_bytes(data, bytes);
  }
  return data;
}

// Puts `header` behind root offset and identifier of a finished flatbuffer and shifts the root.
inline ByteVector with_header(ByteVector flatbuffer, std::size_t header_bytes) {
  std::uint32_t root = 0;
  std::memcpy(&root, flatbuffer.data(), 4);
  put<std::uint32_t>(flatbuffer, 0, root + static_cast<std::uint32_t>(header_bytes));
  flatbuffer.insert(flatbuffer.begin() + 8, header_bytes, std::byte{0});
  return flatbuffer;
}

inline executorch_flatbuffer::EValueT tensor_value(std::vector<std::int32_t> sizes,
                                                   executorch_flatbuffer::ScalarType type) {
  executorch_flatbuffer::TensorT tensor;
  tensor.scalar_type = type;
  tensor.sizes = std::move(sizes);
  tensor.shape_dynamism = executorch_flatbuffer::TensorShapeDynamism::DYNAMIC_BOUND;
  executorch_flatbuffer::EValueT value;
  value.val.Set(std::move(tensor));
  return value;
}

// A program with method "forward" (tokens, position → logits) that is one delegate call, and
// constant methods get_max_seq_len = 32 and use_kv_cache = true. The delegate is segment 0, named
// data follow.
inline executorch_flatbuffer::ProgramT program_object(const NamedBytes& named) {
  namespace fb = executorch_flatbuffer;
  fb::ProgramT program;
  auto forward = std::make_unique<fb::ExecutionPlanT>();
  forward->name = "forward";
  for (auto& value :
       {tensor_value({1, 31}, fb::ScalarType::LONG), tensor_value({1}, fb::ScalarType::LONG),
        tensor_value({1, 64}, fb::ScalarType::FLOAT)}) {
    forward->values.push_back(std::make_unique<fb::EValueT>(value));
  }
  forward->inputs = {0, 1};
  forward->outputs = {2};
  auto delegate = std::make_unique<fb::BackendDelegateT>();
  delegate->id = "VulkanBackend";
  delegate->processed = std::make_unique<fb::BackendDelegateDataReferenceT>();
  delegate->processed->location = fb::DataLocation::SEGMENT;
  auto spec = std::make_unique<fb::CompileSpecT>();
  spec->key = "require_dynamic_shapes";
  spec->value = {1};
  delegate->compile_specs.push_back(std::move(spec));
  forward->delegates.push_back(std::move(delegate));
  auto chain = std::make_unique<fb::ChainT>();
  auto instruction = std::make_unique<fb::InstructionT>();
  fb::DelegateCallT call;
  call.args = {0, 1, 2};
  instruction->instr_args.Set(std::move(call));
  chain->instructions.push_back(std::move(instruction));
  forward->chains.push_back(std::move(chain));
  program.execution_plan.push_back(std::move(forward));

  auto constant_method = [&](std::string name, auto value) {
    auto plan = std::make_unique<fb::ExecutionPlanT>();
    plan->name = std::move(name);
    auto entry = std::make_unique<fb::EValueT>();
    entry->val.Set(std::move(value));
    plan->values.push_back(std::move(entry));
    plan->outputs = {0};
    program.execution_plan.push_back(std::move(plan));
  };
  fb::IntT length;
  length.int_val = 32;
  constant_method("get_max_seq_len", std::move(length));
  fb::BoolT cache;
  cache.bool_val = true;
  constant_method("use_kv_cache", std::move(cache));

  for (std::size_t i = 0; i < named.size(); ++i) {
    auto entry = std::make_unique<fb::NamedDataT>();
    entry->key = named[i].first;
    entry->segment_index = static_cast<std::uint32_t>(i + 1);
    program.named_data.push_back(std::move(entry));
  }
  return program;
}

// The file of a program whose segments get `contents` (delegate first, then named data).
inline ByteVector program_file(executorch_flatbuffer::ProgramT program,
                               const std::vector<ByteVector>& contents) {
  constexpr std::size_t kHeader = 32;
  const ByteVector data = lay_out(contents, program.segments);
  flatbuffers::FlatBufferBuilder builder;
  executorch_flatbuffer::FinishProgramBuffer(
      builder, executorch_flatbuffer::Program::Pack(builder, &program));
  ByteVector file = with_header(bytes_of(builder), kHeader);
  const std::size_t program_size = file.size();
  pad_to(file, 64);
  put_text(file, 8, "eh00");
  put<std::uint32_t>(file, 12, kHeader);
  put<std::uint64_t>(file, 16, program_size);
  put<std::uint64_t>(file, 24, file.size());
  put<std::uint64_t>(file, 32, data.size());
  append_bytes(file, data);
  return file;
}

inline ByteVector program_file(const vkgraph::VkGraphT& graph) {
  const NamedBytes named = named_data_of(graph);
  std::vector<ByteVector> contents{delegate_blob(graph)};
  for (const auto& entry : named) contents.push_back(entry.second);
  return program_file(program_object(named), contents);
}

inline ByteVector tensor_file(const NamedBytes& named) {
  constexpr std::size_t kHeader = 48;
  flat_tensor_flatbuffer::FlatTensorT directory;
  std::vector<ByteVector> contents;
  for (const auto& [key, bytes] : named) {
    auto entry = std::make_unique<flat_tensor_flatbuffer::NamedDataT>();
    entry->key = key;
    entry->segment_index = static_cast<std::uint32_t>(contents.size());
    directory.named_data.push_back(std::move(entry));
    contents.push_back(bytes);
  }
  const ByteVector data = lay_out(contents, directory.segments);
  flatbuffers::FlatBufferBuilder builder;
  flat_tensor_flatbuffer::FinishFlatTensorBuffer(
      builder, flat_tensor_flatbuffer::FlatTensor::Pack(builder, &directory));
  ByteVector file = with_header(bytes_of(builder), kHeader);
  const std::size_t flatbuffer_end = file.size();
  pad_to(file, 64);
  put_text(file, 8, "FH01");
  put<std::uint32_t>(file, 12, 40);
  put<std::uint64_t>(file, 16, kHeader);
  put<std::uint64_t>(file, 24, flatbuffer_end - kHeader);
  put<std::uint64_t>(file, 32, file.size());
  put<std::uint64_t>(file, 40, data.size());
  append_bytes(file, data);
  return file;
}

}  // namespace etwebgpu::testing
