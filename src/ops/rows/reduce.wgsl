// Reductions over any set of dimensions. Dimensions are merged into at most 4 kept and 4 reduced ones; an
// output's elements are x[f(output index) + g(i)] for i < n, in row-major order of the reduced ones.
// NaN wins in maximum and minimum, as in PyTorch.
#param WG
#param COOPERATE : 0 | 1            // a workgroup per output, 0: an invocation
#param T : f32 | i32 | vec2<u32>    // in which it is computed; the last: 64-bit integers
#param X : f32 | i32 | vec2<u32>    // how x is stored
#param OUT : f32 | i32 | vec2<u32>  // and the output
#param LOAD                         // function from X to T
#param STORE                        // from T, or from an index of i32, to OUT
#param OP : sum | max | min
#param ARG : 0 | 1                  // the position of the extreme instead of its value
#param FLAT : 0 | 1                 // one reduced dimension
#param SCALED : 0 | 1               // a sum of floats is multiplied by scale
#param WIDE : 0 | 1                 // some type has 64 bits
//   scale  1 / n
#params
@group(0) @binding(x) var<storage, read> x: array<${X}>;
@group(0) @binding(out) var<storage, read_write> out: array<${OUT}>;

fn offset(index: u32, sizes: vec4<u32>, strides: vec4<u32>) -> u32 {
  var rest = index;
  var at = (rest % sizes.w) * strides.w;
  rest /= sizes.w;
  at += (rest % sizes.z) * strides.z;
  rest /= sizes.z;
  at += (rest % sizes.y) * strides.y;
  rest /= sizes.y;
  return at + rest * strides.x;
}

// A value and the index it came from; the index counts for argmax and argmin only.
struct Best { value: ${T}, index: u32 }

#if WIDE
#include "wide_integers.wgsl"
#endif
#if T == f32
#include "special_floats.wgsl"
#endif

// True if a comes before b in the order of values, where NaN is past every number in OP's direction.
fn before(a: ${T}, b: ${T}) -> bool {
#if T == vec2<u32>
#if OP == min
  return wide_less(b, a);
#else
  return wide_less(a, b);
#endif
#else
#if OP == min
  let is_number_before = b < a;
#else
  let is_number_before = a < b;
#endif
#if T == f32
  return is_number_before || (is_nan(b) && !is_nan(a));
#else
  return is_number_before;
#endif
#endif
}

// True if b should replace a.
fn better(a: Best, b: Best) -> bool {
  let wins = before(a.value, b.value);
#if ARG
  let ties = !wins && !before(b.value, a.value);
  return wins || (ties && b.index < a.index);
#else
  return wins;
#endif
}

fn join(a: Best, b: Best) -> Best {
#if OP == sum
#if T == vec2<u32>
  return Best(wide_add(a.value, b.value), 0u);
#else
  return Best(a.value + b.value, 0u);
#endif
#else
  if (better(a, b)) {
    return b;
  }
  return a;
#endif
}

fn load(base: u32, i: u32) -> Best {
#if FLAT
  return Best(${LOAD}(x[base + i * params.reduced_strides.w]), i);
#else
  return Best(${LOAD}(x[base + offset(i, params.reduced_sizes, params.reduced_strides)]), i);
#endif
}

fn store(output: u32, best: Best) {
#if ARG
  out[output] = ${STORE}(i32(best.index));
#else
#if SCALED
  out[output] = ${STORE}(best.value * params.scale);
#else
  out[output] = ${STORE}(best.value);
#endif
#endif
}

#if COOPERATE
var<workgroup> lanes: array<Best, ${WG}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let output = wid.y * groups.x + wid.x;
  let base = offset(min(output, params.outputs - 1u), params.kept_sizes, params.kept_strides);
  // Every lane has at least one element: the host gives no more lanes than elements.
  var best = load(base, lane);
  for (var i = lane + ${WG}u; i < params.n; i += ${WG}u) {
    best = join(best, load(base, i));
  }
  lanes[lane] = best;
  workgroupBarrier();
  for (var step = ${WG}u / 2u; step > 0u; step /= 2u) {
    if (lane < step) {
      lanes[lane] = join(lanes[lane], lanes[lane + step]);
    }
    workgroupBarrier();
  }
  if (lane == 0u && output < params.outputs) {
    store(output, lanes[0]);
  }
}
#else
@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let output = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (output >= params.outputs) {
    return;
  }
  let base = offset(output, params.kept_sizes, params.kept_strides);
  var best = load(base, 0u);
  for (var i = 1u; i < params.n; i++) {
    best = join(best, load(base, i));
  }
  store(output, best);
}
#endif
