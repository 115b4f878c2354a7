// Softmax or log-softmax of n elements `inner` apart, one invocation per row, neighbours in the last
// dimension. As softmax_rows otherwise.
#param WG
#include "special_floats.wgsl"
#include "softmax_kind.wgsl"
#params
@group(0) @binding(x) var<storage, read> x: array<f32>;
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (row >= params.rows) {
    return;
  }
  let first = (row / params.inner) * params.n * params.inner + row % params.inner;
  let end = first + params.n * params.inner;
  // The sum follows the running maximum (Milakov & Gimelshein 2018).
  var top = LOWEST;
  var sum = 0.0;
  var kind = EMPTY;
  for (var i = first; i < end; i += params.inner) {
    let v = x[i];
    let next = max(top, v);
    kind = max(kind, kind_of(v));
    sum = sum * exp(top - next) + exp(v - next);
    top = next;
  }
  let log_sum = log(sum);
  for (var i = first; i < end; i += params.inner) {
    out[i] = normalized(x[i] - top, sum, log_sum, kind);
  }
}
