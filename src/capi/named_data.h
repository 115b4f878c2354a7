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
  // Tells the data under a key from that of every other living program: the same for each use in
  // one. Null where it cannot be told.
  virtual const void* identity(const std::string& /*key*/) { return nullptr; }
};

}  // namespace etwebgpu
