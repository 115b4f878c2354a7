// Rotary position embedding (Su et al. 2021) of q and k in one dispatch: one invocation per rotated pair
// or per passed-through element of a head. Heads are numbered (batch, position, head), q's before k's.
#param WG
#param HALVES : 0 | 1    // a pair is 0: elements 2i and 2i + 1 with one angle, 1: i and i + rotated / 2 with one each
#param POSITION : 0 | 1  // the first row of the table is a live scalar
//   q_heads      per position
//   q_total      batch * positions * q_heads
//   total        and those of k
//   rotated      leading elements of a head that are rotated; the rest is copied
//   items        invocations per head: rotated / 2 + head_dim - rotated
//   row_stride   of the cos and sin tables
//   head_stride  0 unless the tables differ by head
#params
@group(0) @binding(q) var<storage, read> q: array<f32>;
@group(0) @binding(k) var<storage, read> k: array<f32>;
@group(0) @binding(table_cos) var<storage, read> table_cos: array<f32>;
@group(0) @binding(table_sin) var<storage, read> table_sin: array<f32>;
@group(0) @binding(q_out) var<storage, read_write> q_out: array<f32>;
@group(0) @binding(k_out) var<storage, read_write> k_out: array<f32>;
#if POSITION
@group(0) @binding(position) var<uniform> position: vec4<i32>;
#endif

@compute @workgroup_size(${WG})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = (wid.y * groups.x + wid.x) * ${WG}u + lane;
  let head_index = index / params.items;
  if (head_index >= params.total) {
    return;
  }
  let item = index % params.items;
  let is_q = head_index < params.q_total;
  let local = select(head_index - params.q_total, head_index, is_q);
  let heads = select(params.k_heads, params.q_heads, is_q);
  let base = local * params.head_dim;

  let pairs = params.rotated / 2u;
  if (item >= pairs) {
    let at = base + item + pairs;
    if (is_q) {
      q_out[at] = q[at];
    } else {
      k_out[at] = k[at];
    }
    return;
  }

  var row = params.first_row + (local / heads) % params.positions;
#if POSITION
  row += u32(position.x);
#endif
  let angle = row * params.row_stride + (local % heads) * params.head_stride;
#if HALVES
  let first = base + item;
  let second = first + pairs;
  let cos0 = table_cos[angle + item];
  let sin0 = table_sin[angle + item];
  let cos1 = table_cos[angle + item + pairs];
  let sin1 = table_sin[angle + item + pairs];
#else
  let first = base + 2u * item;
  let second = first + 1u;
  let cos0 = table_cos[angle + item];
  let sin0 = table_sin[angle + item];
  let cos1 = cos0;
  let sin1 = sin0;
#endif
  if (is_q) {
    let a = q[first];
    let b = q[second];
    q_out[first] = a * cos0 - b * sin0;
    q_out[second] = b * cos1 + a * sin1;
  } else {
    let a = k[first];
    let b = k[second];
    k_out[first] = a * cos0 - b * sin0;
    k_out[second] = b * cos1 + a * sin1;
  }
}
