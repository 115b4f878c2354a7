// Reductions over any set of dimensions. Dimensions are merged into at most 4 kept and 4 reduced ones; an
// output's elements are x[f(output index) + g(i)] for i < n, in row-major order of the reduced ones.
// NaN wins in maximum and minimum, as in PyTorch.
// Parameters: WG; COOPERATE (1: one workgroup per output, 0: one invocation per output); T (f32 or i32);
// OP: sum, max or min; ARG (1: the position of the latter); FLAT (1: one reduced dimension).
struct Params {
  kept_sizes: vec4<u32>,
  kept_strides: vec4<u32>,
  reduced_sizes: vec4<u32>,
  reduced_strides: vec4<u32>,
  outputs: u32,
  n: u32,
  scale: f32,  // of a sum: 1 / n for a mean
}
@group(0) @binding(0) var<storage, read> x: array<${T}>;
#if ARG
@group(0) @binding(1) var<storage, read_write> out: array<i32>;
#else
@group(0) @binding(1) var<storage, read_write> out: array<${T}>;
#endif
@group(0) @binding(2) var<uniform> params: Params;

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

#if T == f32
#include "special_floats.wgsl"
#else
fn is_nan(x: ${T}) -> bool {
  return false;
}
#endif

// True if b should replace a.
fn better(a: Best, b: Best) -> bool {
#if OP == min
  let wins = b.value < a.value || (is_nan(b.value) && !is_nan(a.value));
#else
  let wins = b.value > a.value || (is_nan(b.value) && !is_nan(a.value));
#endif
#if ARG
  let ties = b.value == a.value || (is_nan(b.value) && is_nan(a.value));
  return wins || (ties && b.index < a.index);
#else
  return wins;
#endif
}

fn join(a: Best, b: Best) -> Best {
#if OP == sum
  return Best(a.value + b.value, 0u);
#else
  if (better(a, b)) {
    return b;
  }
  return a;
#endif
}

fn load(base: u32, i: u32) -> Best {
#if FLAT
  return Best(x[base + i * params.reduced_strides.w], i);
#else
  return Best(x[base + offset(i, params.reduced_sizes, params.reduced_strides)], i);
#endif
}

fn store(output: u32, best: Best) {
#if ARG
  out[output] = i32(best.index);
#else
#if OP == sum
#if T == f32
  out[output] = best.value * params.scale;
#else
  out[output] = best.value;
#endif
#else
  out[output] = best.value;
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
