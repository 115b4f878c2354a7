#include "ops/op.h"

#include <algorithm>
#include <bit>

#include "ops/elementwise/elementwise.h"

namespace etwebgpu {

std::int64_t CallContext::integer_of(ValueId value) const {
  const Value& v = graph_.value(value);
  if (const auto* i = std::get_if<std::int64_t>(&v)) return *i;
  if (const auto* b = std::get_if<bool>(&v)) return *b ? 1 : 0;
  if (const auto* d = std::get_if<double>(&v)) return static_cast<std::int64_t>(*d);
  if (scalars_read_ != nullptr) scalars_read_->push_back(value);
  return live_.scalars[static_cast<std::size_t>(value)];
}

double CallContext::number(std::size_t arg) const {
  const Value& v = graph_.value(id(arg));
  if (const auto* d = std::get_if<double>(&v)) return *d;
  return static_cast<double>(integer(arg));
}

std::vector<std::int64_t> CallContext::int_list(std::size_t arg) const {
  const Value& v = graph_.value(id(arg));
  if (const auto* list = std::get_if<IntList>(&v)) return list->items;
  std::vector<std::int64_t> out;
  if (const auto* list = std::get_if<ValueList>(&v)) {
    for (ValueId item : list->items) out.push_back(integer_of(item));
  }
  return out;
}

std::span<const ValueId> CallContext::value_list(std::size_t arg) const {
  if (const auto* list = std::get_if<ValueList>(&graph_.value(id(arg)))) return list->items;
  return {&call_.args[arg], 1};
}

std::string_view CallContext::text(std::size_t arg) const {
  const auto* s = std::get_if<std::string>(&graph_.value(id(arg)));
  return s ? std::string_view(*s) : std::string_view();
}

Result<std::size_t> CallContext::normalize_dim(std::int64_t value, std::size_t rank) {
  const auto n = static_cast<std::int64_t>(std::max<std::size_t>(rank, 1));
  CHECK_OR_FAIL(value >= -n && value < n, ErrorKind::InvalidProgram, "dimension ", value,
                " is outside [", -n, ", ", n - 1, "]");
  return static_cast<std::size_t>(value < 0 ? value + n : value);
}

Result<void> InferContext::set_sizes(ValueId value, const Dims& sizes) {
  const TensorInfo* info = graph_.tensor(value);
  CHECK_OR_FAIL(info != nullptr, ErrorKind::InvalidProgram, "value ", value, " is not a tensor");
  CHECK_OR_FAIL(sizes.rank() == info->bound.rank(), ErrorKind::InvalidProgram, "value ", value,
                " would have sizes ", to_string(sizes), ", but its recorded sizes are ",
                to_string(info->bound));
  for (std::size_t i = 0; i < sizes.rank(); ++i) {
    CHECK_OR_FAIL(sizes[i] >= 0 && sizes[i] <= info->bound[i], ErrorKind::InvalidArgument, "value ",
                  value, " would have sizes ", to_string(sizes), ", past its recorded bound ",
                  to_string(info->bound));
  }
  const auto v = static_cast<std::size_t>(value);
  if (state_.sizes[v] != sizes) {
    state_.sizes[v] = sizes;
    state_.changed[v] |= kNewSize;
  }
  return {};
}

void InferContext::set_scalar(ValueId value, std::int64_t scalar) {
  const auto v = static_cast<std::size_t>(value);
  if (state_.scalars[v] != scalar) {
    state_.scalars[v] = scalar;
    state_.changed[v] |= kNewSize;
  }
}

std::span<const std::int64_t> InferContext::host_elements(std::size_t arg) const {
  if (host_data_.empty()) return {};
  const ValueId root = storage_[static_cast<std::size_t>(id(arg))];
  return host_data_[static_cast<std::size_t>(root)];
}

Result<std::int32_t> ConstantPool::add(const PackedConstant& constant) {
  const auto it = std::ranges::find(constants_, constant);
  if (it != constants_.end()) return static_cast<std::int32_t>(it - constants_.begin());
  CHECK_OR_FAIL(!sealed_, ErrorKind::Internal,
                "a plan for new live sizes asks for a weight layout that was not prepared at load");
  TRY(packed_size(constant));
  constants_.push_back(constant);
  return static_cast<std::int32_t>(constants_.size() - 1);
}

BufferRef LowerContext::value_of(ValueId value) const {
  const auto narrowed = std::ranges::find(narrowed_, value, &std::pair<ValueId, BufferRef>::first);
  if (narrowed != narrowed_.end()) return narrowed->second;
  return {BufferRef::Kind::Value, value};
}

Storage LowerContext::storage_of(ValueId value) const {
  const bool is_narrowed = value_of(value).kind == BufferRef::Kind::Scratch;
  return is_narrowed ? Storage::I32 : services_.layout[static_cast<std::size_t>(value)];
}

void LowerContext::narrow_inputs(const Op& op) {
  for (std::size_t a = 0; a + 1 < arg_count(); ++a) {
    if (op.takes(Storage::I64, a)) continue;
    if (graph_.tensor(id(a))) narrowed(id(a));
    if (const auto* list = std::get_if<ValueList>(&graph_.value(id(a)))) {
      for (ValueId item : list->items)
        if (graph_.tensor(item)) narrowed(item);
    }
  }
}

BufferRef LowerContext::narrowed(ValueId value) {
  if (storage_of(value) != Storage::I64) return value_of(value);
  const BufferRef out = scratch(sizes_of(value).numel(), Storage::I32);
  emit_narrow(*this, value, out);
  narrowed_.emplace_back(value, out);
  return out;
}

BufferRef LowerContext::scratch(std::int64_t elements, Storage storage) {
  const std::uint64_t bytes = storage_bytes(storage, std::max<std::int64_t>(elements, 1));
  scratch_.push_back(round_up<std::uint64_t>(bytes, 16));
  return {BufferRef::Kind::Scratch, static_cast<std::int32_t>(scratch_.size() - 1)};
}

std::int32_t LowerContext::constant_of(ValueId value) const {
  const ValueId root = services_.storage[static_cast<std::size_t>(value)];
  const TensorInfo* info = graph_.tensor(root);
  return info && !services_.mutated[static_cast<std::size_t>(root)] ? info->constant : -1;
}

Result<PackedPart> LowerContext::part_of(ValueId value) const {
  const std::int32_t constant = constant_of(value);
  CHECK_OR_FAIL(constant >= 0, ErrorKind::NotSupported, "value ", value,
                " must be a constant that no call writes");
  const TensorInfo& info = *graph_.tensor(value);
  return PackedPart{constant, info.dtype, info.bound};
}

Result<BufferRef> LowerContext::packed(const PackedConstant& constant) {
  TRY_ASSIGN(const std::int32_t index, services_.constants.add(constant));
  return BufferRef{BufferRef::Kind::Constant, index};
}

KernelCall& LowerContext::emit(std::string_view kernel) {
  KernelCall call;
  call.kernel.name = kernel;
  calls_.push_back(std::move(call));
  return calls_.back();
}

KernelCall& LowerContext::emit(const Route& route) {
  KernelCall& call = emit(route.kernel);
  for (const auto& [name, value] : route.defines) call.define(name, value);
  if (route.groups > 0) call.groups(route.groups);
  return call;
}

std::uint32_t LowerContext::workgroup_size(std::uint32_t wanted) const {
  const Capabilities& caps = capabilities();
  return std::bit_floor(
      std::min({wanted, caps.max_workgroup_invocations, caps.max_workgroup_size[0]}));
}

}  // namespace etwebgpu
