// Runs the forward method of a .pte on WebGPU:   run model.pte [fill value of input 0, of input 1,
// ...] Prints every output as one line: its sizes and its elements.
#include <etwebgpu/c_api.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::EValue;

namespace {

int fail(const std::string& what) {
  // ExecuTorch reports a number; the backend's own sentence says why.
  std::fprintf(stderr, "%s: %s\n", what.c_str(), etwg_last_error());
  return 1;
}

void print(const EValue& value) {
  const auto& tensor = value.toTensor();
  std::printf("[");
  for (ssize_t i = 0; i < tensor.dim(); ++i) {
    std::printf(i == 0 ? "%d" : ", %d", static_cast<int>(tensor.size(i)));
  }
  std::printf("]");
  for (ssize_t i = 0; i < tensor.numel(); ++i) {
    std::printf(" %g", tensor.scalar_type() == ScalarType::Long
                           ? static_cast<double>(tensor.const_data_ptr<int64_t>()[i])
                           : static_cast<double>(tensor.const_data_ptr<float>()[i]));
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s model.pte [fill value of each input]\n", argv[0]);
    return 2;
  }
  // Without this, the backend looks at ETWEBGPU_PROVIDER and at the usual places by itself.
  if (std::getenv("ETWEBGPU_PROVIDER") == nullptr && *WGPU_NATIVE != '\0' &&
      etwg_register_provider_library("wgpu-native", WGPU_NATIVE) != 0) {
    return fail("wgpu-native");
  }

  Module module(argv[1], Module::LoadMode::Mmap);
  if (module.load_forward() != executorch::runtime::Error::Ok) return fail("load");
  const auto meta = module.method_meta("forward");
  if (!meta.ok()) return fail("method_meta");

  std::vector<TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (size_t i = 0; i < meta->num_inputs(); ++i) {
    const auto info = meta->input_tensor_meta(i);
    if (!info.ok()) return fail("input " + std::to_string(i) + " is not a tensor");
    const double fill = static_cast<int>(i) + 2 < argc ? std::atof(argv[i + 2]) : 1.0;
    const std::vector<executorch::aten::SizesType> sizes(info->sizes().begin(),
                                                         info->sizes().end());
    tensors.push_back(executorch::extension::full(sizes, fill, info->scalar_type()));
    inputs.emplace_back(tensors.back());
  }

  const auto outputs = module.forward(inputs);
  if (!outputs.ok()) return fail("forward");
  for (const EValue& output : *outputs) print(output);
  return 0;
}
