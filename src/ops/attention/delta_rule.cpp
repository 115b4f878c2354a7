// llama.gated_delta_rule(query [B, Q, S, K], key [B, H, S, K], value [B, H, S, V], decay [B, H, S]
// or [B, H, S, K], beta [B, H, S], state [B, H, K, V]) -> (out [B, Q, S, V], the state after S
// tokens): linear attention that forgets; decay is a factor. Q is a multiple of H.
#include "ops/families.h"
#include "ops/op.h"

namespace etwebgpu {
namespace {

enum { kQuery, kKey, kValue, kDecay, kBeta, kState };

Result<void> check_fits(const CallContext& c, std::size_t arg, std::string_view what,
                        const Dims& wanted) {
  CHECK_OR_FAIL(is_floating(c.dtype(arg)), ErrorKind::NotSupported, what, " of type ",
                name(c.dtype(arg)));
  CHECK_OR_FAIL(c.sizes(arg) == wanted, ErrorKind::InvalidProgram, what, " of sizes ",
                to_string(c.sizes(arg)), " do not fit a state of sizes ",
                to_string(c.sizes(kState)), ": ", to_string(wanted), " are needed");
  return {};
}

Result<void> infer_delta_rule(InferContext& c) {
  const Dims &state = c.sizes(kState), &query = c.sizes(kQuery);
  CHECK_OR_FAIL(state.rank() == 4 && query.rank() == 4, ErrorKind::InvalidProgram,
                "a state of sizes ", to_string(state), " and queries of sizes ", to_string(query),
                " do not have 4 dimensions");
  const std::int64_t batch = state[0], heads = state[1], tokens = query[2];
  const std::int64_t depth = state[2], width = state[3];
  CHECK_OR_FAIL(heads > 0 ? query[1] % heads == 0 : query[1] == 0, ErrorKind::InvalidProgram,
                query[1], " heads of queries do not divide into the state's ", heads);
  const bool channels = c.sizes(kDecay).rank() == 4;
  TRY(check_fits(c, kState, "a state", state));
  TRY(check_fits(c, kQuery, "queries", {batch, query[1], tokens, depth}));
  TRY(check_fits(c, kKey, "keys", {batch, heads, tokens, depth}));
  TRY(check_fits(c, kValue, "values", {batch, heads, tokens, width}));
  TRY(check_fits(c, kDecay, "decays",
                 channels ? Dims{batch, heads, tokens, depth} : Dims{batch, heads, tokens}));
  TRY(check_fits(c, kBeta, "betas", {batch, heads, tokens}));
  const auto outputs = c.value_list(c.output_arg());
  CHECK_OR_FAIL(outputs.size() == 2, ErrorKind::InvalidProgram,
                "an output and a state are 2 outputs, not ", outputs.size());
  TRY(c.set_sizes(outputs[0], {batch, query[1], tokens, width}));
  return c.set_sizes(outputs[1], state);
}

Result<void> lower_delta_rule(LowerContext& c) {
  const Dims &state = c.sizes(kState), &query = c.sizes(kQuery);
  const auto outputs = c.value_list(c.output_arg());
  const std::int64_t columns = state[0] * state[1] * state[3];
  if (columns == 0) return {};
  const std::uint32_t wg = c.workgroup_size(c.is_software() ? 8 : 64);
  KernelCall& k = c.emit("delta_rule");
  k.define("WG", wg).define("CHANNELS", c.sizes(kDecay).rank() == 4 ? 1 : 0);
  k.read("query", c.value(kQuery)).read("key", c.value(kKey)).read("value", c.value(kValue));
  k.read("decay", c.value(kDecay)).read("beta", c.value(kBeta)).read("start", c.value(kState));
  k.write("out", c.value_of(outputs[0])).write("state", c.value_of(outputs[1]));
  k.params({{"columns", columns},
            {"tokens", query[2]},
            {"depth", state[2]},
            {"width", state[3]},
            {"query_heads", query[1] / state[1]}});
  k.groups(div_up<std::int64_t>(columns, wg));
  return {};
}

constexpr std::string_view kSignature = "t t t t t t > v";
constexpr Op kOps[] = {
    // The name of the same before there was one decay for a head.
    {"llama.channelwise_gated_delta_rule.default", kSignature, infer_delta_rule, lower_delta_rule},
    {"llama.gated_delta_rule.default", kSignature, infer_delta_rule, lower_delta_rule},
};

}  // namespace

std::span<const Op> delta_rule_ops() { return kOps; }

}  // namespace etwebgpu
