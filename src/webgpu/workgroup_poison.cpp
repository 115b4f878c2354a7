#include "webgpu/workgroup_poison.h"

#include <algorithm>
#include <thread>

#include "webgpu/developer_switch.h"

namespace etwebgpu {
namespace {

// More than the machine runs at once, so that none of its memory is left out.
std::uint32_t workgroups(const Capabilities& caps) {
  constexpr std::uint32_t kOfAGpu = 2048, kOfAThread = 2;
  if (caps.adapter_class != AdapterClass::Software) return kOfAGpu;
  return kOfAThread * std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

Result<std::unique_ptr<WorkgroupPoison>> WorkgroupPoison::create(
    const std::shared_ptr<Device>& device) {
  if (!switched_on("ETWEBGPU_POISON_WORKGROUP")) return nullptr;
  const auto held = device->lock();
  std::unique_ptr<WorkgroupPoison> made(new WorkgroupPoison(device));
  const Capabilities& caps = device->capabilities();
  const KernelVariant kernel{"workgroup_poison",
                             {{"WG", cat(std::min(256u, caps.max_workgroup_invocations))},
                              {"WORDS", cat(caps.max_workgroup_storage / sizeof(std::uint32_t))}},
                             {"witness"}};
  TRY_ASSIGN(made->pipeline_, device->pipeline(kernel, Signature("w")));
  TRY_ASSIGN(made->witness_,
             device->buffer("workgroup poison", sizeof(std::uint32_t), WGPUBufferUsage_Storage));
  WGPUBindGroupEntry entry = WGPU_BIND_GROUP_ENTRY_INIT;
  entry.buffer = made->witness_.get();
  entry.size = made->witness_.bytes();
  WGPUBindGroupDescriptor descriptor = WGPU_BIND_GROUP_DESCRIPTOR_INIT;
  descriptor.layout = made->pipeline_->layout;
  descriptor.entryCount = 1;
  descriptor.entries = &entry;
  TRY(device->checked("bindings", [&] {
    made->group_ = {device->api(), device->api().DeviceCreateBindGroup(device->get(), &descriptor)};
  }));
  return made;
}

WorkgroupPoison::~WorkgroupPoison() {
  const auto held = device_->lock();
  group_ = {};
}

void WorkgroupPoison::encode(WGPUComputePassEncoder pass) const {
  const Api& api = device_->api();
  api.ComputePassEncoderSetPipeline(pass, pipeline_->pipeline.get());
  api.ComputePassEncoderSetBindGroup(pass, 0, group_.get(), 0, nullptr);
  api.ComputePassEncoderDispatchWorkgroups(pass, workgroups(device_->capabilities()), 1, 1);
}

}  // namespace etwebgpu
