#include "support/kernel_corpus.h"

#include <set>

#include "kernels/kernel_source.h"
#include "kernels/token_choice.h"
#include "plan/model.h"

namespace etwebgpu::testing {
namespace {

Capabilities device(AdapterClass adapter, std::uint32_t subgroup) {
  Capabilities out;
  out.adapter_class = adapter;
  out.subgroups = subgroup > 0;
  if (subgroup > 0) out.min_subgroup_size = out.max_subgroup_size = subgroup;
  return out;
}

Capabilities large_gpu(std::uint32_t subgroup) {
  Capabilities out = device(AdapterClass::Discrete, subgroup);
  out.max_workgroup_invocations = out.max_workgroup_size[0] = out.max_workgroup_size[1] = 1024;
  out.max_workgroup_storage = 32 << 10;
  out.f16 = out.packed_products = true;
  out.few_rows_from = 1;
  return out;
}

Capabilities with_matrices(std::uint32_t size, std::uint32_t subgroup) {
  Capabilities out = large_gpu(subgroup);
  out.matrix_size = size;
  out.matrix_products_from = 1;
  return out;
}

Capabilities with_byte_products() {
  Capabilities out = large_gpu(32);
  out.byte_products_from = 1;
  return out;
}

std::vector<DeviceClass> make_classes() {
  using enum AdapterClass;
  const ModelOptions plain, halves{.kv_cache = FloatType::F16},
      f16{.kv_cache = FloatType::F16, .matmul = FloatType::F16},
      f32_cache{.matmul = FloatType::F16};
  Capabilities whatever = device(Integrated, 4), least = device(Discrete, 0);
  whatever.max_subgroup_size = 128;
  least.few_rows_from = 1;
  return {{"portable", device(Discrete, 0), plain},
          {"portable, caches in f16", least, halves},
          {"integrated, subgroups of any size", whatever, plain},
          {"integrated, subgroups of 16", device(Integrated, 16), halves},
          {"large", large_gpu(32), plain},
          {"large, caches in f16", large_gpu(64), halves},
          {"byte products", with_byte_products(), plain},
          {"matrices of 16", with_matrices(16, 32), f16},
          {"matrices of 16, in f32", with_matrices(16, 32), plain},
          {"matrices of 8", with_matrices(8, 32), f32_cache},
          {"matrices of 8, small subgroups", with_matrices(8, 8), f16},
          {"software", device(Software, 0), plain},
          {"software, subgroups of 4", device(Software, 4), halves},
          {"software, subgroups of 8", device(Software, 8), plain},
          {"software, subgroups of 8, caches in f16", device(Software, 8), halves}};
}

std::string bindings_of(const Plan& plan, const PlannedDispatch& dispatch) {
  std::string out;
  for (std::uint32_t i = 0; i < dispatch.binding_count; ++i) {
    const PlannedBinding& binding = plan.bindings[dispatch.first_binding + i];
    const bool uniform = binding.space == Space::Uniforms || binding.space == Space::Scalars;
    out += uniform ? 'u' : binding.access == Access::Read ? 'r' : 'w';
  }
  return out;
}

// As large as they may be, at the first position.
std::vector<HostInput> bound_inputs(const Graph& graph) {
  std::vector<HostInput> out(graph.inputs.size());
  for (std::size_t i = 0; i < out.size(); ++i)
    if (const TensorInfo* tensor = graph.tensor(graph.inputs[i])) out[i].sizes = tensor->bound;
  return out;
}

// What the executor itself asks for (webgpu/generation.cpp, webgpu/workgroup_poison.cpp).
std::vector<CorpusKernel> executors_own() {
  const DeviceClass* any = &device_classes()[0];
  std::vector<CorpusKernel> out;
  for (const std::int64_t width : {1, 4})
    out.push_back({greedy_token(3 * width, 1000 * width, 256), "rw", any});
  out.push_back({sample_token(3, 1000, 256), "rwwu", any});
  out.push_back({{"workgroup_poison", {{"WG", "256"}, {"WORDS", "4096"}}, {"witness"}}, "w", any});
  return out;
}

class Maker {
 public:
  Corpus corpus{.kernels = executors_own(), .errors = {}};

  void add(const NamedGraph& graph, const DeviceClass& device) {
    const Surroundings surroundings{.is_zero = [](std::int32_t) -> Result<bool> { return true; }};
    auto model = Model::create(graph.graph, device.capabilities, device.options, surroundings);
    if (!model) return add_error(graph, device, model.error());
    add(**model, (*model)->bound_plan(), device);
    const auto narrow = (*model)->prepare(bound_inputs(graph.graph), false);
    if (!narrow) return add_error(graph, device, narrow.error());
    add(**model, **narrow, device);
  }

 private:
  void add(const Model& model, const Plan& plan, const DeviceClass& device) {
    for (const PlannedDispatch& dispatch : plan.dispatches) {
      const KernelVariant& variant = model.kernels()[dispatch.kernel];
      if (known_.insert(to_string(variant)).second)
        corpus.kernels.push_back({variant, bindings_of(plan, dispatch), &device});
    }
  }
  void add_error(const NamedGraph& graph, const DeviceClass& device, const Error& error) {
    corpus.errors.push_back(cat(graph.name, ", ", device.name, ": ", error.message));
  }

  std::set<std::string> known_;
};

Corpus make_corpus() {
  Maker maker;
  for (const NamedGraph& graph : corpus_graphs())
    for (const DeviceClass& device : device_classes()) maker.add(graph, device);
  return std::move(maker.corpus);
}

}  // namespace

std::span<const DeviceClass> device_classes() {
  static const std::vector<DeviceClass> classes = make_classes();
  return classes;
}

const Corpus& kernel_corpus() {
  static const Corpus corpus = make_corpus();
  return corpus;
}

}  // namespace etwebgpu::testing
