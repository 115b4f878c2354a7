// What is in a .pte and in a .ptd, as JSON (wasm/exports.h has the forms).
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "format/file.h"
#include "format/program.h"

namespace etwebgpu {

// Whether new contents of buffers are not among a delegate's outputs.
bool is_aliased(const ProgramDelegate& delegate);

// What our own exporter says of its states (format/state_names.h), or nothing.
std::string_view state_names_text(const ProgramDelegate& delegate);

// Adds the method's object.
void write_method(JsonWriter& json, const Method& method);

Result<std::string> program_json(const FileHead& head);
Result<std::string> data_file_json(const FileHead& head);

}  // namespace etwebgpu
