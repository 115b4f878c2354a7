// Weights to the GPU: packed range by range straight into mapped staging memory, so that neither a
// packed copy nor more than two small staging buffers exist on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "ir/graph.h"
#include "ops/packing.h"
#include "webgpu/device.h"

namespace etwebgpu {

// Of two mapped buffers in turn, only while constants are uploaded.
inline constexpr std::uint64_t kStagingBytes = 16 << 20;

// Where the bytes of Graph::constants come from.
class ConstantSource {
 public:
  virtual ~ConstantSource() = default;
  // Bytes of constant `index`, valid until release(index).
  virtual Result<std::span<const std::byte>> fetch(std::int32_t index) = 0;
  // The bytes are on the GPU and will not be asked for again.
  virtual void release(std::int32_t index) = 0;
};

struct UploadTarget {
  const PackedConstant* constant = nullptr;
  BufferRange to;  // at least packed_size bytes, freshly made (zeros)
};

// Packs and uploads every target. Each source constant is fetched once and released after its last
// use.
Result<void> upload_constants(const std::shared_ptr<Device>& device,
                              std::span<const UploadTarget> targets, ConstantSource& source);

}  // namespace etwebgpu
