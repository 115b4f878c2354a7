// Devices, pipelines, error capture, loss, and replaying a plan made by hand.
#include "webgpu/device.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "support.h"
#include "webgpu/memory.h"
#include "webgpu/replay.h"

namespace etwebgpu {
namespace {

constexpr std::string_view kAddOne = R"(
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < arrayLength(&data)) { data[id.x] += 1u; }
})";

// move.wgsl copies slot 0 to slot 1 and back, `rounds` times.
Plan move_plan(std::uint32_t words, std::uint32_t rounds) {
  Plan plan;
  plan.slots = {words * 4, words * 4};
  plan.uniforms.resize(16);
  std::memcpy(plan.uniforms.data(), &words, sizeof words);
  for (std::uint32_t i = 0; i < rounds; ++i) {
    PlannedDispatch dispatch;
    dispatch.first_binding = static_cast<std::uint32_t>(plan.bindings.size());
    dispatch.binding_count = 3;
    dispatch.grid.x = (words + 63) / 64;
    plan.bindings.push_back({Space::Slot, i % 2, Access::Read, 0, words * 4});
    plan.bindings.push_back({Space::Slot, 1 - i % 2, Access::ReadWrite, 0, words * 4});
    plan.bindings.push_back({Space::Uniforms, 0, Access::Read, 0, 16});
    plan.dispatches.push_back(dispatch);
  }
  return plan;
}

const KernelVariant kMove[] = {{"move", {{"WG", "64"}}}};

// Encodes the plan and a copy of slot `slot` into `staging`, then submits.
void replay_once(Device& device, const Replay& replay, const ModelMemory& memory, std::uint32_t slot,
                 const Buffer& staging) {
  const Api& api = device.api();
  const EncoderHandle encoder(api, api.DeviceCreateCommandEncoder(device.get(), nullptr));
  replay.encode(encoder.get(), {}, nullptr);
  api.CommandEncoderCopyBufferToBuffer(encoder.get(), memory.at(Space::Slot, slot).get(), 0, staging.get(), 0,
                                       staging.bytes());
  const CommandsHandle commands(api, api.CommandEncoderFinish(encoder.get(), nullptr));
  const WGPUCommandBuffer list[] = {commands.get()};
  api.QueueSubmit(device.queue(), 1, list);
}

std::vector<std::uint32_t> read_words(Device& device, const Buffer& staging) {
  EXPECT_OK(device.map(staging, WGPUMapMode_Read, staging.bytes()));
  std::vector<std::uint32_t> words(staging.bytes() / 4);
  const void* mapped = device.api().BufferGetConstMappedRange(staging.get(), 0, staging.bytes());
  if (mapped) std::memcpy(words.data(), mapped, staging.bytes());
  device.api().BufferUnmap(staging.get());
  return words;
}

TEST(Device, ReplaysPlan) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  constexpr std::uint32_t kWords = 1024;
  const Plan plan = move_plan(kWords, 255);  // odd: the data ends in slot 1
  ModelMemory memory(device, 0);
  ASSERT_OK(memory.fit_slots(plan.slots));
  std::vector<std::uint32_t> data(kWords);
  for (std::uint32_t i = 0; i < kWords; ++i) data[i] = i * 2654435761u;
  const auto replay = Replay::create(device, plan, kMove);
  ASSERT_OK(replay);
  ASSERT_OK((*replay)->bind(memory));
  auto staging = device->buffer("staging", kWords * 4, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst);
  ASSERT_OK(staging);
  device->api().QueueWriteBuffer(device->queue(), memory.at(Space::Slot, 0).get(), 0, data.data(), kWords * 4);
  for (int round = 0; round < 4; ++round) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_OK(device->checked("replay", [&] { replay_once(*device, **replay, memory, 1, *staging); }));
    EXPECT_EQ(read_words(*device, *staging), data);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    RecordProperty("us_per_dispatch", std::to_string(took.count() / 255));
    printf("%s: %.1f us per dispatch\n", device->adapter().name.c_str(), took.count() / 255);
  }
  EXPECT_OK(device->status());
}

}  // namespace
}  // namespace etwebgpu
