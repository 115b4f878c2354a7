#include "plan/shared_states.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace etwebgpu {
namespace {

// Uses of all delegates, numbered one after the other, in sets of those that are of one buffer.
class Sharing {
 public:
  explicit Sharing(std::span<const DelegateUses> delegates) : delegates_(delegates) {
    std::size_t count = 0;
    for (const DelegateUses& delegate : delegates) {
      first_.push_back(count);
      count += delegate.uses.size();
    }
    parent_.resize(count);
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }

  Result<void> join_within_methods() {
    for (std::size_t later = 0; later < delegates_.size(); ++later) {
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const DelegateUses &a = delegates_[earlier], &b = delegates_[later];
        if (a.method != b.method) continue;
        auto pairs = pair_within_method(a.uses, b.uses);
        if (!pairs)
          return std::unexpected(std::move(pairs.error()).within("method '", b.method, "'"));
        for (const auto& [l, e] : *pairs) join(first_[later] + l, first_[earlier] + e);
      }
    }
    return {};
  }

  Result<void> join_methods() {
    const std::vector<Method> methods = by_method();
    for (std::size_t later = 0; later < methods.size(); ++later) {
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const Method &a = methods[later], &b = methods[earlier];
        auto pairs = pair_states(a.uses, b.uses);
        if (!pairs) return std::unexpected(refusal(std::move(pairs).error(), a.name, b.name));
        for (const auto& [mine, theirs] : *pairs) join(a.numbers[mine], b.numbers[theirs]);
      }
    }
    return {};
  }

  SharedStates shared() {
    std::vector<std::size_t> sizes(parent_.size(), 0);
    for (std::size_t use = 0; use < parent_.size(); ++use) ++sizes[set_of(use)];
    std::map<std::size_t, std::size_t> buffers;  // by set
    SharedStates out(delegates_.size());
    for (std::size_t d = 0; d < delegates_.size(); ++d) {
      for (std::size_t i = 0; i < delegates_[d].uses.size(); ++i) {
        const std::size_t set = set_of(first_[d] + i);
        if (sizes[set] == 1) continue;
        out[d][delegates_[d].uses[i].value] =
            buffers.try_emplace(set, buffers.size()).first->second;
      }
    }
    return out;
  }

 private:
  struct Method {
    std::string name;
    std::vector<StateUse> uses;  // of all its delegates
    std::vector<std::size_t> numbers;
  };

  static Error refusal(Error why, const std::string& method, const std::string& other) {
    Error out = std::move(why).within("method '", method, "' shares states with '", other, "'");
    out.message +=
        "; export the methods through executorch_webgpu.lowering, which names them, or load them "
        "without shared states if each has its own";
    return out;
  }

  std::vector<Method> by_method() const {
    std::vector<Method> out;
    for (std::size_t d = 0; d < delegates_.size(); ++d) {
      const DelegateUses& delegate = delegates_[d];
      auto method = std::ranges::find(out, delegate.method, &Method::name);
      if (method == out.end()) method = out.insert(out.end(), Method{delegate.method, {}, {}});
      for (std::size_t i = 0; i < delegate.uses.size(); ++i) {
        method->uses.push_back(delegate.uses[i]);
        method->numbers.push_back(first_[d] + i);
      }
    }
    return out;
  }

  std::size_t set_of(std::size_t use) {
    while (parent_[use] != use) use = parent_[use] = parent_[parent_[use]];
    return use;
  }
  void join(std::size_t a, std::size_t b) { parent_[set_of(a)] = set_of(b); }

  std::span<const DelegateUses> delegates_;
  std::vector<std::size_t> first_;   // by delegate
  std::vector<std::size_t> parent_;  // by use; a set's first is its own
};

}  // namespace

Result<SharedStates> share_states(std::span<const DelegateUses> delegates) {
  Sharing sharing(delegates);
  TRY(sharing.join_within_methods());
  TRY(sharing.join_methods());
  return sharing.shared();
}

}  // namespace etwebgpu
