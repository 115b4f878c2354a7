// make_corpus FOLDER: writes small valid files of every format.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "support/format_builder.h"

namespace {

using etwebgpu::testing::ByteVector;

bool write(const std::filesystem::path& path, const ByteVector& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return file.good();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_corpus FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto add = etwebgpu::testing::add_blob().graph;
  const auto decoder = etwebgpu::testing::decoder_blob().graph;
  const etwebgpu::testing::NamedBytes named{{"weight", ByteVector(64)}, {"bias", ByteVector(16)}};
  const bool done = write(folder / "add.vk", etwebgpu::testing::delegate_blob(add)) &&
                    write(folder / "decoder.vk", etwebgpu::testing::delegate_blob(decoder)) &&
                    write(folder / "add.pte", etwebgpu::testing::program_file(add)) &&
                    write(folder / "decoder.pte", etwebgpu::testing::program_file(decoder)) &&
                    write(folder / "weights.ptd", etwebgpu::testing::tensor_file(named));
  return done ? 0 : 1;
}
