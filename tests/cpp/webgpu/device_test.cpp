// Devices, pipelines, error capture, loss, and replaying a plan made by hand.
#include "webgpu/device.h"

#include <cstring>
#include <thread>

#include "support.h"
#include "webgpu/kernel_choice.h"
#include "webgpu/memory.h"
#include "webgpu/replay.h"
#include "webgpu/workgroup_poison.h"

namespace etwebgpu {
namespace {

constexpr std::string_view kAddOne = R"(
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < arrayLength(&data)) { data[id.x] += 1u; }
})";

constexpr std::string_view kSubgroupSize = R"(
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32, @builtin(subgroup_size) size: u32) {
  if (index == 0u) { out[0] = size; }
})";

constexpr std::string_view kReadsBeforeItWrites = R"(
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
var<workgroup> memory: array<u32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) index: u32) {
  out[index] = memory[63u - index];
  workgroupBarrier();
  memory[index] = index;
  workgroupBarrier();
  out[64u + index] = memory[63u - index];
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

const KernelVariant kMove[] = {{"move", {{"WG", "64"}}, {"src", "dst"}, {{"count"}}}};

// Runs the plan and copies slot `slot` into `staging`.
Result<void> replay_once(Device& device, const Replay& replay, const ModelMemory& memory,
                         std::uint32_t slot, const Buffer& staging) {
  const auto record = [&](WGPUCommandEncoder encoder) {
    replay.encode(encoder, 0, replay.size(), {}, nullptr);
    device.api().CommandEncoderCopyBufferToBuffer(encoder, memory.at(Space::Slot, slot).buffer, 0,
                                                  staging.get(), 0, staging.bytes());
  };
  return device.submit("replay", record, true);
}

std::vector<std::uint32_t> read_words(Device& device, const Buffer& staging) {
  EXPECT_OK(device.map(staging, WGPUMapMode_Read, staging.bytes()));
  std::vector<std::uint32_t> words(staging.bytes() / 4);
  const void* mapped = device.api().BufferGetConstMappedRange(staging.get(), 0, staging.bytes());
  if (mapped) std::memcpy(words.data(), mapped, staging.bytes());
  device.api().BufferUnmap(staging.get());
  return words;
}

// What one workgroup of the pipeline stores to its only binding; with `poison`, after a dispatch of
// it.
std::vector<std::uint32_t> first_words(Device& device, const Pipeline& pipeline,
                                       std::uint32_t words, const WorkgroupPoison* poison) {
  const std::uint64_t bytes = words * sizeof(std::uint32_t);
  auto out = device.buffer("out", bytes, WGPUBufferUsage_Storage | WGPUBufferUsage_CopySrc);
  auto staging = device.buffer("staging", bytes, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst);
  EXPECT_OK(out);
  EXPECT_OK(staging);
  WGPUBindGroupEntry entry = WGPU_BIND_GROUP_ENTRY_INIT;
  entry.buffer = out->get();
  entry.size = out->bytes();
  WGPUBindGroupDescriptor descriptor = WGPU_BIND_GROUP_DESCRIPTOR_INIT;
  descriptor.layout = pipeline.layout;
  descriptor.entryCount = 1;
  descriptor.entries = &entry;
  const Api& api = device.api();
  const BindGroupHandle group(api, api.DeviceCreateBindGroup(device.get(), &descriptor));
  const auto record = [&](WGPUCommandEncoder encoder) {
    {
      const PassHandle pass(api, api.CommandEncoderBeginComputePass(encoder, nullptr));
      if (poison) poison->encode(pass.get());
      api.ComputePassEncoderSetPipeline(pass.get(), pipeline.pipeline.get());
      api.ComputePassEncoderSetBindGroup(pass.get(), 0, group.get(), 0, nullptr);
      api.ComputePassEncoderDispatchWorkgroups(pass.get(), 1, 1, 1);
      api.ComputePassEncoderEnd(pass.get());
    }
    api.CommandEncoderCopyBufferToBuffer(encoder, out->get(), 0, staging->get(), 0, out->bytes());
  };
  EXPECT_OK(device.submit("the pipeline", record, true));
  return read_words(device, *staging);
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
  auto staging =
      device->buffer("staging", kWords * 4, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst);
  ASSERT_OK(staging);
  device->api().QueueWriteBuffer(device->queue(), memory.at(Space::Slot, 0).buffer, 0, data.data(),
                                 kWords * 4);
  for (int round = 0; round < 4; ++round) {
    EXPECT_OK(replay_once(*device, **replay, memory, 1, *staging));
    EXPECT_EQ(read_words(*device, *staging), data);
  }
  EXPECT_OK(device->status());
}

TEST(Device, IsSharedAndReportsCapabilities) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  EXPECT_EQ(device.get(), test_device().get());
  const Capabilities& c = device->capabilities();
  EXPECT_EQ(c.adapter_class, device->adapter().adapter_class);
  EXPECT_GE(c.max_storage_buffers, 8u);
  EXPECT_GE(c.max_workgroup_invocations, 256u);
  EXPECT_GE(c.max_storage_binding, 128ull << 20);
  EXPECT_LE(c.min_subgroup_size, c.max_subgroup_size);
  EXPECT_LE(c.storage_alignment, 256u);
  EXPECT_EQ(c.byte_products_from == UINT64_MAX, c.adapter_class != AdapterClass::Discrete);
}

// Kernels whose lanes exchange values rely on it, and where the provider is silent it is known by
// name.
TEST(Device, SubgroupsHaveTheSizeThatCapabilitiesSay) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  const Capabilities& c = device->capabilities();
  if (!c.subgroups) GTEST_SKIP() << "no subgroups";
  const std::string_view enable = c.dialect == WgslDialect::Tint ? "enable subgroups;" : "";
  const auto pipeline = device->pipeline("subgroup size", cat(enable, kSubgroupSize), "w");
  ASSERT_OK(pipeline);
  const std::uint32_t size = first_words(*device, **pipeline, 1, nullptr)[0];
  EXPECT_GE(size, c.min_subgroup_size);
  EXPECT_LE(size, c.max_subgroup_size);
  if (device->adapter().name.starts_with("llvmpipe")) {
    EXPECT_EQ(size, c.min_subgroup_size);
  }
}

// So that the operator tests under ETWEBGPU_POISON_WORKGROUP fail for a kernel that does so.
TEST(Device, PoisonIsSeenByKernelsThatReadBeforeTheyWrite) {
  AdapterChoice choice = test_choice();
  if (choice.provider != "dawn") GTEST_SKIP() << "wgpu-native zeroes such a kernel's memory";
  choice.trusted = true;  // else Dawn does, too
  const auto device = Device::acquire(choice);
  ASSERT_OK(device);
  if (!(*device)->adapter().name.starts_with("llvmpipe"))
    GTEST_SKIP() << "known of lavapipe only: a thread's workgroups have one memory";
  ASSERT_EQ(setenv("ETWEBGPU_POISON_WORKGROUP", "1", 1), 0);
  const auto poison = WorkgroupPoison::create(*device);
  unsetenv("ETWEBGPU_POISON_WORKGROUP");
  ASSERT_OK(poison);
  ASSERT_TRUE(*poison);
  const auto pipeline = (*device)->pipeline("reads before it writes", kReadsBeforeItWrites, "w");
  ASSERT_OK(pipeline);
  // The workgroup may meet a thread that has not run any of the poison's.
  constexpr int kTries = 50;
  int seen = 0;
  for (int i = 0; i < kTries; ++i)
    seen += first_words(**device, **pipeline, 128, poison->get())[0] == 0x7fc07fc0u;
  EXPECT_GT(seen, kTries / 10);
}

TEST(Device, TrustedProgramsHaveADeviceOfTheirOwn) {
  AdapterChoice choice = test_choice();
  const auto checked = test_device();
  choice.trusted = true;
  const auto trusted = Device::acquire(choice), again = Device::acquire(choice);
  ASSERT_OK(trusted);
  ASSERT_OK(again);
  EXPECT_TRUE((*trusted)->trusted());
  EXPECT_FALSE(checked->trusted());
  EXPECT_EQ(trusted->get(), again->get());
  EXPECT_OK((*trusted)->pipeline("add one", kAddOne, "w"));
}

TEST(Device, KernelsAreChosenAsAskedFor) {
  Capabilities device;
  device.adapter_class = AdapterClass::Software;
  device.subgroups = true;
  device.max_workgroup_storage = 48 << 10;
  const Capabilities discrete =
      choose_kernels_as(device, "discrete,bytes,matrices,few_rows,nonsense");
  EXPECT_EQ(discrete.adapter_class, AdapterClass::Discrete);
  EXPECT_EQ(discrete.byte_products_from, 1u);
  EXPECT_EQ(discrete.matrix_products_from, 1u);
  EXPECT_EQ(discrete.few_rows_from, 1u);
  EXPECT_TRUE(discrete.subgroups);
  const Capabilities portable = choose_kernels_as(device, "discrete,portable");
  EXPECT_EQ(portable.adapter_class, AdapterClass::Discrete);
  EXPECT_EQ(portable.max_workgroup_storage, Capabilities{}.max_workgroup_storage);
  EXPECT_EQ(portable.byte_products_from, UINT64_MAX);
  EXPECT_FALSE(portable.subgroups);
}

TEST(Device, BadKernelIsAnErrorNamingIt) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  const auto broken = device->pipeline("broken[WG=1]", "fn main() { nonsense }", "w");
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find("broken[WG=1]"), std::string::npos)
      << broken.error().message;
  // A signature that does not fit the shader is refused too, and the device stays usable.
  EXPECT_FALSE(device->pipeline("wrong bindings", kAddOne, "r"));
  EXPECT_OK(device->status());
  EXPECT_OK(device->pipeline("add one", kAddOne, "w"));
}

TEST(Device, PipelinesAreCached) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  const auto first = device->pipeline(kMove[0], "rwu");
  const auto second = device->pipeline(kMove[0], "rwu");
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(*first, *second);
}

TEST(Device, UncapturedErrorsBecomeResults) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  auto buffer = device->buffer("target", 16, WGPUBufferUsage_Storage);  // not CopyDst
  ASSERT_OK(buffer);
  const std::uint32_t word = 1;
  device->api().QueueWriteBuffer(device->queue(), buffer->get(), 0, &word, sizeof word);
  device->api().InstanceProcessEvents(device->instance());
  const auto status = device->status();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::Internal);
  EXPECT_OK(device->status());  // reported once
}

TEST(Device, ScopesCatchErrors) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  auto buffer = device->buffer("target", 16, WGPUBufferUsage_Storage);
  ASSERT_OK(buffer);
  const auto result = device->checked("the test", [&] {
    const std::uint32_t word = 1;
    device->api().QueueWriteBuffer(device->queue(), buffer->get(), 0, &word, sizeof word);
  });
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().message.starts_with("the test: ")) << result.error().message;
  EXPECT_OK(device->status());
}

TEST(Device, BytesAreCounted) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  const std::uint64_t before = device->allocated_bytes();
  {
    const auto buffer = device->buffer("counted", 1000, WGPUBufferUsage_Storage);
    ASSERT_OK(buffer);
    EXPECT_EQ(buffer->bytes(), 1008u);
    EXPECT_EQ(device->allocated_bytes(), before + 1008);
  }
  EXPECT_EQ(device->allocated_bytes(), before);
}

TEST(Device, TooLargeABufferIsRefused) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  const auto buffer = device->buffer("giant", UINT64_MAX - 5, WGPUBufferUsage_Storage);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().kind, ErrorKind::ResourceLimit);
  EXPECT_NE(buffer.error().message.find("giant"), std::string::npos);
}

TEST(Device, MemoryLimitIsCheckedBeforeAllocating) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  ModelMemory memory(device, 1 << 20);
  ASSERT_OK(memory.add_state("small", 1 << 19, Packing::Words));
  const std::uint64_t before = device->allocated_bytes();
  const NamedSize weights[] = {{"weight 7", 1 << 20}};
  const auto result = memory.add_constants(weights);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::ResourceLimit);
  for (const char* part : {"weight 7", "1048576", "524288"})
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  EXPECT_EQ(device->allocated_bytes(), before);
}

TEST(Device, ConstantsShareBuffersUpToASize) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  ModelMemory memory(device, 0);
  constexpr std::uint64_t kLarge = 100 << 20;
  const NamedSize sizes[] = {{"a", 20}, {"b", 1000}, {"c", kLarge}, {"d", kLarge}, {"e", kLarge}};
  ASSERT_OK(memory.add_constants(sizes));
  std::vector<BufferRange> at;
  for (std::uint32_t i = 0; i < std::size(sizes); ++i) {
    at.push_back(memory.at(Space::Constant, i));
    EXPECT_EQ(at[i].bytes, sizes[i].bytes);
    EXPECT_EQ(at[i].offset % device->capabilities().storage_alignment, 0u);
    if (i > 0 && at[i].buffer == at[i - 1].buffer) {
      EXPECT_GE(at[i].offset, at[i - 1].offset + at[i - 1].bytes);
    }
  }
  EXPECT_EQ(at[3].buffer, at[0].buffer);
  EXPECT_NE(at[4].buffer, at[0].buffer);  // 256 MB are full
  EXPECT_GE(memory.used_bytes(), 3 * kLarge + 1020);
}

TEST(Device, SlotsGrowAndChangeGeneration) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  ModelMemory memory(device, 0);
  const std::uint64_t small[] = {1024, 64};
  ASSERT_OK(memory.fit_slots(small));
  const std::uint64_t first = memory.generation();
  ASSERT_OK(memory.fit_slots(small));
  EXPECT_EQ(memory.generation(), first);
  const std::uint64_t larger[] = {1100, 64, 256};
  ASSERT_OK(memory.fit_slots(larger));
  EXPECT_GT(memory.generation(), first);
  EXPECT_EQ(memory.at(Space::Slot, 0).bytes, 1536u);  // half as much again
  EXPECT_EQ(memory.at(Space::Slot, 1).bytes, 64u);
  EXPECT_EQ(memory.used_bytes(), 1536u + 64u + 256u);
}

TEST(Device, LossFailsCallsAndTheNextDeviceWorks) {
  auto device = test_device();
  ASSERT_TRUE(device);
  ASSERT_OK(device->pipeline("add one", kAddOne, "w"));
  device->destroy();
  const auto buffer = device->buffer("after loss", 16, WGPUBufferUsage_Storage);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().kind, ErrorKind::DeviceLost);
  EXPECT_NE(buffer.error().message.find("lost"), std::string::npos) << buffer.error().message;
  EXPECT_TRUE(device->lost());
  EXPECT_FALSE(device->pipeline("after loss", "@compute @workgroup_size(1) fn main() {}", ""));
  const auto fresh = test_device();
  ASSERT_TRUE(fresh);
  EXPECT_NE(fresh.get(), device.get());
  EXPECT_OK(fresh->pipeline("add one", kAddOne, "w"));
}

TEST(Device, TimesDispatches) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  Profiler profiler(device);
  if (!device->capabilities().timestamps) {
    const auto refused = profiler.reserve(1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::NotSupported);
    return;
  }
  constexpr std::uint32_t kWords = 1 << 12;
  const Plan plan = move_plan(kWords, 2100);  // more than one query set
  ModelMemory memory(device, 0);
  ASSERT_OK(memory.fit_slots(plan.slots));
  const auto replay = Replay::create(device, plan, kMove);
  ASSERT_OK(replay);
  ASSERT_OK((*replay)->bind(memory));
  ASSERT_OK(profiler.reserve(plan.dispatches.size()));
  const auto record = [&](WGPUCommandEncoder encoder) {
    (*replay)->encode(encoder, 0, (*replay)->size(), {}, &profiler);
    profiler.resolve(encoder, plan.dispatches.size());
  };
  ASSERT_OK(device->submit("profile", record, true));
  ASSERT_OK(profiler.read(plan.dispatches.size()));
  ASSERT_EQ(profiler.times().size(), plan.dispatches.size());
  double total = 0;
  for (const Profiler::Time& time : profiler.times()) total += time.microseconds;
  EXPECT_GT(total, 0.0);
  EXPECT_LT(total, 60e6);
}

TEST(Device, ThreadsShareIt) {
  const auto device = test_device();
  ASSERT_TRUE(device);
  constexpr std::uint32_t kWords = 256;
  const auto work = [&](std::uint32_t seed) {
    const Plan plan = move_plan(kWords, 5);
    ModelMemory memory(device, 0);
    auto staging =
        device->buffer("staging", kWords * 4, WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst);
    ASSERT_OK(staging);
    ASSERT_OK(memory.fit_slots(plan.slots));
    const auto replay = Replay::create(device, plan, kMove);
    ASSERT_OK(replay);
    ASSERT_OK((*replay)->bind(memory));
    for (std::uint32_t round = 0; round < 20; ++round) {
      const std::vector<std::uint32_t> data(kWords, seed * 1000 + round);
      const auto held = device->lock();
      device->api().QueueWriteBuffer(device->queue(), memory.at(Space::Slot, 0).buffer, 0,
                                     data.data(), kWords * 4);
      ASSERT_OK(replay_once(*device, **replay, memory, 1, *staging));
      ASSERT_EQ(read_words(*device, *staging), data);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_OK(device->status());
}

}  // namespace
}  // namespace etwebgpu
