#include "webgpu/memory.h"

#include <algorithm>

#include "base/checked.h"

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
  TRY_ASSIGN(Buffer buffer, device_->buffer(what, bytes, usage));
  used_ += buffer.bytes();
  return buffer;
}

Result<void> ModelMemory::add_constants(std::span<const NamedSize> constants) {
  for (std::size_t first = constants_.size(); first < constants.size();) {
    TRY_ASSIGN(const std::uint64_t bytes, place_pool(constants));
    const std::size_t others = constants_.size() - first - 1;
    const std::string& name = constants[first].name;
    TRY_ASSIGN(Buffer pool,
               make(others == 0 ? name : cat(name, " with ", others, " more"), bytes, kStorage));
    for (; first < constants_.size(); ++first) constants_[first].buffer = pool.get();
    pools_.push_back(std::move(pool));
  }
  return {};
}

// Gives the next constants, at least one, their places in a buffer; the bytes it must have.
Result<std::uint64_t> ModelMemory::place_pool(std::span<const NamedSize> constants) {
  constexpr std::uint64_t kMost = 256 << 20;  // every device has buffers of so many bytes
  const std::uint64_t alignment = device_->capabilities().storage_alignment;
  std::uint64_t end = 0;
  while (constants_.size() < constants.size()) {
    const auto& [name, bytes] = constants[constants_.size()];
    const std::uint64_t offset = round_up(end, alignment);
    if (offset > 0 && (bytes > kMost || offset > kMost - bytes)) break;
    constants_.push_back({nullptr, offset, bytes});
    end = offset + bytes;
  }
  return end;
}

Result<void> ModelMemory::add_state(std::string_view what, std::uint64_t bytes, Packing packing) {
  TRY_ASSIGN(Buffer buffer, make(what, bytes, kStorage));
  states_.push_back(std::make_shared<StateBuffer>(StateBuffer{std::move(buffer), packing}));
  return {};
}

Result<void> ModelMemory::add_state(std::string_view what, std::uint64_t bytes, Packing packing,
                                    std::shared_ptr<StateBuffer> made) {
  CHECK_OR_FAIL(made->buffer.device() == device_.get(), ErrorKind::InvalidArgument, what,
                " is shared with a method that was loaded on another device");
  CHECK_OR_FAIL(made->packing == packing && made->buffer.bytes() >= bytes, ErrorKind::NotSupported,
                what, " is kept as ", name(packing), ", but a method that shares it has it as ",
                name(made->packing), "; load all methods with the option kv_cache_dtype f32");
  states_.push_back(std::move(made));
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
  return within_limit && roomy <= device_->capabilities().max_buffer_size ? roomy : needed;
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

BufferRange ModelMemory::at(Space space, std::uint32_t index) const {
  const auto whole = [](const Buffer& buffer) {
    return BufferRange{buffer.get(), 0, buffer.bytes()};
  };
  switch (space) {
    case Space::Slot:
      return whole(slots_[index]);
    case Space::Constant:
      return constants_[index];
    case Space::State:
      return whole(states_[index]->buffer);
    case Space::Scalars: {
      const std::uint64_t stride = device_->capabilities().uniform_alignment;
      return {scalars_.get(), index * stride, stride};
    }
    case Space::Uniforms:
      break;
  }
  return {};
}

}  // namespace etwebgpu
