// Writes new rows into one or two caches at a position: cache[b, position + s] = value[b, s], one
// invocation per unit of a word, or of a pair of elements where the cache holds two halves per word.
#param WG
#param TENSORS : 1 | 2
#param HALF : 0 | 1
#param POSITION : 0 | 1                 // it is live
#param T : f32 | vec4<f32> | vec2<f32>  // a unit of the value: the last with HALF
#param C : f32 | vec4<f32> | u32        // and of the cache
struct Params {
  count: u32,        // units in all of value
  batch_units: u32,  // in one batch of value
  cache_units: u32,  // in one batch of the cache
  row_units: u32,    // in one position
  first_row: u32,
}
#repeat N TENSORS
@group(0) @binding(${N}) var<storage, read> value${N}: array<${T}>;
#endrepeat
#if TENSORS == 1
@group(0) @binding(1) var<storage, read_write> cache0: array<${C}>;
@group(0) @binding(2) var<uniform> params: Params;
#if POSITION
@group(0) @binding(3) var<uniform> position: vec4<i32>;
#endif
#else
@group(0) @binding(2) var<storage, read_write> cache0: array<${C}>;
@group(0) @binding(3) var<storage, read_write> cache1: array<${C}>;
@group(0) @binding(4) var<uniform> params: Params;
#if POSITION
@group(0) @binding(5) var<uniform> position: vec4<i32>;
#endif
#endif
#if HALF
#include "half.wgsl"
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  var row = params.first_row;
#if POSITION
  row += u32(position.x);
#endif
  let at = (i / params.batch_units) * params.cache_units + row * params.row_units + i % params.batch_units;
#repeat N TENSORS
#if HALF
  cache${N}[at] = packed_halves(value${N}[i]);
#else
  cache${N}[at] = value${N}[i];
#endif
#endrepeat
}
