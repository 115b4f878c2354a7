#include "support/format_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::uint64_t kSegmentAlignment = 16;

// Records segments behind each other; returns their end.
template <typename Segment>
std::uint64_t lay_out(std::span<const std::uint64_t> sizes,
                      std::vector<std::unique_ptr<Segment>>& segments) {
  std::uint64_t end = 0;
  for (const std::uint64_t size : sizes) {
    auto segment = std::make_unique<Segment>();
    segment->offset = (end + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment;
    segment->size = size;
    end = segment->offset + size;
    segments.push_back(std::move(segment));
  }
  return end;
}

std::vector<std::uint64_t> sizes_of(const std::vector<ByteVector>& contents) {
  std::vector<std::uint64_t> out;
  for (const ByteVector& bytes : contents) out.push_back(bytes.size());
  return out;
}

// Behind a head, whose end is aligned.
void append_segments(ByteVector& file, const std::vector<ByteVector>& contents) {
  for (const ByteVector& bytes : contents) {
    pad_to(file, kSegmentAlignment);
    append_bytes(file, bytes);
  }
}

// Puts a header behind root offset and identifier of a finished flatbuffer and shifts the root.
ByteVector with_header(ByteVector flatbuffer, std::size_t header_bytes) {
  std::uint32_t root = 0;
  std::memcpy(&root, flatbuffer.data(), 4);
  put<std::uint32_t>(flatbuffer, 0, root + static_cast<std::uint32_t>(header_bytes));
  flatbuffer.insert(flatbuffer.begin() + 8, header_bytes, std::byte{0});
  return flatbuffer;
}

}  // namespace

executorch_flatbuffer::EValueT tensor_value(std::vector<std::int32_t> sizes,
                                            executorch_flatbuffer::ScalarType type) {
  executorch_flatbuffer::TensorT tensor;
  tensor.scalar_type = type;
  tensor.sizes = std::move(sizes);
  tensor.shape_dynamism = executorch_flatbuffer::TensorShapeDynamism::DYNAMIC_BOUND;
  executorch_flatbuffer::EValueT value;
  value.val.Set(std::move(tensor));
  return value;
}

void put_text(ByteVector& out, std::size_t offset, std::string_view text) {
  if (out.size() < offset + text.size()) out.resize(offset + text.size());
  std::memcpy(out.data() + offset, text.data(), text.size());
}

void append_bytes(ByteVector& out, std::span<const std::byte> bytes) {
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

void pad_to(ByteVector& out, std::size_t alignment) {
  while (out.size() % alignment != 0) out.push_back(std::byte{0});
}

ByteVector bytes_of(const flatbuffers::FlatBufferBuilder& builder) {
  const auto* data = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {data, data + builder.GetSize()};
}

BlobBuilder add_blob() {
  BlobBuilder b;
  const int x = b.input(b.tensor({8, 16}));
  const int y = b.input(b.tensor({8, 16}));
  b.output(b.call("aten.add.Tensor", {x, y, b.integer(1), b.tensor({8, 16})}));
  return b;
}

BlobBuilder decoder_blob() {
  using vkgraph::VkDataType;
  constexpr std::uint32_t kVocabulary = 64, kDim = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16;
  constexpr std::uint32_t kContext = 32, kLength = 31, kGroup = 32, kHidden = 96;
  BlobBuilder b;
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

NamedBytes named_data_of(const vkgraph::VkGraphT& graph) {
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

ByteVector delegate_blob(const vkgraph::VkGraphT& graph, std::span<const std::byte> constants) {
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

executorch_flatbuffer::ProgramT program_object(const NamedBytes& named) {
  namespace fb = executorch_flatbuffer;
  std::vector<std::string> keys;
  for (const auto& entry : named) keys.push_back(entry.first);
  fb::ProgramT program = program_object(
      {tensor_value({1, 31}, fb::ScalarType::LONG), tensor_value({1}, fb::ScalarType::LONG),
       tensor_value({1, 64}, fb::ScalarType::FLOAT)},
      keys);
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
  return program;
}

executorch_flatbuffer::ProgramT program_object(
    const std::vector<executorch_flatbuffer::EValueT>& values,
    const std::vector<std::string>& keys) {
  namespace fb = executorch_flatbuffer;
  fb::ProgramT program;
  auto forward = std::make_unique<fb::ExecutionPlanT>();
  forward->name = "forward";
  fb::DelegateCallT call;
  for (const fb::EValueT& value : values) {
    call.args.push_back(static_cast<std::int32_t>(forward->values.size()));
    forward->values.push_back(std::make_unique<fb::EValueT>(value));
  }
  forward->inputs.assign(call.args.begin(), call.args.end() - 1);
  forward->outputs = {call.args.back()};
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
  instruction->instr_args.Set(std::move(call));
  chain->instructions.push_back(std::move(instruction));
  forward->chains.push_back(std::move(chain));
  program.execution_plan.push_back(std::move(forward));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto entry = std::make_unique<fb::NamedDataT>();
    entry->key = keys[i];
    entry->segment_index = static_cast<std::uint32_t>(i + 1);
    program.named_data.push_back(std::move(entry));
  }
  return program;
}

executorch_flatbuffer::ProgramT stepped_program_object() {
  namespace fb = executorch_flatbuffer;
  fb::ProgramT program = program_object({});
  program.execution_plan.resize(1);
  fb::ExecutionPlanT& plan = *program.execution_plan[0];
  const auto add = [&](auto value) {
    auto entry = std::make_unique<fb::EValueT>();
    entry->val.Set(std::move(value));
    plan.values.push_back(std::move(entry));
  };
  const auto stored = [&](bool planned) {
    fb::TensorT tensor = *tensor_value({2}, fb::ScalarType::FLOAT).val.AsTensor();
    tensor.data_buffer_idx = 1;
    if (planned) tensor.allocation_info = std::make_unique<fb::AllocationDetailsT>();
    return tensor;
  };
  fb::IntT integer;
  integer.int_val = std::numeric_limits<std::int64_t>::max();
  fb::IntListT integers;
  integers.items = {3, 3};
  fb::OptionalTensorListT tensors;
  tensors.items = {0, -1};
  fb::DoubleT number;
  number.double_val = -std::numeric_limits<double>::infinity();
  fb::BoolT condition;
  condition.bool_val = true;
  add(integer);
  add(integers);
  add(fb::NullT());
  add(tensors);
  add(number);
  add(condition);
  add(stored(false));
  add(stored(true));

  auto op = std::make_unique<fb::OperatorT>();
  op->name = "aten::index";
  op->overload = "Tensor_out";
  plan.operators.push_back(std::move(op));
  const auto step = [&](auto content) {
    auto instruction = std::make_unique<fb::InstructionT>();
    instruction->instr_args.Set(std::move(content));
    plan.chains[0]->instructions.push_back(std::move(instruction));
  };
  fb::KernelCallT kernel;
  kernel.args = {9, 6, 10, 10};
  step(std::move(kernel));
  fb::JumpFalseCallT jump;
  jump.cond_value_index = 8;
  jump.destination_instruction = 4;
  step(jump);
  fb::MoveCallT move;
  move.move_from = 9;
  move.move_to = 10;
  step(move);
  fb::FreeCallT freed;
  freed.value_index = 10;
  step(freed);

  const auto place = [](std::uint32_t segment, std::uint64_t offset) {
    auto out = std::make_unique<fb::SubsegmentOffsetsT>();
    out->segment_index = segment;
    out->offsets = {0, offset};
    return out;
  };
  program.constant_segment = place(1, 16);
  program.mutable_data_segments.push_back(place(2, 0));
  return program;
}

ByteVector program_head(executorch_flatbuffer::ProgramT program,
                        std::span<const std::uint64_t> sizes) {
  constexpr std::size_t kHeader = 32;
  const std::uint64_t segment_bytes = lay_out(sizes, program.segments);
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
  put<std::uint64_t>(file, 32, segment_bytes);
  return file;
}

ByteVector program_file(executorch_flatbuffer::ProgramT program,
                        const std::vector<ByteVector>& contents) {
  ByteVector file = program_head(std::move(program), sizes_of(contents));
  append_segments(file, contents);
  return file;
}

ByteVector stepped_file(executorch_flatbuffer::ProgramT program) {
  return program_file(std::move(program), {ByteVector(8), ByteVector(24), ByteVector(8)});
}

ByteVector program_file(const vkgraph::VkGraphT& graph) {
  const NamedBytes named = named_data_of(graph);
  std::vector<ByteVector> contents{delegate_blob(graph)};
  for (const auto& entry : named) contents.push_back(entry.second);
  return program_file(program_object(named), contents);
}

ByteVector tensor_file(const NamedBytes& named) {
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
  const std::uint64_t segment_bytes = lay_out(sizes_of(contents), directory.segments);
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
  put<std::uint64_t>(file, 40, segment_bytes);
  append_segments(file, contents);
  return file;
}

}  // namespace etwebgpu::testing
