#include "capi/last_error.h"

#include "capi/utf8.h"

namespace etwebgpu {
namespace {

thread_local std::string message_of_thread;
thread_local ErrorKind kind_of_thread = ErrorKind::Internal;

}  // namespace

void set_last_error(std::string_view message, ErrorKind kind) {
  kind_of_thread = kind;
  message_of_thread = to_utf8(message);
}

const char* last_error() { return message_of_thread.c_str(); }

ErrorKind last_error_kind() { return kind_of_thread; }

}  // namespace etwebgpu
