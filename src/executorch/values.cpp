#include "executorch/values.h"

#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>

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

// Extents of 1 may have any stride.
bool is_contiguous(const Tensor& tensor, const Dims& sizes) {
  const Dims strides = contiguous_strides(sizes);
  for (std::size_t i = 0; i < sizes.rank(); ++i) {
    if (sizes[i] > 1 && tensor.strides()[i] != strides[i]) return false;
  }
  return true;
}

Result<HostTensor> read_tensor(const Tensor& tensor) {
  HostTensor out;
  TRY_ASSIGN(out.dtype, known_dtype(tensor));
  TRY_ASSIGN(out.sizes, sizes_of(tensor));
  CHECK_OR_FAIL(is_contiguous(tensor, out.sizes), ErrorKind::NotSupported, "the tensor of sizes ",
                to_string(out.sizes), " is not contiguous");
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
  const et::Error error = et::resize_tensor(
      tensor,
      executorch::aten::ArrayRef<executorch::aten::SizesType>(extents.data(), sizes.rank()));
  CHECK_OR_FAIL(error == et::Error::Ok, ErrorKind::InvalidArgument,
                "ExecuTorch cannot resize it to ", to_string(sizes), ": ", et::to_string(error));
  CHECK_OR_FAIL(is_contiguous(tensor, sizes), ErrorKind::NotSupported, "the tensor of sizes ",
                to_string(sizes), " is not contiguous");
  CHECK_OR_FAIL(tensor.numel() == 0 || tensor.mutable_data_ptr() != nullptr,
                ErrorKind::InvalidArgument, "the tensor has no memory");
  out.data = {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()};
  return out;
}

}  // namespace

Result<HostTensor> read_value(std::size_t index, const et::EValue& value) {
  auto tensor = read_any(value);
  if (!tensor) return std::unexpected(std::move(tensor).error().within("input ", index));
  return tensor;
}

Result<HostDestination> ValueOutputs::place(std::size_t index, DType, const Dims& sizes) {
  CHECK_OR_FAIL(values_[index]->isTensor(), ErrorKind::InvalidArgument, "output ", index,
                " is no tensor in the program");
  auto place = place_tensor(values_[index]->toTensor(), sizes);
  if (!place) return std::unexpected(std::move(place).error().within("output ", index));
  return place;
}

Result<void> ValueOutputs::scalar(std::size_t index, std::int64_t value) {
  et::EValue& out = *values_[index];
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

}  // namespace etwebgpu
