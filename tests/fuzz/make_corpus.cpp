// make_corpus FOLDER: writes small valid files of every format, and the beginnings (.head, through
// the delegate) of two whose weights are made up where they are read.
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

// The beginning of a program of such products.
ByteVector products_head(std::uint32_t rows, const std::vector<std::uint32_t>& widths) {
  const auto graph = products(rows, widths).graph;
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
  ByteVector file =
      program_head(program_object({edge(widths.front()), edge(widths.back())}, keys), sizes);
  append_bytes(file, blob);
  return file;
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
  kernel->name = "aten::topk";
  kernel->overload = "values";
  forward.operators.push_back(std::move(kernel));
  auto instruction = std::make_unique<fb::InstructionT>();
  instruction->instr_args.Set(fb::KernelCallT());
  forward.chains[0]->instructions.push_back(std::move(instruction));
  return program_file(std::move(program), {delegate_blob(b.graph)});
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
                    write(folder / "products.head", products_head(4, {512, 1024, 1100})) &&
                    write(folder / "large.head", products_head(1, wide)) &&
                    write(folder / "weights.ptd", tensor_file(named));
  return done ? 0 : 1;
}
