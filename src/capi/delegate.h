// From a delegate blob to a model on a device: what the ExecuTorch backend and the C interface
// share.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "capi/delegate_states.h"
#include "capi/named_data.h"
#include "capi/options.h"
#include "webgpu/device.h"
#include "webgpu/runner.h"

namespace etwebgpu {

// The device that the options choose. One device serves all models of an adapter; the latest one
// stays alive with its compiled pipelines, so that loading the next model is cheap.
Result<std::shared_ptr<Device>> acquire_device(const Options& options);

// A delegate as a program has it.
struct DelegateSource {
  std::span<const std::byte> blob;
  NamedDataSource& named;
  // False if new contents of buffers may be among its outputs: exported without
  // alias_buffer_mutations.
  bool aliased = true;
  std::optional<StateOrigin> origin = std::nullopt;  // none: its states are its own
};

struct LoadedDelegate {
  std::shared_ptr<Runner> runner;
  std::shared_ptr<DelegateStates> states;  // null without an origin
  // What the host's log should say, and take_notices() does: kernels that are wrong on this device
  // and were replaced.
  std::vector<std::string> notices;
};

// Decodes, compiles and uploads. `trace`: time dispatches even if the options do not ask for it.
// `before`: the states of the same delegate, which is loaded again. Neither the blob nor the named
// data is needed afterwards, but to load it again.
Result<LoadedDelegate> load_delegate(const DelegateSource& source, const Options& options,
                                     bool trace, const DelegateStates* before = nullptr);

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
