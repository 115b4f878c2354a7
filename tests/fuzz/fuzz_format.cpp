// libFuzzer target for everything that reads files: the first bytes choose the reader, as they do
// for a host. What is accepted goes on through the planner, at the recorded sizes and at smaller
// ones.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "format/delegate.h"
#include "format/flat_tensor.h"
#include "format/program.h"
#include "plan/model.h"

namespace etwebgpu {
namespace {

// Every refusal gives a reason.
template <typename T>
bool accepted(const Result<T>& result) {
  if (!result && result.error().message.size() < 20) std::abort();
  return result.has_value();
}

void run_delegate(std::span<const std::byte> blob) {
  auto graph = decode_delegate(blob);
  if (!accepted(graph)) return;
  const Surroundings surroundings{.is_zero = [](std::int32_t) -> Result<bool> { return true; }};
  auto model = Model::create(*std::move(graph), Capabilities(), ModelOptions(), surroundings);
  if (!accepted(model)) return;
  const std::vector<std::int64_t> elements(64, 1);
  for (const std::int64_t limit : {std::int64_t{1} << 40, std::int64_t{2}}) {
    std::vector<HostInput> inputs;
    for (ValueId id : (*model)->graph().inputs) {
      HostInput input;
      if (const TensorInfo* tensor = (*model)->graph().tensor(id)) {
        for (std::int64_t extent : tensor->bound) input.sizes.push_back(std::min(extent, limit));
        const auto count = std::min<std::int64_t>(input.sizes.numel(), 64);
        input.elements = std::span(elements).first(static_cast<std::size_t>(count));
      }
      inputs.push_back(input);
    }
    accepted((*model)->prepare(inputs));
  }
}

void run_program(std::span<const std::byte> file) {
  const auto program = Program::read(file);
  if (!accepted(program)) return;
  for (const Method& method : program->methods()) {
    for (const ProgramDelegate& delegate : method.delegates)
      run_delegate(program->bytes(delegate.blob));
  }
}

}  // namespace
}  // namespace etwebgpu

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view magic(reinterpret_cast<const char*>(data) + 4, size >= 8 ? 4 : 0);
  if (magic == "VH00") {
    etwebgpu::run_delegate(bytes);
  } else if (magic == "FT01") {
    etwebgpu::accepted(etwebgpu::FlatTensorFile::read(bytes));
  } else {
    etwebgpu::run_program(bytes);
  }
  return 0;
}
