// make_corpus FOLDER: writes small valid files of every format, and the beginnings (.head, through
// the delegate) of some whose weights are made up where they are read.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "support/format_builder.h"

namespace {

namespace fb = executorch_flatbuffer;
using namespace etwebgpu::testing;

bool write(const std::filesystem::path& path, const ByteVector& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return file.good();
}

// Products of x [rows, widths[0]] with matrices, the last of which lies transposed.
BlobBuilder products(std::uint32_t rows, const std::vector<std::uint32_t>& widths) {
  BlobBuilder b;
  int x = b.input(b.tensor({rows, widths[0]}));
  const int none = b.none();
  for (std::size_t i = 1; i < widths.size(); ++i) {
    const std::string key = "weight" + std::to_string(i);
    const int out = b.tensor({rows, widths[i]});
    if (i + 1 < widths.size())
      x = b.call("aten.linear.default",
                 {x, b.constant(key, {widths[i], widths[i - 1]}), none, out});
    else
      x = b.call("aten.mm.default", {x, b.constant(key, {widths[i - 1], widths[i]}), out});
  }
  b.output(x);
  return b;
}

// Weights in 8 bits that the program dequantizes: one with a zero point for each group of columns,
// one with zeros for such, and a bias with one scale for all.
BlobBuilder dequantized(std::uint32_t rows, std::uint32_t n, std::uint32_t k) {
  constexpr std::uint32_t kGroup = 64;
  using enum vkgraph::VkDataType;
  BlobBuilder b;
  const int x = b.input(b.tensor({rows, k}));
  const int none = b.none(), one = b.integer(1), low = b.integer(-128), high = b.integer(127);
  const int weight = b.constant("weight", {n, k}, INT8);
  const auto layer = [&](std::uint32_t group, const std::string& scales, const std::string& zeros) {
    const int made = b.call(
        "torchao.dequantize_affine.default",
        {weight, b.ints({1, group}), b.constant(scales, {n, k / group}),
         b.constant(zeros, {n, k / group}, INT8), none, low, high, b.integer(6), b.tensor({n, k})});
    return b.call("aten.linear.default", {x, made, none, b.tensor({rows, n})});
  };
  const int floats = layer(kGroup, "scales", "zero points");
  const int bytes = layer(k, "row scales", "zeros");
  const int bias = b.call("quantized_decomposed.dequantize_per_tensor.default",
                          {b.constant("bias", {n}, INT8), b.number(0.25), b.integer(3), low, high,
                           none, b.tensor({n})});
  const int sum = b.call("aten.add.Tensor", {floats, bytes, one, b.tensor({rows, n})});
  b.output(b.call("aten.add.Tensor", {sum, bias, one, b.tensor({rows, n})}));
  return b;
}

// The beginning of a program that makes [rows, to] of [rows, from].
ByteVector head_of(const vkgraph::VkGraphT& graph, std::uint32_t rows, std::uint32_t from,
                   std::uint32_t to) {
  const ByteVector blob = delegate_blob(graph);
  std::vector<std::string> keys;
  std::vector<std::uint64_t> sizes{blob.size()};
  for (const auto& constant : graph.constants) {
    keys.push_back(constant->named_key);
    sizes.push_back(constant->length);
  }
  const auto edge = [&](std::uint32_t width) {
    return tensor_value({static_cast<std::int32_t>(rows), static_cast<std::int32_t>(width)},
                        fb::ScalarType::FLOAT);
  };
  ByteVector file = program_head(program_object({edge(from), edge(to)}, keys), sizes);
  append_bytes(file, blob);
  return file;
}

ByteVector products_head(std::uint32_t rows, const std::vector<std::uint32_t>& widths) {
  return head_of(products(rows, widths).graph, rows, widths.front(), widths.back());
}

// A program with operators that nobody has, and a call that is left to ExecuTorch.
ByteVector unknown_file() {
  BlobBuilder b;
  const int x = b.input(b.tensor({8, 16}));
  const int y = b.call("aten.unheard_of.default", {x, b.tensor({8, 16})});
  const int z = b.call("aten.unseen.out", {y, b.tensor({8, 16})});
  b.output(b.call("aten.unheard_of.default", {z, b.tensor({8, 16})}));
  auto program = program_object(
      {tensor_value({8, 16}, fb::ScalarType::FLOAT), tensor_value({8, 16}, fb::ScalarType::FLOAT)},
      {});
  fb::ExecutionPlanT& forward = *program.execution_plan[0];
  auto kernel = std::make_unique<fb::OperatorT>();
  kernel->name = "aten::grid_sampler_2d";
  kernel->overload = "out";
  forward.operators.push_back(std::move(kernel));
  auto instruction = std::make_unique<fb::InstructionT>();
  instruction->instr_args.Set(fb::KernelCallT());
  forward.chains[0]->instructions.push_back(std::move(instruction));
  return program_file(std::move(program), {delegate_blob(b.graph)});
}

// One of the methods below, of x [4]: adds to states, which begin as zeros, or only reads one.
BlobBuilder stateful(std::size_t states, bool writes) {
  BlobBuilder b;
  const int x = b.input(b.tensor({4})), one = b.integer(1);
  int sum = x;
  for (std::size_t i = 0; i < states; ++i) {
    const int state = b.constant("zeros", {4});
    if (writes) b.call("aten.add.Tensor", {state, x, one, state});
    sum = b.call("aten.add.Tensor", {sum, state, one, b.tensor({4})});
  }
  b.output(sum);
  return b;
}

struct SampleMethod {
  std::string name;
  std::size_t states;
  bool writes;
  std::string names;  // of the states, as our exporter writes them
};

// A program whose methods share states, as far as one can tell.
ByteVector states_file() {
  const std::vector<SampleMethod> methods{
      {"add", 1, true, ""},
      {"get", 1, false, ""},
      {"both", 2, true, ""},
      {"named_add", 1, true, R"({"0": "b"})"},
      {"named_both", 2, true, R"({"0": "a", "1": "b"})"},
  };
  fb::ProgramT program;
  std::vector<ByteVector> contents;
  for (const SampleMethod& method : methods) {
    const auto x = tensor_value({4}, fb::ScalarType::FLOAT);
    fb::ProgramT one = program_object({x, x}, {"zeros"});
    fb::ExecutionPlanT& plan = *one.execution_plan[0];
    plan.name = method.name;
    plan.delegates[0]->processed->index = static_cast<std::uint32_t>(contents.size());
    auto spec = std::make_unique<fb::CompileSpecT>();
    spec->key = "etwebgpu.states";
    spec->value.assign(method.names.begin(), method.names.end());
    if (!method.names.empty()) plan.delegates[0]->compile_specs.push_back(std::move(spec));
    program.execution_plan.push_back(std::move(one.execution_plan[0]));
    if (program.named_data.empty()) program.named_data = std::move(one.named_data);
    contents.push_back(delegate_blob(stateful(method.states, method.writes).graph));
  }
  program.named_data[0]->segment_index = static_cast<std::uint32_t>(contents.size());
  contents.emplace_back(16);
  return program_file(std::move(program), contents);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_corpus FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto add = add_blob().graph;
  const auto decoder = decoder_blob().graph;
  const NamedBytes named{{"weight", ByteVector(64)}, {"bias", ByteVector(16)}};
  // 18 matrices of 256 MiB: beyond what 32 bits can count.
  const std::vector<std::uint32_t> wide(19, 8192);
  const bool done = write(folder / "add.vk", delegate_blob(add)) &&
                    write(folder / "decoder.vk", delegate_blob(decoder)) &&
                    write(folder / "add.pte", program_file(add)) &&
                    write(folder / "decoder.pte", program_file(decoder)) &&
                    write(folder / "unknown.pte", unknown_file()) &&
                    write(folder / "states.pte", states_file()) &&
                    write(folder / "stepped.pte", stepped_file()) &&
                    write(folder / "dequantized.head",
                          head_of(dequantized(4, 1100, 1024).graph, 4, 1024, 1100)) &&
                    write(folder / "products.head", products_head(4, {512, 1024, 1100})) &&
                    write(folder / "large.head", products_head(1, wide)) &&
                    write(folder / "weights.ptd", tensor_file(named));
  return done ? 0 : 1;
}
