// Which states of a program's delegates are one buffer, where all of them are loaded together. (A
// host that loads them one by one pairs each with those before: capi/delegate_states.h.)
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "plan/state_pairs.h"

namespace etwebgpu {

struct DelegateUses {
  std::string method;
  std::vector<StateUse> uses;
};

// By delegate: a buffer's number for each value that is a state of another delegate, too.
using SharedStates = std::vector<std::map<ValueId, std::size_t>>;

// Delegates of one method are in its order. Fails where which state is which cannot be told.
Result<SharedStates> share_states(std::span<const DelegateUses> delegates);

}  // namespace etwebgpu
