// Switches for developers in the environment: ETWEBGPU_VALIDATE, ETWEBGPU_POISON_WORKGROUP,
// ETWEBGPU_LOSE_DEVICE (and ETWEBGPU_TEMPLATES: template_folder.h).
#pragma once

#include <cstdlib>
#include <string_view>

namespace etwebgpu {

// True if the variable is set, and neither empty nor "0".
inline bool switched_on(const char* variable) {
  const char* text = std::getenv(variable);
  return text && *text != '\0' && std::string_view(text) != "0";
}

// The number that the variable is set to, or 0.
inline unsigned long switched_to(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? std::strtoul(text, nullptr, 10) : 0;
}

}  // namespace etwebgpu
