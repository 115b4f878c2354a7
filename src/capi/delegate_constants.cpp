#include "capi/delegate_constants.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/elements.h"
#include "base/zeros.h"
#include "ops/quantized/dequantized.h"

namespace etwebgpu {

// What a constant is made of, while it is made.
class DelegateConstants::Part {
 public:
  Part(DelegateConstants& from, std::int32_t index, std::int32_t number)
      : from_(from), index_(index), use_(-1 - number), bytes_(from.fetch(index, use_)) {}
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  ~Part() {
    if (bytes_) from_.release(index_, use_);
  }
  const Result<std::span<const std::byte>>& bytes() const { return bytes_; }

 private:
  DelegateConstants& from_;
  std::int32_t index_, use_;
  Result<std::span<const std::byte>> bytes_;
};

Result<std::span<const std::byte>> DelegateConstants::fetch(std::int32_t index, std::int32_t use) {
  const Constant& constant = this->constant(index);
  if (constant.made || constant.fill) {
    TRY_ASSIGN(std::vector<std::byte> bytes, make(constant));
    return std::span<const std::byte>(made_[use] = std::move(bytes));
  }
  if (!constant.key.empty()) return fetch_named(use, constant);
  CHECK_OR_FAIL(range_fits(constant.offset, constant.length, in_blob_.size()),
                ErrorKind::InvalidProgram, "constant ", index, ": bytes [", constant.offset, ", +",
                constant.length, ") lie outside the blob's ", in_blob_.size());
  return in_blob_.subspan(constant.offset, constant.length);
}

void DelegateConstants::release(std::int32_t index, std::int32_t use) {
  made_.erase(use);
  if (!constant(index).key.empty()) named_.release(use);
}

Result<std::vector<std::byte>> DelegateConstants::make(const Constant& constant) {
  if (constant.fill) {
    const std::vector<float> floats(constant.length / sizeof(float), *constant.fill);
    const auto bytes = std::as_bytes(std::span(floats));
    return std::vector(bytes.begin(), bytes.end());
  }
  const Dequantized& made = *constant.made;
  const Part elements(*this, made.elements.constant, 0), scales(*this, made.scales.constant, 1);
  TRY_ASSIGN(const std::span<const std::byte> of_elements, elements.bytes());
  TRY_ASSIGN(const std::span<const std::byte> of_scales, scales.bytes());
  if (!made.zero_points) return dequantize(made, of_elements, of_scales, {});
  const Part zero_points(*this, made.zero_points->constant, 2);
  TRY_ASSIGN(const std::span<const std::byte> of_zero_points, zero_points.bytes());
  return dequantize(made, of_elements, of_scales, of_zero_points);
}

Result<std::span<const std::byte>> DelegateConstants::fetch_named(std::int32_t use,
                                                                  const Constant& constant) {
  auto bytes = named_.fetch(use, constant.key);
  if (!bytes)
    return std::unexpected(std::move(bytes).error().within("weight '", constant.key, "'"));
  if (bytes->size() < constant.length) {
    named_.release(use);
    return fail(ErrorKind::InvalidProgram, "weight '", constant.key, "' has ", bytes->size(),
                " bytes, but the graph needs ", constant.length);
  }
  return bytes;
}

Result<bool> holds_zeros(ConstantSource& constants, std::int32_t index) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(index));
  const bool zeros = all_zero(bytes);
  constants.release(index);
  return zeros;
}

Result<HostElements> read_integers(ConstantSource& constants, const TensorInfo& constant) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(constant.constant));
  const auto needed = static_cast<std::size_t>(constant.bound.numel()) * byte_size(constant.dtype);
  HostElements elements = integers(constant.dtype, bytes.first(std::min(needed, bytes.size())));
  constants.release(constant.constant);
  return elements;
}

Result<std::optional<double>> read_number(ConstantSource& constants, const TensorInfo& constant) {
  TRY_ASSIGN(const std::span<const std::byte> bytes, constants.fetch(constant.constant));
  const std::optional<double> number = first_float(constant.dtype, bytes);
  constants.release(constant.constant);
  return number;
}

}  // namespace etwebgpu
