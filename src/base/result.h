// Errors are values. Every failure carries a kind (for the host) and one clear sentence saying
// what, where and which value (for the person).
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/text.h"

namespace etwebgpu {

enum class ErrorKind {
  InvalidProgram,   // bytes from a file are malformed or inconsistent
  InvalidArgument,  // the caller passed something that does not fit the program
  NotSupported,     // valid, but this runtime or this device cannot do it
  ResourceLimit,    // valid, but larger than the device or the configured limit allows
  DeviceLost,       // the adapter, device or provider is missing or gone
  Internal,         // a defect in this runtime
};

// What moves and destroys it stands in every function that can fail, hence out of line.
struct Error {
  Error(ErrorKind kind, std::string message) noexcept;
  Error(const Error&);
  Error(Error&&) noexcept;
  Error& operator=(const Error&);
  Error& operator=(Error&&) noexcept;
  ~Error();

  // Puts the surrounding place in front: "call 12 aten.add.Tensor: ...".
  template <typename... Ts>
  Error within(const Ts&... where) && {
    message = cat(where..., ": ", message);
    return std::move(*this);
  }

  ErrorKind kind;
  std::string message;
};

template <typename T = void>
using Result = std::expected<T, Error>;

[[gnu::cold]] std::unexpected<Error> fail_with(ErrorKind kind,
                                               std::initializer_list<TextPart> parts);

template <typename... Ts>
std::unexpected<Error> fail(ErrorKind kind, const Ts&... parts) {
  return fail_with(kind, {TextPart(parts)...});
}

#define ETWG_CONCAT_INNER(a, b) a##b
#define ETWG_CONCAT(a, b) ETWG_CONCAT_INNER(a, b)

// Returns the error of a Result<void> expression from the enclosing function.
#define TRY(expression)                                                     \
  do {                                                                      \
    auto&& try_result = (expression);                                       \
    if (!try_result) return std::unexpected(std::move(try_result).error()); \
  } while (false)

// Declares `name` from a Result<T> expression, or returns its error.
#define TRY_ASSIGN(declaration, expression) \
  TRY_ASSIGN_IMPL(declaration, expression, ETWG_CONCAT(try_value_, __LINE__))
#define TRY_ASSIGN_IMPL(declaration, expression, temporary)             \
  auto temporary = (expression);                                        \
  if (!temporary) return std::unexpected(std::move(temporary).error()); \
  declaration = *std::move(temporary)

// Returns an error unless the condition holds.
#define CHECK_OR_FAIL(condition, kind, ...)                       \
  do {                                                            \
    if (!(condition)) return ::etwebgpu::fail(kind, __VA_ARGS__); \
  } while (false)

}  // namespace etwebgpu
