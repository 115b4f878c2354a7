// A list that only grows: any thread reads or extends it without a lock, for nothing in it is ever
// freed or moved.
#pragma once

#include <atomic>
#include <utility>

namespace etwebgpu {

template <typename T>
class KeptList {
 public:
  // The element for which `wanted` holds, or null.
  template <typename Predicate>
  const T* find(const Predicate& wanted) const {
    return find_from(first_.load(std::memory_order_acquire), wanted);
  }

  // Adds `value`, unless there is an element for which `is_same` holds; whether it was added.
  template <typename Predicate>
  bool add(T value, const Predicate& is_same) {
    Node* node = new Node{std::move(value), first_.load(std::memory_order_acquire)};
    do {
      if (find_from(node->next, is_same) != nullptr) {
        delete node;
        return false;
      }
    } while (!first_.compare_exchange_weak(node->next, node, std::memory_order_acq_rel));
    return true;
  }

 private:
  struct Node {
    T value;
    Node* next;
  };

  template <typename Predicate>
  static const T* find_from(const Node* node, const Predicate& wanted) {
    while (node != nullptr && !wanted(node->value)) node = node->next;
    return node != nullptr ? &node->value : nullptr;
  }

  std::atomic<Node*> first_ = nullptr;
};

}  // namespace etwebgpu
