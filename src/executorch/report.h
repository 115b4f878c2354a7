// Errors on their way out: ExecuTorch carries a number only, so the sentence goes to its log and to
// etwg_last_error().
#pragma once

#include <executorch/runtime/core/error.h>

#include <exception>
#include <new>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/text.h"

namespace etwebgpu {

executorch::runtime::Error code_of(ErrorKind kind);

// Logs the sentence, keeps it for this thread and returns the error's number. `where` comes first.
executorch::runtime::Error report(std::string_view where, const Error& error);

void log_error(std::string_view text);
void log_notice(std::string_view text);

// What `work` returns, a Result; an exception, which must not cross into ExecuTorch, becomes an
// error.
template <typename Work>
auto without_exceptions(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::ResourceLimit, "the host is out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorKind::Internal, "unexpected exception: ", error.what());
  } catch (...) {
    return fail(ErrorKind::Internal, "unexpected exception");
  }
}

}  // namespace etwebgpu
