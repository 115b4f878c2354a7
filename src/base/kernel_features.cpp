#include "base/kernel_features.h"

#include <algorithm>

namespace etwebgpu {
namespace {

constexpr Capabilities kLeast;

void lower_limits(Capabilities& c) {
  c.max_uniform_binding = kLeast.max_uniform_binding;
  c.max_storage_buffers = kLeast.max_storage_buffers;
  c.max_workgroup_invocations = kLeast.max_workgroup_invocations;
  std::ranges::copy(kLeast.max_workgroup_size, c.max_workgroup_size);
  c.max_workgroup_storage = kLeast.max_workgroup_storage;
  c.max_workgroups_per_dimension = kLeast.max_workgroups_per_dimension;
}

}  // namespace

Capabilities without(Capabilities device, KernelFeature feature) {
  switch (feature) {
    case KernelFeature::Matrices:
      device.matrix_size = 0;
      device.f16 = false;  // nothing else uses it
      break;
    case KernelFeature::ByteProducts:
      device.byte_products_from = kLeast.byte_products_from;
      device.packed_products = false;
      break;
    case KernelFeature::Subgroups:
      device = without(device, KernelFeature::Matrices);
      device.subgroups = false;
      device.min_subgroup_size = kLeast.min_subgroup_size;
      device.max_subgroup_size = kLeast.max_subgroup_size;
      break;
    case KernelFeature::Limits:
      lower_limits(device);
      break;
    case KernelFeature::AdapterClass:
      device.adapter_class = kLeast.adapter_class;
      break;
  }
  return device;
}

Capabilities reference(Capabilities device) {
  for (const KernelFeature feature : kKernelFeatures) device = without(device, feature);
  return device;
}

Capabilities portable(const Capabilities& device) {
  Capabilities out = reference(device);
  out.adapter_class = device.adapter_class;
  out.max_storage_binding = std::min(out.max_storage_binding, kLeast.max_storage_binding);
  return out;
}

}  // namespace etwebgpu
