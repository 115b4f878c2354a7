#include "webgpu/pipelines.h"

#include <unordered_set>
#include <vector>

#include "kernels/kernel_source.h"
#include "webgpu/device.h"
#include "webgpu/template_folder.h"

namespace etwebgpu {

// A pipeline being made.
struct PipelineCache::Job {
  std::string key;
  std::unique_ptr<Pipeline> made = std::make_unique<Pipeline>();
  ShaderHandle shader;
  WGPUComputePipelineDescriptor descriptor = WGPU_COMPUTE_PIPELINE_DESCRIPTOR_INIT;

  // Of a compilation beside others.
  WGPUFuture future = {};
  std::atomic<bool> done = false;
  WGPUComputePipeline result = nullptr;
  std::string message;

  static void on_done(WGPUCreatePipelineAsyncStatus, WGPUComputePipeline pipeline,
                      WGPUStringView message, void* job, void*) {
    auto* self = static_cast<Job*>(job);
    self->result = pipeline;
    self->message = to_string(message);
    self->done = true;
  }
};

std::string PipelineCache::key(std::string_view label, const Signature& signature) {
  return cat(label, '\n', signature);
}

Result<const PipelineCache::Layout*> PipelineCache::layout(const Signature& signature) {
  if (const auto known = layouts_.find(signature); known != layouts_.end()) return &known->second;
  std::vector<WGPUBindGroupLayoutEntry> entries;
  for (std::size_t i = 0; i < signature.size(); ++i) {
    WGPUBindGroupLayoutEntry entry = WGPU_BIND_GROUP_LAYOUT_ENTRY_INIT;
    entry.binding = static_cast<std::uint32_t>(i);
    entry.visibility = WGPUShaderStage_Compute;
    entry.buffer.type = signature[i] == 'u'   ? WGPUBufferBindingType_Uniform
                        : signature[i] == 'r' ? WGPUBufferBindingType_ReadOnlyStorage
                                              : WGPUBufferBindingType_Storage;
    entries.push_back(entry);
  }
  const Api& api = device_.api();
  WGPUBindGroupLayoutDescriptor group = WGPU_BIND_GROUP_LAYOUT_DESCRIPTOR_INIT;
  group.entryCount = entries.size();
  group.entries = entries.data();
  Layout made;
  TRY(device_.checked(cat("bind group layout '", signature, "'"), [&] {
    made.group = {api, api.DeviceCreateBindGroupLayout(device_.get(), &group)};
    const WGPUBindGroupLayout groups[] = {made.group.get()};
    WGPUPipelineLayoutDescriptor pipeline = WGPU_PIPELINE_LAYOUT_DESCRIPTOR_INIT;
    pipeline.bindGroupLayoutCount = 1;
    pipeline.bindGroupLayouts = groups;
    made.pipeline = {api, api.DeviceCreatePipelineLayout(device_.get(), &pipeline)};
  }));
  return &layouts_.emplace(signature, std::move(made)).first->second;
}

// wgpu-native counts the rounds of every loop against endless ones, unless told to check indices
// only: 9 % of a decode step on an H200. Loops of kernels end by themselves.
WGPUShaderModule PipelineCache::make_shader(const WGPUShaderModuleDescriptor& module) const {
  constexpr WGPUFlags kNothing = 0, kIndices = 1;
  const Api& api = device_.api();
  if (!api.DeviceCreateShaderModuleTrusted) {
    return api.DeviceCreateShaderModule(device_.get(), &module);
  }
  return api.DeviceCreateShaderModuleTrusted(device_.get(), &module,
                                             device_.trusted() ? kNothing : kIndices);
}

Result<std::unique_ptr<PipelineCache::Job>> PipelineCache::prepare(std::string_view label,
                                                                   std::string_view wgsl,
                                                                   const Signature& signature) {
  TRY_ASSIGN(const Layout* const bindings, layout(signature));
  auto job = std::make_unique<Job>();
  job->key = key(label, signature);
  job->made->layout = bindings->group.get();
  job->made->label = label;

  WGPUShaderSourceWGSL source = WGPU_SHADER_SOURCE_WGSL_INIT;
  source.code = string_view(wgsl);
  WGPUShaderModuleDescriptor module = WGPU_SHADER_MODULE_DESCRIPTOR_INIT;
  module.nextInChain = &source.chain;
  module.label = string_view(label);
  const Api& api = device_.api();
  TRY(device_.checked(cat("kernel ", label), [&] { job->shader = {api, make_shader(module)}; }));
  job->descriptor.label = string_view(job->made->label);
  job->descriptor.layout = bindings->pipeline.get();
  job->descriptor.compute.module = job->shader.get();
  job->descriptor.compute.entryPoint = string_view("main");
  return job;
}

Result<const Pipeline*> PipelineCache::get(const KernelVariant& kernel,
                                           const Signature& signature) {
  const std::string label = to_string(kernel);
  if (const auto known = pipelines_.find(key(label, signature)); known != pipelines_.end())
    return known->second.get();
  TRY_ASSIGN(const std::string wgsl, used_kernel_source(kernel, device_.capabilities().dialect));
  return get(label, wgsl, signature);
}

Result<const Pipeline*> PipelineCache::get(std::string_view label, std::string_view wgsl,
                                           const Signature& signature) {
  if (const auto known = pipelines_.find(key(label, signature)); known != pipelines_.end())
    return known->second.get();
  TRY_ASSIGN(const std::unique_ptr<Job> job, prepare(label, wgsl, signature));
  const Api& api = device_.api();
  TRY(device_.checked(cat("pipeline of kernel ", label), [&] {
    job->made->pipeline = {api, api.DeviceCreateComputePipeline(device_.get(), &job->descriptor)};
  }));
  return (pipelines_[job->key] = std::move(job->made)).get();
}

Result<void> PipelineCache::compile(std::span<const PipelineRequest> requests) {
  std::vector<std::unique_ptr<Job>> jobs;
  std::unordered_set<std::string> started;
  Result<void> outcome;
  for (const PipelineRequest& request : requests) {
    const std::string label = to_string(*request.kernel);
    const std::string id = key(label, request.signature);
    if (pipelines_.contains(id) || !started.insert(id).second) continue;
    if (!device_.api().compiles_side_by_side()) {
      TRY(get(*request.kernel, request.signature));
      continue;
    }
    Result<std::string> wgsl = used_kernel_source(*request.kernel, device_.capabilities().dialect);
    Result<std::unique_ptr<Job>> job =
        wgsl ? prepare(label, *wgsl, request.signature) : std::unexpected(wgsl.error());
    if (!job) {
      outcome = std::unexpected(std::move(job).error());
      break;  // but those started must be waited for
    }
    jobs.push_back(*std::move(job));
    start(*jobs.back());
  }
  for (const auto& job : jobs) {
    Result<void> finished = finish(*job);
    if (outcome && !finished) outcome = std::move(finished);
  }
  return outcome;
}

void PipelineCache::start(Job& job) {
  const Api& api = device_.api();
  WGPUCreateComputePipelineAsyncCallbackInfo callback =
      WGPU_CREATE_COMPUTE_PIPELINE_ASYNC_CALLBACK_INFO_INIT;
  callback.mode = api.callback_mode();
  callback.callback = Job::on_done;
  callback.userdata1 = &job;
  job.future = api.DeviceCreateComputePipelineAsync(device_.get(), &job.descriptor, callback);
}

Result<void> PipelineCache::finish(Job& job) {
  const Api& api = device_.api();
  const bool answered = wait(api, device_.instance(), device_.get(), job.future, job.done);
  if (!answered || !job.result) {
    TRY(device_.status());
    return fail(ErrorKind::Internal, "pipeline of kernel ", job.made->label, ": ", job.message);
  }
  job.made->pipeline = {api, job.result};
  pipelines_[job.key] = std::move(job.made);
  return {};
}

void PipelineCache::clear() {
  pipelines_.clear();
  layouts_.clear();
}

}  // namespace etwebgpu
