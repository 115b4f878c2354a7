// A delegate's constants by their index in the graph: from the blob, from named data, or made of
// others; and what the core computes of them at load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "capi/named_data.h"
#include "ir/graph.h"
#include "plan/host_calls.h"
#include "webgpu/upload.h"

namespace etwebgpu {

class DelegateConstants final : public ConstantSource {
 public:
  // `in_blob`: where offsets of constants without a key count from.
  DelegateConstants(std::vector<Constant> constants, std::span<const std::byte> in_blob,
                    NamedDataSource& named)
      : constants_(std::move(constants)), in_blob_(in_blob), named_(named) {}

  // Those that passes have added.
  void add(std::span<const Constant> constants) {
    constants_.assign(constants.begin(), constants.end());
  }

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    return fetch(index, index);
  }
  void release(std::int32_t index) override { release(index, index); }

 private:
  class Part;
  const Constant& constant(std::int32_t index) const {
    return constants_[static_cast<std::size_t>(index)];
  }
  // For as long as `use` is not released: a constant may have several.
  Result<std::span<const std::byte>> fetch(std::int32_t index, std::int32_t use);
  void release(std::int32_t index, std::int32_t use);
  Result<std::vector<std::byte>> make(const Constant& constant);
  Result<std::span<const std::byte>> fetch_named(std::int32_t use, const Constant& constant);

  std::vector<Constant> constants_;
  std::span<const std::byte> in_blob_;
  NamedDataSource& named_;
  std::map<std::int32_t, std::vector<std::byte>> made_;  // by use
};

Result<bool> holds_zeros(ConstantSource& constants, std::int32_t index);
Result<HostElements> read_integers(ConstantSource& constants, const TensorInfo& constant);
Result<std::optional<double>> read_number(ConstantSource& constants, const TensorInfo& constant);

}  // namespace etwebgpu
