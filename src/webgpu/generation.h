// Greedy decoding whose tokens stay on the GPU: the next step is encoded while the GPU works on the
// ones before, and a step brings back one word. See Runner::generate.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "plan/plan.h"
#include "webgpu/device.h"
#include "webgpu/memory.h"
#include "webgpu/workgroup_poison.h"

namespace etwebgpu {

class Generation {
 public:
  static constexpr std::size_t kMostOnTheWay = 3;  // tokens chosen but not yet seen by the host

  static Result<std::unique_ptr<Generation>> create(std::shared_ptr<Device> device,
                                                    ModelMemory& memory);
  ~Generation();
  Generation(const Generation&) = delete;

  // Makes ready for a plan whose first output is logits [.., V] and whose first input is a token.
  Result<void> bind(const Plan& plan, const ModelMemory& memory);

  // The token chosen last becomes the model's input. A copy, not the choice's own work: memory of
  // the input may be the logits' too.
  void encode_feed(WGPUCommandEncoder encoder) const;
  // Chooses from the logits' last row and sends the token on its way as number `step`.
  void encode_choice(WGPUCommandEncoder encoder, std::size_t step) const;
  // After the submit of that step: asks for its token,
  void ask(std::size_t step);
  // and blocks until it is there.
  Result<std::int64_t> receive(std::size_t step);

 private:
  struct Landing {
    Buffer buffer;
    PendingMap map;
  };

  explicit Generation(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  Result<void> bind_logits(const PlannedTensor& logits, const BufferRange& at);

  std::shared_ptr<Device> device_;
  Buffer chosen_;
  std::array<Landing, kMostOnTheWay> landings_;
  const Pipeline* pipeline_ = nullptr;
  BindGroupHandle group_;
  std::unique_ptr<WorkgroupPoison> poison_;
  PlannedTensor logits_;          // what group_ was made for,
  std::uint64_t generation_ = 0;  // and with which slots
  BufferRange input_;             // without a buffer if no dispatch reads the token
};

}  // namespace etwebgpu
