#include "webgpu/kernel_choice.h"

#include <algorithm>
#include <ranges>

namespace etwebgpu {
namespace {

// The guaranteed limits, and alignments as the device has them: those are demands, not offers.
Capabilities portable(const Capabilities& device) {
  Capabilities out;
  out.adapter_class = device.adapter_class;
  out.dialect = device.dialect;
  out.max_buffer_size = device.max_buffer_size;
  out.max_storage_binding = std::min(out.max_storage_binding, device.max_storage_binding);
  out.storage_alignment = device.storage_alignment;
  out.uniform_alignment = device.uniform_alignment;
  out.timestamps = device.timestamps;
  return out;
}

}  // namespace

Capabilities choose_kernels_as(Capabilities device, std::string_view wanted) {
  for (auto part : std::views::split(wanted, ',')) {
    const std::string_view word(part.begin(), part.end());
    if (word == "discrete") device.adapter_class = AdapterClass::Discrete;
    if (word == "integrated") device.adapter_class = AdapterClass::Integrated;
    if (word == "software") device.adapter_class = AdapterClass::Software;
    if (word == "portable") device = portable(device);
    if (word == "bytes") device.byte_products_from = 1;
    if (word == "pieces") device.max_storage_binding = 64 << 10;
  }
  return device;
}

}  // namespace etwebgpu
