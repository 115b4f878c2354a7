#include "executorch/values.h"

#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

namespace etwebgpu {
namespace {

namespace et = executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;

std::optional<DType> dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Bool:
      return DType::Bool;
    case ScalarType::Byte:
      return DType::UInt8;
    case ScalarType::Char:
      return DType::Int8;
    case ScalarType::Int:
      return DType::Int32;
    case ScalarType::Long:
      return DType::Int64;
    case ScalarType::Half:
      return DType::Float16;
    case ScalarType::Float:
      return DType::Float32;
    case ScalarType::Double:
      return DType::Float64;
    default:
      return std::nullopt;
  }
}

Result<DType> known_dtype(const Tensor& tensor) {
  const std::optional<DType> dtype = dtype_of(tensor.scalar_type());
  CHECK_OR_FAIL(dtype.has_value(), ErrorKind::NotSupported, "tensors of type ",
                et::toString(tensor.scalar_type()), " are not supported");
  return *dtype;
}

Result<Dims> sizes_of(const Tensor& tensor) {
  CHECK_OR_FAIL(tensor.dim() <= static_cast<ssize_t>(kMaxRank), ErrorKind::NotSupported, "rank ",
                tensor.dim(), " is above ", kMaxRank);
  Dims sizes;
  for (const auto extent : tensor.sizes()) sizes.push_back(extent);
  return sizes;
}

// In elements, or none for row-major memory.
Result<Dims> strides_of(const Tensor& tensor, const Dims& sizes) {
  Dims strides;
  std::int64_t last = 0;
  for (std::size_t d = 0; d < sizes.rank(); ++d) {
    strides.push_back(tensor.strides()[d]);
    last += std::max<std::int64_t>(sizes[d] - 1, 0) * strides[d];
  }
  if (is_row_major(sizes, strides)) return Dims();
  const bool is_dense =
      std::ranges::all_of(strides, [](std::int64_t s) { return s > 0; }) && last < sizes.numel();
  CHECK_OR_FAIL(is_dense, ErrorKind::NotSupported, "the tensor of sizes ", to_string(sizes),
                " has the strides ", to_string(strides), ", with gaps between its elements");
  return strides;
}

Result<HostTensor> read_tensor(const Tensor& tensor) {
  HostTensor out;
  TRY_ASSIGN(out.dtype, known_dtype(tensor));
  TRY_ASSIGN(out.sizes, sizes_of(tensor));
  TRY_ASSIGN(out.strides, strides_of(tensor, out.sizes));
  CHECK_OR_FAIL(tensor.numel() == 0 || tensor.const_data_ptr() != nullptr,
                ErrorKind::InvalidArgument, "the tensor has no memory");
  out.data = {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
  return out;
}

Result<HostTensor> read_any(const et::EValue& value) {
  if (value.isTensor()) return read_tensor(value.toTensor());
  CHECK_OR_FAIL(value.isInt() || value.isBool(), ErrorKind::InvalidArgument,
                "expected a tensor or an integer, got a value of kind ",
                static_cast<std::uint32_t>(value.tag));
  HostTensor out;
  out.is_scalar = true;
  out.scalar = value.isInt() ? value.toInt() : static_cast<std::int64_t>(value.toBool());
  return out;
}

Result<HostDestination> place_tensor(Tensor& tensor, const Dims& sizes) {
  HostDestination out;
  TRY_ASSIGN(out.dtype, known_dtype(tensor));
  std::array<executorch::aten::SizesType, kMaxRank> extents;
  for (std::size_t i = 0; i < sizes.rank(); ++i) {
    CHECK_OR_FAIL(sizes[i] <= std::numeric_limits<executorch::aten::SizesType>::max(),
                  ErrorKind::NotSupported, "extent ", sizes[i], " is above 2^31 - 1");
    extents[i] = static_cast<executorch::aten::SizesType>(sizes[i]);
  }
  TRY_ASSIGN(const Dims before, sizes_of(tensor));
  const et::Error error = et::resize_tensor(
      tensor,
      executorch::aten::ArrayRef<executorch::aten::SizesType>(extents.data(), sizes.rank()));
  CHECK_OR_FAIL(error == et::Error::Ok, ErrorKind::InvalidArgument, "its sizes are now ",
                to_string(sizes), ", but the program has ", to_string(before),
                " for it, which ExecuTorch cannot resize (", et::to_string(error),
                "); torch.export takes a dynamic size for 2 or more where "
                "others follow from it: export the model with a smallest size for which they hold");
  out.sizes = sizes;
  TRY_ASSIGN(out.strides, strides_of(tensor, sizes));
  CHECK_OR_FAIL(tensor.numel() == 0 || tensor.mutable_data_ptr() != nullptr,
                ErrorKind::InvalidArgument, "the tensor has no memory");
  out.data = {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
  return out;
}

// Output `index` of the call becomes `value`, whatever stands for integers in the program.
Result<void> set_integer(std::size_t index, et::EValue& out, std::int64_t value) {
  if (!out.isTensor()) {
    out = et::EValue(value);
    return {};
  }
  Tensor& tensor = out.toTensor();
  const bool is_long = tensor.scalar_type() == ScalarType::Long;
  CHECK_OR_FAIL(tensor.numel() == 1 && (is_long || tensor.scalar_type() == ScalarType::Int),
                ErrorKind::InvalidArgument, "output ", index,
                " is a number, but the program has a ", et::toString(tensor.scalar_type()),
                " tensor of ", tensor.numel(), " elements");
  if (is_long) {
    *tensor.mutable_data_ptr<std::int64_t>() = value;
  } else {
    *tensor.mutable_data_ptr<std::int32_t>() = static_cast<std::int32_t>(value);
  }
  return {};
}

}  // namespace

Result<HostTensor> read_value(std::size_t index, const et::EValue& value) {
  auto tensor = read_any(value);
  if (!tensor) return std::unexpected(std::move(tensor).error().within("input ", index));
  return tensor;
}

Result<PassedValue> passed_value(const et::EValue& value, std::int64_t place) {
  PassedValue out;
  out.place = place;
  out.is_tensor = value.isTensor();
  if (!out.is_tensor) return out;
  TRY_ASSIGN(out.dtype, known_dtype(value.toTensor()));
  TRY_ASSIGN(out.sizes, sizes_of(value.toTensor()));
  return out;
}

Result<void> ValueOutputs::place(std::size_t index, DType, const Dims& sizes,
                                 std::vector<HostDestination>& to) {
  for (std::size_t v = 0; v < values_.size(); ++v) {
    if (outputs_[v] != index) continue;
    CHECK_OR_FAIL(values_[v]->isTensor(), ErrorKind::InvalidArgument, "output ", v,
                  " is no tensor in the program");
    auto place = place_tensor(values_[v]->toTensor(), sizes);
    if (!place) return std::unexpected(std::move(place).error().within("output ", v));
    to.push_back(*std::move(place));
  }
  return {};
}

bool ValueOutputs::wants_wide(std::size_t index) const {
  for (std::size_t v = 0; v < values_.size(); ++v) {
    if (outputs_[v] == index && values_[v]->isTensor() &&
        values_[v]->toTensor().scalar_type() == ScalarType::Long) {
      return true;
    }
  }
  return false;
}

Result<void> ValueOutputs::scalar(std::size_t index, std::int64_t value) {
  for (std::size_t v = 0; v < values_.size(); ++v)
    if (outputs_[v] == index) TRY(set_integer(v, *values_[v], value));
  return {};
}

}  // namespace etwebgpu
