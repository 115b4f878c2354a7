// Operators that programs define at run time (docs/kernels.md): one kernel over elements, whose
// output has an input's sizes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace etwebgpu {

struct UserOp {
  // A tensor, or the number of a param; the last is the output.
  struct Argument {
    std::string name;
    char kind = 't';                  // as in signatures: t, f or i
    std::string type_parameter = {};  // of the template, set to a tensor's WGSL type; empty: none
  };
  // A member of Params that the template mentions.
  struct Member {
    enum class Kind : std::uint8_t { Number, Integer, Count, Sizes };
    std::string name;
    Kind kind = Kind::Number;
    std::size_t argument = 0;  // that it is the number, element count or sizes of
  };

  std::string name = {};       // of the operator, and of its kernel's template
  std::string signature = {};  // in the language of ops/op.h
  std::vector<Argument> arguments = {};
  std::size_t sizes_like = 0;  // the argument that has the output's sizes
  std::vector<Member> members = {};
};

// Not if an operator of that name was added before; whether it was.
bool add_user_op(UserOp op);

// A call that gives what the template may ask for, with zeros for all values: what is wrong with
// the template is wrong with this variant. It refers to `op`.
KernelVariant sample_variant(const UserOp& op);

}  // namespace etwebgpu
