// Weights outside the delegate's blob: from ExecuTorch's named data, else from the files of the
// option data_files.
#pragma once

#include <executorch/runtime/core/freeable_buffer.h>
#include <executorch/runtime/core/named_data_map.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "capi/data_files.h"
#include "capi/delegate.h"

namespace etwebgpu {

// Each buffer is freed as soon as it is on the GPU.
class NamedData final : public NamedDataSource {
 public:
  // `map`: of the program and of the data file that ExecuTorch was given; null without any data.
  NamedData(const executorch::runtime::NamedDataMap* map, std::vector<std::string> data_files)
      : map_(map), paths_(std::move(data_files)) {}

  Result<std::span<const std::byte>> fetch(std::int32_t index, const std::string& key) override;
  void release(std::int32_t index) override { held_.erase(index); }

 private:
  Result<executorch::runtime::FreeableBuffer> find(const std::string& key);

  const executorch::runtime::NamedDataMap* map_;
  std::vector<std::string> paths_;
  std::optional<DataFiles> files_;  // opened when first needed
  std::map<std::int32_t, executorch::runtime::FreeableBuffer> held_;
};

}  // namespace etwebgpu
