// What is in a .pte and in a .ptd, as JSON (exports.h has the forms).
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "format/file.h"

namespace etwebgpu {

template <typename Items, typename Write>
void write_array(JsonWriter& json, std::string_view name, const Items& items, Write write) {
  json.key(name).begin_array();
  for (const auto& item : items) write(item);
  json.end_array();
}

Result<std::string> program_json(const FileHead& head);
Result<std::string> data_file_json(const FileHead& head);

}  // namespace etwebgpu
