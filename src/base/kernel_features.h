// What the kernels for a device use beyond WebGPU's portable baseline, and can do without: each a
// part of Capabilities.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/capabilities.h"

namespace etwebgpu {

// In the order in which they are given up: those that the fewest kernels use come first.
enum class KernelFeature : std::uint8_t {
  Matrices,
  ByteProducts,
  Subgroups,
  Limits,        // larger workgroups and more buffers than are guaranteed
  AdapterClass,  // kernels and tile sizes for this kind of device
};

inline constexpr std::array kKernelFeatures = {KernelFeature::Matrices, KernelFeature::ByteProducts,
                                               KernelFeature::Subgroups, KernelFeature::Limits,
                                               KernelFeature::AdapterClass};

constexpr std::string_view name(KernelFeature feature) {
  constexpr std::string_view names[] = {"matrices", "byte products", "subgroups", "limits",
                                        "adapter class"};
  return names[static_cast<std::size_t>(feature)];
}

// The same device without the feature, and without those that need it.
Capabilities without(Capabilities device, KernelFeature feature);

// Without any: what every other choice of kernels is compared with. Tensors may be as large as on
// the device, and alignments are as it has them, for those are demands.
Capabilities reference(Capabilities device);

// WebGPU's guaranteed limits alone, of tensors too, for this class of adapter.
Capabilities portable(const Capabilities& device);

}  // namespace etwebgpu
