// The position of the largest of COUNT logits, the first of equals, in one workgroup: the next token of
// greedy decoding. All is latency: many loads are in flight at once, four logits wide where possible.
#param WIDTH : 1 | 4  // logits of a load: 4 where FIRST and COUNT are multiples of it
#param FIRST          // the logits' first element
#param COUNT
#param WG             // a power of two
#param LOADS          // in flight per invocation
#if WIDTH == 4
@group(0) @binding(logits) var<storage, read> logits: array<vec4<f32>>;
#else
@group(0) @binding(logits) var<storage, read> logits: array<f32>;
#endif
@group(0) @binding(token) var<storage, read_write> token: array<u32>;

const FIRST = ${FIRST}u / ${WIDTH}u;
const COUNT = ${COUNT}u / ${WIDTH}u;
var<workgroup> best_value: array<f32, ${WG}>;
var<workgroup> best_at: array<u32, ${WG}>;

@compute @workgroup_size(${WG})
fn main(@builtin(local_invocation_index) index: u32) {
  var best = -0x1.fffffep+127f;
  var at = ${COUNT}u - 1u;
  for (var first = index; first < COUNT; first += ${LOADS}u * ${WG}u) {
#repeat J LOADS
    let at${J} = min(first + ${J}u * ${WG}u, COUNT - 1u);
    let loaded${J} = logits[FIRST + at${J}];
#endrepeat
#repeat J LOADS
#repeat E WIDTH
    {
#if WIDTH == 4
      let value = loaded${J}[${E}];
#else
      let value = loaded${J};
#endif
      let found = value > best;  // of equals, an invocation meets the first one first
      best = select(best, value, found);
      at = select(at, at${J} * ${WIDTH}u + ${E}u, found);
    }
#endrepeat
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
