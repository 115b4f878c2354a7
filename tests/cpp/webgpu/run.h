// A graph on a device: its constants, its inputs on the host, and where its outputs go.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "webgpu/runner.h"

namespace etwebgpu {

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

template <typename T>
std::vector<T> values_of(const std::vector<std::byte>& bytes) {
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

struct Constants : ConstantSource {
  std::vector<std::vector<std::byte>> bytes;
  std::map<std::int32_t, int> fetched, released;

  Result<std::span<const std::byte>> fetch(std::int32_t index) override {
    ++fetched[index];
    return bytes[static_cast<std::size_t>(index)];
  }
  void release(std::int32_t index) override { ++released[index]; }
};

// Keeps outputs as bytes, in the dtype asked for.
struct Outputs : OutputSink {
  std::map<std::size_t, DType> wanted;  // else the recorded one
  std::map<std::size_t, Dims> sizes;
  std::map<std::size_t, std::vector<std::byte>> bytes;
  std::map<std::size_t, std::int64_t> scalars;

  Result<void> place(std::size_t index, DType recorded, const Dims& live,
                     std::vector<HostDestination>& to) override {
    const DType dtype = wanted.contains(index) ? wanted[index] : recorded;
    sizes[index] = live;
    bytes[index].assign(static_cast<std::size_t>(live.numel()) * byte_size(dtype), std::byte{0xEE});
    to.push_back({dtype, live, {}, bytes[index]});
    return {};
  }
  bool wants_wide(std::size_t index) const override {
    return wanted.contains(index) && wanted.at(index) == DType::Int64;
  }
  Result<void> scalar(std::size_t index, std::int64_t value) override {
    scalars[index] = value;
    return {};
  }
};

inline Result<std::unique_ptr<Runner>> load(const std::shared_ptr<Device>& device, Graph graph,
                                            ConstantSource& constants,
                                            const RunnerOptions& options = {}) {
  TRY_ASSIGN(auto model, Model::create(std::move(graph), device->capabilities(), {}));
  return Runner::create(std::move(model), device, constants, options);
}

template <typename T>
HostTensor host(DType dtype, Dims sizes, const std::vector<T>& values) {
  return {.dtype = dtype, .sizes = sizes, .strides = {}, .data = std::as_bytes(std::span(values))};
}

}  // namespace etwebgpu
