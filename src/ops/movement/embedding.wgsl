// out[i] = table[indices[i]], or zeros where the index lies outside the table. One invocation per element.
#param WG
#param TABLE : q4 | q8 | f16 | f32 | words  // panels of ops/packing.h; words: a plain matrix
#param ELEMENTS                        // of a word
#param SCALES : 0 | 1                  // one per row and group
//   count       indices
//   width       elements per row
//   words       words per row
//   rows        of the whole table
//   first       first row bound here
//   bound_rows  rows bound here
#params
@group(0) @binding(indices) var<storage, read> indices: array<i32>;
@group(0) @binding(table) var<storage, read> table: array<u32>;
#if SCALES
@group(0) @binding(scales) var<storage, read> scales: array<f32>;
#endif
@group(0) @binding(out) var<storage, read_write> out: array<f32>;

fn element(row: u32, k: u32) -> f32 {
#if TABLE == words
  return bitcast<f32>(table[row * params.words + k]);
#else
  let word = table[(row / 64u * params.words + k / ${ELEMENTS}u) * 64u + row % 64u];
#endif
#if TABLE == f32
  return bitcast<f32>(word);
#elif TABLE == f16
  return unpack2x16float(word)[k % 2u];
#elif TABLE == q8
  return f32(extractBits(bitcast<i32>(word), k % 4u * 8u, 8u));
#elif TABLE == q4
  return f32(i32((word >> (k % 8u * 4u)) & 15u) - 8);
#endif
}

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * grid.x + wid.x) * ${WG}u + lane;
  if (i >= params.count * params.width) {
    return;
  }
  let k = i % params.width;
  let index = bitcast<u32>(indices[i / params.width]);  // a negative one lies past every table
  if (index < params.first || index >= params.first + params.bound_rows) {
    if (params.first == 0u && index >= params.rows) {
      out[i] = 0.0;
    }
    return;
  }
  let row = index - params.first;
#if SCALES
  out[i] = element(row, k) * scales[row * params.scale_stride + k / params.group_size];
#else
  out[i] = element(row, k);
#endif
}
