#include "format/program.h"

#include <program_generated.h>

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "format/segments.h"

namespace etwebgpu {
namespace {

namespace fb = executorch_flatbuffer;
using format::Bytes;
using format::element;
using format::size_of;
using format::view;
constexpr ErrorKind kInvalid = ErrorKind::InvalidProgram;
constexpr const char* kIdentifier = "ET12";

struct Header {
  std::uint64_t program_size;
  std::uint64_t segment_base;
};

// Programs with segments carry an extended header inside the flatbuffer, behind root offset and
// identifier: magic at 8, its own size u32, program size and segment base u64, and since version 2
// the bytes of all segments.
Result<Header> read_header(const FileHead& head) {
  constexpr std::size_t kEnd = 32, kEndWithSegmentBytes = Program::kHeaderBytes;
  const Bytes file = head.bytes;
  TRY(format::check_identifier(file, kIdentifier, "flatbuffer"));
  if (file.size() < kEnd || format::text_at(file, 8, 4) != "eh00") return Header{head.size, 0};
  const auto length = format::load<std::uint32_t>(file, 12);
  const auto program_size = format::load<std::uint64_t>(file, 16);
  const auto base = format::load<std::uint64_t>(file, 24);
  CHECK_OR_FAIL(length >= kEnd - 8, kInvalid, "extended header size ", length, " is below ",
                kEnd - 8);
  CHECK_OR_FAIL(program_size <= head.size, kInvalid, "the program of ", program_size,
                " bytes does not fit into the file of ", head.size, " bytes (is it truncated?)");
  if (length >= kEndWithSegmentBytes - 8 && file.size() >= kEndWithSegmentBytes) {
    const auto segment_bytes = format::load<std::uint64_t>(file, 32);
    CHECK_OR_FAIL(range_fits(base, segment_bytes, head.size), kInvalid, segment_bytes,
                  " bytes of segments at offset ", base, " do not fit into the file of ", head.size,
                  " bytes (is it truncated?)");
  }
  return Header{program_size, base};
}

struct ScalarTypeInfo {
  fb::ScalarType type;
  std::string_view name;
  std::optional<DType> dtype;
};
constexpr ScalarTypeInfo kScalarTypes[] = {
    {fb::ScalarType::BYTE, "uint8", DType::UInt8},
    {fb::ScalarType::CHAR, "int8", DType::Int8},
    {fb::ScalarType::SHORT, "int16", std::nullopt},
    {fb::ScalarType::INT, "int32", DType::Int32},
    {fb::ScalarType::LONG, "int64", DType::Int64},
    {fb::ScalarType::HALF, "float16", DType::Float16},
    {fb::ScalarType::FLOAT, "float32", DType::Float32},
    {fb::ScalarType::DOUBLE, "float64", DType::Float64},
    {fb::ScalarType::BOOL, "bool", DType::Bool},
    {fb::ScalarType::BFLOAT16, "bfloat16", std::nullopt},
    {fb::ScalarType::UINT16, "uint16", std::nullopt},
    {fb::ScalarType::UINT32, "uint32", std::nullopt},
    {fb::ScalarType::UINT64, "uint64", std::nullopt},
};

class Reader {
 public:
  Reader(const FileHead& file, std::uint64_t segment_base,
         const format::FlatBuffer<fb::Program>& buffer)
      : file_(file), segments_{file.size, segment_base}, buffer_(buffer), budget_(buffer.size()) {}

  Result<std::vector<Method>> methods() {
    const auto* plans = root().execution_plan();
    std::vector<Method> out;
    out.reserve(size_of(plans));
    for (std::size_t i = 0; i < size_of(plans); ++i) {
      const fb::ExecutionPlan& plan = *plans->Get(static_cast<std::uint32_t>(i));
      auto method = read_method(plan);
      if (!method) {
        return std::unexpected(
            std::move(method).error().within("method ", i, " ", quoted(view(plan.name()))));
      }
      out.push_back(*std::move(method));
    }
    return out;
  }

  Result<Program::NamedData> named_data() {
    return format::named_segments(segments_, root().segments(), root().named_data(), budget_);
  }

 private:
  const fb::Program& root() const { return buffer_.root(); }

  Result<Method> read_method(const fb::ExecutionPlan& plan) {
    Method method;
    TRY_ASSIGN(method.name, copy(plan.name()));
    TRY(read_values("input", plan, plan.inputs(), method.input_ids, method.inputs));
    TRY(read_values("output", plan, plan.outputs(), method.output_ids, method.outputs));
    const std::size_t delegates = size_of(plan.delegates());
    method.delegates.reserve(delegates);
    for (std::size_t i = 0; i < delegates; ++i) {
      auto delegate = read_delegate(*plan.delegates()->Get(static_cast<std::uint32_t>(i)));
      if (!delegate) return std::unexpected(std::move(delegate).error().within("delegate ", i));
      method.delegates.push_back(*std::move(delegate));
    }
    TRY(read_external_constants(plan, method));
    const std::vector<const fb::Instruction*> instructions = instructions_of(plan);
    TRY(read_calls(plan, instructions, method));
    if (has_more_than_delegates(plan, instructions, method)) {
      TRY(read_host_plan(plan, instructions, method));
    }
    return method;
  }

  Result<void> read_values(std::string_view what, const fb::ExecutionPlan& plan,
                           const flatbuffers::Vector<std::int32_t>* source,
                           std::vector<std::int32_t>& ids, std::vector<ProgramValue>& out) {
    const std::size_t count = size_of(source);
    CHECK_OR_FAIL(budget_.spend(count, sizeof(ProgramValue)), kInvalid, count, " ", what,
                  "s: lists repeat implausibly");
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::int32_t id = ids.emplace_back(element(*source, i));
      CHECK_OR_FAIL(id >= 0 && static_cast<std::size_t>(id) < size_of(plan.values()), kInvalid,
                    what, " ", i, " refers to value ", id, ", but the method has ",
                    size_of(plan.values()), " values");
      auto value = read_value(*plan.values()->Get(static_cast<std::uint32_t>(id)));
      if (!value)
        return std::unexpected(std::move(value).error().within(what, " ", i, ", value ", id));
      out.push_back(*std::move(value));
    }
    return {};
  }

  Result<ProgramValue> read_value(const fb::EValue& source) {
    using Kind = fb::KernelTypes;
    const Kind kind = source.val_type();
    CHECK_OR_FAIL(kind == Kind::NONE || source.val() != nullptr, kInvalid, "kind ", kind,
                  " without content");
    switch (kind) {
      case Kind::NONE:
      case Kind::Null:
        return ProgramValue();
      case Kind::Int:
        return ProgramValue(std::int64_t{source.val_as_Int()->int_val()});
      case Kind::Bool:
        return ProgramValue(source.val_as_Bool()->bool_val());
      case Kind::Double:
        return ProgramValue(source.val_as_Double()->double_val());
      case Kind::String: {
        TRY_ASSIGN(std::string text, copy(source.val_as_String()->string_val()));
        return ProgramValue(std::move(text));
      }
      case Kind::Tensor:
        return read_tensor(*source.val_as_Tensor());
      case Kind::IntList:  // holds ids of values that only a run of the method sets
        return read_ids("int list", source.val_as_IntList()->items());
      case Kind::DoubleList:
        return read_list<double>(source.val_as_DoubleList()->items());
      case Kind::BoolList:
        return read_list<bool>(source.val_as_BoolList()->items());
      case Kind::TensorList:
        return read_ids("tensor list", source.val_as_TensorList()->items());
      case Kind::OptionalTensorList:
        return read_ids("optional tensor list", source.val_as_OptionalTensorList()->items());
    }
    return fail(kInvalid, "kind ", kind, " is unknown");
  }

  template <typename T>
  Result<ProgramValue> read_ids(std::string_view kind, const flatbuffers::Vector<T>* source) {
    ProgramList list{kind, {}};
    TRY_ASSIGN(list.ids, copy_ids(kind, source));
    return ProgramValue(std::move(list));
  }

  template <typename T>
  Result<std::vector<std::int32_t>> copy_ids(std::string_view what,
                                             const flatbuffers::Vector<T>* source) {
    const std::size_t count = size_of(source);
    CHECK_OR_FAIL(budget_.spend(count, sizeof(std::int32_t)), kInvalid, what, " of ", count,
                  " items: lists repeat implausibly");
    std::vector<std::int32_t> ids;
    ids.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const T id = element(*source, i);
      CHECK_OR_FAIL(std::in_range<std::int32_t>(id), kInvalid, what, " refers to value ", id);
      ids.push_back(static_cast<std::int32_t>(id));
    }
    return ids;
  }

  template <typename Item, typename T>
  Result<ProgramValue> read_list(const flatbuffers::Vector<T>* source) {
    const std::size_t count = size_of(source);
    CHECK_OR_FAIL(budget_.spend(count, sizeof(T)), kInvalid, "a list of ", count,
                  " items: lists repeat implausibly");
    std::vector<Item> items;
    items.reserve(count);
    for (std::size_t i = 0; i < count; ++i) items.push_back(element(*source, i));
    return ProgramValue(std::move(items));
  }

  Result<ProgramValue> read_tensor(const fb::Tensor& source) {
    const auto* info = std::ranges::find(kScalarTypes, source.scalar_type(), &ScalarTypeInfo::type);
    const bool known = info != std::end(kScalarTypes);
    const auto dynamism = static_cast<std::int32_t>(source.shape_dynamism());
    CHECK_OR_FAIL(dynamism >= 0 && dynamism <= 2, kInvalid, "shape dynamism ", dynamism,
                  " is unknown");
    const std::size_t rank = size_of(source.sizes());
    CHECK_OR_FAIL(rank <= kMaxProgramRank, kInvalid, "tensor rank ", rank, " is above ",
                  kMaxProgramRank);
    ProgramTensor tensor;
    tensor.scalar_type = static_cast<std::int32_t>(source.scalar_type());
    tensor.dtype_name = known ? info->name : std::string_view("unknown");
    tensor.dtype = known ? info->dtype : std::nullopt;
    tensor.dynamism = static_cast<Dynamism>(dynamism);
    for (std::size_t i = 0; i < rank; ++i) {
      const std::int32_t extent = element(*source.sizes(), i);
      CHECK_OR_FAIL(extent >= 0, kInvalid, "tensor size ", extent, " in dimension ", i,
                    " is negative");
      tensor.sizes.push_back(extent);
    }
    for (std::size_t i = 0; i < size_of(source.dim_order()); ++i) {
      tensor.contiguous = tensor.contiguous && element(*source.dim_order(), i) == i;
    }
    return ProgramValue(std::move(tensor));
  }

  Result<ProgramDelegate> read_delegate(const fb::BackendDelegate& source) {
    ProgramDelegate delegate;
    TRY_ASSIGN(delegate.backend, copy(source.id()));
    CHECK_OR_FAIL(source.processed() != nullptr, kInvalid, quoted(delegate.backend),
                  " has no data");
    const std::size_t index = source.processed()->index();
    if (source.processed()->location() == fb::DataLocation::SEGMENT) {
      TRY_ASSIGN(delegate.blob, segment(segments_, root().segments(), index, "the data"));
    } else {
      const auto* inlined = root().backend_delegate_data();
      CHECK_OR_FAIL(index < size_of(inlined), kInvalid, quoted(delegate.backend),
                    " refers to inline data ", index, ", but the program has ", size_of(inlined));
      delegate.blob = in_file(inlined->Get(static_cast<std::uint32_t>(index))->data());
    }
    const std::size_t specs = size_of(source.compile_specs());
    delegate.specs.reserve(specs);
    for (std::size_t i = 0; i < specs; ++i) {
      const fb::CompileSpec& spec = *source.compile_specs()->Get(static_cast<std::uint32_t>(i));
      TRY_ASSIGN(std::string key, copy(spec.key()));
      delegate.specs.push_back({std::move(key), file_.part(in_file(spec.value()))});
    }
    return delegate;
  }

  Result<void> read_external_constants(const fb::ExecutionPlan& plan, Method& method) {
    for (std::size_t i = 0; i < size_of(plan.values()); ++i) {
      const auto* tensor = plan.values()->Get(static_cast<std::uint32_t>(i))->val_as_Tensor();
      if (tensor == nullptr || !is_external(*tensor)) continue;
      TRY_ASSIGN(std::string key, copy(tensor->extra_tensor_info()->fully_qualified_name()));
      CHECK_OR_FAIL(!key.empty(), kInvalid, "value ", i, " lies in a data file, but has no name");
      method.external_constants.push_back(std::move(key));
    }
    return {};
  }

  // Of all chains: programs have one.
  static std::vector<const fb::Instruction*> instructions_of(const fb::ExecutionPlan& plan) {
    std::vector<const fb::Instruction*> out;
    for (std::size_t c = 0; c < size_of(plan.chains()); ++c) {
      const auto* chain = plan.chains()->Get(static_cast<std::uint32_t>(c))->instructions();
      for (std::size_t i = 0; i < size_of(chain); ++i)
        out.push_back(chain->Get(static_cast<std::uint32_t>(i)));
    }
    return out;
  }

  Result<void> read_calls(const fb::ExecutionPlan& plan,
                          std::span<const fb::Instruction* const> instructions, Method& method) {
    std::map<std::size_t, std::size_t> calls;  // by operator
    for (const fb::Instruction* instruction : instructions) {
      if (const auto* kernel = instruction->instr_args_as_KernelCall()) {
        ++calls[static_cast<std::size_t>(kernel->op_index())];
        ++method.kernel_calls;
      } else if (const auto* delegate = instruction->instr_args_as_DelegateCall()) {
        TRY(read_delegate_call(plan, *delegate, method));
      }
    }
    for (const auto& [index, count] : calls) {
      CHECK_OR_FAIL(index < size_of(plan.operators()), kInvalid, "a call refers to operator ",
                    static_cast<std::int32_t>(index), ", but the method has ",
                    size_of(plan.operators()));
      const fb::Operator& op = *plan.operators()->Get(static_cast<std::uint32_t>(index));
      TRY_ASSIGN(std::string name, copy(op.name()));
      TRY_ASSIGN(const std::string overload, copy(op.overload()));
      if (!overload.empty()) name += cat(".", overload);
      method.kernels.push_back({std::move(name), count});
    }
    return {};
  }

  Result<void> read_delegate_call(const fb::ExecutionPlan& plan, const fb::DelegateCall& call,
                                  Method& method) {
    const auto index = static_cast<std::size_t>(call.delegate_index());
    CHECK_OR_FAIL(index < method.delegates.size(), kInvalid, "a call refers to delegate ",
                  call.delegate_index(), ", but the method has ", method.delegates.size());
    DelegateCall& added = method.calls.emplace_back();
    added.delegate = index;
    TRY(read_values("argument", plan, call.args(), added.ids, added.values));
    std::vector<Dynamism>& arguments = method.delegates[index].arguments;
    if (!arguments.empty()) return {};
    for (const ProgramValue& value : added.values) {
      const auto* tensor = std::get_if<ProgramTensor>(&value);
      arguments.push_back(tensor == nullptr ? Dynamism::Static : tensor->dynamism);
    }
    return {};
  }

  // Calls of delegates alone need no plan: they are all there is to do, and each has its values.
  static bool has_more_than_delegates(const fb::ExecutionPlan& plan,
                                      std::span<const fb::Instruction* const> instructions,
                                      const Method& method) {
    const auto has_bytes = [&](std::int32_t id) {
      const auto* tensor = plan.values()->Get(static_cast<std::uint32_t>(id))->val_as_Tensor();
      return tensor != nullptr && (tensor->data_buffer_idx() > 0 || is_external(*tensor));
    };
    return instructions.size() > method.calls.size() ||
           std::ranges::any_of(method.calls, [&](const DelegateCall& call) {
             return std::ranges::any_of(call.ids, has_bytes);
           });
  }

  static bool is_external(const fb::Tensor& tensor) {
    const auto* extra = tensor.extra_tensor_info();
    return extra != nullptr && extra->location() == fb::TensorDataLocation::EXTERNAL;
  }

  Result<void> read_host_plan(const fb::ExecutionPlan& plan,
                              std::span<const fb::Instruction* const> instructions,
                              Method& method) {
    HostPlan& host = method.host_plan.emplace();
    const std::size_t count = size_of(plan.values());
    CHECK_OR_FAIL(budget_.spend(count, sizeof(ProgramValue)), kInvalid, count,
                  " values: they repeat implausibly");
    host.values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      const fb::EValue& source = *plan.values()->Get(static_cast<std::uint32_t>(i));
      auto value = read_value(source);
      if (!value) return std::unexpected(std::move(value).error().within("value ", i));
      if (const auto* list = std::get_if<ProgramList>(&*value)) {
        TRY(check_ids(cat("value ", i), list->ids, -1, count));
      } else if (const auto* tensor = std::get_if<ProgramTensor>(&*value)) {
        auto read =
            read_contents(*source.val_as_Tensor(), *tensor, static_cast<std::int32_t>(i), host);
        if (!read) return std::unexpected(std::move(read).error().within("value ", i));
      }
      host.values.push_back(*std::move(value));
    }
    CHECK_OR_FAIL(size_of(plan.chains()) == 1, kInvalid, "its steps are in ",
                  size_of(plan.chains()), " chains");
    return read_steps(instructions, host);
  }

  Result<void> check_ids(std::string_view what, std::span<const std::int32_t> ids,
                         std::int32_t least, std::size_t values) {
    for (const std::int32_t id : ids)
      CHECK_OR_FAIL(id >= least && std::cmp_less(id, values), kInvalid, what, " refers to value ",
                    id, ", but the method has ", values, " values");
    return {};
  }

  // Of tensors that have bytes in a file.
  Result<void> read_contents(const fb::Tensor& source, const ProgramTensor& tensor, std::int32_t id,
                             HostPlan& host) {
    const bool planned = source.allocation_info() != nullptr;
    if (planned) host.planned.push_back(id);
    if (is_external(source)) {
      TRY_ASSIGN(host.contents[id].key, copy(source.extra_tensor_info()->fully_qualified_name()));
      return {};
    }
    if (source.data_buffer_idx() == 0 || !tensor.dtype) return {};
    std::uint64_t bytes = byte_size(*tensor.dtype);
    for (const std::int64_t size : tensor.sizes) {
      const auto more = checked_mul(bytes, static_cast<std::uint64_t>(size));
      CHECK_OR_FAIL(more, kInvalid, "a constant of more than 2^64 bytes");
      bytes = *more;
    }
    TRY_ASSIGN(FilePart part, stored_part(source, planned));
    CHECK_OR_FAIL(bytes <= part.size, kInvalid, "a constant takes ", bytes,
                  " bytes, but the file has ", part.size);
    host.contents[id].part = {part.offset, bytes};
    return {};
  }

  // From where a tensor's bytes are to the end of what they are in.
  Result<FilePart> stored_part(const fb::Tensor& source, bool planned) {
    const std::size_t index = source.data_buffer_idx();
    const auto* inlined = root().constant_buffer();
    const fb::SubsegmentOffsets* place = root().constant_segment();
    if (planned) {
      const auto* segments = root().mutable_data_segments();
      const auto* extra = source.extra_tensor_info();
      const std::uint64_t number = extra == nullptr ? 0 : extra->mutable_data_segments_idx();
      CHECK_OR_FAIL(number < size_of(segments), kInvalid, "mutable data ", number,
                    ", but the program has ", size_of(segments));
      place = segments->Get(static_cast<std::uint32_t>(number));
    } else if (size_of(inlined) > 0) {
      CHECK_OR_FAIL(index < size_of(inlined), kInvalid, "inline constant ", index,
                    ", but the program has ", size_of(inlined));
      return in_file(inlined->Get(static_cast<std::uint32_t>(index))->storage());
    }
    CHECK_OR_FAIL(place != nullptr && index < size_of(place->offsets()), kInvalid, "constant ",
                  index, ", but the program has ",
                  place == nullptr ? 0 : size_of(place->offsets()));
    TRY_ASSIGN(FilePart part,
               segment(segments_, root().segments(), place->segment_index(), "a constant"));
    const std::uint64_t offset = element(*place->offsets(), index);
    CHECK_OR_FAIL(offset <= part.size, kInvalid, "a constant begins at ", offset,
                  " of a segment of ", part.size, " bytes");
    return FilePart{part.offset + offset, part.size - offset};
  }

  Result<void> read_steps(std::span<const fb::Instruction* const> instructions, HostPlan& host) {
    CHECK_OR_FAIL(budget_.spend(instructions.size(), sizeof(Step)), kInvalid,
                  "steps repeat implausibly");
    const std::vector<std::size_t> kernels = used_operators(instructions);
    std::size_t calls = 0;
    host.steps.reserve(instructions.size());
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      auto step = read_step(*instructions[i], kernels, calls);
      if (!step) return std::unexpected(std::move(step).error().within("step ", i));
      CHECK_OR_FAIL(step->kind != Step::Kind::JumpFalse || step->index <= instructions.size(),
                    kInvalid, "step ", i, " jumps to step ", step->index, ", but there are ",
                    instructions.size());
      TRY(check_ids(cat("step ", i), step->ids, 0, host.values.size()));
      host.steps.push_back(*std::move(step));
    }
    return {};
  }

  // In the order of Method::kernels.
  static std::vector<std::size_t> used_operators(
      std::span<const fb::Instruction* const> instructions) {
    std::vector<std::size_t> out;
    for (const fb::Instruction* instruction : instructions)
      if (const auto* kernel = instruction->instr_args_as_KernelCall())
        out.push_back(static_cast<std::size_t>(kernel->op_index()));
    std::ranges::sort(out);
    const auto repeated = std::ranges::unique(out);
    out.erase(repeated.begin(), repeated.end());
    return out;
  }

  // `calls` counts those of delegates.
  Result<Step> read_step(const fb::Instruction& source, const std::vector<std::size_t>& kernels,
                         std::size_t& calls) {
    using Kind = Step::Kind;
    Step step;
    if (const auto* kernel = source.instr_args_as_KernelCall()) {
      const auto op = static_cast<std::size_t>(kernel->op_index());
      step.index =
          static_cast<std::size_t>(std::ranges::lower_bound(kernels, op) - kernels.begin());
      TRY_ASSIGN(step.ids, copy_ids("arguments", kernel->args()));
    } else if (source.instr_args_as_DelegateCall()) {
      step = {Kind::Delegate, calls++, {}};
    } else if (const auto* move = source.instr_args_as_MoveCall()) {
      step = {Kind::Move, 0, {move->move_from(), move->move_to()}};
    } else if (const auto* jump = source.instr_args_as_JumpFalseCall()) {
      step = {Kind::JumpFalse,
              static_cast<std::size_t>(jump->destination_instruction()),
              {jump->cond_value_index()}};
    } else if (const auto* freed = source.instr_args_as_FreeCall()) {
      step = {Kind::Free, 0, {freed->value_index()}};
    } else {
      return fail(kInvalid, "its kind is unknown");
    }
    return step;
  }

  Result<std::string> copy(const flatbuffers::String* text) {
    const std::string_view source = view(text);
    CHECK_OR_FAIL(budget_.spend(source.size(), 1), kInvalid, "texts repeat implausibly");
    return std::string(source);
  }

  // Where in the file a vector of the flatbuffer is, which may be a copy.
  FilePart in_file(const flatbuffers::Vector<std::uint8_t>* bytes) const {
    if (size_of(bytes) == 0) return {};
    return {buffer_.offset_of(bytes->Data()), bytes->size()};
  }

  static constexpr std::size_t kMaxProgramRank = 16;

  FileHead file_;
  format::SegmentSection segments_;
  const format::FlatBuffer<fb::Program>& buffer_;
  format::CopyBudget budget_;
};

}  // namespace

Result<std::uint64_t> Program::head_size(const FileHead& file) {
  auto header = read_header(file);
  if (!header) return std::unexpected(std::move(header).error().within("program"));
  return header->program_size;
}

Result<Program> Program::read(const FileHead& file) {
  auto read = [&] -> Result<Program> {
    TRY_ASSIGN(const Header header, read_header(file));
    TRY_ASSIGN(const Bytes head, file.first(header.program_size, "the flatbuffer"));
    TRY_ASSIGN(const auto buffer,
               format::FlatBuffer<fb::Program>::open(head, kIdentifier, "flatbuffer"));
    Reader reader(file, header.segment_base, buffer);
    Program program;
    program.file_ = file;
    TRY_ASSIGN(program.methods_, reader.methods());
    TRY_ASSIGN(program.named_data_, reader.named_data());
    return program;
  };
  auto program = read();
  if (!program) return std::unexpected(std::move(program).error().within("program"));
  return program;
}

const Method* Program::method(std::string_view name) const {
  const auto found = std::ranges::find(methods_, name, &Method::name);
  return found == methods_.end() ? nullptr : &*found;
}

const ProgramValue* Program::constant(std::string_view name) const {
  const Method* found = method(name);
  if (found == nullptr || !found->is_constant() || found->outputs.size() != 1) return nullptr;
  return &found->outputs.front();
}

std::optional<FilePart> Program::named_data(std::string_view key) const {
  const auto found = named_data_.find(key);
  if (found == named_data_.end()) return std::nullopt;
  return found->second;
}

}  // namespace etwebgpu
