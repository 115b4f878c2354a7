#include "webgpu/kernel_choice.h"

#include <ranges>

#include "base/kernel_features.h"

namespace etwebgpu {
Capabilities choose_kernels_as(Capabilities device, std::string_view wanted) {
  for (auto part : std::views::split(wanted, ',')) {
    const std::string_view word(part.begin(), part.end());
    if (word == "discrete") device.adapter_class = AdapterClass::Discrete;
    if (word == "integrated") device.adapter_class = AdapterClass::Integrated;
    if (word == "software") device.adapter_class = AdapterClass::Software;
    if (word == "portable") device = portable(device);
    if (word == "matrices") device.matrix_products_from = 1;
    if (word == "few_rows") device.few_rows_from = 1;
    if (word == "bytes") device.byte_products_from = 1;
    if (word == "pieces") device.max_storage_binding = 64 << 10;
  }
  return device;
}

}  // namespace etwebgpu
