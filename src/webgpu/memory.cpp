#include "webgpu/memory.h"

#include <algorithm>

namespace etwebgpu {

namespace {

constexpr WGPUBufferUsage kStorage =
    WGPUBufferUsage_Storage | WGPUBufferUsage_CopyDst | WGPUBufferUsage_CopySrc;

}  // namespace

Result<Buffer> ModelMemory::make(std::string_view what, std::uint64_t bytes,
                                 WGPUBufferUsage usage) {
  CHECK_OR_FAIL(limit_ == 0 || (bytes <= limit_ && used_ <= limit_ - bytes),
                ErrorKind::ResourceLimit, what, " needs ", bytes,
                " bytes on the GPU; the model uses ", used_, " already and its memory limit is ",
                limit_);
  const std::uint64_t largest_binding = device_->capabilities().max_storage_binding;
  CHECK_OR_FAIL(!(usage & WGPUBufferUsage_Storage) || bytes <= largest_binding,
                ErrorKind::ResourceLimit, what, " needs ", bytes, " bytes; the adapter '",
                device_->adapter().name, "' binds at most ", largest_binding);
  TRY_ASSIGN(Buffer buffer, device_->buffer(what, bytes, usage));
  used_ += buffer.bytes();
  return buffer;
}

Result<void> ModelMemory::add_constant(std::string_view what, std::uint64_t bytes) {
  TRY_ASSIGN(constants_.emplace_back(), make(what, bytes, kStorage));
  return {};
}

Result<void> ModelMemory::add_state(std::string_view what, std::uint64_t bytes) {
  TRY_ASSIGN(states_.emplace_back(), make(what, bytes, kStorage));
  return {};
}

Result<void> ModelMemory::make_scalars(std::size_t count) {
  const std::uint64_t bytes = count * device_->capabilities().uniform_alignment;
  TRY_ASSIGN(scalars_,
             make("live scalars", bytes, WGPUBufferUsage_Uniform | WGPUBufferUsage_CopyDst));
  return {};
}

// Half as much again, so that a slowly growing input does not make a new buffer at every step.
std::uint64_t ModelMemory::grown_size(std::uint64_t old_bytes, std::uint64_t needed) const {
  const std::uint64_t roomy = std::max(needed, old_bytes + old_bytes / 2);
  const bool within_limit = limit_ == 0 || (roomy <= limit_ && used_ <= limit_ - roomy);
  return within_limit && roomy <= device_->capabilities().max_storage_binding ? roomy : needed;
}

Result<void> ModelMemory::fit_slots(std::span<const std::uint64_t> sizes) {
  if (slots_.size() < sizes.size()) slots_.resize(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (slots_[i] && slots_[i].bytes() >= sizes[i]) continue;
    const std::uint64_t old_bytes = slots_[i].bytes();
    ++generation_;
    forget(slots_[i]);
    slots_[i] = Buffer();
    TRY_ASSIGN(slots_[i],
               make(cat("activation memory ", i), grown_size(old_bytes, sizes[i]), kStorage));
  }
  return {};
}

const Buffer& ModelMemory::at(Space space, std::uint32_t index) const {
  switch (space) {
    case Space::Slot:
      return slots_[index];
    case Space::Constant:
      return constants_[index];
    case Space::State:
      return states_[index];
    case Space::Scalars:
    case Space::Uniforms:
      break;
  }
  return scalars_;
}

}  // namespace etwebgpu
