// The position of the largest of COUNT logits, the first of equals, in one workgroup: the next token of
// greedy decoding. Parameters: FIRST (the logits' first element), COUNT, WG (a power of two).
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> token: array<u32>;

const AT_ONCE = 8u;  // loads in flight per invocation
var<workgroup> best_value: array<f32, ${WG}>;
var<workgroup> best_at: array<u32, ${WG}>;

@compute @workgroup_size(${WG})
fn main(@builtin(local_invocation_index) index: u32) {
  var best = -0x1.fffffep+127f;
  var at = ${COUNT}u - 1u;
  for (var first = index; first < ${COUNT}u; first += AT_ONCE * ${WG}u) {
#repeat J 8
    let at${J} = min(first + ${J}u * ${WG}u, ${COUNT}u - 1u);
    let value${J} = logits[${FIRST}u + at${J}];
#endrepeat
#repeat J 8
    if (value${J} > best || (value${J} == best && at${J} < at)) {
      best = value${J};
      at = at${J};
    }
#endrepeat
  }
  best_value[index] = best;
  best_at[index] = at;
  workgroupBarrier();
  for (var half = ${WG}u / 2u; half > 0u; half /= 2u) {
    if (index < half) {
      let other = best_value[index + half];
      let other_at = best_at[index + half];
      if (other > best_value[index] || (other == best_value[index] && other_at < best_at[index])) {
        best_value[index] = other;
        best_at[index] = other_at;
      }
    }
    workgroupBarrier();
  }
  if (index == 0u) {
    token[0] = best_at[0];
  }
}
