#include "base/result.h"

namespace etwebgpu {

Error::Error(ErrorKind kind, std::string message) noexcept
    : kind(kind), message(std::move(message)) {}
Error::Error(const Error&) = default;
Error::Error(Error&&) noexcept = default;
Error& Error::operator=(const Error&) = default;
Error& Error::operator=(Error&&) noexcept = default;
Error::~Error() = default;

std::unexpected<Error> fail_with(ErrorKind kind, std::initializer_list<TextPart> parts) {
  return std::unexpected(Error(kind, join(parts)));
}

}  // namespace etwebgpu
