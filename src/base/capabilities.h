// What a device offers, as plain data: the planner and the operators choose kernels from it, so the
// choice for any device is a unit test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace etwebgpu {

enum class AdapterClass : std::uint8_t { Discrete, Integrated, Software };

inline constexpr std::string_view kAdapterClassNames[] = {"discrete", "integrated", "software"};
constexpr std::string_view name(AdapterClass adapter_class) {
  return kAdapterClassNames[static_cast<std::size_t>(adapter_class)];
}

// The WGSL front end decides how optional features are spelled ("enable subgroups;" and the like).
enum class WgslDialect : std::uint8_t { Tint, Naga };

// Defaults are WebGPU's guaranteed limits: the portable baseline every kernel must run on.
struct Capabilities {
  AdapterClass adapter_class = AdapterClass::Discrete;
  WgslDialect dialect = WgslDialect::Tint;

  std::uint64_t max_buffer_size = 256ull << 20;
  std::uint64_t max_storage_binding = 128ull << 20;
  std::uint64_t max_uniform_binding = 64ull << 10;
  std::uint32_t max_storage_buffers = 8;  // per shader stage
  std::uint32_t max_workgroup_invocations = 256;
  std::uint32_t max_workgroup_size[3] = {256, 256, 64};
  std::uint32_t max_workgroup_storage = 16384;  // bytes
  std::uint32_t max_workgroups_per_dimension = 65535;
  std::uint32_t storage_alignment = 256;  // of binding offsets, bytes
  std::uint32_t uniform_alignment = 256;

  bool subgroups = false;
  std::uint32_t min_subgroup_size = 4;
  std::uint32_t max_subgroup_size = 128;
  bool f16 = false;
  std::uint32_t matrix_size = 0;  // of square f16 subgroup matrices with f32 sums; 0 without
  // Fewest products of a linear layer, in f32, that are worth matrix units.
  std::uint64_t matrix_products_from = 1ull << 27;
  // Fewest 4-bit weights of a linear layer for up to 8 rows that are worth workgroups which convert
  // each once: smaller ones are over before it counts. Found on an H200.
  std::uint64_t few_rows_from = 1ull << 22;
  // Fewest weights of a linear layer for one row that are worth products of packed bytes: for
  // devices with an instruction for those.
  std::uint64_t byte_products_from = UINT64_MAX;
  bool packed_products = false;  // WGSL has dot4I8Packed, with an instruction or not
  bool timestamps = false;

  bool operator==(const Capabilities&) const = default;
};

}  // namespace etwebgpu
