// Weights by key from the tensor data files (.ptd) of one program, however many there are.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "capi/mapped_file.h"
#include "format/flat_tensor.h"

namespace etwebgpu {

// From "a.ptd:b.ptd" (with ';' on Windows), or from a JSON list of paths, which may hold any
// character. Opens nothing.
Result<std::vector<std::string>> parse_data_files(std::string_view text);

class DataFiles {
 public:
  struct File {
    std::string path;       // as given
    std::string canonical;  // without links
    MappedFile mapped;
    FlatTensorFile content;
  };

  // Maps the files and verifies their directories. A folder stands for the .ptd files in it, and
  // what is given twice is read once.
  static Result<DataFiles> open(std::span<const std::string> paths);

  // Bytes stored under a key, or nothing. Fails where files hold different ones.
  Result<std::optional<std::span<const std::byte>>> find(std::string_view key) const;
  // The files that hold a key, each by its index.
  std::vector<std::size_t> holders(std::string_view key) const;
  std::span<const File> files() const { return files_; }
  // For a sentence: "a.ptd, b.ptd", or "none".
  std::string names() const;

 private:
  Result<void> add(const std::string& path);
  Result<void> add_folder(const std::string& path);

  std::vector<File> files_;
};

}  // namespace etwebgpu
