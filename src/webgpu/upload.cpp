#include "webgpu/upload.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "base/zeros.h"
#include "webgpu/parallel.h"

namespace etwebgpu {

namespace {

constexpr std::uint64_t kStageBytes = kStagingBytes / 2;

// Two mapped staging buffers in turn: one is filled while the GPU copies from the other.
class Uploader {
 public:
  explicit Uploader(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  // Host memory that will land in `buffer` at `offset`; at most `wanted` bytes, a multiple of 16.
  // Valid until the next call.
  Result<std::span<std::byte>> write(WGPUBuffer buffer, std::uint64_t offset,
                                     std::uint64_t wanted) {
    if (used_ == kStageBytes) TRY(flush());
    if (!mapped_) TRY(map_stage());
    const std::uint64_t size = std::min(wanted, kStageBytes - used_);
    copies_.push_back({buffer, offset, used_, size});
    const auto out = std::span(mapped_ + used_, size);
    used_ += size;
    return out;
  }

  Result<void> flush() {
    if (!mapped_) return {};
    const Api& api = device_->api();
    const Buffer& stage = stages_[current_];
    mapped_ = nullptr;
    api.BufferUnmap(stage.get());
    const auto copy_all = [&](WGPUCommandEncoder encoder) {
      for (const Copy& copy : copies_) {
        api.CommandEncoderCopyBufferToBuffer(encoder, stage.get(), copy.from, copy.buffer, copy.to,
                                             copy.size);
      }
    };
    TRY(device_->submit("upload of constants", copy_all, true));
    copies_.clear();
    used_ = 0;
    current_ = 1 - current_;
    return {};
  }

 private:
  struct Copy {
    WGPUBuffer buffer;
    std::uint64_t to, from, size;
  };

  Result<void> map_stage() {
    Buffer& stage = stages_[current_];
    if (!stage) {
      TRY_ASSIGN(stage, device_->buffer("staging for constants", kStageBytes,
                                        WGPUBufferUsage_MapWrite | WGPUBufferUsage_CopySrc));
    }
    TRY(device_->map(stage, WGPUMapMode_Write, kStageBytes));
    void* memory = device_->api().BufferGetMappedRange(stage.get(), 0, kStageBytes);
    CHECK_OR_FAIL(memory, ErrorKind::Internal, "staging memory for constants was not mapped");
    mapped_ = static_cast<std::byte*>(memory);
    return {};
  }

  std::shared_ptr<Device> device_;
  std::array<Buffer, 2> stages_;
  std::size_t current_ = 0;
  std::byte* mapped_ = nullptr;
  std::uint64_t used_ = 0;
  std::vector<Copy> copies_;
};

// Constants fetched and still needed.
class Sources {
 public:
  Sources(ConstantSource& source, std::span<const UploadTarget> targets) : source_(source) {
    for (const UploadTarget& target : targets)
      for (const PackedPart& part : target.constant->parts) ++uses_[part.constant];
  }
  // After an error too, nothing stays fetched.
  ~Sources() {
    for (const auto& held : held_) source_.release(held.first);
  }

  Result<std::span<const std::byte>> get(const PackedPart& part) {
    auto held = held_.find(part.constant);
    if (held == held_.end()) {
      TRY_ASSIGN(const std::span<const std::byte> bytes, source_.fetch(part.constant));
      held = held_.emplace(part.constant, bytes).first;
    }
    const std::uint64_t needed = source_size(part);
    CHECK_OR_FAIL(held->second.size() >= needed, ErrorKind::InvalidProgram, "constant ",
                  part.constant, " (", name(part.dtype), " ", to_string(part.dims), ") needs ",
                  needed, " bytes and has ", held->second.size());
    return held->second.first(needed);
  }

  void done_with(const PackedPart& part) {
    if (--uses_[part.constant] > 0) return;
    source_.release(part.constant);
    held_.erase(part.constant);
  }

 private:
  ConstantSource& source_;
  std::map<std::int32_t, int> uses_;
  std::map<std::int32_t, std::span<const std::byte>> held_;
};

// Fresh buffers hold zeros already, and a cache's first contents are nothing else.
bool packs_to_zeros(const PackedConstant& constant,
                    std::span<const std::span<const std::byte>> sources) {
  return !is_panels(constant.packing) && std::ranges::all_of(sources, all_zero);
}

// A range of a constant, by several cores.
void pack(const PackedConstant& constant, std::span<const std::span<const std::byte>> sources,
          std::uint64_t offset, std::span<std::byte> out) {
  constexpr std::size_t kMost = 8, kLeast = 512 << 10;  // cores, and bytes for each
  const std::size_t wanted = std::max<std::size_t>(out.size() / kLeast, 1);
  const std::size_t count = core_count(std::min(kMost, wanted));
  const std::size_t each = round_up(div_up(out.size(), count), std::size_t{kPanelRowBytes});
  run_shares(count, [&](std::size_t i) {
    const std::size_t from = std::min(i * each, out.size());
    const std::size_t size = std::min(each, out.size() - from);
    pack_range(constant, sources, offset + from, out.subspan(from, size));
  });
}

Result<void> upload_one(const UploadTarget& target, Sources& sources, Uploader& uploader) {
  const PackedConstant& constant = *target.constant;
  TRY_ASSIGN(const std::uint64_t total, packed_size(constant));
  std::vector<std::span<const std::byte>> bytes;
  for (const PackedPart& part : constant.parts) {
    TRY_ASSIGN(bytes.emplace_back(), sources.get(part));
  }
  if (!packs_to_zeros(constant, bytes)) {
    for (std::uint64_t offset = 0; offset < total;) {
      TRY_ASSIGN(const std::span<std::byte> out,
                 uploader.write(target.to.buffer, target.to.offset + offset, total - offset));
      pack(constant, bytes, offset, out);
      offset += out.size();
    }
  }
  for (const PackedPart& part : constant.parts) sources.done_with(part);
  return {};
}

}  // namespace

Result<void> upload_constants(const std::shared_ptr<Device>& device,
                              std::span<const UploadTarget> targets, ConstantSource& source) {
  // In the file's order, so that users of one source are neighbours and little is held at a time.
  std::vector<UploadTarget> order(targets.begin(), targets.end());
  std::erase_if(order, [](const UploadTarget& target) { return target.constant->parts.empty(); });
  std::ranges::stable_sort(order, {}, [](const UploadTarget& target) {
    return target.constant->parts.front().constant;
  });
  Sources sources(source, order);
  Uploader uploader(device);
  for (const UploadTarget& target : order) TRY(upload_one(target, sources, uploader));
  return uploader.flush();
}

}  // namespace etwebgpu
