// What was found out about kernels by trying them on a device (plan/kernel_tester.h), and its JSON:
//
//   [{"text", "kernel", "outcome": "agrees" | "differs" | "untried", "why",
//     "given_up": ["subgroups"]}]
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/json_value.h"
#include "base/kernel_features.h"

namespace etwebgpu {

// What became of a kernel's trial.
struct KernelVerdict {
  enum class Outcome : std::uint8_t {
    Agrees,
    Differs,  // or does not compile, or loses the device
    Untried,  // too large, say
  };
  Outcome outcome = Outcome::Agrees;
  std::string kernel = {};                   // its variant: to_string(KernelVariant)
  std::string why = {};                      // unless it agrees
  std::vector<KernelFeature> given_up = {};  // where it differs: what others do without
};

constexpr std::string_view name(KernelVerdict::Outcome outcome) {
  constexpr std::string_view names[] = {"agrees", "differs", "untried"};
  return names[static_cast<std::size_t>(outcome)];
}

// By the kernel's text (its hash, in hexadecimal digits): of one adapter, driver and provider.
using KernelVerdicts = std::map<std::string, KernelVerdict>;

// A value: the list.
void write_verdicts(JsonWriter& json, const KernelVerdicts& verdicts);

// A member: the names of what a kernel's model does without.
void write_given_up(JsonWriter& json, std::string_view key, const KernelVerdict& verdict);

// A verdict that is not understood is none: the kernel is tried again.
KernelVerdicts read_verdicts(const Json& list);

// For people: "the kernel gemv_bytes is wrong, and the model does without subgroups: ...".
std::string replacement_text(const KernelVerdict& verdict, std::string_view where);

}  // namespace etwebgpu
