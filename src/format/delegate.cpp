#include "format/delegate.h"

#include <vk_graph_generated.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/checked.h"
#include "base/quote.h"
#include "format/bytes.h"

namespace etwebgpu {
namespace {

using format::Bytes;
using format::element;
using format::size_of;
using format::view;
constexpr ErrorKind kInvalid = ErrorKind::InvalidProgram;

struct Sections {
  FilePart graph;
  FilePart constants;
};

// Header, little endian: magic at 4, its own size u16 at 8, then offset and size of the flatbuffer
// (u32, u32) and of the constants (u32, u64), all from the start of the blob.
Result<Sections> split(const FileHead& head) {
  constexpr std::size_t kHeaderSize = kDelegateHeaderBytes;
  const Bytes blob = head.bytes;
  CHECK_OR_FAIL(blob.size() >= kHeaderSize, kInvalid, "delegate blob: ", blob.size(),
                " bytes are too few for the ", kHeaderSize, "-byte header");
  const std::string_view magic = format::text_at(blob, 4, 4);
  CHECK_OR_FAIL(magic == "VH00", kInvalid, "delegate blob: the magic bytes are ", quoted(magic),
                ", expected 'VH00'");
  const auto header_size = format::load<std::uint16_t>(blob, 8);
  const auto graph_offset = format::load<std::uint32_t>(blob, 10);
  const auto graph_size = format::load<std::uint32_t>(blob, 14);
  const auto constants_offset = format::load<std::uint32_t>(blob, 18);
  const auto constants_size = format::load<std::uint64_t>(blob, 22);
  CHECK_OR_FAIL(header_size >= kHeaderSize && header_size <= head.size, kInvalid,
                "delegate blob: header size ", header_size, " is outside [", kHeaderSize, ", ",
                head.size, "]");
  CHECK_OR_FAIL(graph_offset >= header_size, kInvalid, "delegate blob: the flatbuffer at offset ",
                graph_offset, " overlaps the ", header_size, "-byte header");
  CHECK_OR_FAIL(range_fits(graph_offset, graph_size, head.size), kInvalid,
                "delegate blob: the flatbuffer at offset ", graph_offset, " with ", graph_size,
                " bytes does not fit into the blob of ", head.size, " bytes");
  CHECK_OR_FAIL(range_fits(constants_offset, constants_size, head.size), kInvalid,
                "delegate blob: the constants at offset ", constants_offset, " with ",
                constants_size, " bytes do not fit into the blob of ", head.size, " bytes");
  return Sections{{graph_offset, graph_size}, {constants_offset, constants_size}};
}

Result<DType> decode_dtype(vkgraph::VkDataType type, std::string_view what) {
  const auto number = static_cast<int>(type);
  CHECK_OR_FAIL(number >= 0 && number < static_cast<int>(kDTypeCount), kInvalid, what, " ", number,
                " is unknown");
  return static_cast<DType>(number);
}

// Decodes the verified flatbuffer part by part; later parts refer to earlier ones.
class Decoder {
 public:
  Decoder(const vkgraph::VkGraph& source, std::size_t bytes, std::uint64_t constant_bytes)
      : source_(source), budget_(bytes), constant_bytes_(constant_bytes) {}

  Result<Graph> decode() {
    const std::string_view version = view(source_.version());
    CHECK_OR_FAIL(budget_.spend(version.size(), 1), kInvalid, "version text of ", version.size(),
                  " bytes is implausible");
    graph_.version = version;
    TRY(decode_constants());
    TRY(decode_values());
    TRY(check_lists());
    TRY(decode_calls());
    TRY(decode_ids("input", source_.input_ids(), graph_.inputs));
    TRY(decode_ids("output", source_.output_ids(), graph_.outputs));
    TRY(check_inputs());
    return std::move(graph_);
  }

 private:
  Result<void> decode_constants() {
    const std::size_t count = size_of(source_.constants());
    graph_.constants.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const vkgraph::VkBytes& bytes = *source_.constants()->Get(static_cast<std::uint32_t>(i));
      const std::string_view key = view(bytes.named_key());
      CHECK_OR_FAIL(is_name(key), kInvalid, "constant ", i, ": the key ", quoted(key), kNameRule);
      CHECK_OR_FAIL(budget_.spend(key.size(), 1), kInvalid, "constant ", i,
                    ": keys repeat implausibly");
      Constant constant{std::string(key), bytes.offset(), bytes.length()};
      if (key.empty()) {
        // The exporter writes the largest offset for constants that are named data.
        CHECK_OR_FAIL(constant.offset != std::numeric_limits<std::uint64_t>::max(), kInvalid,
                      "constant ", i, " has neither a key nor an offset");
        CHECK_OR_FAIL(range_fits(constant.offset, constant.length, constant_bytes_), kInvalid,
                      "constant ", i, " at offset ", constant.offset, " with ", constant.length,
                      " bytes does not fit into the constant section of ", constant_bytes_,
                      " bytes");
      }
      // Tensors with the same bytes refer to one constant: a tied embedding is packed once.
      const auto index = static_cast<std::int32_t>(i);
      const auto alike = by_key_.try_emplace(constant.key, index).first->second;
      const bool same =
          !constant.key.empty() &&
          (alike == index ||
           graph_.constants[static_cast<std::size_t>(alike)].length == constant.length);
      first_alike_.push_back(same ? alike : index);
      graph_.constants.push_back(std::move(constant));
    }
    return {};
  }

  Result<void> decode_values() {
    const std::size_t count = size_of(source_.values());
    graph_.values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      auto value = decode_value(*source_.values()->Get(static_cast<std::uint32_t>(i)));
      if (!value) return std::unexpected(std::move(value).error().within("value ", i));
      graph_.values.push_back(*std::move(value));
    }
    return {};
  }

  Result<Value> decode_value(const vkgraph::VkValue& source) {
    using Kind = vkgraph::GraphTypes;
    const Kind kind = source.value_type();
    CHECK_OR_FAIL(kind == Kind::NONE || source.value() != nullptr, kInvalid, "kind ", kind,
                  " without content");
    switch (kind) {
      case Kind::Null:
        return Value(std::monostate());
      case Kind::Int:
        return Value(std::int64_t{source.value_as_Int()->int_val()});
      case Kind::Double:
        return Value(source.value_as_Double()->double_val());
      case Kind::Bool:
        return Value(source.value_as_Bool()->bool_val());
      case Kind::SymInt:
        return Value(SymInt());
      case Kind::VkTensor:
        return decode_tensor(*source.value_as_VkTensor());
      case Kind::IntList:
        return decode_list<IntList>(source.value_as_IntList()->items());
      case Kind::DoubleList:
        return decode_list<DoubleList>(source.value_as_DoubleList()->items());
      case Kind::BoolList:
        return decode_list<BoolList>(source.value_as_BoolList()->items());
      case Kind::ValueList:
        return decode_list<ValueList>(source.value_as_ValueList()->items());
      case Kind::String: {
        const std::string_view text = view(source.value_as_String()->string_val());
        CHECK_OR_FAIL(budget_.spend(text.size(), 1), kInvalid, "texts repeat implausibly");
        return Value(std::string(text));
      }
      default:
        return fail(kInvalid, "kind ", kind, " is unknown");
    }
  }

  template <typename List, typename T>
  Result<Value> decode_list(const flatbuffers::Vector<T>* source) {
    List list;
    const std::size_t count = size_of(source);
    CHECK_OR_FAIL(budget_.spend(count, sizeof(T)), kInvalid, "a list of ", count,
                  " items: lists repeat implausibly");
    list.items.reserve(count);
    for (std::size_t i = 0; i < count; ++i) list.items.push_back(element(*source, i));
    return Value(std::move(list));
  }

  Result<Value> decode_tensor(const vkgraph::VkTensor& source) {
    TensorInfo tensor;
    TRY_ASSIGN(tensor.dtype, decode_dtype(source.datatype(), "tensor dtype"));
    tensor.host_dtype = tensor.dtype;
    if (source.staging_datatype() != vkgraph::VkDataType::UNSET) {
      TRY_ASSIGN(tensor.host_dtype, decode_dtype(source.staging_datatype(), "staging dtype"));
      CHECK_OR_FAIL(convertible(tensor.host_dtype, tensor.dtype), kInvalid, "a tensor of type ",
                    name(tensor.dtype), " has the staging dtype ", name(tensor.host_dtype));
    }
    TRY_ASSIGN(tensor.bound, decode_dims(source.dims()));
    tensor.mem_object = std::max(source.mem_obj_id(), -1);
    tensor.constant = std::max(source.constant_id(), -1);
    if (tensor.constant >= 0) {
      TRY(check_constant(tensor));
      tensor.file_constant = tensor.constant;
      tensor.constant = first_alike_[static_cast<std::size_t>(tensor.constant)];
    }
    return Value(std::move(tensor));
  }

  static Result<Dims> decode_dims(const flatbuffers::Vector<std::uint32_t>* source) {
    const std::size_t rank = size_of(source);
    CHECK_OR_FAIL(rank <= kMaxRank, kInvalid, "tensor rank ", rank, " is above ", kMaxRank);
    Dims dims;
    for (std::size_t i = 0; i < rank; ++i) dims.push_back(element(*source, i));
    // Empty dimensions count as one: strides multiply the others even if there is no element.
    std::int64_t elements = 1;
    for (std::int64_t extent : dims) {
      const auto product = checked_mul(elements, std::max<std::int64_t>(extent, 1));
      CHECK_OR_FAIL(product && *product <= kMaxElements, kInvalid, "tensor sizes ", to_string(dims),
                    " make more than ", kMaxElements, " elements");
      elements = *product;
    }
    return dims;
  }

  Result<void> check_constant(const TensorInfo& tensor) const {
    const auto index = static_cast<std::size_t>(tensor.constant);
    CHECK_OR_FAIL(index < graph_.constants.size(), kInvalid, "tensor refers to constant ", index,
                  ", but the graph has ", graph_.constants.size(), " constants");
    const Constant& constant = graph_.constants[index];
    const auto needed = static_cast<std::uint64_t>(tensor.bound.numel()) * byte_size(tensor.dtype);
    CHECK_OR_FAIL(constant.length >= needed, kInvalid, "tensor ", name(tensor.dtype), " ",
                  to_string(tensor.bound), " needs ", needed, " bytes, but constant ", index,
                  constant.key.empty() ? std::string() : cat(' ', quoted(constant.key)), " has ",
                  constant.length);
    // A view is stored as its whole storage from the beginning, wherever in it the view lies.
    CHECK_OR_FAIL(constant.length == needed || needed == 0, kInvalid, "tensor ", name(tensor.dtype),
                  " ", to_string(tensor.bound), " needs ", needed, " bytes, but constant ", index,
                  " holds ", constant.length, ": the exporter has stored more than the view of a ",
                  "larger tensor that the model has there, and which part is meant is lost; make "
                  "it a tensor of its own (x.clone()) before exporting, or export through "
                  "executorch_webgpu.lowering");
    return {};
  }

  // A list holds tensors and scalars, never lists: no operator takes those, and following lists
  // through lists could take forever.
  Result<void> check_lists() const {
    for (std::size_t i = 0; i < graph_.values.size(); ++i) {
      const auto* list = std::get_if<ValueList>(&graph_.values[i]);
      if (list == nullptr) continue;
      for (std::size_t k = 0; k < list->items.size(); ++k) {
        const ValueId item = list->items[k];
        CHECK_OR_FAIL(is_value(item), kInvalid, "value ", i, ": list item ", k, " refers to value ",
                      item, ", but the graph has ", graph_.values.size(), " values");
        CHECK_OR_FAIL(static_cast<std::size_t>(item) != i, kInvalid, "value ", i,
                      ": the list contains itself");
        CHECK_OR_FAIL(!std::holds_alternative<ValueList>(graph_.value(item)), kInvalid, "value ", i,
                      ": list item ", k, " is value ", item, ", another list");
      }
    }
    return {};
  }

  Result<void> decode_calls() {
    const std::size_t count = size_of(source_.chain());
    graph_.calls.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      auto call = decode_call(*source_.chain()->Get(static_cast<std::uint32_t>(i)));
      if (!call) return std::unexpected(std::move(call).error().within("call ", i));
      graph_.calls.push_back(*std::move(call));
    }
    return {};
  }

  Result<Call> decode_call(const vkgraph::OperatorCall& source) {
    const std::string_view name = view(source.name());
    const std::size_t count = size_of(source.args());
    CHECK_OR_FAIL(!name.empty(), kInvalid, "the operator has no name");
    CHECK_OR_FAIL(is_name(name), kInvalid, "operator name ", quoted(name), kNameRule);
    CHECK_OR_FAIL(!name.starts_with("fused."), kInvalid, "operator name ", quoted(name),
                  " is reserved for this runtime's own passes");
    CHECK_OR_FAIL(count > 0, kInvalid, quoted(name), " has no arguments");
    CHECK_OR_FAIL(budget_.spend(name.size(), 1) && budget_.spend(count, sizeof(ValueId)), kInvalid,
                  quoted(name), " with ", count,
                  " arguments: names or argument lists repeat implausibly");
    Call call;
    call.name = name;
    call.node_id = source.node_id();
    call.args.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const ValueId id = element(*source.args(), i);
      CHECK_OR_FAIL(is_value(id), kInvalid, quoted(name), ": argument ", i, " refers to value ", id,
                    ", but the graph has ", graph_.values.size(), " values");
      // Later stages look through lists at every use, so uses are paid for like copies.
      const auto* list = std::get_if<ValueList>(&graph_.value(id));
      CHECK_OR_FAIL(list == nullptr || budget_.spend(list->items.size(), sizeof(ValueId)), kInvalid,
                    quoted(name), ": argument ", i, " is value ", id,
                    ", a list that is used implausibly often");
      call.args.push_back(id);
    }
    return call;
  }

  Result<void> decode_ids(std::string_view what, const flatbuffers::Vector<std::uint32_t>* source,
                          std::vector<ValueId>& out) {
    const std::size_t count = size_of(source);
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t id = element(*source, i);
      CHECK_OR_FAIL(id < graph_.values.size(), kInvalid, what, " ", i, " refers to value ", id,
                    ", but the graph has ", graph_.values.size(), " values");
      const auto value = static_cast<ValueId>(id);
      CHECK_OR_FAIL(graph_.tensor(value) != nullptr || graph_.is_symint(value), kInvalid, what, " ",
                    i, " refers to value ", id, ", which is neither a tensor nor a SymInt");
      out.push_back(value);
    }
    return {};
  }

  // Every input brings its own content.
  Result<void> check_inputs() const {
    std::vector<bool> seen(graph_.values.size(), false);
    for (std::size_t i = 0; i < graph_.inputs.size(); ++i) {
      const ValueId id = graph_.inputs[i];
      const TensorInfo* tensor = graph_.tensor(id);
      CHECK_OR_FAIL(tensor == nullptr || tensor->constant < 0, kInvalid, "input ", i,
                    " refers to value ", id, ", which is a constant");
      CHECK_OR_FAIL(!seen[static_cast<std::size_t>(id)], kInvalid, "input ", i, " refers to value ",
                    id, ", which is an earlier input already");
      seen[static_cast<std::size_t>(id)] = true;
    }
    return {};
  }

  bool is_value(ValueId id) const {
    return id >= 0 && static_cast<std::size_t>(id) < graph_.values.size();
  }
  // Names and keys go into messages, labels and traces: short and printable.
  static bool is_name(std::string_view text) {
    return text.size() <= 128 &&
           std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
  }
  static constexpr std::string_view kNameRule = " is not printable ASCII of at most 128 characters";

  const vkgraph::VkGraph& source_;
  format::CopyBudget budget_;
  std::uint64_t constant_bytes_;
  std::unordered_map<std::string, std::int32_t> by_key_;  // the first constant with the key
  std::vector<std::int32_t> first_alike_;                 // by constant
  Graph graph_;
};

}  // namespace

Result<Graph> decode_delegate(const FileHead& blob) {
  TRY_ASSIGN(const Sections sections, split(blob));
  TRY(blob.first(sections.graph.offset + sections.graph.size, "the delegate graph"));
  TRY_ASSIGN(const auto buffer, format::FlatBuffer<vkgraph::VkGraph>::open(
                                    blob.part(sections.graph), "VK00", "delegate graph"));
  auto graph = Decoder(buffer.root(), buffer.size(), sections.constants.size).decode();
  if (!graph) return std::unexpected(std::move(graph).error().within("delegate graph"));
  return graph;
}

Result<std::uint64_t> delegate_head_size(const FileHead& blob) {
  TRY_ASSIGN(const Sections sections, split(blob));
  return sections.graph.offset + sections.graph.size;
}

Result<FilePart> delegate_constants(const FileHead& blob) {
  TRY_ASSIGN(const Sections sections, split(blob));
  return sections.constants;
}

}  // namespace etwebgpu
