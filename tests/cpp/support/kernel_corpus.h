// Kernels as plans ask for them: of small graphs of every operator family and fusion, for every
// class of device.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/capabilities.h"
#include "base/kernel_variant.h"
#include "ops/op.h"

namespace etwebgpu::testing {

struct NamedGraph {
  std::string name;
  Graph graph;
};
std::vector<NamedGraph> corpus_graphs();

struct DeviceClass {
  std::string name;
  Capabilities capabilities;
  ModelOptions options;
};
std::span<const DeviceClass> device_classes();

struct CorpusKernel {
  KernelVariant variant;
  std::string bindings;         // a character each: r, w storage; u uniform (webgpu/pipelines.h)
  const DeviceClass* made_for;  // the first class that asks for it
};
struct Corpus {
  std::vector<CorpusKernel> kernels;  // each variant once
  std::vector<std::string> errors;    // of graphs that a class of device could not plan
};
const Corpus& kernel_corpus();

}  // namespace etwebgpu::testing
