// Where a host keeps weights that lie outside a delegate's blob.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace etwebgpu {

class NamedDataSource {
 public:
  virtual ~NamedDataSource() = default;
  // The bytes stored under a key, valid until release(index); `index` tells uses of one key apart.
  virtual Result<std::span<const std::byte>> fetch(std::int32_t index, const std::string& key) = 0;
  virtual void release(std::int32_t index) = 0;
};

}  // namespace etwebgpu
