#include "format/state_names.h"

#include <charconv>

#include "base/json_value.h"
#include "base/quote.h"

namespace etwebgpu {

Result<StateNames> parse_state_names(std::string_view text) {
  StateNames names;
  if (text.empty()) return names;
  TRY_ASSIGN(const Json json, Json::parse(text));
  CHECK_OR_FAIL(json.members() != nullptr, ErrorKind::InvalidProgram, kStateNames,
                " is no JSON object");
  for (const auto& [index, name] : *json.members()) {
    std::int32_t constant = -1;
    const auto end = std::from_chars(index.data(), index.data() + index.size(), constant).ptr;
    CHECK_OR_FAIL(end == index.data() + index.size() && constant >= 0 && name.text() != nullptr,
                  ErrorKind::InvalidProgram, kStateNames, ": ", quoted(index),
                  " names no constant");
    names[constant] = *name.text();
  }
  return names;
}

}  // namespace etwebgpu
