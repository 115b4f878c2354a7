#include "capi/delegate.h"

#include <mutex>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "format/delegate.h"
#include "plan/model.h"

namespace etwebgpu {
namespace {

// Constants by their index in the graph: from the blob or from named data.
class DelegateConstants final : public ConstantSource {
 public:
  DelegateConstants(std::vector<Constant> constants, std::span<const std::byte> in_blob,
                    NamedDataSource& named)
      : constants_(std::move(constants)), in_blob_(in_blob), named_(named) {}

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    const Constant& constant = constants_[static_cast<std::size_t>(index)];
    if (!constant.key.empty()) return fetch_named(index, constant);
    CHECK_OR_FAIL(range_fits(constant.offset, constant.length, in_blob_.size()),
                  ErrorKind::InvalidProgram, "constant ", index, ": bytes [", constant.offset,
                  ", +", constant.length, ") lie outside the blob's ", in_blob_.size());
    return in_blob_.subspan(constant.offset, constant.length);
  }

  void release(std::int32_t index) override {
    if (!constants_[static_cast<std::size_t>(index)].key.empty()) named_.release(index);
  }

 private:
  Result<std::span<const std::byte>> fetch_named(std::int32_t index, const Constant& constant) {
    auto bytes = named_.fetch(index, constant.key);
    if (!bytes)
      return std::unexpected(std::move(bytes).error().within("weight '", constant.key, "'"));
    if (bytes->size() < constant.length) {
      named_.release(index);
      return fail(ErrorKind::InvalidProgram, "weight '", constant.key, "' has ", bytes->size(),
                  " bytes, but the graph needs ", constant.length);
    }
    return bytes;
  }

  std::vector<Constant> constants_;
  std::span<const std::byte> in_blob_;
  NamedDataSource& named_;
};

}  // namespace

Result<std::shared_ptr<Device>> acquire_device(const Options& options) {
  static auto* mutex = new std::mutex;
  static auto* latest =
      new std::shared_ptr<Device>;  // not destroyed at exit: drivers may be gone by then
  TRY(ensure_providers());
  TRY_ASSIGN(std::shared_ptr<Device> device,
             Device::acquire({options.provider, options.adapter, options.trusted}));
  std::lock_guard lock(*mutex);
  *latest = device;
  return device;
}

Result<std::unique_ptr<Runner>> load_delegate(std::span<const std::byte> blob,
                                              NamedDataSource& named, const Options& options,
                                              bool trace) {
  TRY_ASSIGN(Graph graph, decode_delegate(blob));
  TRY_ASSIGN(const std::span<const std::byte> in_blob, delegate_constants(blob));
  TRY_ASSIGN(std::shared_ptr<Device> device, acquire_device(options));
  DelegateConstants constants(graph.constants, in_blob, named);
  TRY_ASSIGN(auto model, Model::create(std::move(graph), device->capabilities(), options.model));
  RunnerOptions runner;
  runner.profiling = (options.profiling || trace) && device->capabilities().timestamps;
  runner.memory_limit = options.memory_limit;
  return Runner::create(std::move(model), std::move(device), constants, runner);
}

namespace {
thread_local std::vector<std::weak_ptr<Runner>> loaded;  // on this thread, in order
}

void note_delegate(const std::shared_ptr<Runner>& runner) {
  std::erase_if(loaded, [](const auto& earlier) { return earlier.expired(); });
  loaded.push_back(runner);
}

std::vector<std::shared_ptr<Runner>> latest_delegates(std::size_t most) {
  std::vector<std::shared_ptr<Runner>> runners;
  for (const auto& one : loaded) {
    if (auto runner = one.lock()) runners.push_back(std::move(runner));
  }
  if (runners.size() > most) {
    runners.erase(runners.begin(), runners.end() - static_cast<std::ptrdiff_t>(most));
  }
  return runners;
}

}  // namespace etwebgpu
