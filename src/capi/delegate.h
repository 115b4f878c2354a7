// From a delegate blob to a model on a device: what the ExecuTorch backend and the C interface
// share.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "capi/options.h"
#include "webgpu/device.h"
#include "webgpu/runner.h"

namespace etwebgpu {

// Where a host keeps weights that lie outside the blob.
class NamedDataSource {
 public:
  virtual ~NamedDataSource() = default;
  // The bytes stored under a key, valid until release(index); `index` tells uses of one key apart.
  virtual Result<std::span<const std::byte>> fetch(std::int32_t index, const std::string& key) = 0;
  virtual void release(std::int32_t index) = 0;
};

// The device that the options choose. One device serves all models of an adapter; the latest one
// stays alive with its compiled pipelines, so that loading the next model is cheap.
Result<std::shared_ptr<Device>> acquire_device(const Options& options);

// Decodes, compiles and uploads. `trace`: time dispatches even if the options do not ask for it.
// Neither the blob nor the named data is needed afterwards.
Result<std::unique_ptr<Runner>> load_delegate(std::span<const std::byte> blob,
                                              NamedDataSource& named, const Options& options,
                                              bool trace);

// The runners of the delegates that ExecuTorch initialized last on this thread and that still live:
// up to `most`, in the order of loading. So a host that loads programs through ExecuTorch reaches
// what only the C interface offers.
void note_delegate(const std::shared_ptr<Runner>& runner);
std::vector<std::shared_ptr<Runner>> latest_delegates(std::size_t most);

// Notes that the host brought a provider of its own, so that none is looked for.
void note_provider_registered();
// Without a provider from the host, registers the libraries that are usually there: wgpu-native of
// the Python package `wgpu` beside this library's package, else libwgpu_native and libwebgpu_dawn
// by name.
Result<void> ensure_providers();

}  // namespace etwebgpu
