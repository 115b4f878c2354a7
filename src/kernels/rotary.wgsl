// Rotary position embedding (Su et al. 2021) of q and k in one dispatch: one invocation per rotated pair
// or per passed-through element of a head. Heads are numbered (batch, position, head), q's before k's.
#param WG
#param HALVES : 0 | 1    // a pair is 0: elements 2i and 2i + 1 with one angle, 1: i and i + rotated / 2 with one each
#param POSITION : 0 | 1  // the first row of the table is a live scalar
struct Params {
  q_heads: u32,      // per position
  k_heads: u32,
  q_total: u32,      // batch * positions * q_heads
  total: u32,        // and those of k
  positions: u32,
  head_dim: u32,
  rotated: u32,      // leading elements of a head that are rotated; the rest is copied
  items: u32,        // invocations per head: rotated / 2 + head_dim - rotated
  first_row: u32,
  row_stride: u32,   // of the cos and sin tables
  head_stride: u32,  // 0 unless the tables differ by head
}
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> table_cos: array<f32>;
@group(0) @binding(3) var<storage, read> table_sin: array<f32>;
@group(0) @binding(4) var<storage, read_write> q_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> k_out: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;
#if POSITION
@group(0) @binding(7) var<uniform> position: vec4<i32>;
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
