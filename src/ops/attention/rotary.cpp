// Rotary position embeddings (Su et al. 2021) in the three forms that exporters emit.
//
//   et_vk.apply_rotary_emb.default     (xq [B,S,Hq,D], xk [B,S,Hk,D], cos, sin [S,D/2] or
//   [S,H,D/2])
//       pairs (2i, 2i+1)
//   et_vk.apply_rotary_emb_hf.default  (xq, xk, cos, sin [rows >= start+S, R], start_pos)
//       pairs (i, i + R/2) of the first R <= D elements; the rest passes through
//       both -> (xq_out, xk_out)
//   et_vk.apply_rotary_emb_interleaved.default  (x [B,N,C], freqs: N*C elements) -> out
//       pairs (2i, 2i+1), freqs holds (cos, sin) pairs
#include "ops/arguments.h"
#include "ops/families.h"
#include "ops/op.h"

namespace etwebgpu {
namespace {

Result<void> check_heads(const InferContext& c) {
  const Dims &q = c.sizes(0), &k = c.sizes(1);
  CHECK_OR_FAIL(q.rank() == 4 && k.rank() == 4, ErrorKind::InvalidProgram,
                "q and k must be [batch, positions, heads, head dim], not ", to_string(q), " and ",
                to_string(k));
  CHECK_OR_FAIL(q[0] == k[0] && q[1] == k[1] && q[3] == k[3], ErrorKind::InvalidProgram, "q ",
                to_string(q), " and k ", to_string(k), " may differ in their heads only");
  CHECK_OR_FAIL(c.sizes(2) == c.sizes(3), ErrorKind::InvalidProgram, "cos has sizes ",
                to_string(c.sizes(2)), ", but sin has ", to_string(c.sizes(3)));
  return {};
}

Result<void> set_q_and_k(InferContext& c) {
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2, ErrorKind::InvalidProgram,
                "a rotary embedding has 2 outputs, not ", outputs.size());
  TRY(c.set_sizes(outputs[0], c.sizes(0)));
  return c.set_sizes(outputs[1], c.sizes(1));
}

// How the tables are read; see rotary.wgsl.
struct Tables {
  bool halves = false;
  std::int64_t rotated = 0;
  std::int64_t row_stride = 0, head_stride = 0;
  std::int64_t first_row = 0;
  ValueId position = kNoValue;
};

void emit_rotary(LowerContext& c, const Tables& t) {
  const Dims &q = c.sizes(0), &k = c.sizes(1);
  const std::int64_t d = q[3], tokens = q[0] * q[1];
  const std::int64_t items = t.rotated / 2 + d - t.rotated;
  const std::int64_t heads = tokens * (q[2] + k[2]);
  if (heads * items == 0) return;
  const auto outputs = c.value_list(c.output_arg());
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& call = c.emit("rotary");
  call.define("WG", wg).define("HALVES", t.halves ? 1 : 0);
  call.define("POSITION", t.position != kNoValue ? 1 : 0);
  call.read("q", c.value(0)).read("k", c.value(1));
  call.read("table_cos", c.value(2)).read("table_sin", c.value(3));
  call.write("q_out", c.value_of(outputs[0])).write("k_out", c.value_of(outputs[1]));
  call.params({{"q_heads", q[2]},
               {"k_heads", k[2]},
               {"q_total", tokens * q[2]},
               {"total", heads},
               {"positions", q[1]},
               {"head_dim", d},
               {"rotated", t.rotated},
               {"items", items},
               {"first_row", t.first_row},
               {"row_stride", t.row_stride},
               {"head_stride", t.head_stride}});
  if (t.position != kNoValue) call.scalar("position", t.position);
  call.groups(div_up<std::int64_t>(heads * items, wg));
}

// --- Pairs (2i, 2i+1) ---

Result<void> infer_rotary(InferContext& c) {
  TRY(check_heads(c));
  const Dims &q = c.sizes(0), &cos = c.sizes(2);
  const bool by_head = cos.rank() == 3;
  CHECK_OR_FAIL(q[3] % 2 == 0 && (cos.rank() == 2 || by_head) && cos.back() * 2 == q[3],
                ErrorKind::InvalidProgram, "cos has sizes ", to_string(cos),
                ", which do not fit q ", to_string(q));
  // The rows of a table from a position on: a slice ends with its source.
  CHECK_OR_FAIL(c.at_load() || cos[0] >= q[1], ErrorKind::InvalidArgument,
                "the rotary table has only ", cos[0], " rows left for ", q[1],
                " tokens: position + tokens pass its end, the context length");
  CHECK_OR_FAIL(c.at_load() || cos[0] == q[1], ErrorKind::InvalidArgument, "cos has sizes ",
                to_string(cos), ", but q has ", q[1], " tokens");
  CHECK_OR_FAIL(!by_head || (cos[1] == q[2] && cos[1] == c.sizes(1)[2]), ErrorKind::InvalidProgram,
                "cos has sizes ", to_string(cos), ", but there are ", q[2], " and ", c.sizes(1)[2],
                " heads");
  return set_q_and_k(c);
}

Result<void> lower_rotary(LowerContext& c) {
  const Dims& cos = c.sizes(2);
  const std::int64_t half = cos.back();
  Tables t;
  t.rotated = 2 * half;
  t.row_stride = cos.rank() == 3 ? cos[1] * half : half;
  t.head_stride = cos.rank() == 3 ? half : 0;
  emit_rotary(c, t);
  return {};
}

// --- Halves ---

Result<void> infer_rotary_hf(InferContext& c) {
  TRY(check_heads(c));
  const Dims &q = c.sizes(0), &cos = c.sizes(2);
  CHECK_OR_FAIL(cos.rank() == 2 && cos[1] % 2 == 0 && cos[1] <= q[3], ErrorKind::InvalidProgram,
                "cos has sizes ", to_string(cos), ", which do not fit q ", to_string(q));
  if (!c.at_load()) TRY(check_position(c.integer(4), q[1], cos[0], "the rotary table's"));
  return set_q_and_k(c);
}

Result<void> lower_rotary_hf(LowerContext& c) {
  Tables t;
  t.halves = true;
  t.rotated = t.row_stride = c.sizes(2)[1];
  if (c.is_symint(4)) {
    t.position = c.id(4);
  } else {
    t.first_row = c.integer(4);
  }
  emit_rotary(c, t);
  return {};
}

// --- Complex numbers ---

Result<void> infer_rotary_complex(InferContext& c) {
  const Dims& x = c.sizes(0);
  CHECK_OR_FAIL(x.rank() == 3 && x[2] % 2 == 0 && c.sizes(1).numel() == x[1] * x[2],
                ErrorKind::InvalidProgram, "freqs has sizes ", to_string(c.sizes(1)),
                ", which do not fit x ", to_string(x));
  return c.set_output(x);
}

Result<void> lower_rotary_complex(LowerContext& c) {
  const Dims& x = c.sizes(0);
  if (x.numel() == 0) return {};
  const std::uint32_t wg = c.workgroup_size(64);
  KernelCall& call = c.emit("rotary_complex");
  call.define("WG", wg);
  call.read("x", c.value(0)).read("freqs", c.value(1)).write("out", c.output());
  call.params({{"pairs", x.numel() / 2}, {"freq_pairs", x[1] * x[2] / 2}});
  call.groups(div_up<std::int64_t>(x.numel() / 2, wg));
  return {};
}

constexpr Op kOps[] = {
    {"et_vk.apply_rotary_emb.default", "tttt>v", infer_rotary, lower_rotary},
    {"et_vk.apply_rotary_emb_hf.default", "tttti>v", infer_rotary_hf, lower_rotary_hf},
    {"et_vk.apply_rotary_emb_interleaved.default", "tt>t", infer_rotary_complex,
     lower_rotary_complex},
};

}  // namespace

std::span<const Op> rotary_ops() { return kOps; }

}  // namespace etwebgpu
