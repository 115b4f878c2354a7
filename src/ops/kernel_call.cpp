#include "ops/kernel_call.h"

#include <utility>

namespace etwebgpu {

KernelCall& KernelCall::bind(Literal name, BufferRef buffer, Access access, ByteRange at) {
  kernel.buffers.push_back(name);
  buffers.push_back({buffer, access, at.offset, at.size});
  return *this;
}

KernelCall& KernelCall::scalar(Literal name, ValueId symint) {
  kernel.scalars.push_back(name);
  scalars.push_back(symint);
  return *this;
}

KernelCall& KernelCall::params(std::initializer_list<Param> members) {
  for (const Param& p : members) {
    add_member(p.member);
    words.insert(words.end(), p.words.begin(), p.words.begin() + p.member.width);
  }
  return *this;
}

KernelCall& KernelCall::param_array(Literal name, std::span<const Extents> elements,
                                    ParamMember::Type type) {
  add_member({name, type, 4, static_cast<std::uint16_t>(elements.size())});
  for (const Extents& element : elements)
    for (const std::int64_t extent : element) words.push_back(static_cast<std::uint32_t>(extent));
  return *this;
}

// Where WGSL has the member begin.
void KernelCall::add_member(const ParamMember& member) {
  kernel.params.push_back(member);
  words.resize(round_up<std::size_t>(words.size(), member.width));
}

KernelCall& KernelCall::fix_params() {
  kernel.fixed = std::exchange(words, {});
  return *this;
}

}  // namespace etwebgpu
