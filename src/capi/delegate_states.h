// States that several delegates of a program use, as prefill and decode do their caches: whichever
// is loaded first makes the buffer, and the others take it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/state_names.h"
#include "ir/graph.h"
#include "plan/state_pairs.h"
#include "webgpu/memory.h"

namespace etwebgpu {

// A delegate among those of its program.
struct StateOrigin {
  // Tells the program from every other living one, and is the same in each of its methods.
  const void* program = nullptr;
  std::string method;
  // A second living delegate of the same method and blob belongs to another session of the program.
  std::size_t blob_hash = 0;
  StateNames names;  // the exporter's of the buffers
};

class DelegateStates {
 public:
  // Held from resolve() to publish(), so that of two delegates the later finds the earlier.
  [[nodiscard]] static std::unique_lock<std::mutex> lock();

  // Looks among the published delegates of the program for the states of `graph`. With `before` the
  // delegate is loaded once more and keeps what it had. Fails where which is which cannot be told.
  static Result<std::shared_ptr<DelegateStates>> resolve(const Graph& graph,
                                                         const StateOrigin& origin,
                                                         const DelegateStates* before);
  // Lets delegates loaded later find this one, while it lives.
  static void publish(const std::shared_ptr<DelegateStates>& states);

  // By ValueId: 1 for constants that another delegate writes.
  std::vector<std::uint8_t> written_elsewhere(const Graph& graph) const;
  // The buffer that another delegate has made for the state, or null; and sets it.
  std::shared_ptr<StateBuffer> buffer(ValueId value) const;
  void set_buffer(ValueId value, std::shared_ptr<StateBuffer> buffer);

  // True once a delegate was loaded that writes what is a constant here: to be loaded again.
  bool is_stale() const { return stale_; }

 private:
  using List = std::vector<std::shared_ptr<DelegateStates>>;

  void keep(const DelegateStates& before);
  void find_session(const List& others);
  bool is_twin(const DelegateStates& other) const;
  Result<void> join(const List& others);
  Result<void> join_method(const std::string& method, const List& theirs, const List& siblings);
  void take(std::size_t mine, DelegateStates& other, std::size_t theirs);

  StateOrigin origin_;
  std::size_t session_ = 0;
  std::size_t place_ = 0;  // in the order of loading, which is that of a method's calls
  std::vector<StateUse> uses_;
  std::vector<std::shared_ptr<StateBuffer>> buffers_;  // by use; null for constants
  std::vector<std::uint8_t> elsewhere_;                // by use: another delegate writes it
  std::atomic<bool> stale_ = false;
};

}  // namespace etwebgpu
