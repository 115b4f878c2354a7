// Writes new rows into one or two caches at a position: cache[b, position + s] = value[b, s], one
// invocation per unit of a word, or of a pair of elements where the cache holds two halves per word.
#param WG
#param TENSORS : 1 | 2
#param HALF : 0 | 1
#param POSITION : 0 | 1                 // it is live
#param T : f32 | vec4<f32> | vec2<f32>  // a unit of the value: the last with HALF
#param C : f32 | vec4<f32> | u32        // and of the cache
//   count        units in all of value
//   batch_units  in one batch of value
//   cache_units  in one batch of the cache
//   row_units    in one position
#params
#repeat N TENSORS
@group(0) @binding(value${N}) var<storage, read> value${N}: array<${T}>;
@group(0) @binding(cache${N}) var<storage, read_write> cache${N}: array<${C}>;
#endrepeat
#if POSITION
@group(0) @binding(position) var<uniform> position: vec4<i32>;
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
