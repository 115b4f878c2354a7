#include "capi/delegate_states.h"

#include <algorithm>
#include <set>
#include <utility>

namespace etwebgpu {
namespace {

// Never destroyed: delegates may outlive the static objects of this library.
struct Registry {
  std::mutex mutex;
  std::vector<std::weak_ptr<DelegateStates>> published;
  std::size_t loaded = 0;
};
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

}  // namespace

std::unique_lock<std::mutex> DelegateStates::lock() { return std::unique_lock(registry().mutex); }

void DelegateStates::publish(const std::shared_ptr<DelegateStates>& states) {
  auto& published = registry().published;
  std::erase_if(published, [](const auto& entry) { return entry.expired(); });
  published.push_back(states);
}

Result<std::shared_ptr<DelegateStates>> DelegateStates::resolve(const Graph& graph,
                                                                const StateOrigin& origin,
                                                                const DelegateStates* before) {
  auto states = std::make_shared<DelegateStates>();
  states->origin_ = origin;
  states->place_ = before ? before->place_ : registry().loaded++;
  states->uses_ = state_uses(graph, origin.names);
  states->buffers_.resize(states->uses_.size());
  states->elsewhere_.resize(states->uses_.size());
  List others;
  for (const auto& entry : registry().published) {
    auto other = entry.lock();
    const bool is_other = other && other.get() != before;
    if (is_other && other->origin_.program == origin.program) others.push_back(std::move(other));
  }
  if (before) {
    states->keep(*before);
  } else {
    states->find_session(others);
  }
  std::erase_if(others, [&](const auto& other) { return other->session_ != states->session_; });
  std::ranges::sort(others, {}, [](const auto& other) { return other->place_; });
  TRY(states->join(others));
  return states;
}

// Loaded again from the same blob: the same uses.
void DelegateStates::keep(const DelegateStates& before) {
  session_ = before.session_;
  for (std::size_t i = 0; i < std::min(uses_.size(), before.uses_.size()); ++i)
    if (uses_[i].value == before.uses_[i].value) buffers_[i] = before.buffers_[i];
}

// The first without a delegate of this method and blob.
void DelegateStates::find_session(const List& others) {
  std::set<std::size_t> taken;
  for (const auto& other : others)
    if (is_twin(*other)) taken.insert(other->session_);
  while (taken.contains(session_)) ++session_;
}

bool DelegateStates::is_twin(const DelegateStates& other) const {
  return other.origin_.method == origin_.method && other.origin_.blob_hash == origin_.blob_hash;
}

Result<void> DelegateStates::join(const List& others) {
  std::map<std::string, List> methods;
  for (const auto& other : others) methods[other->origin_.method].push_back(other);
  const List siblings = std::exchange(methods[origin_.method], {});
  for (const auto& sibling : siblings) {
    const bool is_later = sibling->place_ > place_;  // where this one is loaded again
    TRY_ASSIGN(const StatePairs pairs, is_later ? pair_within_method(uses_, sibling->uses_)
                                                : pair_within_method(sibling->uses_, uses_));
    for (const auto& [later, earlier] : pairs)
      take(is_later ? earlier : later, *sibling, is_later ? later : earlier);
  }
  for (const auto& [method, theirs] : methods) TRY(join_method(method, theirs, siblings));
  return {};
}

// With the delegates of another method: all of a method's are one list, in the order of loading.
Result<void> DelegateStates::join_method(const std::string& method, const List& theirs,
                                         const List& siblings) {
  const auto append = [](std::vector<StateUse>& to, const DelegateStates& from) {
    to.insert(to.end(), from.uses_.begin(), from.uses_.end());
  };
  const auto later =
      std::ranges::find_if(siblings, [&](const auto& sibling) { return sibling->place_ > place_; });
  std::vector<StateUse> mine, others;
  for (auto sibling = siblings.begin(); sibling != later; ++sibling) append(mine, **sibling);
  const std::size_t first = mine.size();
  append(mine, *this);
  const std::size_t last = mine.size();
  for (auto sibling = later; sibling != siblings.end(); ++sibling) append(mine, **sibling);
  std::vector<std::pair<DelegateStates*, std::size_t>> owners;  // of each of the others' uses
  for (const auto& other : theirs) {
    append(others, *other);
    for (std::size_t i = 0; i < other->uses_.size(); ++i) owners.emplace_back(other.get(), i);
  }
  auto pairs = pair_states(mine, others);
  if (!pairs) {
    Error error = std::move(pairs.error()).within("the method shares states with '", method, "'");
    error.message +=
        "; export the methods through executorch_webgpu.lowering, which names them, "
        "or set the option shared_states to 0 if each has its own";
    return std::unexpected(std::move(error));
  }
  for (const auto& [m, t] : *pairs)
    if (m >= first && m < last) take(m - first, *owners[t].first, owners[t].second);
  return {};
}

void DelegateStates::take(std::size_t mine, DelegateStates& other, std::size_t theirs) {
  elsewhere_[mine] = 1;
  if (other.buffers_[theirs]) {
    buffers_[mine] = other.buffers_[theirs];
  } else {
    other.stale_ = true;
  }
}

std::vector<std::uint8_t> DelegateStates::written_elsewhere(const Graph& graph) const {
  std::vector<std::uint8_t> out(graph.values.size(), 0);
  for (std::size_t i = 0; i < uses_.size(); ++i)
    out[static_cast<std::size_t>(uses_[i].value)] = elsewhere_[i];
  return out;
}

std::shared_ptr<StateBuffer> DelegateStates::buffer(ValueId value) const {
  const auto use = std::ranges::find(uses_, value, &StateUse::value);
  return use == uses_.end() ? nullptr : buffers_[static_cast<std::size_t>(use - uses_.begin())];
}

void DelegateStates::set_buffer(ValueId value, std::shared_ptr<StateBuffer> buffer) {
  const auto use = std::ranges::find(uses_, value, &StateUse::value);
  if (use != uses_.end())
    buffers_[static_cast<std::size_t>(use - uses_.begin())] = std::move(buffer);
}

}  // namespace etwebgpu
