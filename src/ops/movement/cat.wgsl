// Concatenates up to seven tensors: row r of the output is the inputs' rows r one after another.
#param WG
#param N                                // inputs: at most 7
#param T : u32 | vec2<u32> | vec4<u32>  // in which all lengths are counted
//   count      elements written
//   row        of them in one row of this dispatch
//   out_row    length of an output row
//   out_start  where in it the first input begins
//   ends       input k's part of the written row ends at ends[k / 4][k % 4]
#params
#repeat K N
@group(0) @binding(src${K}) var<storage, read> src${K}: array<${T}>;
#endrepeat
@group(0) @binding(out) var<storage, read_write> out: array<${T}>;

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  if (i >= params.count) {
    return;
  }
  let r = i / params.row;
  let column = i - r * params.row;
  var value: ${T};
  var begin = 0u;
#repeat K N
  {
    let end = params.ends[${K} / 4][${K} % 4];
    if (column >= begin && column < end) {
      value = src${K}[r * (end - begin) + column - begin];
    }
    begin = end;
  }
#endrepeat
  out[r * params.out_row + params.out_start + column] = value;
}
