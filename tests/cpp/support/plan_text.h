// A plan as text to compare with what a file in tests/cpp/plan/golden says.
#pragma once

#include <string>

#include "plan/model.h"

namespace etwebgpu::testing {

// Memory, then a line for each dispatch: kernel, workgroups, the program's calls it stands for, and
// what it reads and writes, constants by their bytes. Lines that repeat, as layers do, are written
// once. The kernels' parameters follow.
std::string plan_text(const Model& model, const Plan& plan);

// The plan of a graph at these inputs; "" after a test failure. All kernels are expanded.
std::string plan_text(Graph graph, const Capabilities& capabilities, const ModelOptions& options,
                      std::span<const HostInput> inputs);

// The calls of a program in order, as plan_text names them: "rms_norm, 3 linear_q4gsw".
std::string program_text(const Graph& graph);

// Compares with the file golden/NAME.txt, or writes it where ETWEBGPU_UPDATE_GOLDEN is set.
void expect_golden(const std::string& name, const std::string& text);

}  // namespace etwebgpu::testing
