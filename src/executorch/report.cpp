#include "executorch/report.h"

#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/platform.h>

#include <string>

#include "capi/last_error.h"

namespace etwebgpu {

namespace et = executorch::runtime;

et::Error code_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::InvalidProgram:
      return et::Error::InvalidProgram;
    case ErrorKind::InvalidArgument:
      return et::Error::InvalidArgument;
    case ErrorKind::NotSupported:
      return et::Error::NotSupported;
    case ErrorKind::ResourceLimit:
      return et::Error::OutOfResources;
    case ErrorKind::DeviceLost:
      return et::Error::AccessFailed;
    case ErrorKind::Internal:
      return et::Error::Internal;
  }
  return et::Error::Internal;
}

namespace {

// Not through ET_LOG, which cuts its text after 256 characters.
void log(et_pal_log_level_t level, std::string_view text) {
  const std::string line(text);
  et::pal_emit_log_message(et::internal::get_log_timestamp(), level, "webgpu", "", 0, line.c_str(),
                           line.size());
}

}  // namespace

void log_error(std::string_view text) { log(et_pal_log_level_t::kError, text); }
void log_notice(std::string_view text) { log(et_pal_log_level_t::kInfo, text); }

et::Error report(std::string_view where, const Error& error) {
  try {
    const std::string text = cat(where, ": ", error.message);
    set_last_error(text, error.kind);
    log_error(text);
  } catch (...) {  // no memory for the sentence; the number still tells
  }
  return code_of(error.kind);
}

}  // namespace etwebgpu
