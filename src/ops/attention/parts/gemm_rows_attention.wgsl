// A matrix product's one row (gemm_rows.wgsl) that is the output of a split attention, whose partial results are
// not joined yet: every workgroup joins them in its memory, as attention_merge.wgsl does, but for all heads, and
// AHEAD splits at a time.
#param KEYS    // their count without the live position
#param SPLIT   // keys of a split
#param SPLITS  // capacity
#param DV4     // groups of 4 in a head
#param QUADS   // K / 4
#param AHEAD : 1 | 4
@group(0) @binding(partials) var<storage, read> partials: array<F4>;
@group(0) @binding(position) var<uniform> position: vec4<i32>;
var<workgroup> merged: array<F4, ${QUADS}>;

alias Row = u32;

fn find_row(row: u32) -> Row {
  return 0u;
}

fn row_quad(row: Row, quad: u32) -> F4 {
  return merged[quad];
}

fn prepare_rows(first_row: u32, last_row: u32, index: u32) {
  let count = (${KEYS}u + u32(position.x) + ${SPLIT}u - 1u) / ${SPLIT}u;
  for (var quad = index; quad < ${QUADS}u; quad += ${WG}u) {
    let first = quad / ${DV4}u * ${SPLITS}u;
    let i = quad % ${DV4}u;
    var top = -0x1.fffffep+127f;
    var sum = 0.0;
    var acc = F4(0.0);
    for (var n = 0u; n < count; n += ${AHEAD}u) {
#repeat J AHEAD
      let at${J} = (first + min(n + ${J}u, count - 1u)) * (${DV4}u + 1u);
      let value${J} = partials[at${J} + i];
      let stats${J} = partials[at${J} + ${DV4}u].xy;
#endrepeat
      var next = top;
#repeat J AHEAD
      next = max(next, stats${J}.x);
#endrepeat
      let fade = exp(top - next);
      acc *= fade;
      sum *= fade;
#repeat J AHEAD
      let weight${J} = select(0.0, exp(stats${J}.x - next), n + ${J}u < count);
      acc += value${J} * weight${J};
      sum += stats${J}.y * weight${J};
#endrepeat
      top = next;
    }
    merged[quad] = acc / sum;
  }
}
