// The devices that golden plans are for.
#pragma once

#include "base/capabilities.h"

namespace etwebgpu::testing {

// A discrete GPU through Dawn, as an H200 reports itself, apart from its matrix units.
inline Capabilities discrete_gpu() {
  Capabilities c;
  c.adapter_class = AdapterClass::Discrete;
  c.max_buffer_size = 1ull << 38;
  c.max_storage_binding = (1ull << 32) - 4;
  c.max_storage_buffers = 16;
  c.max_workgroup_invocations = 1024;
  c.max_workgroup_size[0] = c.max_workgroup_size[1] = 1024;
  c.max_workgroup_storage = 48 << 10;
  c.storage_alignment = c.uniform_alignment = 64;
  c.subgroups = c.f16 = c.packed_products = c.timestamps = true;
  c.min_subgroup_size = c.max_subgroup_size = 32;
  return c;
}

inline Capabilities software_adapter() {
  Capabilities c;
  c.adapter_class = AdapterClass::Software;
  c.subgroups = c.packed_products = true;
  c.min_subgroup_size = c.max_subgroup_size = 8;
  return c;
}

}  // namespace etwebgpu::testing
